"""Stop means stop: an interrupt of a cell that waits, with engines that are faked."""

import contextlib
import signal
import threading

import pytest

from ipyviews_magics import stopping
from ipyviews_magics.registry import activate
from ipyviews_magics.tracebacks import show_folded
from tests.magics.fakes import FakeView
from tests.waiting import wait_until


def press():
    signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)


@contextlib.contextmanager
def beside(action):
    """Run `action` in another thread; its presses may come after what they were meant for."""
    thread = threading.Thread(target=action)
    thread.start()
    try:
        yield
    finally:
        with contextlib.suppress(KeyboardInterrupt):
            thread.join()


@pytest.fixture
def cell(shell):
    """Run a cell magic: ``cell(line, code)``."""
    return lambda line, code: shell.run_cell_magic("px", line, code)


@pytest.fixture
def view(shell):
    """A view of two engines that begin each cell and do not end it."""
    view = FakeView(answer=lambda view, tasks: None)
    activate(view)
    return view


def interrupted(cell, line, view, answer):
    """Run a cell, interrupt it once it waits, and let `answer` end the tasks."""

    def action():
        wait_until(lambda: view.tasks, what="the cell runs")
        press()
        answer()

    with beside(action), pytest.raises(KeyboardInterrupt) as caught:
        cell(line, "while True: pass")
    return caught.value


def cancelled(view):
    """Wait until something was cancelled and return the tasks named."""
    asked = view.client.connection.asked
    wait_until(lambda: asked, what="tasks are cancelled")
    return [task for name, content in asked if name == "cancel" for task in content["tasks"]]


def end_cancelled(view):
    """End what is cancelled as engine and controller do."""
    for task in view.tasks:
        if task.id in cancelled(view) and not task.done:
            view.drop(task)


def test_an_interrupt_stops_this_cell_only_and_is_shown_in_one_line(cell, view, capsys):
    interrupt = interrupted(cell, "", view, lambda: end_cancelled(view))
    asked = view.client.connection.asked
    assert asked == [("cancel", {"tasks": [task.id for task in view.tasks]})]
    assert interrupt._render_traceback_() == ["KeyboardInterrupt: stopped on engines 0, 1"]
    assert capsys.readouterr().err == ""


def test_an_interrupt_between_sending_and_waiting_stops_what_was_sent(shell, cell):
    def answer(view, tasks):
        press()
        threading.Thread(target=end_cancelled, args=(view,)).start()

    activate(view := FakeView(answer=answer))
    with pytest.raises(KeyboardInterrupt, match="stopped on engines 0, 1"):
        cell("", "while True: pass")
    assert cancelled(view) == [task.id for task in view.tasks]


def test_a_second_interrupt_ends_sending_that_does_not_end(shell, cell):
    def answer(view, tasks):
        press()
        press()
        pytest.fail("it went on")

    activate(FakeView(answer=answer))
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        cell("", "while True: pass")
    assert signal.getsignal(signal.SIGINT) is before


def test_a_cell_may_be_sent_from_another_thread(shell, cell):
    activate(view := FakeView())
    thread = threading.Thread(target=cell, args=("", "a = 1"))
    thread.start()
    thread.join()
    assert [task.status for task in view.tasks] == ["ok", "ok"]


def test_an_interrupt_of_a_cell_that_no_engine_has_yet_drops_it(shell, cell):
    activate(view := FakeView(ids=[None], answer=lambda view, tasks: None))
    interrupt = interrupted(cell, "", view, lambda: end_cancelled(view))
    assert interrupt._render_traceback_() == ["KeyboardInterrupt: stopped before it ran"]


def test_an_interrupt_tells_where_the_cell_had_not_begun(cell, view):
    view.idle = [1]
    interrupt = interrupted(cell, "", view, lambda: end_cancelled(view))
    assert str(interrupt) == "stopped on engine 1; not yet begun on engine 0"


def test_an_interrupt_does_not_hide_what_had_failed_before(cell, view):
    view._answer = lambda view, tasks: view.fail(tasks[0])
    interrupt = interrupted(cell, "", view, lambda: end_cancelled(view))
    assert interrupt._render_traceback_() == [
        "KeyboardInterrupt: stopped on engine 1",
        "[0:execute]ZeroDivisionError: division by zero",
    ]


def test_an_interrupt_that_comes_when_all_have_ended_says_so(cell, view):
    def answer(view, tasks):
        press()
        for task in tasks:
            view.end(task)

    view._answer = answer
    with pytest.raises(KeyboardInterrupt, match="all engines had ended"):
        cell("", "a = 1")
    assert view.client.connection.asked == []


def test_a_second_interrupt_restarts_what_did_not_stop(cell, view, capsys):
    def answer():
        cancelled(view)
        view.drop(view.tasks[0])
        wait_until(lambda: "again" in capsys.readouterr().err, what="the user is told")
        press()

    interrupt = interrupted(cell, "", view, answer)
    assert view.client.restarted == [([1], True)]
    assert str(interrupt) == "restarted engine 1, without the variables that were there"


def test_a_second_interrupt_restarts_no_engine_where_others_work_runs(cell, view, capsys):
    def answer():
        view.drop(view.tasks[1])
        wait_until(lambda: "again" in capsys.readouterr().err, what="the user is told")
        press()

    view.idle = [0]
    interrupted(cell, "", view, lambda: (cancelled(view), answer()))
    assert view.client.restarted == [([0], True)]


def test_who_presses_twice_at_once_loses_nothing(cell, view, capsys):
    def answer():
        cancelled(view)
        press()
        end_cancelled(view)

    interrupt = interrupted(cell, "", view, answer)
    assert view.client.restarted == []
    assert str(interrupt) == "stopped on engines 0, 1"
    assert capsys.readouterr().err == ""


def test_what_no_interrupt_stops_is_not_waited_for_for_ever(cell, view, monkeypatch):
    monkeypatch.setattr(stopping, "HINT_S", 0.01)
    monkeypatch.setattr(stopping, "STOPPING_S", 0.02)
    interrupt = interrupted(cell, "", view, lambda: None)
    assert "%ipyviews restart 0,1 ends" in str(interrupt)


def test_a_cluster_that_does_not_answer_is_not_waited_for_for_ever(cell, view, monkeypatch, capsys):
    monkeypatch.setattr(stopping, "HINT_S", 0.01)
    monkeypatch.setattr(stopping, "STOPPING_S", 0.02)
    view.idle = []
    interrupt = interrupted(cell, "", view, lambda: None)
    assert str(interrupt) == "asked to stop; the cluster has not answered yet"
    assert capsys.readouterr().err == ""


def test_another_signal_goes_where_the_cell_runs_and_elsewhere_it_is_dropped(cell, view):
    def answer():
        wait_until(lambda: view.client.signals, what="the signal is sent")
        end_cancelled(view)
        view.fail(view.tasks[1], "KeyboardInterrupt", "")

    view.idle = [1]
    interrupted(cell, "--signal-on-interrupt SIGTERM", view, answer)
    assert view.client.signals == [(signal.SIGTERM, [1])]
    assert cancelled(view) == [view.tasks[0].id]


def test_an_interrupt_can_leave_the_engines_alone(cell, view):
    interrupt = interrupted(cell, "--signal-on-interrupt none", view, lambda: None)
    assert view.client.connection.asked == []
    assert str(interrupt).startswith("the cell still runs on engines 0, 1;")


def test_an_interrupt_after_a_cell_that_does_not_block_stops_nothing(shell, view):
    def answer(view, tasks):
        press()

    view._answer = answer
    with pytest.raises(KeyboardInterrupt, match="the cell still runs on engines 0, 1;"):
        shell.run_cell_magic("px", "-a", "while True: pass")
    assert view.client.connection.asked == []


def test_an_interrupt_of_pxresult_ends_only_the_waiting(shell, view):
    shell.run_cell_magic("px", "-a", "while True: pass")
    view.client.connection.check_may_wait = press
    with pytest.raises(KeyboardInterrupt, match="the cell still runs on engines 0, 1;"):
        shell.run_line_magic("pxresult", "")
    assert view.client.connection.asked == []


def test_an_interrupt_of_the_local_part_stops_the_engines_and_is_shown_once(shell, view, capsys):
    show_folded(shell)
    shell.user_ns["press"] = press
    with beside(lambda: (cancelled(view), end_cancelled(view))):
        ran = shell.run_cell("%%px --local\nprint('here')\npress()\nprint('not reached')")
    assert isinstance(ran.error_in_exec, KeyboardInterrupt)
    assert capsys.readouterr().out == "here\nKeyboardInterrupt: stopped on engines 0, 1\n"


def test_a_line_of_an_interrupt_has_the_user_s_colours(shell):
    shell.run_line_magic("colors", "linux")
    (line,) = stopping.quiet(KeyboardInterrupt(), "stopped")._render_traceback_()
    assert "\x1b[" in line
    shell.run_line_magic("colors", "nocolor")
    (line,) = stopping.quiet(KeyboardInterrupt(), "stopped")._render_traceback_()
    assert line == "KeyboardInterrupt: stopped"


def test_an_interrupt_is_shown_outside_ipython_as_well():
    shown = stopping.quiet(KeyboardInterrupt(), "stopped")
    assert (str(shown), shown._render_traceback_()) == ("stopped", ["KeyboardInterrupt: stopped"])


def test_a_handler_that_is_no_function_is_left_alone():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with stopping.held():
            press()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def of_ipykernel(signum, frame):
    """Tell a loop, as ipykernel does in a cell with ``await``."""


def test_the_waiting_hears_an_interrupt_also_in_a_cell_with_await(cell, view):
    of_ipykernel.__module__ = "ipykernel.ipkernel"
    before = signal.signal(signal.SIGINT, of_ipykernel)
    try:
        interrupt = interrupted(cell, "", view, lambda: end_cancelled(view))
        assert str(interrupt) == "stopped on engines 0, 1"
        assert signal.getsignal(signal.SIGINT) is of_ipykernel
    finally:
        signal.signal(signal.SIGINT, before)
