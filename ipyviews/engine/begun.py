"""Which calls an engine has begun: a page of a file, which outlives its process.

An engine is sent calls ahead. When it is lost, what it ran is to blame, and what it had not begun
may run elsewhere or later. The controller numbers calls in the order in which it sends them to one
life of an engine; call *n* has the byte *n* modulo `SLOTS`, which also tells the lap.
"""

from __future__ import annotations

import mmap
import os
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

#: The name of the engine's life, then a byte that is set when it must begin nothing more.
_STOP = 63
FIRST = 64
SLOTS = 4096 - FIRST

_BEGUN, _ENDED = 1, 2
_LAPS = 80


def path_of(connection_file: str) -> str:
    """Name the file of the kernel with this connection file."""
    return f"{connection_file}.begun"


def _mark(number: int, state: int) -> int:
    return number // SLOTS % _LAPS * 3 + state


class Begun:
    """The engine's end: notes what begins and ends.

    Parameters
    ----------
    connection_file
        Of the kernel.
    """

    def __init__(self, connection_file: str) -> None:
        self._path = path_of(connection_file)
        self._page: mmap.mmap | None = None

    def open(self, name: str) -> None:
        """Make the file for this life; without one nothing is noted."""
        self.close()
        with suppress(OSError):
            with suppress(FileNotFoundError):
                os.unlink(self._path)  # noqa: PTH108 - another life may have it mapped
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                os.ftruncate(descriptor, FIRST + SLOTS)
                page = mmap.mmap(descriptor, FIRST + SLOTS)
            finally:
                os.close(descriptor)
            page[: len(name)] = name.encode()
            self._page = page

    def close(self) -> None:
        """Note nothing more."""
        if self._page is not None:
            self._page.close()
            self._page = None

    def begin(self, number: int) -> bool:
        """Note that a call begins; False when none may begin any more."""
        page = self._page
        if page is None or number < 0:
            return True
        slot = FIRST + number % SLOTS
        before = page[slot]
        # In this order, the opposite of the controller's: it never takes for untouched what runs.
        page[slot] = _mark(number, _BEGUN)
        if page[_STOP]:
            page[slot] = before
            return False
        return True

    def end(self, number: int) -> None:
        """Note that a call has ended."""
        if self._page is not None and number >= 0:
            self._page[FIRST + number % SLOTS] = _mark(number, _ENDED)


def stop(connection_file: str, name: str, numbers: Iterable[int]) -> tuple[set[int], set[int]]:
    """Let a life of an engine begin nothing more, and tell what it did not; the controller's end.

    Parameters
    ----------
    connection_file, name
        Of the kernel, and its life.
    numbers
        Of the calls it was sent and did not answer.

    Returns
    -------
    untouched, ended : set of int
        Those it had not begun, and those that had ended; empty when that is not known.
    """
    asked = list(numbers)
    try:
        descriptor = os.open(path_of(connection_file), os.O_RDWR | os.O_NOFOLLOW)
    except OSError:
        return set(), set()
    try:
        os.pwrite(descriptor, b"\1", _STOP)
        page = os.pread(descriptor, FIRST + SLOTS, 0)
    finally:
        os.close(descriptor)
    with suppress(FileNotFoundError):
        os.unlink(path_of(connection_file))  # noqa: PTH108 - as above
    is_his = page[:_STOP].rstrip(b"\0") == name.encode()
    if not is_his or len(asked) > SLOTS or len(page) < FIRST + SLOTS:
        return set(), set()
    marks = {number: page[FIRST + number % SLOTS] for number in asked}
    ended = {number for number in asked if marks[number] == _mark(number, _ENDED)}
    begun = {number for number in asked if marks[number] == _mark(number, _BEGUN)}
    return set(asked) - ended - begun, ended
