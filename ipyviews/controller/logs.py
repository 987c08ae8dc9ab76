"""The log files of a run folder: for their user only, and never long."""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from logging.handlers import RotatingFileHandler
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: Length of a log file; when it is reached, half of it goes. [bytes]
MOST_BYTES = 4 * 1024 * 1024

#: The controller's own one has two, what agent and controller write to stderr is in another.
FILES = 3


class PrivateLog(RotatingFileHandler):
    """A log in two files, the older of which goes when the newer is full."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, maxBytes=MOST_BYTES, backupCount=1, encoding="utf-8")

    def _open(self) -> IO[str]:  # type: ignore[override] # some versions say TextIOWrapper
        descriptor = os.open(self.baseFilename, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        return os.fdopen(descriptor, "a", encoding="utf-8")


def start(folder: Path) -> None:
    """Log to the run folder from now on."""
    logging.basicConfig(
        handlers=[PrivateLog(folder / "controller.log")],
        level=logging.INFO,
        format="%(asctime)s %(levelname)s %(message)s",
    )


def cap(folder: Path, *, engines: bool) -> None:
    """Shorten the files that processes write to by themselves, `engines` among them."""
    for path in _written_by_processes(folder) if engines else [folder / "log"]:
        with suppress(OSError):
            if path.stat().st_size > MOST_BYTES:
                _shorten(path)


def size(folder: Path) -> int:
    """Return the length of all log files. [bytes]."""
    files = [*folder.glob("controller.log*"), *_written_by_processes(folder)]
    total = 0
    for path in files:
        with suppress(OSError):
            total += path.stat().st_size
    return total


def _written_by_processes(folder: Path) -> Iterator[Path]:
    yield folder / "log"
    # Of engines without an agent.
    yield from folder.glob("e*.log")


def _shorten(path: Path) -> None:
    # Whoever has it open appends: what comes goes to the new end.
    with path.open("r+b") as file:
        file.seek(-MOST_BYTES // 2, os.SEEK_END)
        kept = file.read()
        file.truncate(0)
        file.seek(0)
        file.write(b"[what was before is gone]\n" + kept.partition(b"\n")[2])
