"""The table of faults: each line has its tests, its promise, and its figures in the end."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path

import pytest

from tests.chaos import scale

ROOT = Path(__file__).parent.parent
FOLDERS = ("tests/chaos", "tests/security")
FILES = [path.relative_to(ROOT) for name in FOLDERS for path in (ROOT / name).glob("test_*.py")]
LINES = [
    *(f"R{number}" for number in range(1, 17)),
    *(f"D{number}" for number in range(1, 4)),
    *(f"S{number}" for number in range(1, 12)),
]


@pytest.mark.parametrize("line", LINES)
def test_each_fault_has_a_file_of_tests(line):
    assert line in {scale.line_of(str(path)) for path in FILES}


def test_each_file_of_tests_is_beside_a_promise():
    page = (ROOT / "docs/guarantees.md").read_text(encoding="utf-8")
    assert [str(path) for path in FILES if str(path) not in page] == []


def test_in_the_end_each_line_tells_tests_time_and_figures(monkeypatch):
    monkeypatch.setattr(scale, "FIGURES", defaultdict(Counter))
    scale.count("R2", rounds=1, tasks=999)
    scale.count("R2", rounds=1, tasks=1)
    scale.most("R2", ms_until_told=9)
    scale.most("R2", ms_until_told=7)
    passed = [
        ("tests/security/test_s10_planted.py::test_a", 1.0),
        ("tests/chaos/test_r02_several_at_once.py::test_a", 2.0),
        ("tests/chaos/test_r02_several_at_once.py::test_b[1]", 3.0),
        ("tests/chaos/test_soak.py::test_a", 4.0),
        ("tests/core/test_s01_other.py::test_a", 5.0),
    ]
    assert list(scale.told(passed)) == [
        "R2: 2 tests, 5 s, 2 rounds, 1,000 tasks, 9 ms_until_told",
        "S10: 1 tests, 1 s",
        "soak: 1 tests, 4 s",
    ]
