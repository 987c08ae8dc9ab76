"""Calls that wait for other calls: a client may be used inside a task of its own cluster.

The engine of such a call waits and takes nothing more. When all engines that could run what it
waits for wait in the same way, nothing would ever end; then the newest of them is told.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ipyviews.core import sentences
from ipyviews.core.bundles import recall
from ipyviews.core.effects import Verdict
from ipyviews.core.engines import Engine
from ipyviews.core.placement import Pool, Rest
from ipyviews.core.tasks import TaskState

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

    from ipyviews.core.effects import Recall
    from ipyviews.core.queues import Home
    from ipyviews.core.tasks import Task
    from ipyviews.ids import EngineId, TaskId


@dataclass(frozen=True, slots=True)
class Wait:
    """A running call and the tasks, all of them, without whose end it does not go on."""

    task: Task
    awaited: tuple[TaskId, ...]


class Waits:
    """Who waits for whom.

    Parameters
    ----------
    tasks
        Those that have not ended; only looked at.
    """

    def __init__(self, tasks: Mapping[TaskId, Task]) -> None:
        self._tasks = tasks
        # The newest last.
        self._waits: dict[EngineId, Wait] = {}

    def __contains__(self, engine: Engine) -> bool:
        return engine.id in self._waits

    def __bool__(self) -> bool:
        return bool(self._waits)

    def items(self) -> list[tuple[EngineId, Wait]]:
        """List them by engine, the newest last."""
        return list(self._waits.items())

    def note(self, task: Task, engine: Engine, awaited: Collection[TaskId]) -> list[Recall]:
        """Note that what an engine runs waits for these, or, if there are none, goes on.

        Returns
        -------
        list of Recall
            For the calls that the engine was sent ahead.
        """
        self.end(task, engine)
        if not awaited:
            return []
        self._waits[engine.id] = Wait(task, tuple(self._with_conditions(awaited)))
        engine.is_late = True
        for pool in engine.pools:
            pool.refresh(engine)
        return recall(engine)

    def end(self, task: Task, engine: Engine) -> None:
        """Note that a call goes on, or has ended."""
        wait = self._waits.get(engine.id)
        if wait is not None and wait.task is task:
            del self._waits[engine.id]

    def break_up(self, finish: Callable[[Task, Verdict, str], None]) -> None:
        """Finish what would wait for ever, that of the newest wait first, until all can go on."""
        while stuck := self._stuck():
            for task in stuck:
                finish(task, Verdict.DEADLOCK, sentences.deadlock(task, _engines(task.home)))

    def _stuck(self) -> list[Task]:
        """Find what can never start because of the newest wait that never ends; often nothing."""
        blocked = dict(self._waits)
        while free := [e for e, wait in blocked.items() if not any(self._stuck_in(wait, blocked))]:
            for engine in free:
                del blocked[engine]
        for wait in reversed(blocked.values()):
            found = [task for task in self._stuck_in(wait, blocked) if task.queued]
            if found:
                return found
        return []

    def _stuck_in(self, wait: Wait, blocked: Mapping[EngineId, Wait]) -> Iterator[Task]:
        known: dict[Pool, bool] = {}
        for name in wait.awaited:
            task = self._tasks.get(name)
            if task is not None and _is_stuck(task, blocked, known):
                yield task

    def _with_conditions(self, awaited: Iterable[TaskId]) -> Iterator[TaskId]:
        """Add what the awaited tasks depend on themselves."""
        pending, seen = list(awaited), set[str]()
        while pending:
            name = pending.pop()
            task = self._tasks.get(name)
            if task is None or name in seen:
                continue
            seen.add(name)
            yield name
            for condition in task.conditions:
                if condition.needs.all or len(condition.needs.tasks) == 1:
                    pending += condition.needs.tasks


def _is_stuck(task: Task, blocked: Mapping[EngineId, Wait], known: dict[Pool, bool]) -> bool:
    """Tell whether only engines that are blocked could run a task, or run it now."""
    if task.state is TaskState.RUNNING:
        assert task.attempt is not None  # noqa: S101 - what runs has one
        wait = blocked.get(task.attempt.engine)
        return wait is not None and wait.task is task
    home = task.home
    if isinstance(home, Engine):
        return task.queued and home.id in blocked
    if not task.queued or not isinstance(home, Pool):
        return False
    if isinstance(home, Rest):
        return all(one in blocked for one in home.members if one not in task.avoid)
    if home not in known:
        members = home.members
        known[home] = len(blocked) >= len(members) and all(one in blocked for one in members)
    return known[home]


def _engines(home: Home) -> list[EngineId]:
    if isinstance(home, Engine):
        return [home.id]
    return sorted(home.members) if isinstance(home, Pool) else []
