"""Tasks that wait for others to end, and where they may go when these have.

A task with dependencies is *held*: accepted, but in no queue. It is released when all of its
conditions are met, or finished as soon as one never can be. A task that follows others, or that
engines refused because what it requires is not there, is *narrowed* to fewer engines than its
client asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ipyviews.core import sentences
from ipyviews.core.dependencies import Graph
from ipyviews.core.effects import Verdict
from ipyviews.core.ends import Ended
from ipyviews.core.placement import Pool
from ipyviews.core.tasks import TaskState

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ipyviews.core.engines import Engine
    from ipyviews.core.events import TaskSubmitted
    from ipyviews.core.placement import Pools
    from ipyviews.core.queues import Home, Queue
    from ipyviews.core.tasks import Task
    from ipyviews.ids import EngineId, TaskId


@dataclass(frozen=True, slots=True)
class Moves:
    """What the scheduler can do with a task."""

    move: Callable[[Task, TaskState], None]
    enqueue: Callable[[Task], None]
    place: Callable[[Home], None]
    finish: Callable[[Task, Verdict, str], None]


class Holding:
    """The part of the scheduler that knows of dependencies.

    Parameters
    ----------
    tasks, engines, pools, deadlines
        The scheduler's own.
    moves
        How tasks are moved.
    """

    def __init__(
        self,
        tasks: Mapping[TaskId, Task],
        engines: Mapping[EngineId, Engine],
        pools: Pools,
        deadlines: Queue[tuple[float, int]],
        moves: Moves,
    ) -> None:
        self.graph = Graph(tasks, engines)
        #: Some task may run on fewer engines than before; whoever looks sets it back.
        self.has_narrowed = False
        self._engines = engines
        self._pools = pools
        self._deadlines = deadlines
        self._moves = moves

    def depend(self, task: Task, event: TaskSubmitted) -> tuple[Verdict, str] | None:
        """Note what a new task depends on; return why it cannot."""
        for needs, is_place in ((event.after, False), (event.follow, True)):
            flaw = self.graph.attach(task, needs, is_place=is_place) if needs else ""
            if flaw:
                return Verdict.INVALID, flaw
        return None

    def hold(self, task: Task) -> None:
        """Let a task wait for what it depends on, if it must."""
        self._moves.move(task, TaskState.HELD)
        task.client.held[task.id] = task
        if task.is_timed:
            self._deadlines.push((task.deadline, task.order), task)
        self._decide(task)

    def let_go(self, task: Task) -> None:
        """Note that a task is no longer held."""
        del task.client.held[task.id]
        if task.is_timed:
            self._deadlines.remove((task.deadline, task.order))

    def ended(self, task: Task, *, ok: bool) -> None:
        """Take in the end of a task; `settle` does what comes of it."""
        if task.conditions:
            self.graph.detach(task)
        if task.narrowed:
            self.graph.unbind(task)
        self.graph.ended(task.id, Ended.of(task, ok=ok))

    def settle(self) -> None:
        """Release, or finish, the tasks that waited for what has happened."""
        for task in self.graph.changed() if self.graph.has_changed else ():
            if task.state is TaskState.HELD:
                self._decide(task)

    def try_elsewhere(self, task: Task, engine: Engine) -> None:
        """Queue a task for the engines left that have not said that they lack what it requires."""
        task.avoid |= {engine.id}
        self._rehome(task, _pool_of(task))
        self._enqueue(task)

    def lose_places(self, engine: Engine) -> None:
        """Keep tasks that are to run where others ran from the engine's next life."""
        for task in self.graph.engine_lost(engine.id):
            was_queued = task.queued
            if was_queued:
                task.home.take(task)
            pool = self._narrow(task, (_pool_of(task).allowed or frozenset()) - {engine.id})
            if was_queued:
                pool.put(task)
                if pool.fits(task):
                    self._moves.place(pool)
                else:
                    self._moves.finish(task, *sentences.deserted(task, pool))

    def _decide(self, task: Task) -> None:
        obstacle = next((c.obstacle for c in task.conditions if c.obstacle), "")
        if obstacle:
            self._moves.finish(task, Verdict.IMPOSSIBLE, sentences.never(task, obstacle))
        elif all(condition.is_met for condition in task.conditions):
            self._release(task)

    def _release(self, task: Task) -> None:
        """Queue a task whose dependencies are met: where others ran, if it follows them."""
        self.let_go(task)
        follows = next((c for c in task.conditions if c.is_place and c.needs.tasks), None)
        self.graph.detach(task)
        if follows is not None:
            places = frozenset(follows.places).intersection(_pool_of(task).members)
            self.graph.bind(task, places)
            self._narrow(task, places)
        self._enqueue(task)

    def _enqueue(self, task: Task) -> None:
        self._moves.enqueue(task)
        if not _pool_of(task).fits(task):
            self._moves.finish(task, *sentences.deserted(task, _pool_of(task)))

    def _narrow(self, task: Task, places: frozenset[EngineId]) -> Pool:
        """Limit a load-balanced task that is not queued to some engines."""
        task.narrowed = True
        return self._rehome(task, self._pools.get(task.kind, places, self._engines))

    def _rehome(self, task: Task, pool: Pool) -> Pool:
        """Let a task that is not queued have its place in a pool, or in the rest of it."""
        old, home = _pool_of(task), self._pools.rest_of(pool) if task.avoid else pool
        task.home, self.has_narrowed = home, True
        home.unfinished += 1
        self._pools.release(old)
        return home


def _pool_of(task: Task) -> Pool:
    assert isinstance(task.home, Pool)  # noqa: S101 - only load-balanced tasks have dependencies
    return task.home
