"""The bar of a cell that takes long: never in a line, gone at the end."""

from __future__ import annotations

import re
import threading

import pytest

from ipyviews_magics import bars
from ipyviews_magics.bars import Beside, wait_with_bar
from ipyviews_magics.registry import activate
from tests.conftest import use_folders
from tests.magics.fakes import FakeView
from tests.magics.recorder import record
from tests.waiting import wait_until


class Page:
    """A sink that notes everything in order."""

    def __init__(self, *, is_page=True):
        self.is_page = is_page
        self.shown = []

    def write(self, stream, text):
        self.shown.append(text)

    def publish(self, msg_type, content, buffers=()):
        self.shown.append(msg_type)

    def paint(self, name, text):
        self.shown.append(f"<{text}>")


@pytest.fixture(autouse=True)
def somebody_watches(monkeypatch):
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.delenv("IPYVIEWS_PROGRESS", raising=False)


def test_everything_reaches_the_sink():
    page = Page()
    beside = Beside(page)
    beside.write("stdout", "text\n")
    beside.publish("display_data", {})
    beside.paint("rows", "row")
    assert page.shown == ["text\n", "display_data", "<row>"]


@pytest.mark.parametrize("is_page", [True, False])
def test_a_bar_waits_for_the_end_of_a_line(is_page):
    beside = Beside(page := Page(is_page=is_page))
    beside.write("stdout", "half a ")
    beside.paint("progress", "bar")
    beside.write("stdout", "line\n")
    beside.paint("progress", "bar")
    assert page.shown == ["half a ", "line\n", "<bar>"]


def test_a_bar_that_is_on_the_page_moves_while_a_line_is_open():
    beside = Beside(page := Page())
    beside.paint("progress", "1")
    beside.write("stdout", "half a ")
    beside.paint("progress", "2")
    assert page.shown == ["<1>", "half a ", "<2>"]


def test_what_engines_repaint_is_shown_also_in_a_line():
    beside = Beside(page := Page())
    beside.write("stdout", "half a ")
    beside.paint("rows", "10 %")
    assert page.shown == ["half a ", "<10 %>"]


def test_a_display_ends_a_line():
    beside = Beside(page := Page())
    beside.write("stdout", "half a line")
    beside.publish("display_data", {})
    beside.paint("progress", "bar")
    assert page.shown[-1] == "<bar>"


def test_after_the_page_was_cleared_a_bar_waits_for_the_end_of_a_line_again():
    beside = Beside(page := Page())
    beside.paint("progress", "1")
    beside.publish("clear_output", {"wait": False})
    beside.write("stdout", "half a ")
    beside.paint("progress", "2")
    assert page.shown == ["<1>", "clear_output", "half a "]


def test_on_a_terminal_the_bar_is_below_what_engines_repaint():
    beside = Beside(page := Page(is_page=False))
    beside.paint("progress", "bar")
    beside.paint("rows", "10 %")
    beside.paint("progress", "")
    assert page.shown == ["<bar>", "<bar\n10 %>", "<10 %>"]


@pytest.fixture
def running(shell, monkeypatch):
    """A cell on two engines that do not answer yet, and its result."""
    monkeypatch.setattr(bars, "STEP_S", 0.001)
    view = FakeView(answer=lambda view, tasks: None)
    activate(view)
    return view, shell.run_cell_magic("px", "--noblock --no-stream", "a = 1")


def counts(page):
    """Return what the bars told, without time and rate."""
    return [re.sub(r".*\| | \[.*", "", text) for text in page.shown]


def test_a_bar_counts_engines_and_failures_and_goes_at_the_end(running):
    view, result = running
    page = Page()

    def answer():
        wait_until(lambda: counts(page), what="the bar is there")
        view.fail(view.tasks[0])
        wait_until(lambda: "1/2 engines, 1 failed" in counts(page), what="the bar moved")
        view.end(view.tasks[1])

    thread = threading.Thread(target=answer)
    thread.start()
    wait_with_bar(result, 0, Beside(page))
    thread.join()
    told = counts(page)
    assert told[0] == "0/2 engines"
    assert told[-2:] == ["1/2 engines, 1 failed", "<>"]


@pytest.mark.parametrize("quiet_s", [-1, 60])
def test_a_cell_that_ends_soon_or_wants_none_has_no_bar(running, quiet_s):
    view, result = running
    page = Page()
    threading.Timer(0.05, lambda: [view.end(task) for task in view.tasks]).start()
    wait_with_bar(result, quiet_s, Beside(page))
    assert page.shown == []


def test_in_ci_there_is_no_bar(running, monkeypatch):
    monkeypatch.setenv("CI", "true")
    view, result = running
    page = Page()
    threading.Timer(0.05, lambda: [view.end(task) for task in view.tasks]).start()
    wait_with_bar(result, 0, Beside(page))
    assert page.shown == []


CELL = """\
%%px -t 0:2 --progress-after 0
import os, time
print("before")
while not os.path.exists(gate): time.sleep(0.01)
print("after")
"""


def run(cluster4, module_root, gate, **options):
    connect = "%load_ext ipyviews\nimport ipyviews\nrc = ipyviews.Client()\n"
    connect += f"rc[:].push({{'gate': {str(gate)!r}}}, block=True)"
    with pytest.MonkeyPatch.context() as patch:
        use_folders(patch, module_root)
        return record([[connect, CELL]], **options)


@pytest.mark.kernels
def test_in_a_watched_notebook_the_bar_is_one_display_that_is_updated_and_emptied(
    cluster4, module_root, tmp_path
):
    gate = tmp_path / "gate"
    seen = []

    def react(message):
        seen.append(message)
        text = message["content"].get("data", {}).get("text/plain", "")
        # Both lines are there, and the bar: go on.
        printed = "".join(m["content"].get("text", "") for m in seen)
        if "0/2 engines" in text and printed.count("before") == 2:
            gate.touch()

    recorder, _ = run(cluster4, module_root, gate, is_watched=True, react=react)
    messages = [message for message, cell in recorder.messages if cell == 1]
    bars_shown = [m for m in messages if "transient" in m["content"]]
    ids = {message["content"]["transient"]["display_id"] for message in bars_shown}
    assert len(ids) == 1
    assert bars_shown[0]["msg_type"] == "display_data"
    assert {m["msg_type"] for m in bars_shown[1:]} == {"update_display_data"}
    assert bars_shown[-1]["content"]["data"] == {"text/plain": ""}
    assert all(set(message["content"]["data"]) == {"text/plain"} for message in bars_shown)
    assert {m["parent_header"]["msg_id"] for m in messages} == {recorder.cells[1]}
    printed = [m["content"]["text"] for m in messages if m["msg_type"] == "stream"]
    assert all(text.endswith("\n") for text in printed)
    assert "".join(printed).count("after\n") == 2


@pytest.mark.kernels
def test_who_asks_for_a_bar_has_one_display_that_counts_items_and_stays(cluster4, module_root):
    wait = "rc.load_balanced_view().map_async(abs, range(40), chunksize=4).wait_interactive(0.01)"
    connect = "import ipyviews\nrc = ipyviews.Client()"
    with pytest.MonkeyPatch.context() as patch:
        use_folders(patch, module_root)
        recorder, _ = record([[connect, wait]])
    messages = [m for m, cell in recorder.messages if cell == 1 and "data" in m["content"]]
    first, *updates = messages
    assert first["msg_type"] == "display_data"
    assert {message["msg_type"] for message in updates} <= {"update_display_data"}
    assert len({m["content"]["transient"]["display_id"] for m in messages}) == 1
    last = messages[-1]["content"]["data"]["text/plain"]
    assert last.startswith("abs: 100%|")
    assert "| 40/40 tasks [" in last


@pytest.mark.kernels
def test_a_notebook_that_a_program_runs_has_no_bar(cluster4, module_root, tmp_path):
    gate = tmp_path / "gate"
    begun = []

    def react(message):
        begun.append(message["content"].get("text", ""))
        if "".join(begun).count("before") == 2:
            gate.touch()

    recorder, _ = run(cluster4, module_root, gate, react=react)
    kinds = {message["msg_type"] for message, cell in recorder.messages if cell == 1}
    assert kinds == {"status", "execute_input", "stream"}
