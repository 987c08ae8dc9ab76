"""Which engines may run a load-balanced task.

Tasks with the same needs (kind, allowed engines) share a pool: an index of the engines that may
run them, and one lane for each client. So a task that must wait holds up only those that need the
same, and neither a task nor an engine is ever searched for.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from ipyviews.core.events import Kind
from ipyviews.core.queues import Home, Lane

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from ipyviews.core.engines import Engine
    from ipyviews.core.schemes import Index
    from ipyviews.core.tasks import Task
    from ipyviews.ids import EngineId


class Pool(Home):
    """Load-balanced tasks with the same needs, and the engines that fit them."""

    __slots__ = ("allowed", "index", "kind", "members", "rest", "unfinished")

    def __init__(self, kind: Kind, allowed: frozenset[EngineId] | None, index: Index) -> None:
        super().__init__()
        self.kind = kind
        #: None is any engine.
        self.allowed = allowed
        #: Engines that may run its tasks, now or once they have joined.
        self.members: dict[EngineId, Engine] = {}
        #: Those with room now.
        self.index = index
        #: Those of its tasks that some of its engines lack something for.
        self.rest: Rest | None = None
        #: Tasks that need it, queued or running, and its rest. [count]
        self.unfinished = 0

    @property
    def is_open(self) -> bool:
        """Always: its tasks need no certain engine."""
        return True

    def free_engine(self) -> Engine | None:
        """Choose an engine with room."""
        return self.index.first()

    def fits(self, task: Task) -> bool:
        """Whether some engine may run this task of its own, now or once it has joined."""
        del task
        return bool(self.members)

    def enrol(self, engine: Engine) -> None:
        """Take an engine in, or out, as its state says."""
        if engine.may_ever_run(self.kind):
            self.members[engine.id] = engine
            engine.pools[self] = None
            self.refresh(engine)
        else:
            self.members.pop(engine.id, None)
            engine.pools.pop(self, None)
            self.index.discard(engine)

    def refresh(self, engine: Engine) -> None:
        """Note that a member's load changed."""
        if engine.can_take(self.kind):
            self.index.put(engine)
        else:
            self.index.discard(engine)


class Rest(Pool):
    """Tasks of a pool that some of its engines lack something for; each knows where not to go.

    They share the pool's engines. Only here is a lane searched: for the first task that an engine
    has not refused.
    """

    __slots__ = ("pool",)

    def __init__(self, pool: Pool) -> None:
        super().__init__(pool.kind, pool.allowed, pool.index)
        self.members = pool.members
        self.pool = pool

    def fits(self, task: Task) -> bool:
        """Whether an engine is left that has not refused this task."""
        return any(name not in task.avoid for name in self.members)

    def first(self, lane: Lane, engine: Engine) -> Task | None:
        """Find the first task of a lane that this engine has not refused."""
        return next((task for task in lane.waiting() if engine.id not in task.avoid), None)

    def engine_for(self, task: Task) -> Engine | None:
        """Choose an engine with room that has not refused this task."""
        return next((one for one in self.index.engines() if one.id not in task.avoid), None)


class Pools:
    """All pools: two for any engine, and one for each set of engines that tasks are limited to.

    Parameters
    ----------
    make_index
        Makes the index of a pool, which chooses among engines with room.
    """

    def __init__(self, make_index: Callable[[], Index]) -> None:
        self._make_index = make_index
        self._any = {kind: Pool(kind, None, make_index()) for kind in Kind}
        self._limited: dict[tuple[Kind, frozenset[EngineId]], Pool] = {}
        self._naming: defaultdict[EngineId, dict[Pool, None]] = defaultdict(dict)

    def __iter__(self) -> Iterator[Pool]:
        yield from self._any.values()
        yield from self._limited.values()

    def present(self) -> Mapping[EngineId, Engine]:
        """All engines that are not lost: every engine takes cells."""
        return self._any[Kind.EXECUTE].members

    def get(
        self,
        kind: Kind,
        allowed: frozenset[EngineId] | None,
        engines: Mapping[EngineId, Engine],
    ) -> Pool:
        """Find the pool for these needs, or make it; O(allowed) when it is made."""
        if allowed is None:
            return self._any[kind]
        pool = self._limited.get((kind, allowed))
        if pool is None:
            pool = self._limited[kind, allowed] = Pool(kind, allowed, self._make_index())
            for name in sorted(allowed):
                self._naming[name][pool] = None
                if name in engines:
                    pool.enrol(engines[name])
        return pool

    def rest_of(self, pool: Pool) -> Rest:
        """Find the rest of a pool, or make it."""
        if isinstance(pool, Rest):
            return pool
        if pool.rest is None:
            pool.rest = Rest(pool)
            pool.unfinished += 1
        return pool.rest

    def release(self, pool: Pool) -> None:
        """Count one task less; the last one takes the rest, or the pool of a set of engines."""
        pool.unfinished -= 1
        if pool.unfinished:
            return
        if isinstance(pool, Rest):
            pool.pool.rest = None
            self.release(pool.pool)
            return
        if pool.allowed is None:
            return
        del self._limited[pool.kind, pool.allowed]
        for name in pool.allowed:
            naming = self._naming[name]
            del naming[pool]
            if not naming:
                del self._naming[name]
        for engine in pool.members.values():
            del engine.pools[pool]

    def enrol(self, engine: Engine) -> list[Pool]:
        """Note that an engine's state changed.

        Returns
        -------
        list of Pool
            Those that may have tasks for which no engine is left.
        """
        pools = [*self._any.values(), *self._naming.get(engine.id, ())]
        for pool in pools:
            pool.enrol(engine)
        rests = [pool.rest for pool in pools if pool.rest is not None]
        return [*(pool for pool in pools if not pool.members), *rests]
