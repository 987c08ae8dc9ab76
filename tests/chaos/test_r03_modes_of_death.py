"""R3: each way for an engine to die has its own verdict, and what is no death is none."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

import pytest

import ipyviews
from tests.chaos.scale import HANGS_S, count, scale
from tests.waiting import wait_until

pytestmark = pytest.mark.kernels

#: How long a stopped engine is no dead engine [s].
STOPPED_S = scale(2.0, 60.0)

LIMITED = "import resource; resource.setrlimit(resource.RLIMIT_AS, (2**31, 2**31));"

#: Code, verdict, words of the sentence, and whether it was the task's own doing.
DEATHS = {
    "os._exit": ("import os; os._exit(3)", "exit", "exit code 3", True),
    "sys.exit in the loop": (
        (
            "import asyncio, sys, time\n"
            "asyncio.get_event_loop().call_soon(sys.exit, 5)\n"
            "await asyncio.sleep(60)"
        ),
        "exit",
        "exit code 5",
        True,
    ),
    "segfault": (
        "import ctypes; ctypes.string_at(0)",
        "segmentation fault",
        r"segmentation fault \(SIGSEGV\) in string_at",
        True,
    ),
    "abort": ("import os; os.abort()", "aborted", r"aborted \(SIGABRT\)", True),
    "SIGTERM": ("import os; os.kill(os.getpid(), 15)", "terminated", "by SIGTERM", False),
    "SIGKILL": ("import os; os.kill(os.getpid(), 9)", "killed", "killed by SIGKILL", False),
    "memory limit": (
        (
            f"{LIMITED} import os, sys\n"
            "try: bytearray(2**32)\n"
            "except MemoryError: print('MemoryError', file=sys.__stderr__); os.abort()"
        ),
        "memory limit",
        "memory limit of 2048 MiB reached",
        True,
    ),
}


CRASHES = {"segmentation fault", "aborted", "memory limit"}


def check_death(rc, engine, death):
    code, verdict, words, own = death
    rc[engine].execute("import sys; print('nearly', file=sys.stderr)", block=True)
    result = rc[engine].execute(code, block=False)
    with pytest.raises(ipyviews.EngineError, match=words) as caught:
        result.get(HANGS_S)
    report = caught.value.report
    assert (report.verdict, report.self_inflicted) == (verdict, own)
    assert (report.engine, report.task) == (engine, result.msg_ids[0])
    assert report.peak_memory > 10 << 20
    assert report.stderr[0] == "nearly"
    assert ("most recent call first" in report.trace) is (verdict in CRASHES)
    count("R3", deaths=1)
    return report


def test_r03_each_death_has_its_verdict(start):
    rc = start(len(DEATHS) + 1)
    reports = [check_death(rc, engine, death) for engine, death in enumerate(DEATHS.values())]
    assert rc.deaths() == reports
    assert rc.ids == [len(DEATHS)]
    assert rc[:].apply_sync(lambda: "alive") == ["alive"]


@pytest.mark.parametrize(
    ("code", "ename"),
    [
        ("import sys; sys.exit(3)", "SystemExit"),
        (f"{LIMITED} bytearray(2**32)", "MemoryError"),
    ],
    ids=["sys.exit", "memory limit"],
)
def test_r03_what_python_can_report_is_an_error_and_no_death(start, code, ename):
    rc = start(1)
    with pytest.raises(ipyviews.RemoteError) as cell:
        rc[0].execute(code, block=True)
    with pytest.raises(ipyviews.RemoteError) as call:
        rc[0].apply_sync(exec, code)
    assert cell.value.ename == call.value.ename == ename
    assert rc[0].apply_sync(lambda: "alive") == "alive"
    assert rc.deaths() == []


def test_r03_exit_in_a_cell_ends_the_cell_and_then_the_engine(start):
    rc = start(1)
    rc[0].execute("exit()", block=True)
    wait_until(rc.deaths, HANGS_S)
    (report,) = rc.deaths()
    assert (report.verdict, report.exit_code, report.task) == ("exit", 0, None)
    with pytest.raises(ipyviews.EngineError, match="exit code 0") as caught:
        rc[0].apply_sync(abs, -1)
    assert caught.value.report == report


def test_r03_a_crash_of_an_engine_that_was_not_forked_is_traced_too(start):
    rc = start(1, provisioner="plain")
    with pytest.raises(ipyviews.EngineError) as caught:
        rc[0].execute("import ctypes; ctypes.string_at(0)", block=True)
    assert caught.value.report.verdict == "segmentation fault"
    assert "in string_at" in caught.value.report.trace


def test_r03_an_engine_that_is_stopped_is_not_dead(start, members):
    rc = start(2)
    engine = members(rc).engines[0]
    pids = rc[:].apply_sync(os.getpid)
    engine.suspend()
    try:
        waiting = rc[0].apply_async(os.getpid)
        assert not waiting.wait(STOPPED_S)
        assert rc.ids == [0, 1]
        assert rc[1].apply_sync(os.getpid) == pids[1]
    finally:
        engine.resume()
    assert waiting.get(HANGS_S) == pids[0]
    assert rc.deaths() == []
    count("R3", seconds_stopped=int(STOPPED_S))


GROUPS = Path("/sys/fs/cgroup")


@pytest.fixture
def small_group():
    """A control group for processes that together may have little memory."""
    is_old = (GROUPS / "memory").is_dir()
    group = (GROUPS / "memory" if is_old else GROUPS) / f"ipyviews-test-{secrets.token_hex(4)}"
    limit = "memory.limit_in_bytes" if is_old else "memory.max"
    try:
        group.mkdir()
        (group / limit).write_text(str(600 << 20))
        if not is_old:
            (group / "memory.swap.max").write_text("0")
    except OSError as error:
        with contextlib.suppress(OSError):
            group.rmdir()
        pytest.skip(f"no control group for memory can be made here: {error}")
    yield group
    wait_until(lambda: not (group / "cgroup.procs").read_text().split(), HANGS_S)
    group.rmdir()


def test_r03_a_kill_for_want_of_memory_is_told_as_such(small_group, start, members):
    rc = start(0)
    (small_group / "cgroup.procs").write_text(str(members(rc).agent.pid))
    rc.start_engines(1)
    rc.wait_for_engines(1)
    with pytest.raises(ipyviews.EngineError, match="out of memory, killed by SIGKILL") as caught:
        rc[0].apply_async(lambda: len(b"x" * (2 << 30))).get(HANGS_S)
    assert caught.value.report.verdict == "out of memory"
    assert caught.value.report.self_inflicted
