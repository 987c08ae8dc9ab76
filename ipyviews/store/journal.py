"""What a controller must know that takes over from one that died: an SQLite file in the run folder.

Written behind: `put` and `drop` are a queue's, a thread of its own writes what has come in one
transaction. What a process has written there survives its own death by any signal; that of the
machine ends the cluster anyhow, so nothing is flushed to the disk.
"""

from __future__ import annotations

import json
import logging
import os
import sqlite3
import threading
from contextlib import suppress
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from ipyviews.errors import ClusterError
from ipyviews.protocol.wire import pack

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from ipyviews.protocol.wire import Frame

    Fields = dict[str, Any]
    Frames = Sequence[Frame] | Callable[[], Sequence[Frame]]
    #: Kind, name, and what is to be kept of it; None for nothing any more.
    Note = tuple[str, str, tuple[Fields, Frames] | None]

log = logging.getLogger(__name__)

_TABLES = """
CREATE TABLE IF NOT EXISTS notes (
    place INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    UNIQUE (kind, name)
);
CREATE TABLE IF NOT EXISTS frames (
    note INTEGER NOT NULL REFERENCES notes (place) ON DELETE CASCADE,
    place INTEGER NOT NULL,
    data BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS frames_of ON frames (note);
"""

#: Notes in one transaction. [count]
BATCH = 500

#: Of notes that could not be written so many are tried again with the next. [count]
MOST_LATE = 5000


#: The file in a run folder.
NAME = "state.db"


def size(folder: Path) -> int:
    """Return the length of the file in a run folder, and of what is beside it. [bytes]."""
    total = 0
    for path in folder.glob(f"{NAME}*"):
        with suppress(OSError):
            total += path.stat().st_size
    return total


class Journal:
    """Notes by kind and name.

    Parameters
    ----------
    path
        Made if it is not there, readable for its user only.

    Raises
    ------
    ClusterError
        It cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._db = _open(path)
        except (OSError, sqlite3.Error) as error:
            raise ClusterError(f"the controller's file {path} cannot be used: {error}") from error
        # Notes that are written together; who waits for what was put before; or None for the end.
        self._queue: SimpleQueue[list[Note] | Callable[[], None] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        #: What could not be written, for the next time.
        self._late: list[list[Note]] = []

    def read(self, kind: str) -> dict[str, Fields]:
        """Return the notes of a kind in the order of their first writing; before any `put`."""
        rows = self._db.execute(
            "SELECT name, value FROM notes WHERE kind = ? ORDER BY place", (kind,)
        )
        return {name: json.loads(value) for name, value in rows}

    def frames(self, kind: str, name: str) -> list[bytes]:
        """Return the frames of a note; before any `put`."""
        rows = self._db.execute(
            "SELECT data FROM frames JOIN notes ON note = notes.place "
            "WHERE kind = ? AND name = ? ORDER BY frames.place",
            (kind, name),
        )
        return [data for (data,) in rows]

    def put(self, kind: str, name: str, value: Fields, frames: Frames = ()) -> None:
        """Write a note, or write it anew, soon.

        Parameters
        ----------
        kind, name
            Which.
        value
            Not to be changed any more.
        frames
            The same; or what returns them, called in the journal's thread.
        """
        self._start()
        self._queue.put([(kind, name, (value, frames))])

    def put_all(self, notes: Sequence[tuple[str, str, Fields]]) -> None:
        """Write notes, soon; after a crash all of them are there, or none."""
        self._start()
        self._queue.put([(kind, name, (value, ())) for kind, name, value in notes])

    def drop(self, kind: str, name: str) -> None:
        """Remove a note, soon; one that is not there is fine."""
        self._start()
        self._queue.put([(kind, name, None)])

    def when_written(self, done: Callable[[], None]) -> None:
        """Call `done`, in the journal's thread, once what was put before was written or failed."""
        self._start()
        self._queue.put(done)

    def close(self) -> None:
        """Write what waits, and close the file."""
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()
        self._db.close()

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="ipyviews-journal", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            batch = [item]
            while len(batch) < BATCH and not self._queue.empty():
                if (more := self._queue.get()) is None:
                    self._write(batch)
                    return
                batch.append(more)
            self._write(batch)

    def _write(self, batch: Sequence[list[Note] | Callable[[], None]]) -> None:
        items = [*self._late, *(item for item in batch if isinstance(item, list))]
        self._late = []
        if self._fails([note for item in items for note in item]):
            # One that cannot be written must not take the others with it.
            failed = [(item, error) for item in items if (error := self._fails(item))]
            self._late = _worth_another_try(failed)
        for item in batch:
            if not isinstance(item, list):
                _call(item)

    def _fails(self, notes: Sequence[Note]) -> Exception | None:
        """Write notes, all or none; return what kept them from being written."""
        try:
            with self._db:
                for note in notes:
                    self._write_one(*note)
        except Exception as error:  # noqa: BLE001 - without this thread nothing would be written
            return error
        return None

    def _write_one(self, kind: str, name: str, value: tuple[Fields, Frames] | None) -> None:
        if value is None:
            self._db.execute("DELETE FROM notes WHERE kind = ? AND name = ?", (kind, name))
            return
        text, found = pack(value[0]).decode(), value[1]
        frames = found() if callable(found) else found
        (place,) = self._db.execute(
            "INSERT INTO notes (kind, name, value) VALUES (?, ?, ?) "
            "ON CONFLICT (kind, name) DO UPDATE SET value = excluded.value RETURNING place",
            (kind, name, text),
        ).fetchone()
        self._db.execute("DELETE FROM frames WHERE note = ?", (place,))
        self._db.executemany(
            "INSERT INTO frames (note, place, data) VALUES (?, ?, ?)",
            ((place, number, frame) for number, frame in enumerate(frames)),
        )


def _open(path: Path) -> sqlite3.Connection:
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    database = sqlite3.connect(path, check_same_thread=False)
    try:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = OFF")
        database.execute("PRAGMA foreign_keys = ON")
        database.executescript(_TABLES)
    except sqlite3.Error:
        database.close()
        raise
    return database


def _worth_another_try(failed: Sequence[tuple[list[Note], Exception]]) -> list[list[Note]]:
    """Log what was not written; return what may be later, the latest of each name only."""
    if failed:
        kind, name, _ = failed[-1][0][0]
        # A full disk must not end a cluster; a successor then knows less.
        log.warning(
            "%s notes were not written, the last of %s %s: %s",
            sum(len(item) for item, _ in failed),
            kind,
            name,
            failed[-1][1],
        )
    late: dict[tuple[tuple[str, str], ...], list[Note]] = {}
    for item, error in failed:
        # A disk has room again some time; what is wrong with a note itself stays so.
        if isinstance(error, sqlite3.OperationalError) and not any(v and v[1] for *_, v in item):
            names = tuple((kind, name) for kind, name, _ in item)
            late.pop(names, None)
            late[names] = item
    return list(late.values())[-MOST_LATE:]


def _call(done: Callable[[], None]) -> None:
    try:
        done()
    except Exception:
        # Not the thread's affair.
        log.exception("who waited for a note has failed")
