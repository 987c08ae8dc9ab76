"""Who waits for whom: ``after`` and ``follow``, by counters on a graph.

Tasks that ask for the same wait for one `Condition`. The end of a task touches only the conditions
that name it, and those only the tasks they hold: nothing is searched, nothing scanned again. Tasks
that have ended are remembered for a while, so that later ones can depend on them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from ipyviews.core.ends import MOST_ENDED, Ends
from ipyviews.core.engines import EngineState

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator, Mapping

    from ipyviews.core.ends import Ended
    from ipyviews.core.engines import Engine
    from ipyviews.core.events import Dependency
    from ipyviews.core.tasks import Task
    from ipyviews.ids import EngineId, TaskId

Key = TypeVar("Key")
Item = TypeVar("Item")

#: Conditions kept though no task waits for them: the rest of their map may be on its way. [count]
MOST_IDLE = 4


class Condition:
    """One ``after`` or ``follow`` of all tasks that ask for the same.

    Parameters
    ----------
    needs
        What they ask for.
    is_place
        Whether it is a ``follow``: then only a task that ran on an engine that still lives counts.
    """

    __slots__ = ("_count", "_flaw", "is_place", "left", "needs", "places", "tasks", "unknown")

    def __init__(self, needs: Dependency, *, is_place: bool) -> None:
        self.needs = needs
        self.is_place = is_place
        #: Tasks that have not ended. [count]
        self.left = len(needs.tasks)
        #: The engines where tasks ended as wanted, and their lives; for a ``follow``.
        self.places: dict[EngineId, int] = {}
        #: The tasks it holds.
        self.tasks: dict[TaskId, Task] = {}
        #: A task it names and nobody knows.
        self.unknown: TaskId | None = None
        #: Tasks that ended as wanted. [count]
        self._count = 0
        #: The first thing that went wrong.
        self._flaw = ""

    @property
    def is_met(self) -> bool:
        """Whether it holds nobody up."""
        if self.needs.all or not self.needs.tasks:
            return not self.left and not self._flaw
        return bool(self.places if self.is_place else self._count)

    @property
    def obstacle(self) -> str:
        """Why it can never be met; empty while it can."""
        verb = "follows" if self.is_place else "comes after"
        if not self._flaw or self.is_met:
            return ""
        if self.needs.all or len(self.needs.tasks) == 1:
            return f"it {verb} {self._flaw}"
        if self.left:
            return ""
        return f"it {verb} one of {len(self.needs.tasks)} tasks, and none will do: {self._flaw}"

    def waits_for(self) -> str:
        """Tell people what is missing."""
        return f"{self.left} of the {len(self.needs.tasks)} tasks it depends on"

    def count(self, name: TaskId, ended: Ended, *, lives: bool) -> None:
        """Take in that a task has ended; `lives` tells whether its engine still does."""
        self.left -= 1
        if not (self.needs.success if ended.ok else self.needs.failure):
            self._fault(f"task {name}, which {'succeeded' if ended.ok else 'failed'}")
        elif not self.is_place:
            self._count += 1
        elif ended.engine is None:
            self._fault(f"task {name}, which ran on no engine")
        elif not lives:
            self._fault(f"task {name}, which ran on engine {ended.engine}, which is gone")
        else:
            self.places[ended.engine] = ended.incarnation
            if self.needs.all and len(self.places) > 1:
                engines = ", ".join(map(str, sorted(self.places)))
                self._fault(f"tasks that ran on different engines: {engines}")

    def lose(self, engine: EngineId) -> None:
        """Take in that an engine where such a task ran is gone."""
        del self.places[engine]
        self._fault(f"a task that ran on engine {engine}, which is gone")

    def _fault(self, what: str) -> None:
        self._flaw = self._flaw or what


class Graph:
    """All conditions, and the ends that count for them.

    Parameters
    ----------
    tasks, engines
        Those that have not ended, and all there were; only looked at.
    most
        Ended tasks remembered. [count]
    """

    def __init__(
        self,
        tasks: Container[TaskId],
        engines: Mapping[EngineId, Engine],
        most: int = MOST_ENDED,
    ) -> None:
        self._tasks = tasks
        self._engines = engines
        #: How the latest tasks ended.
        self.ends = Ends(most)
        self._conditions: dict[tuple[Dependency, bool], Condition] = {}
        self._idle: dict[Condition, None] = {}
        #: By the task they wait for, and, of a ``follow``, by the engine it would go to.
        self._awaiting: dict[TaskId, dict[Condition, None]] = {}
        self._pointing: dict[EngineId, dict[Condition, None]] = {}
        #: Tasks released to where others ran, by engine, and the other way round.
        self._bound: dict[EngineId, dict[Task, None]] = {}
        self._places: dict[Task, frozenset[EngineId]] = {}
        self._changed: dict[Condition, None] = {}

    def __iter__(self) -> Iterator[Condition]:
        return iter(self._conditions.values())

    def attach(self, task: Task, needs: Dependency, *, is_place: bool) -> str:
        """Let a task wait for a condition.

        Returns
        -------
        str
            Why that is nonsense; empty if it is not.
        """
        if task.id in needs.tasks:
            return f"task {task.id} depends on itself"
        condition = self._condition(needs, is_place=is_place)
        if condition.unknown is not None:
            return (
                f"task {task.id} depends on task {condition.unknown}, which the controller does "
                f"not know: there was none, or it ended more than {self.ends.most} tasks ago, "
                "or the controller has died since it ended"
            )
        condition.tasks[task.id] = task
        self._idle.pop(condition, None)
        task.conditions = (*task.conditions, condition)
        return ""

    def detach(self, task: Task) -> None:
        """Let a task wait for nothing more."""
        for condition in task.conditions:
            del condition.tasks[task.id]
            if not condition.tasks:
                self._idle[condition] = None
        task.conditions = ()
        while len(self._idle) > MOST_IDLE:
            self._drop(next(iter(self._idle)))

    def ended(self, task: TaskId, end: Ended) -> None:
        """Remember the end of a task, and count it."""
        self.ends.add(task, end)
        for condition in self._awaiting.pop(task, ()):
            self._count(condition, task, end)
            self._changed[condition] = None

    def recall(self, ends: Iterable[tuple[TaskId, Ended]]) -> None:
        """Take in how tasks ended that nobody here has seen; what is known here counts more."""
        for task, end in ends:
            if task not in self._tasks and task not in self.ends:
                # Nothing waits for it: what named an unknown task was refused.
                self.ends.tell(task, end)

    def engine_lost(self, engine: EngineId) -> list[Task]:
        """Take in that what ran on an engine is of no more use there.

        Returns
        -------
        list of Task
            Those that were released to it: they may not go there any more.
        """
        for condition in self._pointing.pop(engine, ()):
            condition.lose(engine)
            self._changed[condition] = None
        return list(self._bound.pop(engine, ()))

    @property
    def has_changed(self) -> bool:
        """Whether there are conditions to look at."""
        return bool(self._changed)

    def changed(self) -> Iterator[Task]:
        """Take out, one by one, the tasks whose conditions have changed."""
        while self._changed:
            condition = next(iter(self._changed))
            del self._changed[condition]
            if condition.is_met or condition.obstacle:
                yield from list(condition.tasks.values())

    def bind(self, task: Task, places: frozenset[EngineId]) -> None:
        """Note that a task is to run on one of these engines only, for what is there."""
        self._places[task] = places
        for engine in places:
            self._bound.setdefault(engine, {})[task] = None

    def unbind(self, task: Task) -> None:
        """Note that a task needs no place any more."""
        for engine in self._places.pop(task, ()):
            _take_out(self._bound, engine, task)

    def _condition(self, needs: Dependency, *, is_place: bool) -> Condition:
        condition = self._conditions.get((needs, is_place))
        if condition is not None:
            return condition
        condition = Condition(needs, is_place=is_place)
        known = {name for name in needs.tasks if name in self._tasks or name in self.ends}
        if len(known) < len(needs.tasks):
            condition.unknown = min(needs.tasks - known)
            return condition
        self._conditions[needs, is_place] = condition
        for name in needs.tasks:
            end = self.ends.get(name)
            if end is None or name in self._tasks:
                self._awaiting.setdefault(name, {})[condition] = None
            else:
                self._count(condition, name, end)
        return condition

    def _count(self, condition: Condition, name: TaskId, end: Ended) -> None:
        engine = None if end.engine is None else self._engines.get(end.engine)
        lives = (
            engine is not None
            and engine.state is EngineState.LIVE
            and engine.incarnation == end.incarnation
        )
        condition.count(name, end, lives=lives)
        if end.engine in condition.places:
            self._pointing.setdefault(end.engine, {})[condition] = None

    def _drop(self, condition: Condition) -> None:
        self._idle.pop(condition, None)
        del self._conditions[condition.needs, condition.is_place]
        self._changed.pop(condition, None)
        for name in condition.needs.tasks:
            _take_out(self._awaiting, name, condition)
        for engine in condition.places:
            _take_out(self._pointing, engine, condition)


def _take_out(table: dict[Key, dict[Item, None]], key: Key, item: Item) -> None:
    """Take an item out of an entry, if it is in, and an empty entry out of the table."""
    entry = table.get(key, {})
    entry.pop(item, None)
    if not entry:
        table.pop(key, None)
