"""Records in an SQLite file, which outlives the cluster; written by a thread of its own.

What is noted is put into a queue; the thread takes what has come and writes it in one transaction.
Values are JSON, buffers are blobs: nothing here is ever unpickled.
"""

from __future__ import annotations

import json
import logging
import os
import sqlite3
import threading
from concurrent.futures import Future
from dataclasses import dataclass
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar

from ipyviews.errors import ClusterError
from ipyviews.protocol.wire import pack
from ipyviews.store.query import BUFFERS, TIMES, parse_keys, read_time

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Collection, Iterator, Sequence
    from pathlib import Path

    from ipyviews.store.query import Query
    from ipyviews.store.records import Record

    Fields = dict[str, Any]

T = TypeVar("T")

log = logging.getLogger(__name__)

#: Form of the tables; files of another one are refused.
FORM = 1

_TABLES = """
CREATE TABLE IF NOT EXISTS records (
    place INTEGER PRIMARY KEY AUTOINCREMENT,
    msg_id TEXT NOT NULL UNIQUE,
    engine TEXT,
    size INTEGER NOT NULL,
    record TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS buffers (
    record INTEGER NOT NULL REFERENCES records (place) ON DELETE CASCADE,
    name TEXT NOT NULL,
    place INTEGER NOT NULL,
    data BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS buffers_of ON buffers (record);
"""

#: Length that the journal beside the file is cut to after a transaction. [bytes]
MOST_JOURNAL = 16 * 1024 * 1024

#: Records in one transaction. [count]
BATCH = 500


@dataclass(frozen=True, slots=True)
class FileLimits:
    """How much a file holds; the oldest records go first."""

    #: [count]
    records: int = 100_000
    #: Records and buffers [bytes].
    size: int = 2 * 1024 * 1024 * 1024
    #: Records that may wait to be written; more are dropped and counted. [count]
    waiting: int = 50_000


class HistoryFile:
    """The records of this controller and of those before it that used the same file.

    Parameters
    ----------
    path
        Made if it is not there, readable for its user only.
    counters
        Counts ``history_dropped``, records that were not written.
    keep_buffers
        Whether what calls were sent and returned is written too.
    limits
        How much it holds.

    Raises
    ------
    ClusterError
        It cannot be opened, or is something else; the sentence names it.
    """

    def __init__(
        self,
        path: Path,
        counters: Counter[str],
        *,
        keep_buffers: bool = False,
        limits: FileLimits | None = None,
    ) -> None:
        self.limits = limits or FileLimits()
        self._keep_buffers = keep_buffers
        self._counters = counters
        self._queue: SimpleQueue[Record | Callable[[], None] | None] = SimpleQueue()
        self._db = _open(path)
        row = self._db.execute("SELECT COUNT(*), TOTAL(size) FROM records").fetchone()
        self._count, self._size = int(row[0]), int(row[1])
        self._thread = threading.Thread(target=self._run, name="ipyviews-history", daemon=True)
        self._thread.start()

    # -- from any thread -------------------------------------------------------------------------

    def write(self, record: Record) -> None:
        """Write the record of a task that is final, soon."""
        if self._queue.qsize() < self.limits.waiting:
            self._queue.put(record)
        else:
            self._counters["history_dropped"] += 1

    def history(self) -> Future[list[str]]:
        """Name all recorded tasks, in the order of their ends."""
        return self._do(self._history)

    def find(
        self, query: Query, keys: Sequence[str], skip: Collection[str] = ()
    ) -> Future[list[Fields]]:
        """Return what is wanted of the records that match; those in `skip` left out."""
        return self._do(lambda: self._find(query, keys, skip))

    def get(
        self, names: Sequence[str], keys: Collection[str] = BUFFERS
    ) -> Future[dict[str, Fields]]:
        """Return the records, with these of their buffers, of those tasks that have one."""
        return self._do(lambda: self._get(names, keys))

    def purge(self, names: Collection[str] | None, engines: Collection[str] = ()) -> Future[int]:
        """Drop records of tasks, None for all, and of engines; the number dropped."""
        return self._do(lambda: self._purge(names, engines))

    def bounds(self) -> dict[str, tuple[int, int, int]]:
        """Tell what the file holds, what it may, and what was not written."""
        dropped = self._counters["history_dropped"]
        return {
            "history_records": (self._count, self.limits.records, dropped),
            "history_bytes": (self._size, self.limits.size, dropped),
            "history_waiting": (self._queue.qsize(), self.limits.waiting, dropped),
        }

    def then(self, action: Callable[[], None]) -> None:
        """Do something once all that was noted before is written; in the thread."""
        self._queue.put(action)

    def close(self) -> None:
        """Write what waits, and close the file."""
        self._queue.put(None)
        self._thread.join()

    # -- in the thread ---------------------------------------------------------------------------

    def _do(self, work: Callable[[], T]) -> Future[T]:
        future: Future[T] = Future()

        def do() -> None:
            try:
                future.set_result(work())
            except Exception as error:  # noqa: BLE001 - handed to whoever asked
                future.set_exception(error)

        self._queue.put(do)
        return future

    def _run(self) -> None:
        batch: list[Record] = []
        while True:
            item = self._queue.get()
            if item is None or callable(item):
                self._write(batch)
                if item is None:
                    self._db.close()
                    return
                item()
                continue
            batch.append(item)
            if len(batch) >= BATCH or self._queue.empty():
                self._write(batch)

    def _write(self, batch: list[Record]) -> None:
        try:
            with self._db:
                for record in batch:
                    self._insert(record)
                self._shrink()
        except (sqlite3.Error, ValueError) as error:
            # A full disk must not end a cluster.
            self._counters["history_dropped"] += len(batch)
            log.warning("%s records were not written to the history: %s", len(batch), error)
        batch.clear()

    def _insert(self, record: Record) -> None:
        self._delete("msg_id = ?", (record.task,))
        values = record.as_dict(parse_keys(None))
        text = pack(values).decode()
        kept = sorted(BUFFERS) if self._keep_buffers else ()
        blobs = {name: record.get(name) for name in kept}
        size = len(text) + sum(len(blob) for found in blobs.values() for blob in found)
        place = self._db.execute(
            "INSERT INTO records (msg_id, engine, size, record) VALUES (?, ?, ?, ?)",
            (record.task, values["engine_uuid"], size, text),
        ).lastrowid
        self._db.executemany(
            "INSERT INTO buffers (record, name, place, data) VALUES (?, ?, ?, ?)",
            (
                (place, name, number, blob)
                for name, found in blobs.items()
                for number, blob in enumerate(found)
            ),
        )
        self._count += 1
        self._size += size

    def _shrink(self) -> None:
        while self._count > self.limits.records or self._size > self.limits.size:
            oldest = "place IN (SELECT place FROM records ORDER BY place LIMIT ?)"
            self._delete(oldest, (max(1, self._count - self.limits.records),))

    def _delete(self, where: str, values: Sequence[Any]) -> int:
        # `where` is one of the constants of this class; values are bound.
        counted = f"SELECT COUNT(*), TOTAL(size) FROM records WHERE {where}"  # noqa: S608
        count, size = self._db.execute(counted, values).fetchone()
        if count:
            self._db.execute(f"DELETE FROM records WHERE {where}", values)  # noqa: S608
        self._count -= int(count)
        self._size -= int(size)
        return int(count)

    def _history(self) -> list[str]:
        return [name for (name,) in self._db.execute("SELECT msg_id FROM records ORDER BY place")]

    def _find(self, query: Query, keys: Sequence[str], skip: Collection[str]) -> list[Fields]:
        found = []
        for place, record in self._rows(query):
            if record["msg_id"] in skip or not query.matches(record.get):
                continue
            record.update(self._buffers(place, BUFFERS.intersection(keys)))
            found.append({key: record[key] for key in keys})
        return found

    def _rows(self, query: Query) -> Iterator[tuple[int, Fields]]:
        select = "SELECT place, record FROM records"
        names = query.names()
        if names is None:
            yield from self._read(f"{select} ORDER BY place", ())
            return
        for name in dict.fromkeys(names):
            yield from self._read(f"{select} WHERE msg_id = ?", (name,))

    def _read(self, select: str, values: Sequence[Any]) -> Iterator[tuple[int, Fields]]:
        return ((place, _record(text)) for place, text in self._db.execute(select, values))

    def _buffers(self, place: int, names: Collection[str]) -> dict[str, list[bytes]]:
        found: dict[str, list[bytes]] = {name: [] for name in names}
        if names:
            rows = self._db.execute(
                "SELECT name, data FROM buffers WHERE record = ? ORDER BY name, place", (place,)
            )
            for name, data in rows:
                if name in found:
                    found[name].append(data)
        return found

    def _get(self, names: Sequence[str], keys: Collection[str]) -> dict[str, Fields]:
        found: dict[str, Fields] = {}
        for name in names:
            row = self._db.execute("SELECT place, record FROM records WHERE msg_id = ?", (name,))
            for place, text in row.fetchall():
                found[name] = {**_record(text), **self._buffers(place, keys)}
        return found

    def _purge(self, names: Collection[str] | None, engines: Collection[str]) -> int:
        with self._db:
            if names is None:
                return self._delete("1", ())
            count = sum(self._delete("msg_id = ?", (name,)) for name in names)
            return count + sum(self._delete("engine = ?", (engine,)) for engine in engines)


def _open(path: Path) -> sqlite3.Connection:
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        db = sqlite3.connect(path, check_same_thread=False)
        _prepare(db)
    except (OSError, sqlite3.Error) as error:
        raise ClusterError(
            f"the history file {path} cannot be used: {error}; name another one, or remove it"
        ) from error
    return db


def _prepare(db: sqlite3.Connection) -> None:
    try:
        (form,) = db.execute("PRAGMA user_version").fetchone()
        if form not in (0, FORM):
            raise sqlite3.DatabaseError(f"it is of form {form}, this version knows {FORM}")
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")
        db.execute(f"PRAGMA journal_size_limit = {MOST_JOURNAL}")
        db.execute("PRAGMA foreign_keys = ON")
        db.executescript(_TABLES)
        db.execute(f"PRAGMA user_version = {FORM}")
    except sqlite3.Error:
        db.close()
        raise


def _record(text: str) -> Fields:
    record: Fields = json.loads(text)
    for key in TIMES & record.keys():
        if isinstance(record[key], str):
            record[key] = read_time(record[key])
    return record
