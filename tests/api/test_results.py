"""Results of real engines: stopping, memory, what is shown."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from ipyviews.errors import TaskAborted
from tests.waiting import wait_until


def nap(seconds):
    sys.stdout.write("on")
    sys.stdout.flush()
    time.sleep(seconds)
    return seconds


def resident_bytes(pid):
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.row("3-future-cancel", "3-abort")
def test_cancel_stops_what_runs_and_what_waits(rc):
    running, waiting = rc[0].apply_async(nap, 60), rc[0].apply_async(nap, 60)
    wait_until(lambda: running.stdout)
    started = time.monotonic()
    assert waiting.cancel()
    assert running.cancel()
    assert isinstance(waiting.exception(10), TaskAborted)
    assert isinstance(running.exception(10), TaskAborted)
    assert time.monotonic() - started < 5
    assert waiting.status == running.status == "aborted"
    assert (waiting.attempts, len(running.attempts)) == ([], 1)
    assert not running.cancel()
    assert rc[0].apply_sync(abs, -1) == 1


def test_attempts_tell_where_and_how_a_task_ran(rc, lv):
    result = lv.apply_async(nap, 0.05)
    assert result.get(10) == 0.05
    [(engine, incarnation, started, ended, outcome)] = result.attempts
    assert (engine, outcome) == (result.engine_id, "ok")
    assert incarnation >= 1
    assert 0.05 <= ended - started < 5
    assert result.serial_time >= 0.05
    assert [len(runs) for runs in rc[:].apply_async(abs, 1).join(result, result).attempts] == [1, 1]


@pytest.mark.row("3-iterate")
def test_what_is_done_is_given_while_others_run(rc):
    result = rc[:].map_async(nap, [0, 0, 0, 1])
    first = next(iter(result))
    assert first == 0
    assert not result.done()
    assert list(result) == [0, 0, 0, 1]


@pytest.mark.row("3.1-type", "3.1-out", "3.1-stdout-label", "3.1-engine")
def test_output_of_cells_is_grouped(rc, capsys):
    code = "import sys\nprint('out')\nprint('err', file=sys.stderr)\n'a\\nb'\n6 * 7"
    result = rc[[0, 2]].execute(code, silent=False, block=True)
    counts = [reply.execution_count for reply in result.get()]
    result.display_outputs()
    shown = capsys.readouterr()
    assert shown.err == "[stderr:0] \nerr\n[stderr:2] \nerr\n"
    results = f"Out[0:{counts[0]}]: 42\nOut[2:{counts[1]}]: 42\n"
    assert shown.out == "[stdout:0] \nout\n[stdout:2] \nout\n" + results
    result.display_outputs("engine")
    assert capsys.readouterr().out == (
        f"[stdout:0] \nout\n[output:0]\nOut[0:{counts[0]}]: 42\n"
        f"[stdout:2] \nout\n[output:2]\nOut[2:{counts[1]}]: 42\n"
    )
    result.display_outputs(result_only=True)
    assert capsys.readouterr().out == results


@pytest.mark.row("3.1-rich-label", "3.1-order")
def test_displays_are_collated_and_nobody_is_skipped(rc, capsys):
    code = "from IPython.display import display\nfor n in range(2 - int(short)): display(n)"
    rc[:2].scatter("short", [False, True], flatten=True, block=True)
    result = rc[:2].execute(code, block=True)
    result.display_outputs("order")
    assert capsys.readouterr().out == "[output:0]\n0\n[output:1]\n0\n[output:0]\n1\n"


@pytest.mark.row("3.1-single", "3.1-stream-single")
def test_one_engine_streams_with_a_label_and_is_shown_without(rc, capsys):
    result = rc[1].execute("print('x')\n1 + 1", silent=False)
    with result.stream_output():
        result.wait(10)
    count = result.get().execution_count
    assert capsys.readouterr().out == f"[stdout:1] \nx\nOut[1:{count}]: 2\n"
    result.display_outputs()
    assert capsys.readouterr().out == f"x\nOut[1:{count}]: 2\n"


@pytest.mark.row("11-execute-output")
def test_a_blocking_cell_has_its_output(rc):
    result = rc[:].execute("print('x' * 10_000)", block=True)
    assert result.stdout == ["x" * 10_000 + "\n"] * 4


@pytest.mark.row("1.7-attributes")
def test_a_cells_reply_tells_of_the_cell(rc):
    reply = rc[3].execute("print('x')\n1 + 1", silent=False, block=True).get()
    assert reply.source == "print('x')\n1 + 1"
    assert (reply.stdout, reply.engine_id, reply.status) == ("x\n", 3, "ok")
    assert reply.data == {"text/plain": "2"}
    assert repr(reply) == f"<ExecuteReply[{reply.execution_count}]: 2>"


def test_many_maps_leave_memory_as_it_is(rc, lv):
    def rounds(count):
        for _ in range(count):
            assert lv.map_sync(abs, range(-12, 0)) == list(range(12, 0, -1))
        return resident_bytes(os.getpid())

    before = rounds(100)
    assert rounds(1000) - before < 6 * 2**20
