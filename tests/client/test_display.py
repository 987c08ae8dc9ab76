from __future__ import annotations

import io

import pytest

from ipyviews.client import display
from ipyviews.client.display import Notebook
from ipyviews.client.live import LiveDisplay
from ipyviews.client.tasks import Task
from tests.waiting import wait_until


class Page:
    """A sink that keeps everything as text."""

    is_page = False

    def __init__(self):
        self.text = ""
        self.published = []

    def write(self, stream, text):
        self.text += text

    def publish(self, msg_type, content, buffers=()):
        self.published.append((msg_type, content))
        self.text += f"<{content.get('data', {}).get('text/plain', msg_type)}>"


def task_on(engine):
    return Task("c-1.0", "execute", engine, 0.0)


def show(live, engine, msg_type, content):
    live(task_on(engine), msg_type, content, {}, (), None)


def text(live, engine, what, name="stdout"):
    show(live, engine, "stream", {"name": name, "text": what})


@pytest.fixture
def page():
    return Page()


@pytest.fixture
def live(page):
    return LiveDisplay(sink=page)


@pytest.mark.row("3.1-stream-terminal")
def test_each_change_of_source_gets_a_label(page, live):
    text(live, 0, "a\n")
    text(live, 0, "b\n")
    text(live, 1, "c")
    text(live, 1, "d", "stderr")
    text(live, 0, "e\n")
    assert page.text == ("[stdout:0] \na\nb\n[stdout:1] \nc\n[stderr:1] \nd\n[stdout:0] \ne\n")


def test_without_labels_only_the_text_is_shown(page):
    live = LiveDisplay(sink=page, labelled=False)
    text(live, 0, "a\n")
    text(live, 1, "b\n")
    assert page.text == "a\nb\n"


@pytest.mark.row("3.1-stream-results")
def test_displays_and_results_are_labelled(page, live):
    text(live, 0, "no newline")
    show(live, 0, "display_data", {"data": {"text/plain": "fig"}})
    show(live, 3, "execute_result", {"data": {"text/plain": "2"}, "execution_count": 5})
    assert page.text == "[stdout:0] \nno newline\n[output:0]\n<fig><Out[3:5]: 2>"


def test_rich_results_get_their_label_beside_them(page, live):
    data = {"text/plain": "x", "text/html": "<b>x</b>"}
    show(live, 3, "execute_result", {"data": data, "execution_count": 5})
    assert [content["data"] for _, content in page.published] == [
        {"text/plain": "Out[3:5]:"},
        data,
    ]


def test_display_ids_of_two_engines_do_not_meet(page, live):
    shown = {"data": {}, "transient": {"display_id": "x"}}
    show(live, 0, "display_data", shown)
    show(live, 1, "update_display_data", shown)
    ids = [content["transient"]["display_id"] for _, content in page.published]
    assert ids == ["engine-0-x", "engine-1-x"]
    assert shown["transient"] == {"display_id": "x"}


@pytest.mark.row("3.1-stream-errors")
def test_errors_are_left_to_the_result(page, live):
    show(live, 0, "error", {"ename": "E"})
    show(live, 0, "execute_input", {"code": "x"})
    assert page.text == ""


def test_output_that_was_left_out_is_counted(page, live):
    show(live, 0, "output_folded", {"messages": 7, "bytes": 70})
    assert "7 messages (70 bytes) were left out" in page.text


def test_what_came_before_is_replayed(page, live):
    task = task_on(2)
    for msg_type, content in [
        ("stream", {"name": "stdout", "text": "early\n"}),
        ("display_data", {"data": {"text/plain": "fig"}}),
        ("execute_result", {"data": {"text/plain": "9"}, "execution_count": 1}),
    ]:
        task.written().add(msg_type, content)
    live.replay(task)
    live.replay(task_on(1))
    assert page.text == "[stdout:2] \nearly\n[output:2]\n<fig><Out[2:1]: 9>"


class Kernel:
    """What `Notebook` uses of ipykernel."""

    def __init__(self):
        self.sent = []
        self.parent = {"header": {"msg_id": "cell-1"}}
        self.session = self.iopub_thread = self
        self.iopub_socket = "iopub"

    def get_parent(self, channel):
        assert channel == "shell"
        return self.parent

    def schedule(self, action):
        action()

    def send(self, socket, msg_type, content, *, parent, buffers):
        self.sent.append((socket, msg_type, content, parent["header"]["msg_id"], buffers))


@pytest.mark.row("3.1-stream-kernel")
def test_in_a_notebook_output_goes_under_the_cell_that_asked_for_it():
    kernel = Kernel()
    live = LiveDisplay(sink=Notebook(kernel))
    kernel.parent = {"header": {"msg_id": "cell-2"}}
    text(live, 0, "late\n")
    assert {parent for _, _, _, parent, _ in kernel.sent} == {"cell-1"}
    assert kernel.sent[-1][1:3] == ("stream", {"name": "stdout", "text": "[stdout:0] \nlate\n"})


# -- with a client ----------------------------------------------------------------------------


@pytest.mark.row("3-stream-output")
def test_streaming_shows_first_what_is_there_and_then_the_rest(fake, dv, capsys):
    fake.holding = True
    result = dv.execute("print('from the cell')")
    wait_until(lambda: len(fake.held) == 2)
    task = fake.held[0][0]
    fake.do(lambda: fake.output(task, 0, "stream", {"name": "stdout", "text": "early\n"}))
    wait_until(lambda: result.stdout[0] == "early\n")
    with result.stream_output():
        assert capsys.readouterr().out == "[stdout:0] \nearly\n"
        fake.release()
        result.wait()
    assert capsys.readouterr().out == "from the cell\n[stdout:1] \nfrom the cell\n"


def test_a_display_that_fails_does_not_lose_output(fake, rc, caplog):
    fake.holding = True
    result = rc[0].execute("print(1)")

    class Broken:
        def __call__(self, *_):
            raise RuntimeError("no screen")

        def ended(self, _task):
            raise RuntimeError("no screen")

    rc.connection.ledger.listen(result.tasks, Broken())
    fake.release()
    result.wait()
    assert result.stdout == "1\n"
    assert "showing output failed" in caplog.text


@pytest.mark.parametrize(
    ("groupby", "expected"),
    [
        ("type", "[stdout:0] \nx\n[stdout:1] \nx\n"),
        ("engine", "[stdout:0] \nx\n[stdout:1] \nx\n"),
        ("order", "[stdout:0] \nx\n[stdout:1] \nx\n"),
    ],
)
@pytest.mark.row("3.1-stdout-label", "3.1-empty")
def test_finished_output_is_shown_grouped(dv, capsys, groupby, expected):
    result = dv.execute("print('x')", block=True)
    result.display_outputs(groupby)
    assert capsys.readouterr().out == expected


@pytest.mark.row("3.1-single")
def test_a_single_result_is_shown_without_labels(rc, capsys):
    rc[0].execute("print('x')", block=True).display_outputs()
    assert capsys.readouterr().out == "x\n"


@pytest.mark.row("3-display-outputs-early", "3-display-outputs-groupby")
def test_wrong_groupings_and_early_displays_are_refused(fake, dv):
    with pytest.raises(ValueError, match="groupby must be one of"):
        dv.execute("1", block=True).display_outputs("foo")
    fake.holding = True
    with pytest.raises(TimeoutError):
        dv.execute("1").display_outputs()


def finished(engine, *displays, result=None):
    task = task_on(engine)
    for name in displays:
        task.written().add("display_data", {"data": {"text/plain": name}})
    if result is not None:
        content = {"data": {"text/plain": result}, "execution_count": 1}
        task.written().add("execute_result", content)
    return task


@pytest.mark.row("3.1-order")
def test_collated_displays_skip_nobody(capsys):
    tasks = [finished(0, "a", "b"), finished(1, "c"), finished(2)]
    display.show(tasks, "order", labelled=True)
    assert capsys.readouterr().out == "[output:0]\na\n[output:1]\nc\n[output:0]\nb\n"


@pytest.mark.row("3-display-outputs-result-only", "3.1-out", "3.1-rich-label")
def test_results_come_last_and_may_come_alone(capsys):
    tasks = [finished(0, "a", result="1"), finished(1, result="2\n3")]
    display.show(tasks, "type", labelled=True)
    assert capsys.readouterr().out == "[output:0]\na\nOut[0:1]: 1\nOut[1:1]:\n2\n3\n"
    display.show(tasks, "type", labelled=True, result_only=True)
    assert capsys.readouterr().out == "Out[0:1]: 1\nOut[1:1]:\n2\n3\n"


def test_equal_text_displays_and_values_of_several_engines_are_shown_once(capsys):
    tasks = [finished(engine, "fig", result="1") for engine in range(3)]
    for task, line in zip(tasks, ("a\n", "a\n", "b\n"), strict=True):
        task.written().add("stream", {"name": "stdout", "text": line})
    display.show(tasks, "type", labelled=True, fold=True)
    assert capsys.readouterr().out == (
        "[stdout:0-1] \na\n[stdout:2] \nb\n[output:0-2]\nfig\nOut[0-2]: 1\n"
    )
    display.show(tasks, "engine", labelled=True, fold=True)
    assert capsys.readouterr().out == (
        "[stdout:0-1] \na\n[output:0-1]\nfig\nOut[0-1:1]: 1\n"
        "[stdout:2] \nb\n[output:2]\nfig\nOut[2:1]: 1\n"
    )


def test_equal_displays_are_shown_once_when_collated(capsys):
    tasks = [finished(0, "a", "b"), finished(1, "a", "c")]
    display.show(tasks, "order", labelled=True, fold=True)
    assert capsys.readouterr().out == "[output:0-1]\na\n[output:0]\nb\n[output:1]\nc\n"


def test_a_page_gets_the_first_and_the_last_lines_of_a_long_text(monkeypatch):
    monkeypatch.setattr("ipyviews.client.flood.LINES", 4)
    monkeypatch.setattr("ipyviews.client.flood.LEAST", (1, 10_000, 1))
    monkeypatch.setattr("ipyviews.client.flood.TAIL_LINES", 2)
    kernel = Kernel()
    monkeypatch.setattr(display, "current_sink", lambda: Notebook(kernel))
    task = task_on(0)
    text = "".join(f"{number}\n" for number in range(100))
    task.written().add("stream", {"name": "stdout", "text": text})
    display.show([task], "type", labelled=True)
    assert kernel.sent[-1][2]["text"] == (
        "[stdout:0] \n0\n1\n2\n3\n… 96 more lines: `ar.stdout` has all of them\n98\n99\n"
    )


# -- what changes ------------------------------------------------------------------------------


def test_in_a_notebook_what_is_painted_again_is_updated():
    kernel = Kernel()
    sink = Notebook(kernel)
    sink.paint("rows", "1 %")
    sink.paint("rows", "2 %")
    sink.paint("rest", "more")
    sink.publish("clear_output", {"wait": False})
    sink.paint("rows", "3 %")
    kinds = [kind for _, kind, *_ in kernel.sent]
    assert kinds == [
        *("display_data", "update_display_data", "display_data", "clear_output", "display_data")
    ]
    first, second = (kernel.sent[place][2]["transient"]["display_id"] for place in (0, 1))
    assert first == second


class Screen(io.StringIO):
    def isatty(self):
        return True


def test_on_a_terminal_what_is_painted_stays_below_the_text(monkeypatch):
    screen = Screen()
    monkeypatch.setattr("sys.stdout", screen)
    sink = display.Terminal()
    sink.paint("rows", "1 %\n\x1b[31m2 %\x1b[0m")
    sink.write("stdout", "a line\n")
    sink.paint("rows", "")
    erase = "\x1b[2F\x1b[J"
    rows = "1 %\n2 %\n"
    assert screen.getvalue() == f"{rows}{erase}a line\n{rows}{erase}"


def test_two_cells_on_a_terminal_erase_only_what_is_painted(monkeypatch):
    screen = Screen()
    monkeypatch.setattr("sys.stdout", screen)
    one, other = display.Terminal(), display.Terminal()
    one.paint("rows", "1 %")
    other.write("stdout", "a line\n")
    other.paint("rows", "2 %")
    other.write("stdout", "loading")
    one.paint("rows", "")
    other.paint("rows", "")
    one_line, two_lines = "\x1b[1F\x1b[J", "\x1b[2F\x1b[J"
    assert screen.getvalue() == (
        f"1 %\n{one_line}a line\n1 %\n{one_line}1 %\n2 %\n{two_lines}loading\n2 %\n{one_line}"
    )


def test_what_ends_while_nobody_can_see_it_change_is_not_painted_again(monkeypatch):
    screen = Screen()
    monkeypatch.setattr("sys.stdout", screen)
    one, other = display.Terminal(), display.Terminal()
    one.paint("rows", "1 %")
    with monkeypatch.context() as patch:
        patch.setattr("sys.stdout", io.StringIO())
        one.paint("rows", "")
    other.write("stdout", "a line\n")
    assert screen.getvalue() == "1 %\na line\n"


def test_nothing_is_painted_where_nobody_can_see_it_change(monkeypatch):
    for screen in (io.StringIO(), Screen()):
        monkeypatch.setattr("sys.stdout", screen)
        sink = display.Terminal()
        # As while IPython waits for the next cell.
        monkeypatch.setattr("sys.stdout", io.StringIO() if screen.isatty() else screen)
        sink.paint("rows", "1 %")
        assert screen.getvalue() == ""
