"""Exits in words."""

import json
import os
import resource
from dataclasses import asdict

import pytest

from ipyviews.launching import link, memory
from ipyviews.launching.exits import (
    TAIL_SIZE,
    OutOfMemoryWatch,
    crash_place,
    keep_exit,
    report_exit,
    split_trace,
)


@pytest.mark.parametrize(
    ("returncode", "verdict", "sentence", "own"),
    [
        (0, "exit", "exit code 0", True),
        (3, "exit", "exit code 3", True),
        (-9, "killed", "killed by SIGKILL", False),
        (-15, "terminated", "terminated by SIGTERM", False),
        (-2, "killed", "killed by SIGINT", False),
        (-11, "segmentation fault", "segmentation fault (SIGSEGV)", True),
        (-6, "aborted", "aborted (SIGABRT)", True),
        (-7, "bus error", "bus error (SIGBUS)", True),
        (-8, "arithmetic error", "arithmetic error (SIGFPE)", True),
        (-4, "illegal instruction", "illegal instruction (SIGILL)", True),
        (-24, "limit of processor time", "limit of processor time (SIGXCPU)", True),
        (-99, "killed", "killed by signal 99", False),
    ],
)
def test_verdict(returncode, verdict, sentence, own):
    report = report_exit(7, returncode)
    assert (report.pid, report.returncode) == (7, returncode)
    assert (report.verdict, report.sentence, report.self_inflicted) == (verdict, sentence, own)


@pytest.mark.parametrize(
    ("returncode", "tail", "peak_kb", "is_short"),
    [
        (-6, b"terminate called after throwing an instance of 'std::bad_alloc'", 100, True),
        (1, b"MemoryError", 100, True),
        (-11, b"", 950 * 1024, True),
        (-11, b"", 100, False),
        (-9, b"MemoryError", 100, False),
        (0, b"MemoryError", 100, False),
    ],
)
def test_memory_limit_is_to_blame_where_there_is_evidence(returncode, tail, peak_kb, is_short):
    def end(limit):
        return report_exit(7, returncode, tail=tail, peak_memory_kb=peak_kb, memory_limit=limit)

    report = end(1000 << 20)
    assert (report.verdict == "memory limit") is is_short
    assert report.sentence.startswith("memory limit of 1000 MiB reached, ") is is_short
    assert report.memory_limit == 1000 << 20
    assert end(None).verdict != "memory limit"


def test_limit_of_a_process_is_told_until_it_is_waited_for():
    assert memory.limit_bytes(os.getpid()) is None
    pid = os.fork()
    if not pid:
        resource.setrlimit(resource.RLIMIT_AS, (1 << 40, 1 << 40))
        resource.setrlimit(resource.RLIMIT_DATA, (1 << 39, 1 << 39))
        os._exit(0)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert memory.limit_bytes(pid) == 1 << 39
    os.waitpid(pid, 0)
    assert memory.limit_bytes(pid) is None


TRACE = """Fatal Python error: Segmentation fault

Thread 0x00007f0000000001 (most recent call first):
  File "/usr/lib/threading.py", line 62 in run

Current thread 0x00007f0000000002 (most recent call first):
  File "/home/me/deep.py", line 7 in dive
  File "/home/me/deep.py", line 9 in <module>

Extension modules: zmq.backend, numpy (total: 2)
"""


def test_trace_of_a_crash_is_told_apart_from_what_was_written():
    words, trace = split_trace("one\ntwo" + TRACE)
    assert words == "one\ntwo"
    assert trace.startswith("Fatal Python error")
    assert trace.endswith("line 9 in <module>")
    assert crash_place(trace) == 'dive, "/home/me/deep.py" line 7'


def test_trace_without_its_beginning_is_a_trace_still():
    words, trace = split_trace(TRACE[TRACE.index("Current") :])
    assert words == ""
    assert crash_place(trace) == 'dive, "/home/me/deep.py" line 7'


def test_without_a_crash_there_is_no_trace():
    assert split_trace("Thread pool closed") == ("Thread pool closed", "")
    assert crash_place("") == ""


def test_out_of_memory_is_the_victims_own_doing():
    report = report_exit(7, -9, out_of_memory=True)
    assert report.sentence == "out of memory, killed by SIGKILL"
    assert report.self_inflicted


def test_out_of_memory_elsewhere_does_not_explain_an_exit():
    assert report_exit(7, 1, out_of_memory=True).sentence == "exit code 1"


def test_tail_is_the_end_of_what_was_written():
    report = report_exit(7, 1, tail=b"a" * TAIL_SIZE + b"last words \xff\n")
    assert report.tail.endswith("last words \ufffd")
    assert len(report.tail) <= TAIL_SIZE


@pytest.fixture
def system(tmp_path):
    """A file tree like a Linux system's; `system(n)` says n processes were killed for memory."""
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("0::/ours\n")
    group = tmp_path / "sys/fs/cgroup/ours"
    group.mkdir(parents=True)

    def kills(count):
        (group / "memory.events").write_text(f"low 0\noom 5\noom_kill {count}\n")
        return tmp_path

    return kills


def test_kill_for_memory_is_evident_once(system):
    watch = OutOfMemoryWatch(system(2))
    assert not watch.is_evident()
    system(3)
    assert watch.is_evident()
    assert not watch.is_evident()


def test_whole_system_is_watched_where_groups_do_not_count(tmp_path):
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/vmstat").write_text("nr_free_pages 12\noom_kill 0\n")
    watch = OutOfMemoryWatch(tmp_path)
    (tmp_path / "proc/vmstat").write_text("nr_free_pages 12\noom_kill 1\n")
    assert watch.is_evident()


def test_old_control_groups_are_watched(tmp_path):
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("4:cpu,memory:/ours\n1:name=systemd:/\n0::/\n")
    group = tmp_path / "sys/fs/cgroup/memory/ours"
    group.mkdir(parents=True)
    (group / "memory.oom_control").write_text("under_oom 0\noom_kill 1\n")
    watch = OutOfMemoryWatch(tmp_path)
    (group / "memory.oom_control").write_text("under_oom 0\noom_kill 2\n")
    assert watch.is_evident()


def test_group_of_a_container_is_the_root(tmp_path):
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("0::/host/path/of/it\n")
    (tmp_path / "sys/fs/cgroup").mkdir(parents=True)
    (tmp_path / "sys/fs/cgroup/memory.events").write_text("oom_kill 1\n")
    watch = OutOfMemoryWatch(tmp_path)
    (tmp_path / "sys/fs/cgroup/memory.events").write_text("oom_kill 2\n")
    assert watch.is_evident()


def test_system_that_tells_nothing_is_no_evidence(tmp_path):
    assert not OutOfMemoryWatch(tmp_path).is_evident()


def test_the_exits_of_hundreds_of_engines_fit_into_one_line():
    exits = {}
    for number in range(500):
        report = report_exit(number, -9, tail=b"\xff" * (TAIL_SIZE if number < 400 else 100))
        keep_exit(exits, {"kernel": f"e{number}", **asdict(report)})
    keep_exit(exits, {"kernel": "e7", **asdict(report_exit(7, 3, tail=b"the last"))})
    assert len(json.dumps(list(exits.values()))) < link._LINE_LIMIT
    assert len(exits) == 500
    assert exits["e7"]["tail"] == "the last"
    assert exits["e499"]["tail"] == 100 * "\ufffd"
    assert exits["e0"]["tail"] == ""
    assert exits["e0"]["sentence"] == "killed by SIGKILL"
