from functools import partial

import pytest
from IPython.core.error import UsageError as ShellUsageError

from ipyviews.client.balanced import LoadBalancedView
from ipyviews.client.results import AsyncResult
from ipyviews.errors import CompositeError, RemoteError, UsageError
from ipyviews_magics.options import Options
from ipyviews_magics.px import PxMagics
from ipyviews_magics.registry import activate, registry_of
from tests.magics.fakes import FakeView


@pytest.fixture
def cell(shell):
    """Run a cell magic: ``cell(line, code, suffix)``."""
    return lambda line, code, suffix="": shell.run_cell_magic(f"px{suffix}", line, code)


def prints(*texts):
    def answer(view, tasks):
        for task, text in zip(tasks, texts, strict=True):
            view.prints(task, text)
            view.end(task)

    return answer


def test_a_cell_is_sent_as_it_is_written(shell, cell):
    view = FakeView()
    activate(view)
    shell.user_ns["x"] = 1
    code = "%matplotlib inline\nprint('{x} $x')\n!ls\n"
    assert cell("", code) is None
    assert view.calls[0].code == code
    assert view.calls[0].silent is False


def test_a_line_is_all_code(shell):
    view = FakeView()
    activate(view)
    shell.user_ns["x"] = 1
    shell.run_line_magic("px", "-b = {x} + $x")
    assert view.calls[0].code == "-b = {x} + $x"


def test_options_are_expanded_and_code_is_not(shell):
    activate(FakeView())
    shell.user_ns["name"] = "stored"
    shell.run_cell("%%px -o {name}\nprint('{name}')")
    assert isinstance(shell.user_ns["stored"], AsyncResult)


def test_output_is_labelled_by_engine(shell, cell, capsys):
    activate(FakeView(answer=prints("one\n", "two\n")))
    cell("", "print()")
    assert capsys.readouterr().out == "[stdout:0] \none\n[stdout:1] \ntwo\n"


def test_a_cell_that_does_not_wait_returns_its_result(shell, cell):
    view = FakeView(answer=lambda view, tasks: None)
    activate(view)
    result = cell("--noblock", "a = 1")
    assert isinstance(result, AsyncResult)
    assert not result.done()
    for task in view.tasks:
        view.end(task)
    assert result.done()


def test_a_cell_waits_until_the_view_is_told_otherwise(shell, cell):
    view = FakeView()
    activate(view)
    assert cell("", "a") is None
    view.block = True
    assert cell("", "a") is None
    view.block = False
    assert isinstance(cell("", "a"), AsyncResult)
    assert cell("--block", "a") is None


def test_output_that_comes_after_the_cell_is_shown(shell, cell, capsys):
    view = FakeView(ids=[0], answer=lambda view, tasks: None)
    activate(view)
    cell("-a", "print()")
    view.prints(view.tasks[0], "late\n")
    assert capsys.readouterr().out == "[stdout:0] \nlate\n"


def test_a_failure_of_a_cell_that_did_not_wait_is_named_once_with_its_engines(shell, cell, capsys):
    view = FakeView(ids=range(3), answer=lambda view, tasks: None)
    activate(view)
    cell("-a", "1/0")
    view.fail(view.tasks[0])
    view.fail(view.tasks[1])
    assert capsys.readouterr().err == ""
    view.fail(view.tasks[2], "ValueError", "no")
    assert capsys.readouterr().err == (
        "ZeroDivisionError: division by zero (engines 0, 1)\nValueError: no (engine 2)\n"
    )


def test_a_blocking_cell_raises_what_failed_after_its_output(shell, cell, capsys):
    def answer(view, tasks):
        view.prints(tasks[0], "before\n")
        for task in tasks:
            view.fail(task)

    activate(FakeView(answer=answer))
    with pytest.raises(CompositeError):
        cell("", "1/0")
    assert capsys.readouterr().out == "[stdout:0] \nbefore\n"


def test_a_failure_on_one_engine_is_a_remote_error(shell, cell):
    activate(FakeView(answer=lambda view, tasks: view.fail(tasks[0])))
    with pytest.raises(RemoteError):
        cell("-t 1", "1/0")


@pytest.mark.parametrize("line", ["--no-stream", "--no-stream -e", "--no-stream -r"])
def test_without_streaming_nothing_is_lost_when_a_cell_fails(shell, cell, capsys, line):
    def answer(view, tasks):
        for task in tasks:
            view.prints(task, f"of {task.engine}\n")
            view.fail(task)

    activate(FakeView(answer=answer))
    with pytest.raises(CompositeError):
        cell(line, "1/0")
    assert capsys.readouterr().out == "[stdout:0] \nof 0\n[stdout:1] \nof 1\n"


def both_streams(view, tasks):
    for task in tasks:
        view.prints(task, f"out {task.engine}\n")
        view.prints(task, f"err {task.engine}\n", "stderr")
        view.end(task)


@pytest.mark.parametrize(("line", "places"), [("", [0, 2, 1, 3]), ("-e", [0, 1, 2, 3])])
def test_output_at_the_end_is_grouped_as_said(shell, cell, monkeypatch, line, places):
    written = []
    monkeypatch.setattr("sys.stdout.write", written.append)
    monkeypatch.setattr("sys.stderr.write", written.append)
    activate(FakeView(answer=both_streams))
    cell(f"--no-stream {line}", "print()")
    blocks = [f"[std{s}:{i}] \n{s} {i}\n" for i in (0, 1) for s in ("out", "err")]
    blocks = [text.replace("\nout", "\nout").replace("\nerr", "\nerr") for text in blocks]
    assert written == [blocks[place] for place in places]


def test_targets_hold_for_one_cell(shell, cell):
    view = FakeView(ids=range(4))
    activate(view)
    cell("-t ::2", "a")
    cell("", "b")
    assert [call.targets for call in view.calls] == [[0, 2], [0, 1, 2, 3]]


def test_wrong_targets_are_a_usage_error_and_nothing_runs(shell, cell):
    view = FakeView()
    activate(view)
    with pytest.raises(ShellUsageError, match="no engine 7; there are engines 0, 1"):
        cell("-t 7", "a")
    assert view.calls == []


def test_verbose_names_the_engines(shell, cell, capsys):
    activate(FakeView(ids=range(12)))
    cell("--verbose -t 1", "a")
    cell("--verbose -a", "a")
    cell("--verbose -t all", "a")
    cell("--no-verbose", "a")
    assert capsys.readouterr().out.splitlines() == [
        "Parallel execution on engine(s): 1",
        "Async parallel execution on engine(s): [0, 1, 2, 3, ..., 8, 9, 10, 11]",
        "Parallel execution on engine(s): all",
    ]


def test_local_runs_the_cell_here_too(shell, cell, capsys):
    activate(FakeView(answer=prints("far\n", "far\n")))
    cell("--local", "here = 7; print('near')")
    assert shell.user_ns["here"] == 7
    assert capsys.readouterr().out == "near\n[stdout:0] \nfar\n[stdout:1] \nfar\n"


def test_setup_marks_the_cell(cell):
    view = FakeView()
    activate(view)
    cell("--setup", "a = 1")
    cell("", "b = 1")
    assert [call.setup for call in view.calls] == [True, False]


def test_setup_is_for_engines_that_are_named(shell):
    magics = PxMagics(shell, "", partial(LoadBalancedView.__new__, LoadBalancedView), None)
    view = magics.view_in_use()
    with pytest.raises(ShellUsageError, match="name their engines"):
        magics._submit(view, "a = 1", Options(setup=True), waits=True)


def test_pxresult_shows_the_latest_result_again(shell, cell, capsys):
    activate(FakeView(answer=prints("one\n", "two\n")))
    cell("-a --no-stream", "print()")
    assert capsys.readouterr().out == ""
    shell.run_line_magic("pxresult", "")
    assert capsys.readouterr().out == "[stdout:0] \none\n[stdout:1] \ntwo\n"


def test_pxresult_raises_what_failed(shell, cell):
    activate(FakeView(answer=lambda view, tasks: [view.fail(t) for t in tasks]))
    cell("-a", "1/0")
    with pytest.raises(CompositeError):
        shell.run_line_magic("pxresult", "")


def test_pxresult_can_store_and_then_prints_nothing(shell, cell, capsys):
    activate(FakeView(answer=prints("one\n", "two\n")))
    cell("-a --no-stream", "print()")
    shell.run_line_magic("pxresult", "-o kept")
    assert capsys.readouterr().out == ""
    assert shell.user_ns["kept"].stdout == ["one\n", "two\n"]


def test_pxresult_before_any_cell_says_so(shell):
    activate(FakeView())
    with pytest.raises(ShellUsageError, match="%pxresult recalls the last result of %px"):
        shell.run_line_magic("pxresult", "")


def test_pxconfig_sets_the_defaults(shell, cell, capsys):
    view = FakeView(ids=range(4))
    activate(view)
    shell.run_line_magic("pxconfig", "--noblock --targets 1:3 --verbose")
    assert isinstance(cell("", "a"), AsyncResult)
    assert (view.block, view.targets) == (False, [1, 2])
    assert capsys.readouterr().out == "Async parallel execution on engine(s): [1, 2]\n"


def test_pxconfig_without_options_starts_nothing(shell, capsys):
    shell.run_line_magic("load_ext", "ipyviews_magics")
    shell.run_line_magic("pxconfig", "")
    shell.run_line_magic("pxconfig", "--noblock --verbose")
    capsys.readouterr()
    shell.run_line_magic("pxconfig", "")
    rows = [line.split("  ")[1] for line in capsys.readouterr().out.splitlines()[1:]]
    assert rows[:2] == ["--noblock", "--targets all"]
    assert "--verbose" in rows


def test_what_pxconfig_tells_can_be_typed(shell, capsys):
    view = FakeView(ids=range(4))
    activate(view)
    shell.run_line_magic("pxconfig", "-a -t [0,2] --no-stream --fold --progress-after 0.5")
    shell.run_line_magic("pxconfig", "")
    told = capsys.readouterr().out.splitlines()[1:]
    activate(other := FakeView(ids=range(4)))
    for line in told:
        shell.run_line_magic("pxconfig", line.strip().split("   ")[0])
    shell.run_line_magic("pxconfig", "")
    assert capsys.readouterr().out.splitlines()[1:] == told
    assert other.targets == [0, 2]


def test_result_is_an_older_name_of_pxresult_without_a_suffix(shell, cell, capsys):
    activate(FakeView(answer=prints("one\n", "two\n")))
    activate(FakeView(), "_even")
    cell("-a --no-stream", "print()")
    shell.run_line_magic("result", "")
    assert capsys.readouterr().out == "[stdout:0] \none\n[stdout:1] \ntwo\n"
    assert shell.find_line_magic("result_even") is None


def test_an_older_name_is_left_to_who_has_it(shell):
    shell.register_magic_function(lambda line: "mine", "line", "result")
    activate(FakeView())
    assert shell.run_line_magic("result", "") == "mine"


@pytest.mark.parametrize("line", ["--fold", "--no-stream --fold"])
def test_equal_output_can_be_shown_once(shell, cell, capsys, line):
    activate(view := FakeView(answer=prints("same\n", "same\n")))
    view.client.connection.later = lambda delay_s, action: None
    cell(line, "print()")
    assert capsys.readouterr().out == "[stdout:0-1] \nsame\n"


def test_a_name_that_is_none_is_refused_before_anything_runs(shell, cell):
    activate(view := FakeView())
    with pytest.raises(ShellUsageError, match="-o takes the name of a variable"):
        cell("-o my-result", "a")
    assert view.calls == []


def test_pxconfig_refuses_an_unknown_signal(shell):
    activate(FakeView())
    with pytest.raises(ShellUsageError, match="There is no signal 'SIGNO'"):
        shell.run_line_magic("pxconfig", "--signal-on-interrupt SIGNO")


def test_autopx_sends_plain_cells_until_it_is_off(shell, capsys):
    view = FakeView()
    activate(view, "_even")
    for code in ("%autopx_even", "a = 1", "%%local\nb = 2", "%autopx_even", "c = 3"):
        assert shell.run_cell(code).success
    assert [call.code for call in view.calls] == ["a = 1\n"]
    assert {"b", "c"} <= shell.user_ns.keys()
    assert "a" not in shell.user_ns
    assert capsys.readouterr().out == "%autopx_even enabled\n%autopx_even disabled\n"


def test_under_autopx_local_runs_the_cell_here_once(shell):
    view = FakeView()
    activate(view)
    for code in ("%autopx", "%%px --local\nd = 4", "%autopx"):
        assert shell.run_cell(code).success
    assert shell.user_ns["d"] == 4
    assert len(view.calls) == 1


def test_several_suffixes_live_side_by_side(shell, cell):
    all_of_them, even = FakeView(ids=range(4)), FakeView(ids=[0, 2])
    activate(all_of_them)
    activate(even, "_even")
    cell("", "a")
    cell("", "b", "_even")
    assert [len(view.calls) for view in (all_of_them, even)] == [1, 1]


def test_the_last_view_to_take_a_suffix_has_it(shell, cell):
    first, last = FakeView(), FakeView()
    activate(first, "x")
    activate(last, "x")
    cell("", "a", "x")
    assert (len(first.calls), len(last.calls)) == (0, 1)


@pytest.mark.parametrize("suffix", ["result", "config"])
def test_a_suffix_that_would_hide_our_own_magic_is_refused(shell, suffix):
    activate(FakeView())
    with pytest.raises(UsageError, match=f"would hide the magic %px{suffix}"):
        activate(FakeView(), suffix)


def test_a_suffix_that_would_hide_a_magic_of_others_is_refused(shell):
    def foreign(line):
        return line

    shell.register_magic_function(foreign, "line", "pxmine")
    with pytest.raises(UsageError, match="would hide the magic %pxmine"):
        activate(FakeView(), "mine")
    assert shell.run_line_magic("pxmine", "kept") == "kept"


@pytest.mark.parametrize("suffix", [" even", "-even", "."])
def test_a_suffix_that_is_no_name_is_refused(shell, suffix):
    with pytest.raises(UsageError, match="cannot end the name of a magic"):
        activate(FakeView(), suffix)


def test_outside_ipython_activate_says_what_to_do():
    with pytest.raises(UsageError, match="magics need IPython"):
        activate(FakeView())


def test_loading_the_extension_keeps_a_view_that_was_activated_before(shell, cell):
    view = FakeView()
    activate(view)
    shell.run_line_magic("load_ext", "ipyviews_magics")
    cell("", "a")
    assert len(view.calls) == 1
    assert registry_of(shell).is_ours("px")
