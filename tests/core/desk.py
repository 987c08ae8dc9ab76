"""A state with a ledger: short verbs make events, every effect is checked as it appears."""

from __future__ import annotations

from copy import copy
from operator import attrgetter
from random import Random

from ipyviews.core import invariants, schemes
from ipyviews.core.effects import (
    Dispatch,
    Effect,
    Interrupt,
    Past,
    Recall,
    Reply,
    Requeued,
    Run,
    Verdict,
    WakeAt,
)
from ipyviews.core.ends import Ended
from ipyviews.core.events import (
    AttemptsMissing,
    CancelRequested,
    ClientLeft,
    ClientResumed,
    ClientStalled,
    EndsTold,
    EngineExpected,
    EngineJoined,
    EngineLost,
    Event,
    Kind,
    Status,
    TaskReplied,
    TasksReturned,
    TaskSubmitted,
    TaskWaits,
    Woke,
)
from ipyviews.core.state import ControllerState
from ipyviews.core.tasks import Task, TaskState
from ipyviews.ids import Attempt
from tests.core.needs import check_dispatch, check_impossible, check_waiting


class Desk:
    """Drives one `ControllerState` and believes nothing it says without looking."""

    def __init__(
        self, bundle: int | None = 1, engines: int = 0, scheme: str = schemes.DEFAULT
    ) -> None:
        self.bundle = bundle
        self.scheme = scheme
        self.state = self.new_state()
        self.now = 0.0
        self.events: list[Event] = []
        self.effects: list[list[Effect]] = []
        self.submitted: dict[str, TaskSubmitted] = {}
        self.replies: dict[str, Reply] = {}
        #: The same of tasks that ended under a controller before.
        self.told: dict[str, Reply] = {}
        #: Attempts sent and not yet ended, in order.
        self.in_flight: dict[Attempt, Kind] = {}
        #: Every attempt ever sent, in order.
        self.sent: list[Attempt] = []
        self.interrupted: list[Attempt] = []
        #: What was behind tasks that were queued again.
        self.requeued: dict[str, Past] = {}
        #: Tasks, and engines that said that they lack something for them.
        self.refused: set[tuple[str, int]] = set()
        #: Attempts asked back and not yet ended, in order.
        self.recalled: dict[Attempt, None] = {}
        self.alarms: list[float] = []
        #: The life of each engine that lives.
        self.lives: dict[int, int] = {}
        for engine in range(engines):
            self.join(engine)

    def new_state(self) -> ControllerState:
        """Make a state like this one was at first."""
        return ControllerState(bundle=self.bundle, scheme=self.scheme, chance=Random(1))

    @property
    def ends(self) -> dict[str, Reply]:
        """How all tasks ended that anybody knows of."""
        return self.told | self.replies

    # -- events --------------------------------------------------------------------------------

    def tell(self, task: str, *, ok: bool = True, engine: int | None = None, life: int = 0):
        """Tell how a task ended under a controller before."""
        run = Run(engine, life, 0.0, 0.0, "ok" if ok else "error")
        runs = () if engine is None else (run,)
        verdict = Verdict.REPLIED if runs else Verdict.CANCELLED
        self.told[task] = Reply(task, "a", verdict, None, "", runs)
        return self.feed(EndsTold(self.now, ((task, Ended(ok, engine, life)),)))

    def expect(self, engine: int):
        return self.feed(EngineExpected(self.now, engine))

    def join(
        self,
        engine: int,
        incarnation: int = 1,
        can_apply: bool = True,
        stray: Attempt | None = None,
    ):
        if incarnation > self.lives.get(engine, 0):
            self._end_life(engine)
            self.lives[engine] = incarnation
        return self.feed(EngineJoined(self.now, engine, incarnation, can_apply, stray))

    def lose(self, engine: int, incarnation: int = 1, reason: str = "killed by SIGKILL", **how):
        if self.lives.get(engine) == incarnation:
            self._end_life(engine)
        return self.feed(EngineLost(self.now, engine, incarnation, reason, **how))

    def submit(self, task: str, engine: int | None = None, client: str = "a", **what):
        """Submit task ``<request>.<i>``; a call unless `kind` says otherwise."""
        request = task.rpartition(".")[0] or task
        kind = what.pop("kind", Kind.APPLY)
        found = what.get("found")
        if found is not None and found.status is Status.UNMET:
            self.refused.add((task, found.attempt.engine))
        if found is not None:
            # If it goes on it may be asked back at once.
            self.in_flight[found.attempt] = kind
        effects = self.feed(TaskSubmitted(self.now, task, client, request, kind, engine, **what))
        known = self.state.tasks.get(task)
        is_running = known is not None and known.state is TaskState.RUNNING
        if found is not None and not (is_running and known.attempt == found.attempt):
            del self.in_flight[found.attempt]
        return effects

    def cell(self, task: str, engine: int | None = None, client: str = "a", **what):
        return self.submit(task, engine, client, kind=Kind.EXECUTE, **what)

    def reply(
        self,
        task: str | Attempt,
        status: Status = Status.OK,
        after: float = 0.0,
        ran_s: float | None = None,
    ):
        """Let the engine reply to the attempt, or to the last one of a task."""
        self.now += after
        attempt = task if isinstance(task, Attempt) else self.attempt(task)
        if status is Status.UNMET and attempt in self.in_flight:
            self.refused.add((attempt.task, attempt.engine))
        self._ended(attempt)
        return self.feed(TaskReplied(self.now, attempt, status, ran_s))

    def fail(self, task: str | Attempt):
        return self.reply(task, Status.ERROR)

    def unmet(self, task: str | Attempt):
        return self.reply(task, Status.UNMET)

    def give_back(self, *tasks: str | Attempt):
        """Let an engine give back what it was asked for: these, or their last attempts."""
        attempts = [task if isinstance(task, Attempt) else self.attempt(task) for task in tasks]
        for attempt in attempts:
            self._ended(attempt)
        return self.feed(TasksReturned(self.now, tuple(attempts)))

    def miss(self, *attempts: Attempt, untouched: int = 0):
        """Let living engines hold attempts no more; the first `untouched` never came there."""
        for attempt in attempts:
            self._ended(attempt)
        return self.feed(AttemptsMissing(self.now, attempts, frozenset(attempts[:untouched])))

    def waits(self, task: str, *awaited: str):
        """Let a running task wait for others; for none, it goes on."""
        return self.feed(TaskWaits(self.now, self.attempt(task), awaited))

    def cancel(self, *tasks: str, client: str = "a"):
        return self.feed(CancelRequested(self.now, client, tasks))

    def leave(self, client: str = "a", drop: bool = True):
        return self.feed(ClientLeft(self.now, client, drop))

    def stall(self, client: str = "a"):
        return self.feed(ClientStalled(self.now, client))

    def resume(self, client: str = "a"):
        return self.feed(ClientResumed(self.now, client))

    def wake(self, now: float):
        self.now = now
        self.alarms = [when for when in self.alarms if when > now]
        return self.feed(Woke(now))

    # -- looking -------------------------------------------------------------------------------

    def attempt(self, task: str) -> Attempt:
        known = [*self.in_flight, *reversed(self.sent)]
        return next(attempt for attempt in known if attempt.task == task)

    def runs_on(self, task: str) -> int | None:
        """The engine a task is on now."""
        return next((a.engine for a in self.in_flight if a.task == task), None)

    @property
    def running(self) -> list[str]:
        return [attempt.task for attempt in self.in_flight]

    @property
    def order(self) -> list[str]:
        """Tasks in the order they were started."""
        return [attempt.task for attempt in self.sent]

    def verdict(self, task: str) -> Verdict | None:
        reply = self.replies.get(task)
        return reply.verdict if reply else None

    def reason(self, task: str) -> str:
        return self.replies[task].reason

    # -- the ledger ----------------------------------------------------------------------------

    def _end_life(self, engine: int) -> None:
        self.lives.pop(engine, None)
        for attempt in [attempt for attempt in self.in_flight if attempt.engine == engine]:
            self._ended(attempt)

    def _ended(self, attempt: Attempt) -> None:
        self.in_flight.pop(attempt, None)
        self.recalled.pop(attempt, None)

    def feed(self, event: Event) -> list[Effect]:
        if isinstance(event, TaskSubmitted):
            self.submitted.setdefault(event.task, event)
        self.events.append(event)
        effects = self.state.handle(event)
        self.effects.append(copy(effects))
        for effect in effects:
            self._note(effect)
        invariants.check(self.state)
        unanswered = self.submitted.keys() - self.replies.keys()
        assert unanswered == self.state.tasks.keys()
        for task in self.state.tasks.values():
            if task.state is TaskState.HELD:
                check_waiting(self.submitted[task.id], self.ends, self.lives)
        return effects

    def _note(self, effect: Effect) -> None:
        match effect:
            case Dispatch(attempt, kind, urgent):
                assert not urgent or kind is Kind.APPLY
                assert attempt not in self.sent
                assert self.lives[attempt.engine] == attempt.incarnation
                event = self.submitted[attempt.task]
                assert kind is event.kind
                check_dispatch(event, attempt, self.ends, self.lives)
                assert (attempt.task, attempt.engine) not in self.refused
                self.sent.append(attempt)
                self.in_flight[attempt] = kind
            case Recall(attempts):
                assert attempts
                assert len({attempt.engine for attempt in attempts}) == 1
                for attempt in attempts:
                    assert self.in_flight[attempt] is Kind.APPLY
                    assert attempt not in self.recalled
                    self.recalled[attempt] = None
            case Interrupt(attempt, kind):
                assert self.in_flight[attempt] is kind
                assert attempt not in self.interrupted
                self.interrupted.append(attempt)
            case Reply(task):
                assert task not in self.replies, "a second reply"
                assert effect.client == self.submitted[task].client
                assert bool(effect.reason) is (effect.verdict is not Verdict.REPLIED)
                self.replies[task] = effect
                if effect.verdict is Verdict.IMPOSSIBLE:
                    event = self.submitted[task]
                    check_impossible(event, effect, self.ends, self.lives)
            case Requeued(task, past):
                assert past.runs
                assert past.sent >= len(past.runs)
                # It may end at once: nobody but an engine that waits for it is left to run it.
                end_now = {one.task for one in self.effects[-1] if isinstance(one, Reply)}
                assert task not in self.replies
                assert task in self.state.tasks.keys() | end_now
                self.requeued[task] = past
            case WakeAt(when):
                assert all(when < other for other in self.alarms), "a redundant alarm"
                self.alarms.append(when)


TASK = attrgetter(
    *("id", "state", "order", "attempt", "started", "charge", "runs", "retries", "reruns"),
    *("cancelled", "queued", "deadline", "sent", "recalled", "suspect", "estimate_s"),
    *("narrowed", "begun", "avoid", "strays"),
)
ENGINE = attrgetter(
    *("id", "state", "incarnation", "can_apply", "draining", "kind", "reason"),
    *("ahead_s", "direct_s", "is_late", "stray"),
)
CLIENT = attrgetter("id", "used_s", "mean_s", "call_s", "served", "stalled", "queued", "running")
POOL = attrgetter("kind", "allowed", "unfinished")


def _name(task: Task | None) -> str:
    return "" if task is None else task.id


def fingerprint(state: ControllerState) -> object:
    """Everything a state knows, as plain values to compare."""
    return (
        [TASK(task) for task in state.tasks.values()],
        [
            (ENGINE(engine), list(engine.running), list(engine.directs), _name(engine.single))
            for engine in state.engines.values()
        ],
        [(POOL(pool), list(pool.members), pool.index.loads()) for pool in state.pools],
        [[task.id for task in home.queued] for home in (*state.engines.values(), *state.pools)],
        [[task.id for task in pool.rest.queued] for pool in state.pools if pool.rest],
        [CLIENT(client) for client in state.clients.by_id.values()],
        list(state.alarms),
        [(c.needs, c.is_place, c.left, c.places, list(c.tasks)) for c in state.holding.graph],
        [(name, wait.task.id, wait.awaited) for name, wait in state.waits.items()],
    )
