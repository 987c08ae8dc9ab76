"""How tasks ended, remembered for a while in a few bytes each."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, NamedTuple, Self

if TYPE_CHECKING:
    from ipyviews.core.tasks import Task
    from ipyviews.ids import EngineId, TaskId

#: Ended tasks remembered. [count]
MOST_ENDED = 100_000


class Ended(NamedTuple):
    """What is remembered of a task."""

    ok: bool
    #: The engine of its last run, and which of its lives; None and 0 if it never ran.
    engine: EngineId | None
    incarnation: int

    @classmethod
    def of(cls, task: Task, *, ok: bool) -> Self:
        """Note how a task ended."""
        if not task.runs:
            return cls(ok, None, 0)
        return cls(ok, task.runs[-1].engine, task.runs[-1].incarnation)


class Ends:
    """The ends of the latest tasks, by request: there are few different ends, and many tasks.

    Parameters
    ----------
    most
        Tasks remembered. [count] Beyond it requests are forgotten, that of the oldest end first,
        the one with the newest never.
    """

    def __init__(self, most: int = MOST_ENDED) -> None:
        self.most = most
        self._kinds: dict[Ended, int] = {}
        self._ends: list[Ended | None] = [None]
        #: For each task of a request the place of its end in `_ends`, 0 for none yet.
        self._requests: dict[str, array[int]] = {}
        self._count = 0
        #: Ends that nobody here has seen: their names may be anything, so each is kept by itself.
        self._told: dict[TaskId, Ended] = {}

    def __len__(self) -> int:
        return self._count + len(self._told)

    def __contains__(self, task: TaskId) -> bool:
        return self.get(task) is not None

    def get(self, task: TaskId) -> Ended | None:
        """Return how a task ended; None if it has not, or long ago."""
        request, index = _split(task)
        places = self._requests.get(request, ())
        seen = self._ends[places[index]] if index < len(places) else None
        return seen or self._told.get(task)

    def add(self, task: TaskId, end: Ended) -> None:
        """Remember an end."""
        request, index = _split(task)
        places = self._requests.pop(request, None) or array("I")
        # The newest is last.
        self._requests[request] = places
        if index >= len(places):
            places.extend([0] * (index + 1 - len(places)))
        self._count += not places[index]
        places[index] = self._place(end)
        while self._count > self.most and len(self._requests) > 1:
            oldest = self._requests.pop(next(iter(self._requests)))
            self._count -= len(oldest) - oldest.count(0)

    def tell(self, task: TaskId, end: Ended) -> None:
        """Remember an end that nobody here has seen; as many as of those that were."""
        self._told[task] = end
        if len(self._told) > self.most:
            del self._told[next(iter(self._told))]

    def _place(self, end: Ended) -> int:
        place = self._kinds.get(end)
        if place is None:
            place = self._kinds[end] = len(self._ends)
            self._ends.append(end)
        return place


def _split(task: TaskId) -> tuple[str, int]:
    request, _, index = task.rpartition(".")
    # A client may ask for any text.
    return (request, int(index)) if index.isdecimal() and len(index) < 10 else (f"{task}.", 0)
