"""How errors are shown in IPython: once, folded, in the user's colours, without our frames."""

import signal
import sys
from functools import partial

import pytest

from ipyviews import folding
from ipyviews.errors import AlreadyDisplayedError, CompositeError, EngineError, RemoteError
from ipyviews_magics.registry import activate, registry_of
from ipyviews_magics.tracebacks import interrupts_unshown, show_folded
from tests.magics.fakes import FakeView

ZERO = ("ZeroDivisionError", "division by zero", ["line 2", "ZeroDivisionError: division by zero"])
RED = ("ValueError", "odd", ["\x1b[31mValueError\x1b[39m: odd"])


def composite(*errors):
    """Make the error of engines that failed so, in order."""
    infos = [{"engine_id": engine, "method": "execute"} for engine in range(len(errors))]
    failures = [(*known, info) for known, info in zip(errors, infos, strict=True)]
    return CompositeError("one or more exceptions", failures, len(errors))


@pytest.fixture
def raises(shell, capsys):
    """Raise an error in a cell and return what is written to stdout."""
    show_folded(shell)

    def run(error, code="raise error"):
        shell.user_ns["error"] = error
        assert shell.run_cell(code, store_history=True).error_in_exec is error
        written = capsys.readouterr()
        assert written.err == ""
        return written.out

    return run


def test_equal_errors_of_engines_are_shown_once_without_our_frames(raises):
    assert raises(composite(ZERO, ZERO)) == (
        "[0-1:execute]: (on 2 of 2 engines)\nline 2\nZeroDivisionError: division by zero\n\n"
    )


def test_an_error_of_one_engine_names_it(raises):
    shown = raises(RemoteError(*ZERO, {"engine_id": 3, "method": "execute"}))
    assert shown == "[3:execute]\nline 2\nZeroDivisionError: division by zero\n"


def test_two_kinds_on_sixteen_engines_fit_on_one_screen_with_both_tracebacks(raises):
    deep = [f"frame {number}\n----> 1 f({number})\n" for number in range(200)]
    zero, odd = ("ZeroDivisionError", "zero", deep), ("ValueError", "odd", deep)
    shown = raises(composite(*[zero, odd] * 8))
    lines = shown.splitlines()
    assert "[0,2,4,6,8,10,12,14:execute]: (on 8 of 16 engines)" in lines
    assert "[1,3,5,7,9,11,13,15:execute]: (on 8 of 16 engines)" in lines
    assert len(lines) <= folding.SCREEN_LINES
    assert shown.count("lines; all are in error.failures[") == 2


def test_colours_are_those_of_the_engines_unless_the_user_wants_none(shell, raises):
    assert "\x1b" not in raises(composite(RED, RED))
    shell.run_line_magic("colors", "linux")
    assert RED[2][0] in raises(composite(RED, RED))


def test_colours_take_no_room_on_a_screen():
    line = "\x1b[31m" + "a\x1b[39m" * folding.SCREEN_WIDTH
    error = composite(("ValueError", "", [line + "end", line, line + "\x1b[1mb"]))
    _, longer, fits, much, _ = error.render_traceback()
    assert fits == line
    for cut in (longer, much):
        assert folding.plain(cut) == "a" * folding.SCREEN_WIDTH + "…"
        assert cut.endswith("\x1b[0m")


def test_the_error_with_all_it_knows_is_at_hand_afterwards(shell, raises):
    error = composite(ZERO, RED)
    raises(error)
    assert sys.last_value.failures == list(error.exceptions)
    assert not hasattr(sys.last_value, "nothing_such")
    with pytest.raises(AttributeError):
        sys.last_value.nothing_such


def test_it_can_be_shown_again(shell, raises, capsys):
    shown = raises(composite(ZERO, ZERO))
    shell.run_line_magic("tb", "")
    assert capsys.readouterr().out == shown


def test_other_errors_are_shown_as_ever(shell, capsys):
    show_folded(shell)
    shell.run_cell("1/0")
    assert "Cell In[1], line 1" in capsys.readouterr().out


def test_an_error_of_ours_shows_the_user_s_frames_only(shell, capsys):
    show_folded(shell)
    shell.run_cell("import ipyviews\nipyviews.Cluster(n=-1)")
    written = capsys.readouterr().out
    assert "Cell In[1], line 2" in written
    assert "UsageError" in written
    assert "cluster.py" not in written


def test_an_engine_that_is_lost_under_a_cell_is_told_in_one_line(shell, capsys):
    show_folded(shell)

    def lose(view, tasks):
        for task in tasks:
            task.fail(EngineError("engine 0 was lost: exit code 7"))

    view = FakeView(ids=[0], answer=lose)
    view.targets = 0
    activate(view)
    shell.run_cell("%%px\na = 1")
    assert capsys.readouterr().out == "EngineError: engine 0 was lost: exit code 7\n"


def test_a_cell_that_does_not_block_tells_why_an_engine_did_not_end_it(shell, capsys):
    def lose(view, tasks):
        view.fail(tasks[0])
        tasks[1].fail(EngineError("engine 1 was lost: exit code 7"))

    activate(FakeView(answer=lose))
    shell.run_cell("%%px -a\na = 1")
    assert capsys.readouterr().err == (
        "ZeroDivisionError: division by zero (engine 0)\n"
        "EngineError: engine 1 was lost: exit code 7 (engine 1)\n"
    )


def test_an_interrupt_in_a_magic_of_ours_is_one_line(shell, capsys):
    show_folded(shell)
    pressed = partial(signal.default_int_handler, signal.SIGINT, None)
    registry_of(shell).register("_new", pressed)
    shell.run_cell("%px_new 1")
    assert capsys.readouterr().out.rstrip(": \n") == "KeyboardInterrupt"


def test_code_that_another_magic_runs_keeps_its_frames(shell, capsys):
    show_folded(shell)
    shell.register_magic_function(lambda line: exec(line, shell.user_ns), magic_name="do")
    shell.run_cell("import ipyviews\n%do ipyviews.Cluster(n=-1)")
    shown = capsys.readouterr().out
    assert "Cell In[1], line 2" in shown
    assert "File <string>" in shown
    assert "cluster.py" not in shown


def test_what_failed_here_only_is_shown_once_and_fails_the_cell(shell, capsys):
    show_folded(shell)
    activate(FakeView())
    ran = shell.run_cell("%%px --local\nhere = 1/0")
    assert isinstance(ran.error_in_exec, AlreadyDisplayedError)
    shown = capsys.readouterr().out
    assert shown.count("ZeroDivisionError: division by zero") == 1
    assert shown.endswith("1 error\n")


def test_what_failed_here_and_there_is_shown_for_both(shell, capsys):
    show_folded(shell)
    activate(FakeView(answer=lambda view, tasks: [view.fail(task) for task in tasks]))
    ran = shell.run_cell("%%px --local\nhere = 1/0")
    assert isinstance(ran.error_in_exec, CompositeError)
    here, there = capsys.readouterr().out.split("[0-1:execute]: (on 2 of 2 engines)")
    assert here.count("ZeroDivisionError: division by zero") == 1
    assert there.count("ZeroDivisionError: division by zero") == 1


def test_an_interrupt_that_somebody_else_tells_of_is_not_shown(shell, capsys):
    show_folded(shell)
    with interrupts_unshown():
        shell.run_cell("raise KeyboardInterrupt")
    assert capsys.readouterr().out == ""
    shell.run_cell("raise KeyboardInterrupt")
    assert "KeyboardInterrupt" in capsys.readouterr().out


def test_a_handler_that_is_there_stays(shell):
    seen = []

    def handler(shell, kind, error, trace, tb_offset=None):
        seen.append(kind)

    shell.set_custom_exc((ValueError,), handler)
    show_folded(shell)
    shell.run_cell("raise ValueError")
    assert seen == [ValueError]
