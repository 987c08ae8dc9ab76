"""The calls that were made: their ids, and their results as long as somebody keeps them."""

from __future__ import annotations

import weakref
from collections import deque
from typing import TYPE_CHECKING

from ipyviews.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ipyviews.client.waiting import Waitable

#: Ids of tasks remembered per client and view [count]: of so many a controller keeps records.
HISTORY = 20_000


class UnknownResult(UsageError, KeyError):
    """A `UsageError` that is also a KeyError."""

    __str__ = Exception.__str__


class NoCall(UnknownResult, IndexError):
    """A `UsageError` that is also an IndexError and a KeyError."""


class History(list[str]):
    """Ids of tasks, oldest first; beyond `HISTORY` the oldest are forgotten."""

    def extend(self, names: Iterable[str]) -> None:
        """Add the newest."""
        super().extend(names)
        # Not each time: it moves all the others.
        if len(self) > HISTORY * 1.1:
            del self[:-HISTORY]


class Calls:
    """Results of calls, and the ids of their tasks for when nobody has kept the result.

    Of more than `HISTORY` tasks the oldest calls are forgotten.
    """

    def __init__(self) -> None:
        # Plain references: the callbacks of a weak dictionary would swallow a Ctrl-C.
        self._made: deque[tuple[weakref.ref[Waitable], list[str]]] = deque()
        self._tasks = 0

    def __len__(self) -> int:
        return len(self._made)

    def add(self, result: Waitable, names: list[str]) -> None:
        """Note a call that was just made, and the ids of its tasks."""
        self._made.append((weakref.ref(result), names))
        self._tasks += len(names)
        while self._tasks > HISTORY and len(self._made) > 1:
            self._tasks -= len(self._made.popleft()[1])

    def clear(self) -> None:
        """Forget all."""
        self._made.clear()
        self._tasks = 0

    def find(self, index: int) -> tuple[Waitable | None, list[str]]:
        """Return the result of a call, if somebody has kept it, and the ids of its tasks.

        Parameters
        ----------
        index
            0 the first, -1 the last.

        Raises
        ------
        NoCall
            There was no such call.
        """
        try:
            reference, names = self._made[index]
        except IndexError:
            raise NoCall(f"There is no call {index}: {len(self._made)} were made.") from None
        return reference(), names

    def kept(self) -> Iterator[Waitable]:
        """Yield the results that somebody keeps, the newest first."""
        for reference, _ in reversed(list(self._made)):
            result = reference()
            if result is not None:
                yield result
