"""The moves of a task: queued, started, stopped, finished, and what each of them changes."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from ipyviews.core import bundles, schemes
from ipyviews.core.clients import Clients
from ipyviews.core.effects import Dispatch, Reply, Run, Verdict
from ipyviews.core.engines import MOST_AHEAD, Engine
from ipyviews.core.events import Kind, Status
from ipyviews.core.holding import Holding, Moves
from ipyviews.core.nesting import Waits
from ipyviews.core.placement import Pool, Pools, Rest
from ipyviews.core.queues import Home, Queue
from ipyviews.core.tasks import Story, Task, TaskState
from ipyviews.ids import Attempt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ipyviews.core.effects import Effect
    from ipyviews.core.schemes import Chance
    from ipyviews.ids import EngineId, TaskId

#: How far ahead of others a client may be whose direct tasks take no turns, in engine-seconds.
LEAD_S = 1.0


class Mover:
    """What the scheduler is made of, and how it moves tasks.

    Parameters
    ----------
    bundle, scheme, chance
        As for `ipyviews.core.state.ControllerState`.
    """

    def __init__(
        self,
        *,
        bundle: int | None = None,
        scheme: str = schemes.DEFAULT,
        chance: Chance | None = None,
    ) -> None:
        self.bundle = bundle
        #: Calls that may ever be in flight on one engine. [count]
        self.most = MOST_AHEAD if bundle is None else bundle
        #: Every engine there was; read only.
        self.engines: dict[EngineId, Engine] = {}
        #: Every task without a reply; read only.
        self.tasks: dict[TaskId, Task] = {}
        self.clients = Clients()
        self.pools = Pools(lambda: schemes.make_index(scheme, chance))
        #: Tasks that have not started and may not wait for ever.
        self.deadlines: Queue[tuple[float, int]] = Queue()
        #: What knows of dependencies.
        self.holding = Holding(
            self.tasks,
            self.engines,
            self.pools,
            self.deadlines,
            Moves(self._move, self._enqueue, self._place, self._finish),
        )
        #: Running tasks that wait for others.
        self.waits = Waits(self.tasks)
        self._story = Story()
        self._now = 0.0
        self._effects: list[Effect] = []

    def story(self, task: TaskId) -> list[str]:
        """Tell the remembered moves of a task, also of a finished one, oldest first."""
        return self._story.of(task)

    def _move(self, task: Task, to: TaskState) -> None:
        self._story.move(task, to, self._now)

    def _enqueue(self, task: Task) -> None:
        home = task.home
        if not task.client.queued:
            self.clients.enter(task.client)
        home.put(task)
        if task.is_timed:
            self.deadlines.push((task.deadline, task.order), task)
        if home.is_open:
            self._move(task, TaskState.READY)
            if isinstance(home, Rest):
                self._place_refused(task, home)
            else:
                self._place(home)

    def _dequeue(self, task: Task) -> None:
        task.home.take(task)
        if task.is_timed:
            self.deadlines.remove((task.deadline, task.order))

    def _place(self, home: Home) -> None:
        """Start what is queued there on engines that have room, one by one: no share is unfair."""
        if isinstance(home, Engine):
            self._fill(home)
            return
        if isinstance(home, Rest):
            for task in home.queued:
                self._place_refused(task, home)
            return
        while (engine := home.free_engine()) and home.has_work():
            self._fill(engine, 1)

    def _place_refused(self, task: Task, rest: Rest) -> None:
        """Start one task that engines have refused, if another one has room."""
        while task.queued and not task.client.stalled and (engine := rest.engine_for(task)):
            self._fill(engine, 1)

    def _fill(self, engine: Engine, most: float = inf) -> None:
        """Give an engine what is next in turn, until it has no room."""
        engine.draining = False
        while most and engine.has_room() and (task := next_in_turn(engine)):
            if not engine.can_start(task):
                is_rival = task.home is engine and not engine.is_held_by(task.client)
                if task.kind is Kind.EXECUTE or task.is_alone or is_rival:
                    # Passed over, it could wait for ever.
                    engine.draining = True
                    self._effects += bundles.recall(engine, task)
                break
            self._start(task, engine)
            most -= 1
        for pool in engine.pools:
            pool.refresh(engine)

    def _start(self, task: Task, engine: Engine) -> None:
        self._dequeue(task)
        self._move(task, TaskState.RUNNING)
        task.sent += 1
        task.attempt = Attempt(task.id, engine.id, engine.incarnation, task.sent)
        task.started = self._now
        task.recalled = False
        task.estimate_s = task.client.call_s if self.bundle is None else 0.0
        is_first = not (engine.directs if task.home is engine else task.client.running)
        is_urgent = bool(engine.running) and is_first
        engine.begin(task)
        self.clients.charge(task)
        self._effects.append(Dispatch(task.attempt, task.kind, is_urgent))

    def _stop(
        self,
        task: Task,
        engine: Engine,
        outcome: str,
        ran_s: float | None = None,
        *,
        counts: bool = True,
    ) -> None:
        """End a run; the task must be queued again or finished next."""
        engine.end(task)
        self.waits.end(task, engine)
        seconds = self._now - task.started
        if ran_s is not None:
            # By a clock that may be set meanwhile.
            seconds = min(seconds, ran_s)
        run = Run(engine.id, engine.incarnation, self._now - seconds, self._now, outcome)
        task.runs += (run,)
        task.begun |= outcome != Status.UNMET
        if counts:
            self.clients.settle(task, seconds)
        else:
            self.clients.refund(task)

    def _finish(self, task: Task, verdict: Verdict, reason: str = "", *, ok: bool = False) -> None:
        """Give a task its one reply."""
        if task.queued:
            self._dequeue(task)
        elif task.state is TaskState.HELD:
            self.holding.let_go(task)
        self._move(task, TaskState.DONE)
        del self.tasks[task.id]
        if task.client.left:
            self.clients.forget_if_done(task.client)
        self.holding.ended(task, ok=ok)
        if isinstance(task.home, Pool):
            self.pools.release(task.home)
        self._effects.append(
            Reply(task.id, task.client.id, verdict, task.attempt, reason, task.runs)
        )


def next_in_turn(engine: Engine) -> Task | None:
    """Find the task to run next on an engine: the least served client's first.

    A direct call that can go beside balanced ones, and a direct task of another client, do not wait
    for their turn unless their client is far ahead: balanced tasks can go elsewhere, and a client
    of small calls may need long to use up its share.
    """
    homes: list[Home] = [engine] if engine.lanes else []
    for pool in engine.pools:
        if pool.lanes:
            homes.append(pool)
        if pool.rest is not None:
            homes.append(pool.rest)
    task = _least_served(engine, homes) if homes else None
    if task is None or not engine.lanes or not engine.has_room():
        return task
    own = (engine,)
    direct = None if engine.directs else _least_served(engine, own, engine.can_start)
    direct = direct or _least_served(engine, own)
    if direct is None or direct.client.used_s - task.client.used_s > LEAD_S:
        return task
    is_beside = engine.running and engine.can_start(direct)
    return direct if is_beside or direct.client is not task.client else task


def _least_served(
    engine: Engine, homes: Iterable[Home], fits: Callable[[Task], bool] | None = None
) -> Task | None:
    best: tuple[float, int, int] | None = None
    found: Task | None = None
    for home in homes:
        for client, lane in home.lanes.items():
            if not client.stalled and (task := home.first(lane, engine)):
                rank = (client.used_s, client.served, task.order)
                if (best is None or rank < best) and (fits is None or fits(task)):
                    best, found = rank, task
    return found
