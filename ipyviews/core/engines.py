"""Engines, and finding the least loaded one without looking at the others."""

from __future__ import annotations

from collections import OrderedDict
from enum import StrEnum
from typing import TYPE_CHECKING

from ipyviews.core.events import Kind
from ipyviews.core.queues import Home

if TYPE_CHECKING:
    from ipyviews.core.placement import Pool
    from ipyviews.core.tasks import Task
    from ipyviews.ids import EngineId, TaskId


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
        "_depth",
        "can_apply",
        "draining",
        "id",
        "incarnation",
        "kind",
        "pools",
        "reason",
        "running",
        "state",
    )

    def __init__(self, name: EngineId, depth: int) -> None:
        super().__init__()
        self.id = name
        self._depth = depth
        self.state = EngineState.EXPECTED
        #: The last life that joined or was lost; 0 before the first.
        self.incarnation = 0
        #: Whether it takes apply tasks; None while it has not said so.
        self.can_apply: bool | None = None
        #: In the order of dispatch; all of one kind.
        self.running: dict[TaskId, Task] = {}
        #: That kind; None when nothing runs.
        self.kind: Kind | None = None
        #: Takes nothing more: the next task in turn is of the other kind than those that run.
        self.draining = False
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

    def end(self, task: Task) -> None:
        """Note that a task runs no more."""
        del self.running[task.id]
        if not self.running:
            self.kind = None

    def has_room(self) -> bool:
        """Whether it can take one more task of the kind that runs, or any if none runs."""
        return self.can_take(self.kind)

    def can_take(self, kind: Kind | None) -> bool:
        """Whether it can take a task of this kind now: cells run alone, kinds do not mix."""
        if self.state is not EngineState.LIVE or self.draining:
            return False
        if self.kind is None:
            return True
        return kind is self.kind is Kind.APPLY and len(self.running) < self._depth

    def is_stale(self, incarnation: int) -> bool:
        """Whether the loss of this life is old news; 0 is a life that never joined."""
        if self.state is EngineState.EXPECTED:
            return 0 < incarnation <= self.incarnation
        return self.state is EngineState.LOST or incarnation != self.incarnation


class LoadIndex:
    """Engines with room, by load; among equals the one that has had this load longest."""

    __slots__ = ("_buckets", "_loads")

    def __init__(self, depth: int) -> None:
        # OrderedDict, because the first key of a dict whose front was deleted is O(n) to find.
        self._buckets: list[OrderedDict[EngineId, Engine]] = [OrderedDict() for _ in range(depth)]
        self._loads: dict[EngineId, int] = {}

    def put(self, engine: Engine) -> None:
        """Enter an engine under its load, or move it there."""
        load = len(engine.running)
        old = self._loads.get(engine.id)
        if old != load:
            if old is not None:
                del self._buckets[old][engine.id]
            self._loads[engine.id] = load
            self._buckets[load][engine.id] = engine

    def discard(self, engine: Engine) -> None:
        """Take an engine out, if it is in."""
        load = self._loads.pop(engine.id, None)
        if load is not None:
            del self._buckets[load][engine.id]

    def first(self) -> Engine | None:
        """Find the least loaded engine, if there is one with room."""
        for bucket in self._buckets:
            for engine in bucket.values():
                return engine
        return None

    def loads(self) -> dict[EngineId, int]:
        """List what is in the index."""
        return dict(self._loads)
