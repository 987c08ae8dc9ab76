"""Exits in words."""

import pytest

from ipyviews.launching.exits import TAIL_SIZE, OutOfMemoryWatch, report_exit


@pytest.mark.parametrize(
    ("returncode", "sentence", "own"),
    [
        (0, "exit code 0", True),
        (3, "exit code 3", True),
        (-9, "killed by SIGKILL", False),
        (-15, "killed by SIGTERM", False),
        (-2, "killed by SIGINT", False),
        (-11, "segmentation fault (SIGSEGV)", True),
        (-6, "aborted (SIGABRT)", True),
        (-7, "bus error (SIGBUS)", True),
        (-8, "arithmetic error (SIGFPE)", True),
        (-4, "illegal instruction (SIGILL)", True),
        (-99, "killed by signal 99", False),
    ],
)
def test_verdict(returncode, sentence, own):
    report = report_exit(7, returncode)
    assert (report.pid, report.returncode) == (7, returncode)
    assert (report.sentence, report.self_inflicted) == (sentence, own)


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


def test_system_that_tells_nothing_is_no_evidence(tmp_path):
    assert not OutOfMemoryWatch(tmp_path).is_evident()
