"""Everything a controller can decide.

Imperative, immutable, in the order to perform them; the frequent ones are tuples, which are made
faster. Payload bytes are not here: the driver holds the frames of a task until its `Reply`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from ipyviews.core.events import Status

if TYPE_CHECKING:
    from ipyviews.core.events import Kind
    from ipyviews.ids import Attempt, ClientId, EngineId, TaskId


class Verdict(StrEnum):
    """How a task ended, told to its client."""

    #: The engine's reply, whatever it says, is the result.
    REPLIED = "replied"
    #: Cancelled by its client, before or while it ran.
    CANCELLED = "cancelled"
    #: An earlier cell of the same submission failed on that engine.
    ABORTED = "aborted"
    #: The engine was lost and the task may not run again.
    ENGINE_LOST = "engine_lost"
    #: There is no such engine, or it cannot run this kind of task.
    UNKNOWN_ENGINE = "unknown_engine"
    #: No engine is left that may run it, and none is coming.
    NO_ENGINES = "no_engines"
    #: Only engines that wait for it, or for one another, could run it.
    DEADLOCK = "deadlock"
    #: It waited longer than it was allowed to.
    TIMEOUT = "timeout"
    #: What it depends on can never be met any more.
    IMPOSSIBLE = "impossible"
    #: It depends on itself, or on a task that nobody knows.
    INVALID = "invalid"


#: How the outcome of a run begins whose reply was lost, and not its engine.
UNANSWERED = "its reply did not arrive"

_ENDED = frozenset(map(str, Status))


class Run(NamedTuple):
    """One attempt in a task's history, for ``ar.attempts``."""

    engine: EngineId
    incarnation: int
    started: float
    ended: float
    #: ``ok``, ``error``, ``aborted``, ``unmet``, what begins with `UNANSWERED`, or the reason the
    #: engine was lost.
    outcome: str

    @property
    def lost_engine(self) -> bool:
        """Whether it ended because its engine was lost."""
        return self.outcome not in _ENDED and not self.outcome.startswith(UNANSWERED)


class Past(NamedTuple):
    """What a task has behind it when it is queued again after a run."""

    runs: tuple[Run, ...]
    #: What it has left of its retries and reruns. [count]
    retries: int
    reruns: int
    #: How often it was dispatched. [count]
    sent: int


class Requeued(NamedTuple):
    """A task that has run is queued again: a controller after this one has to know."""

    task: TaskId
    past: Past


class Dispatch(NamedTuple):
    """Send this attempt to its engine now."""

    attempt: Attempt
    kind: Kind
    #: Goes before what the engine holds and has not started.
    urgent: bool = False


@dataclass(frozen=True, slots=True)
class Recall:
    """Ask an engine for those of these attempts, all its own, that it has not started."""

    attempts: tuple[Attempt, ...]


@dataclass(frozen=True, slots=True)
class Interrupt:
    """Stop this attempt, and nothing else, on its engine."""

    attempt: Attempt
    kind: Kind


class Reply(NamedTuple):
    """Tell the client how its task ended, and drop the task's frames. Exactly one for each task."""

    task: TaskId
    client: ClientId
    verdict: Verdict
    #: The attempt whose frames are the answer when `verdict` is REPLIED, else the last one, if any.
    attempt: Attempt | None
    #: Sentence for people; empty when `verdict` is REPLIED.
    reason: str
    runs: tuple[Run, ...]


@dataclass(frozen=True, slots=True)
class WakeAt:
    """Send `Woke` at this time, or later."""

    when: float


Effect = Dispatch | Recall | Interrupt | Reply | Requeued | WakeAt
