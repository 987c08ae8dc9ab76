"""What survives a controller."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from ipyviews.errors import ClusterError
from ipyviews.store.journal import Journal

#: Writes notes and dies once the last is in the file.
DYING = """
import os, signal, sys, time
from pathlib import Path
from ipyviews.store.journal import Journal
journal = Journal(Path(sys.argv[1]))
for number in range(1000):
    journal.put("kind", str(number % 700), {"number": number})
while Journal(Path(sys.argv[1])).read("kind").get("299") != {"number": 999}:
    time.sleep(0.01)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def reopen(tmp_path):
    """Open the file once more, after what was written."""
    opened = []

    def reopen():
        for journal in opened:
            journal.close()
        opened[:] = [Journal(tmp_path / "state.db")]
        return opened[0]

    yield reopen
    for journal in opened:
        journal.close()


def test_notes_are_read_by_the_next_in_their_order(reopen):
    journal = reopen()
    journal.put("engine", "b", {"n": 1})
    journal.put("engine", "a", {"n": 2})
    journal.put("other", "a", {"n": 3})
    journal.put("engine", "b", {"n": 4})
    assert list(reopen().read("engine").items()) == [("b", {"n": 4}), ("a", {"n": 2})]


def test_frames_go_with_their_note(reopen):
    journal = reopen()
    journal.put("task", "one", {}, [b"first", memoryview(b"second")])
    journal.put("task", "two", {}, [b"third"])
    journal.put("task", "two", {}, [b"fourth"])
    journal = reopen()
    assert journal.frames("task", "one") == [b"first", b"second"]
    assert journal.frames("task", "two") == [b"fourth"]
    journal.drop("task", "one")
    journal = reopen()
    assert journal.read("task") == {"two": {}}
    assert journal.frames("task", "one") == []


def test_what_was_written_survives_sigkill(reopen, tmp_path):
    done = subprocess.run([sys.executable, "-c", DYING, str(tmp_path / "state.db")], check=False)
    assert done.returncode == -9
    notes = reopen().read("kind")
    assert len(notes) == 700
    assert notes["0"] == {"number": 700}


def test_file_is_its_users_only(reopen, tmp_path):
    reopen()
    assert (tmp_path / "state.db").stat().st_mode & 0o777 == 0o600


def test_a_file_that_is_something_else_is_named(tmp_path):
    (tmp_path / "state.db").write_text("no database, but longer than its head" * 10)
    with pytest.raises(ClusterError, match=r"state\.db cannot be used"):
        Journal(tmp_path / "state.db")


def test_who_waits_is_told_once_what_came_before_is_there(reopen, tmp_path):
    journal, other = reopen(), Journal(tmp_path / "state.db")
    found, told = [], threading.Event()

    def look():
        found.append(dict(other.read("engine")))
        told.set()

    journal.put_all([("engine", "a", {"n": 1}), ("engine", "b", {"n": 2})])
    journal.when_written(look)
    assert told.wait(20)
    other.close()
    assert found == [{"a": {"n": 1}, "b": {"n": 2}}]


def test_who_waits_is_told_too_when_nothing_can_be_written(reopen, tmp_path, caplog):
    journal, told = reopen(), threading.Event()
    journal._db.execute("DROP TABLE frames")
    journal._db.execute("DROP TABLE notes")
    journal.put("engine", "a", {})
    journal.when_written(told.set)
    assert told.wait(20)
    assert "notes were not written" in caplog.text
