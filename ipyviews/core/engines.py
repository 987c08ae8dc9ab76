"""Engines, and finding the least loaded one without looking at the others."""

from __future__ import annotations

from collections import OrderedDict
from enum import StrEnum
from itertools import chain, islice
from typing import TYPE_CHECKING

from ipyviews.core.events import Kind
from ipyviews.core.queues import Home

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ipyviews.core.clients import Client
    from ipyviews.core.placement import Pool
    from ipyviews.core.tasks import Task
    from ipyviews.ids import Attempt, EngineId, TaskId


#: Calls in flight on one engine: so many [count] ...
MOST_AHEAD = 64

#: ... or so much work [s], as far as it can be told from the calls before ...
AHEAD_S = 0.02

#: ... or one call behind another that takes less than this [s]: an engine would wait for a new one
#: longer than is lost when it has to give that one back.
NEXT_S = 0.02


class EngineState(StrEnum):
    """Whether an engine can work."""

    #: Its process is being started, for the first time or again.
    EXPECTED = "expected"
    LIVE = "live"
    #: Its process ended and none follows.
    LOST = "lost"


class Engine(Home):
    """One engine through all its lives; its lanes hold its direct tasks."""

    __slots__ = (
        "ahead_s",
        "can_apply",
        "direct_s",
        "directs",
        "draining",
        "id",
        "incarnation",
        "is_fresh",
        "is_late",
        "kind",
        "most",
        "pools",
        "reason",
        "running",
        "single",
        "state",
        "stray",
    )

    def __init__(self, name: EngineId, most: int) -> None:
        super().__init__()
        self.id = name
        #: Calls it may have in flight. [count]
        self.most = most
        self.state = EngineState.EXPECTED
        #: The last life that joined or was lost; 0 before the first.
        self.incarnation = 0
        #: Whether it takes apply tasks; None while it has not said so.
        self.can_apply: bool | None = None
        #: In the order of dispatch; all of one kind.
        self.running: dict[TaskId, Task] = {}
        #: That kind; None when nothing runs.
        self.kind: Kind | None = None
        #: How long those were thought to take together. [s]
        self.ahead_s = 0.0
        #: The direct calls among them, all of one client, and how long they were thought to take.
        self.directs: dict[TaskId, Task] = {}
        self.direct_s = 0.0
        #: The one among them that no balanced call may join: a cell, or a task that runs alone.
        self.single: Task | None = None
        #: Takes nothing more: the next task in turn cannot go with those that run.
        self.draining = False
        #: Takes nothing more until it replies: it gave calls back, or waits for others.
        self.is_late = False
        #: What it runs for a controller before this one, while its task is not known here.
        self.stray: Attempt | None = None
        #: Nothing was begun in this life of it.
        self.is_fresh = True
        #: Pools it may serve.
        self.pools: dict[Pool, None] = {}
        #: Why it was lost last; empty if it never was.
        self.reason = ""

    @property
    def is_open(self) -> bool:
        """Whether it is there."""
        return self.state is EngineState.LIVE

    def free_engine(self) -> Engine | None:
        """Find itself, if it has room."""
        return self if self.has_room() else None

    def may_ever_run(self, kind: Kind) -> bool:
        """Whether it runs tasks of this kind, now or once it has joined."""
        if self.state is EngineState.LOST:
            return False
        return kind is Kind.EXECUTE or self.can_apply is not False

    def begin(self, task: Task) -> None:
        """Note that a task runs."""
        self.running[task.id] = task
        self.kind = task.kind
        self.is_fresh = False
        self.ahead_s += task.estimate_s
        if task.kind is Kind.EXECUTE:
            self.single = task
        elif task.home is self:
            self.directs[task.id] = task
            self.direct_s += task.estimate_s
        elif task.is_alone:
            self.single = task

    def end(self, task: Task) -> None:
        """Note that a task runs no more."""
        del self.running[task.id]
        self.ahead_s -= task.estimate_s
        if self.directs.pop(task.id, None) is not None:
            self.direct_s = self.direct_s - task.estimate_s if self.directs else 0.0
        if self.single is task:
            self.single = None
        if not self.running:
            self.kind = None
            self.ahead_s = 0.0
            self.is_late = False

    def has_room(self) -> bool:
        """Whether it can take one more task of some kind now."""
        if self.state is not EngineState.LIVE or self.draining or self.is_late or self.stray:
            return False
        if not self.running:
            return True
        # Direct calls may go before the balanced ones that it has not started.
        return self.kind is Kind.APPLY and self.most > 1

    def can_take(self, kind: Kind) -> bool:
        """Whether it can take a balanced task of this kind now."""
        if not self.running:
            return self.has_room()
        if not kind is Kind.APPLY is self.kind or self.single is not None or self.directs:
            return False
        most_s = NEXT_S if len(self.running) == 1 else AHEAD_S
        is_full = self.ahead_s >= most_s or len(self.running) >= self.most
        return not is_full and self.has_room()

    def can_start(self, task: Task) -> bool:
        """Whether it can take this very task now."""
        if not self.running:
            return self.has_room()
        if task.home is self:
            return task.kind is Kind.APPLY and self.has_room() and self._may_follow(task)
        return not task.is_alone and self.can_take(task.kind)

    def _may_follow(self, task: Task) -> bool:
        """Whether a direct call may be sent after those in flight, which keep its order."""
        if not self.directs:
            return True
        if next(reversed(self.directs.values())).recalled:
            # They come back and go again: it would overtake them.
            return False
        is_full = self.direct_s >= AHEAD_S or len(self.directs) >= self.most
        return self.is_held_by(task.client) and not is_full and not task.is_timed

    def is_held_by(self, client: Client) -> bool:
        """Whether the direct calls in flight are this client's."""
        return any(task.client is client for task in islice(self.directs.values(), 1))

    def is_stale(self, incarnation: int) -> bool:
        """Whether the loss of this life is old news; 0 is a life that never joined."""
        if self.state is EngineState.EXPECTED:
            return 0 < incarnation <= self.incarnation
        return self.state is EngineState.LOST or incarnation != self.incarnation


class LoadIndex:
    """Engines with room, by load; among equals the one that has had this load longest.

    Those that have run nothing yet come before all others.
    """

    __slots__ = ("_buckets", "_least", "_places")

    def __init__(self) -> None:
        # The first is for fresh engines, the others for loads from 0. OrderedDict, because the
        # first key of a dict whose front was deleted is O(n) to find.
        self._buckets: list[OrderedDict[EngineId, Engine]] = []
        self._places: dict[EngineId, int] = {}
        # No bucket below it has an engine.
        self._least = 0

    def put(self, engine: Engine) -> None:
        """Enter an engine under its load, or move it there."""
        place = 0 if engine.is_fresh else len(engine.running) + 1
        old = self._places.get(engine.id)
        if old != place:
            if old is not None:
                del self._buckets[old][engine.id]
            while place >= len(self._buckets):
                self._buckets.append(OrderedDict())
            self._places[engine.id] = place
            self._buckets[place][engine.id] = engine
            self._least = min(self._least, place)

    def discard(self, engine: Engine) -> None:
        """Take an engine out, if it is in."""
        place = self._places.pop(engine.id, None)
        if place is not None:
            del self._buckets[place][engine.id]

    def first(self) -> Engine | None:
        """Find the least loaded engine, if there is one with room."""
        if not self._places:
            return None
        while not self._buckets[self._least]:
            self._least += 1
        return next(iter(self._buckets[self._least].values()))

    def engines(self) -> Iterator[Engine]:
        """Go through them, the first choice first."""
        return chain.from_iterable(bucket.values() for bucket in self._buckets)

    def loads(self) -> dict[EngineId, int]:
        """List what is in the index."""
        return {engine: max(0, place - 1) for engine, place in self._places.items()}
