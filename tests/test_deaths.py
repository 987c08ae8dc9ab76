"""Death reports: what they say, and that they arrive as they left."""

import json
from datetime import UTC, datetime

from ipyviews import DeathReport

CRASH = DeathReport(
    engine=3,
    incarnation=2,
    pid=71,
    when=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    returncode=-11,
    verdict="segmentation fault",
    sentence="segmentation fault (SIGSEGV)",
    self_inflicted=True,
    task="c-1.0",
    peak_memory=64 << 20,
    memory_limit=100 << 20,
    stderr=("one", "two"),
    trace='Thread 0x1:\n  File "other"\n\nCurrent thread 0x2 (most recent):\n  File "mine"\n\nmore',
    restarted=True,
)


def test_report_travels_as_json():
    assert DeathReport.from_content(json.loads(json.dumps(CRASH.as_content()))) == CRASH


def test_what_a_later_version_adds_is_left_out():
    assert DeathReport.from_content({**CRASH.as_content(), "colour": "red"}) == CRASH


def test_text_says_what_is_known():
    text = str(CRASH)
    for part in (
        "engine 3 (life 2): segmentation fault (SIGSEGV)",
        "process 71",
        "task c-1.0",
        "64 MiB, limit 100 MiB",
        "started again",
        "    two",
        'File "mine"',
    ):
        assert part in text
    assert "other" not in text


def test_signal_and_exit_code_exclude_each_other():
    def end(returncode):
        report = DeathReport.from_content({**CRASH.as_content(), "returncode": returncode})
        return report.signal, report.exit_code

    assert end(-9) == ("SIGKILL", None)
    assert end(-99) == ("signal 99", None)
    assert end(3) == (None, 3)
