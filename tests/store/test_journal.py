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


def test_frames_may_be_made_where_they_are_written(reopen):
    journal, threads = reopen(), []

    def make():
        threads.append(threading.current_thread().name)
        return [b"made"]

    journal.put("task", "one", {}, make)
    journal.drop("task", "two")
    assert reopen().frames("task", "one") == [b"made"]
    assert threads == ["ipyviews-journal"]


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
    assert "1 notes were not written, the last of engine a: no such table" in caplog.text


def wait_for(journal):
    """Wait until what was put before has been tried."""
    told = threading.Event()
    journal.when_written(told.set)
    assert told.wait(20)


class Unreadable:
    """Something that no file takes."""


@pytest.mark.parametrize(("name", "frame"), [("a\ud800", b""), ("a", Unreadable())])
def test_one_note_that_cannot_be_written_takes_no_other_with_it(reopen, caplog, name, frame):
    journal = reopen()
    # All in one transaction.
    start, journal._start = journal._start, lambda: None
    journal.put("engine", "0", {"n": 1})
    journal.put("request", name, {}, [frame])
    journal.put_all([("engine", "1", {"n": 2}), ("fleet", "wanted", {"n": 3})])
    journal._start = start
    wait_for(journal)
    assert "1 notes were not written, the last of request a" in caplog.text
    journal.put("engine", "2", {"n": 4})
    journal = reopen()
    assert journal.read("engine") == {"0": {"n": 1}, "1": {"n": 2}, "2": {"n": 4}}
    assert journal.read("fleet") == {"wanted": {"n": 3}}
    assert journal.read("request") == {}


def test_what_found_no_room_is_written_once_there_is_room(reopen, caplog):
    journal = reopen()
    journal.put("engine", "0", {"n": 1})
    wait_for(journal)
    (pages,) = journal._db.execute("PRAGMA page_count").fetchone()
    journal._db.execute(f"PRAGMA max_page_count = {pages}")
    for text in (20_000 * "x", 30_000 * "y"):
        journal.put("engine", "1", {"text": text})
        wait_for(journal)
    assert "database or disk is full" in caplog.text
    assert len(journal._late) == 1
    journal._db.execute("PRAGMA max_page_count = 100000")
    journal.drop("engine", "0")
    assert reopen().read("engine") == {"1": {"text": 30_000 * "y"}}


def test_who_waits_and_fails_ends_nothing(reopen, caplog):
    journal = reopen()
    journal.when_written(lambda: 1 / 0)
    journal.put("engine", "0", {})
    assert reopen().read("engine") == {"0": {}}
    assert "ZeroDivisionError" in caplog.text
