"""A task: one call or cell, what it may do next, and what happened to it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import StrEnum
from math import inf
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ipyviews.core.clients import Client
    from ipyviews.core.dependencies import Condition
    from ipyviews.core.effects import Run
    from ipyviews.core.events import Kind
    from ipyviews.core.queues import Home
    from ipyviews.ids import Attempt, EngineId, RequestId, TaskId


class TaskState(StrEnum):
    """Where a task is on its way to the one reply."""

    #: Accepted, but its engine has not joined yet.
    WAITING = "waiting"
    #: Accepted, but other tasks have to end first.
    HELD = "held"
    #: In the queue; runs as soon as an engine has room and its client's turn comes.
    READY = "ready"
    #: An attempt is with an engine.
    RUNNING = "running"
    #: The reply is sent; the task is no longer known.
    DONE = "done"


#: Every legal move and what makes it. Nothing else moves a task.
TRANSITIONS: dict[tuple[TaskState, TaskState], str] = {
    (TaskState.WAITING, TaskState.READY): "its engine is there",
    (TaskState.WAITING, TaskState.HELD): "it depends on other tasks",
    (TaskState.WAITING, TaskState.DONE): "no such engine, cancelled, timed out, engine lost",
    (TaskState.HELD, TaskState.READY): "what it depends on has ended as wanted",
    (TaskState.HELD, TaskState.DONE): "can never run, cancelled, timed out",
    (TaskState.READY, TaskState.WAITING): "its engine restarts",
    (TaskState.READY, TaskState.RUNNING): "an engine has room",
    (TaskState.READY, TaskState.DONE): "cancelled, aborted, timed out, no engine left",
    (TaskState.RUNNING, TaskState.READY): "given back, or may run again",
    (TaskState.RUNNING, TaskState.DONE): "replied, cancelled, engine lost",
}


@dataclass(eq=False, slots=True)
class Task:
    """What the scheduler knows of a task that has no reply yet."""

    id: TaskId
    client: Client
    submission: RequestId
    kind: Kind
    #: Position in the order of all submissions.
    order: int
    #: Runs left after an exception in the task. [count]
    retries: int
    #: Runs left after losing the engine; not used for direct tasks. [count]
    reruns: int
    #: When it must have started; infinite without a limit. [s]
    deadline: float
    #: Where it queues: an engine, or a pool of them.
    home: Home
    #: Whether it is in that queue now.
    queued: bool = False
    state: TaskState = TaskState.WAITING
    #: The attempt that runs, else the last one.
    attempt: Attempt | None = None
    #: How often it got lost on its way to an engine. [count]
    strays: int = 0
    #: How often it was dispatched, also to engines that gave it back. [count]
    sent: int = 0
    #: When that attempt was dispatched. [s]
    started: float = 0.0
    #: How long that attempt was thought to take. [s]
    estimate_s: float = 0.0
    #: Its engine was asked to give it back.
    recalled: bool = False
    #: What its client was charged for that attempt in advance. [s]
    charge: float = 0.0
    runs: tuple[Run, ...] = ()
    #: Whether it is limited to where others ran.
    narrowed: bool = False
    #: Engines that lack what it requires: it never goes there again.
    avoid: frozenset[EngineId] = frozenset()
    #: What it waits for while it is held.
    conditions: tuple[Condition, ...] = ()
    #: Whether a run of it has begun in earnest; an unmet dependency does not count.
    begun: bool = False
    #: Its client wants it stopped: it never runs again.
    cancelled: bool = False
    #: It was found where those ran that it follows, and has no other place.
    is_tied: bool = False
    #: It was one of several on an engine that was lost: next time it must be clear who did it.
    suspect: bool = False

    @property
    def is_alone(self) -> bool:
        """Whether no other balanced task may be on its engine: one's loss must not be another's."""
        return self.suspect or not self.reruns

    @property
    def losses(self) -> int:
        """How many engines were lost while they had it."""
        return sum(run.lost_engine for run in self.runs)

    @property
    def is_timed(self) -> bool:
        """Whether it may yet wait too long: once started, it has all the time it needs."""
        return self.deadline < inf and not self.begun

    @property
    def is_unwanted(self) -> bool:
        """Whether nobody wants it to run again."""
        return self.cancelled or self.client.gone


class Story:
    """The last moves of all tasks, in a ring of fixed length; the only way to move a task."""

    def __init__(self, length: int = 4096) -> None:
        self._moves: deque[tuple[float, TaskId, TaskState]] = deque(maxlen=length)

    def move(self, task: Task, to: TaskState, now: float) -> None:
        """Move `task`, or raise AssertionError with its story when the table forbids it."""
        if (task.state, to) not in TRANSITIONS:
            story = "; ".join(self.of(task.id)) or "nothing remembered"
            raise AssertionError(f"task {task.id} may not go from {task.state} to {to}: {story}")
        task.state = to
        self._moves.append((now, task.id, to))

    def of(self, task: TaskId) -> list[str]:
        """Tell the remembered moves of one task, oldest first."""
        return [f"{now:.6f} {to}" for now, name, to in self._moves if name == task]


def diagram() -> str:
    """Draw `TRANSITIONS` as a Mermaid state diagram.

    Examples
    --------
    >>> print(diagram().splitlines()[1])
        [*] --> waiting
    """
    arrows = [f"    {source} --> {to}: {why}" for (source, to), why in TRANSITIONS.items()]
    return "\n".join(["stateDiagram-v2", "    [*] --> waiting", *arrows, "    done --> [*]"])
