"""Engines that crash before they answer: one such crash is nobody's business."""

from __future__ import annotations

import pytest

import ipyviews
from tests.encryption import needs_encryption

pytestmark = pytest.mark.kernels

#: Run by each kernel as it starts: crashes as often as there are files in its folder.
CRASH = """
import ctypes, pathlib
for left in sorted(pathlib.Path(__file__).parent.glob("crash-*"))[:1]:
    left.unlink()
    ctypes.string_at(0)
"""


@pytest.fixture
def crashes(tmp_path):
    """Let so many of the kernels that start from now on crash as they start."""
    folder = tmp_path / "profile_default" / "startup"
    folder.mkdir(parents=True)
    (folder / "00-crash.py").write_text(CRASH)

    def plan(count):
        for number in range(count):
            (folder / f"crash-{number}").touch()

    return plan


@pytest.mark.parametrize("transport", ["ipc", pytest.param("tcp", marks=needs_encryption)])
def test_an_engine_that_crashes_once_as_it_starts_comes_up(start, crashes, tmp_path, transport):
    crashes(1)
    rc = start(1, env={"IPYTHONDIR": str(tmp_path)}, transport=transport)
    assert rc[:].apply_sync(abs, -1) == [1]
    crashes(1)
    rc.restart(now=True)
    assert rc[:].apply_sync(abs, -2) == [2]
    first, second = rc.deaths()
    assert [first.incarnation, second.incarnation] == [1, 3]
    for death in (first, second):
        assert death.signal == "SIGSEGV"
        assert death.restarted
        assert "string_at" in death.trace
    assert rc.status()["counters"]["second_starts"] == 2
    assert [one["incarnation"] for one in rc.status()["engines"]] == [4]


def test_an_engine_that_crashes_twice_as_it_starts_says_where(start, crashes, tmp_path):
    rc = start(1, env={"IPYTHONDIR": str(tmp_path)})
    crashes(2)
    with pytest.raises(ipyviews.EngineError, match=r"did not come back.*SIGSEGV") as caught:
        rc.restart(now=True)
    assert "string_at" in str(caught.value)
    assert "string_at" in caught.value.report.trace
    rc.restart()
    assert rc[:].apply_sync(abs, -1) == [1]
