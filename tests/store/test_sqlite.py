from __future__ import annotations

import sqlite3
import threading
from collections import Counter
from datetime import UTC, datetime

import pytest

from ipyviews.errors import ClusterError
from ipyviews.store.query import KEYS, Query, parse_keys
from ipyviews.store.sqlite import FileLimits, HistoryFile
from tests.store.test_memory import Desk

LIMIT_S = 10


@pytest.fixture
def path(tmp_path):
    return tmp_path / "tasks.db"


@pytest.fixture
def desk():
    return Desk()


@pytest.fixture
def open_file(path):
    """``open_file(**options)``: the file, closed after the test."""
    opened = []

    def open_file(**options):
        file = HistoryFile(path, options.pop("counters", Counter()), **options)
        opened.append(file)
        return file

    yield open_file
    for file in opened:
        file.close()


def end(desk, *, engine=0, result=b"r", **ours):
    """Submit and end one call; return its record."""
    (task,) = desk.submit(b"a", **ours)
    desk.end(task, engine=engine, buffers=[result], keep=True)
    return desk.memory.get(task)


def find(file, check, keys=None, skip=()):
    return file.find(Query(check), parse_keys(keys), skip).result(LIMIT_S)


def test_what_is_written_is_found_by_the_next_who_opens_the_file(path, desk):
    file = HistoryFile(path, Counter())
    record = end(desk, label="mine")
    file.write(record)
    file.close()
    file = HistoryFile(path, Counter())
    try:
        (found,) = find(file, {"label": "mine"})
        assert found["msg_id"] == record.task
        assert found["submitted"] == record.get("submitted")
        assert set(found) == set(KEYS) - {"buffers", "result_buffers"}
        assert file.history().result(LIMIT_S) == [record.task]
    finally:
        file.close()


@pytest.mark.row("8.4-sqlite")
@pytest.mark.parametrize(
    ("check", "expected"),
    [
        ({}, [0, 1, 2]),
        ({"engine_uuid": "e1"}, [1]),
        ({"label": {"$in": []}}, []),
        ({"label": {"$glob": "b*"}, "queue": "task"}, [1, 2]),
        ({"submitted": {"$gt": datetime.fromtimestamp(1, UTC)}, "label": {"$ne": "b2"}}, [1]),
        ({"msg_id": "c-2.0"}, [1]),
        ({"msg_id": {"$eq": "c-2.0"}, "label": "a0"}, []),
        ({"msg_id": {"$in": ["c-1.0", "c-3.0", "c-1.0", "c-9.0"]}}, [0, 2]),
    ],
)
def test_the_query_language_is_that_of_memory(open_file, desk, check, expected):
    file = open_file()
    records = [end(desk, engine=e, label=f"{x}{e}") for e, x in enumerate(["a", "b", "b"])]
    for record in records:
        file.write(record)
    query = Query(check)
    found = [one["msg_id"] for one in find(file, check, "msg_id")]
    assert found == [records[number].task for number in expected]
    assert found == [one.task for one in records if query.matches(one.get)]


def test_records_in_memory_are_left_out(open_file, desk):
    file = open_file()
    one, other = end(desk), end(desk)
    file.write(one)
    file.write(other)
    assert [found["msg_id"] for found in find(file, {}, skip={one.task})] == [other.task]


def test_buffers_are_written_only_when_asked(open_file, desk, path):
    file = open_file()
    record = end(desk)
    file.write(record)
    (found,) = find(file, {}, ["buffers", "result_buffers"])
    assert (found["buffers"], found["result_buffers"]) == ([], [])


def test_buffers_come_back_in_order(open_file, desk):
    file = open_file(keep_buffers=True)
    record = end(desk, result=b"\x00 value")
    file.write(record)
    stored = file.get([record.task, "nothing"]).result(LIMIT_S)
    assert set(stored) == {record.task}
    assert set(stored[record.task]) == set(KEYS)
    assert stored[record.task]["buffers"] == [b"function", b"a"]
    assert stored[record.task]["result_buffers"] == [b"\x00 value"]


def test_a_record_that_is_written_again_takes_the_place_of_the_first(open_file, desk):
    file = open_file()
    record = end(desk)
    file.write(record)
    file.write(record)
    assert file.history().result(LIMIT_S) == [record.task]


def test_purging(open_file, desk):
    file = open_file(keep_buffers=True)
    records = [end(desk, engine=engine) for engine in (0, 0, 1, 2)]
    for record in records:
        file.write(record)
    assert file.purge([records[0].task, "x"], ["e1"]).result(LIMIT_S) == 2
    assert file.history().result(LIMIT_S) == [records[1].task, records[3].task]
    assert file.purge(None).result(LIMIT_S) == 2
    assert find(file, {}) == []


def test_the_file_is_bounded_by_records(open_file, desk, path):
    file = open_file(limits=FileLimits(records=3))
    records = [end(desk) for _ in range(5)]
    for record in records:
        file.write(record)
    assert file.history().result(LIMIT_S) == [record.task for record in records[2:]]


def test_the_file_is_bounded_by_bytes_and_buffers_of_dropped_records_go_too(open_file, desk, path):
    file = open_file(limits=FileLimits(size=20_000), keep_buffers=True)
    for _ in range(5):
        file.write(end(desk, result=bytes(8000)))
    assert len(file.history().result(LIMIT_S)) == 2
    file.close()
    with sqlite3.connect(path) as db:
        assert db.execute("SELECT COUNT(*) FROM buffers").fetchone() == (6,)
    db.close()


def test_what_can_not_wait_is_dropped_and_counted(open_file, desk):
    counters = Counter()
    file = open_file(counters=counters, limits=FileLimits(waiting=2))
    go_on = threading.Event()
    held = file._do(go_on.wait)
    for _ in range(5):
        file.write(end(desk))
    go_on.set()
    held.result(LIMIT_S)
    assert len(file.history().result(LIMIT_S)) + counters["history_dropped"] == 5
    assert counters["history_dropped"] >= 3


def test_a_failing_disk_is_counted_and_ends_nothing(open_file, desk, path):
    counters = Counter()
    file = open_file(counters=counters)
    file.write(end(desk))
    assert len(file.history().result(LIMIT_S)) == 1
    file._do(lambda: file._db.execute("PRAGMA query_only = ON")).result(LIMIT_S)
    file.write(end(desk))
    assert len(file.history().result(LIMIT_S)) == 1
    assert counters["history_dropped"] == 1


def test_an_error_of_a_question_is_told_to_who_asked(open_file):
    file = open_file()
    with pytest.raises(ZeroDivisionError):
        file._do(lambda: 1 / 0).result(LIMIT_S)


def test_the_file_is_private(open_file, path):
    open_file()
    assert path.stat().st_mode & 0o777 == 0o600


def test_something_else_is_no_history_file(path, open_file):
    path.write_bytes(b"This is a text, long enough to be looked at as a database." * 20)
    with pytest.raises(ClusterError, match=r"cannot be used.*name another one"):
        open_file()


def test_a_file_of_another_version_is_refused(path, open_file):
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(ClusterError, match="form 99"):
        open_file()


def test_a_file_in_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ClusterError, match="cannot be used"):
        HistoryFile(tmp_path / "none" / "tasks.db", Counter())


def test_a_file_of_limited_size_stays_small_whatever_is_written(open_file, path, desk):
    file = open_file(limits=FileLimits(size=200_000), keep_buffers=True)
    for number in range(500):
        file.write(end(desk, result=b"x" * 10_000))
        if number % 50 == 0:
            file.history().result(LIMIT_S)
    bounds = file.bounds()
    assert bounds["history_bytes"][0] <= bounds["history_bytes"][1] == 200_000
    assert bounds["history_records"][0] == len(file.history().result(LIMIT_S)) < 30
    # Freed pages are used again; what is above the limit is the form of the file, and one batch.
    file.close()
    assert path.stat().st_size < 1_500_000
