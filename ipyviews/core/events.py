"""Everything that can happen to a controller.

Past tense, immutable (the frequent ones are tuples, which are made faster), with the time it
happened: the core has no clock of its own. ``now`` is in seconds of a clock that never goes back.
The driver makes these, `ControllerState.handle` takes them, and a recorded list of them replays to
the same effects.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from ipyviews.core.effects import Past
    from ipyviews.core.ends import Ended
    from ipyviews.ids import Attempt, ClientId, EngineId, RequestId, TaskId


class Kind(StrEnum):
    """Which channel of an engine a task needs."""

    EXECUTE = "execute"
    APPLY = "apply"


class Status(StrEnum):
    """What an engine said of an attempt."""

    OK = "ok"
    ERROR = "error"
    ABORTED = "aborted"
    #: What the task requires of an engine is not there; it was not tried.
    UNMET = "unmet"


@dataclass(frozen=True, slots=True)
class Dependency:
    """Tasks that have to end before another may start."""

    tasks: frozenset[TaskId]
    #: Whether all of them must end as wanted, or any one.
    all: bool = True
    #: Which ends are wanted; at least one is true.
    success: bool = True
    failure: bool = False


class Found(NamedTuple):
    """What is known of a task that a controller before this one had dispatched."""

    attempt: Attempt
    #: How the attempt ended; None while it runs, and when that is not known.
    status: Status | None = None
    ran_s: float | None = None
    #: Why nothing is known: a sentence. Then it may have run.
    lost: str = ""
    #: Whether its engine lives all the same.
    lives: bool = False
    #: A run before that one, and why it was lost.
    before: tuple[Attempt, str] | None = None


@dataclass(frozen=True, slots=True)
class EngineExpected:
    """An engine is being started; tasks may wait for it."""

    now: float
    engine: EngineId


@dataclass(frozen=True, slots=True)
class EngineJoined:
    """An engine answers on all its channels and its output is proven to arrive."""

    now: float
    engine: EngineId
    incarnation: int
    #: False for kernels without our extension (other languages): cells only.
    can_apply: bool
    #: What it runs for a controller before this one; nothing else is started until that has ended.
    stray: Attempt | None = None


@dataclass(frozen=True, slots=True)
class StrayEnded:
    """An engine has ended what it ran for a controller before this one; its task is not here."""

    now: float
    attempt: Attempt


@dataclass(frozen=True, slots=True)
class EngineLost:
    """An engine's process ended, or it never came up."""

    now: float
    engine: EngineId
    #: 0 when it was lost before it joined.
    incarnation: int
    #: One sentence for people: exit code or signal, verdict.
    reason: str
    #: The running task did it (exit, segfault, out of memory): do not run that one again.
    self_inflicted: bool = False
    #: A new incarnation of the same engine is on its way.
    restarting: bool = False
    #: Attempts it had not started, and those that had ended without a reply, as far as is known.
    untouched: frozenset[Attempt] = frozenset()
    ended: frozenset[Attempt] = frozenset()


class TaskSubmitted(NamedTuple):
    """A client asked for one call or cell on one engine."""

    now: float
    task: TaskId
    client: ClientId
    #: The request this task came with: a failing cell aborts the rest of its own.
    submission: RequestId
    kind: Kind
    #: The engine of a direct task; None when the scheduler chooses.
    engine: EngineId | None = None
    #: Engines a load-balanced task may run on; None means any.
    allowed: frozenset[EngineId] | None = None
    #: How often to run again after an exception in the task.
    retries: int = 0
    #: How often to run again after losing the engine; direct tasks never are.
    reruns: int = 1
    #: Longest time until it starts, in seconds; None means no limit, less than 0 that it is over.
    timeout_s: float | None = None
    #: Load-balanced tasks only: not before these have ended, and only where these ran.
    after: Dependency | None = None
    follow: Dependency | None = None
    #: What a controller before this one had begun.
    found: Found | None = None
    #: What was behind it there when it was queued again last.
    past: Past | None = None


class EndsTold(NamedTuple):
    """A client told how tasks ended under a controller before this one; others depend on them."""

    now: float
    ends: tuple[tuple[TaskId, Ended], ...]


class TaskReplied(NamedTuple):
    """An engine finished an attempt, and all its output has arrived."""

    now: float
    attempt: Attempt
    status: Status
    #: How long it ran there; None when the engine did not say.
    ran_s: float | None = None
    #: More replies are at hand: its engine gets more to do at the `RepliesTaken` after them.
    is_one_of_many: bool = False


@dataclass(frozen=True, slots=True)
class RepliesTaken:
    """Replies that came together are all told."""

    now: float


@dataclass(frozen=True, slots=True)
class TasksReturned:
    """An engine gave back attempts it had not started."""

    now: float
    attempts: tuple[Attempt, ...]


@dataclass(frozen=True, slots=True)
class AttemptsMissing:
    """Engines that live hold none of these attempts, and no reply of them is on its way."""

    now: float
    attempts: tuple[Attempt, ...]
    #: Those of them that never came there, and never will.
    untouched: frozenset[Attempt] = frozenset()


@dataclass(frozen=True, slots=True)
class TaskWaits:
    """A running task waits for others: it uses a client of its own cluster."""

    now: float
    attempt: Attempt
    #: All of them have to end before it goes on; empty when it does go on.
    awaited: tuple[TaskId, ...]


@dataclass(frozen=True, slots=True)
class CancelRequested:
    """A client wants tasks of its own stopped: queued ones dropped, running ones interrupted."""

    now: float
    client: ClientId
    tasks: tuple[TaskId, ...]


@dataclass(frozen=True, slots=True)
class ClientLeft:
    """A client closed or died."""

    now: float
    client: ClientId
    #: True when nobody can come back for its results: what is queued is dropped.
    drop: bool


@dataclass(frozen=True, slots=True)
class ClientStalled:
    """A client does not read: start nothing more for it."""

    now: float
    client: ClientId


@dataclass(frozen=True, slots=True)
class ClientResumed:
    """A stalled client reads again."""

    now: float
    client: ClientId


@dataclass(frozen=True, slots=True)
class Woke:
    """A time asked for by `WakeAt` has come."""

    now: float


Event = (
    EngineExpected
    | EngineJoined
    | EngineLost
    | StrayEnded
    | EndsTold
    | TaskSubmitted
    | TaskReplied
    | RepliesTaken
    | TasksReturned
    | AttemptsMissing
    | TaskWaits
    | CancelRequested
    | ClientLeft
    | ClientStalled
    | ClientResumed
    | Woke
)
