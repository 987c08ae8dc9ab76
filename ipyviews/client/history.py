"""The calls that were made: their ids, and their results as long as somebody keeps them."""

from __future__ import annotations

import weakref
from collections import deque
from typing import TYPE_CHECKING, Self

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


class Made(weakref.ref["Waitable"]):
    """A call that was made: its result as long as somebody keeps that, and the ids of its tasks."""

    __slots__ = ("names",)

    names: tuple[str, ...]

    def __new__(cls, result: Waitable) -> Self:
        """Note a result."""
        made = super().__new__(cls, result)
        # A tuple of texts is nothing that the garbage collector looks at again.
        made.names = tuple([task.id for task in result.tasks])
        return made


class Calls:
    """Results of calls, and the ids of their tasks for when nobody has kept the result.

    Of more than `HISTORY` tasks the oldest calls are forgotten.
    """

    def __init__(self) -> None:
        # Plain references: the callbacks of a weak dictionary would swallow a Ctrl-C.
        self._made: deque[Made] = deque()
        self._tasks = 0

    def __len__(self) -> int:
        return len(self._made)

    def add(self, made: Made) -> None:
        """Note a call that was just made."""
        self._made.append(made)
        self._tasks += len(made.names)
        while self._tasks > HISTORY and len(self._made) > 1:
            self._tasks -= len(self._made.popleft().names)

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
            made = self._made[index]
        except IndexError:
            raise NoCall(f"There is no call {index}: {len(self._made)} were made.") from None
        return made(), list(made.names)

    def kept(self) -> Iterator[Waitable]:
        """Yield the results that somebody keeps, the newest first."""
        for made in reversed(list(self._made)):
            result = made()
            if result is not None:
                yield result
