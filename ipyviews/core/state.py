"""The scheduler: one state machine, no I/O, no clock.

`ControllerState.handle` is the only thing that changes state. Every accepted task gets exactly one
reply. Here is why; in brackets, what checks it (``invariants`` after each event of all tests).

*One way in, one way out.* A task is in `tasks` from its acceptance, which ignores a name that is
there, to `_finish`, which alone makes a `Reply` and takes it out. The table of transitions lets no
task leave DONE. [``Desk`` in the tests of the core: no second reply; those without one are `tasks`]

*In one place.* Between events a task is held, queued or running, as its state says, and nowhere
else. [``invariants._task``; ``test_invariants`` breaks each rule]

* Held: it waits for tasks that were there before it, so there is no circle. When these have ended,
  it is queued or finished. [``invariants._condition``, ``test_dependency_properties``]
* Queued: with an engine that lives or is expected, or in a pool that has one. It is started as soon
  as there is room, or finished: cancelled, too late, its engines lost, all of them waiting for it.
  [``invariants._engine``, ``_pool``]
* Running: its attempt ends by a reply, a give-back, as missing, or with its engine; each of them
  knows the attempt and not only the task, so that what is late, repeated or of another life changes
  nothing. [``test_properties``: what comes late or twice leaves the state as it is]
* Found, after a controller died: it enters as running if its engine runs that very attempt, else as
  one whose run has ended. [``test_found``, ``test_properties``: claims]

*Not for ever.* Each end of a run finishes the task or uses up a retry, a rerun, one of
`MOST_STRAYS` losses on the way, or an engine that lacks what it requires; among several on an
engine that is lost one run is free. What was used up outlives the controller (`Requeued`, `Past`).
A give-back is no run. [``test_properties.check_runs``, ``test_losses``, ``test_missing``]

What the core cannot know, and takes for granted: each attempt ends, if only by its engine's loss
(``controller.outputs``, ``silence`` and ``fleet`` see to that); an engine that is expected joins or
is lost (``fleet``); what runs on an engine that was taken over ends (``returns``); replies that are
one of many are followed by `RepliesTaken` (``performer``); a stalled client resumes or leaves
(``clients``).
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, assert_never

from ipyviews.core import schemes, sentences
from ipyviews.core.effects import UNANSWERED, Interrupt, Verdict, WakeAt
from ipyviews.core.engines import Engine, EngineState
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
    RepliesTaken,
    StrayEnded,
    TaskReplied,
    TasksReturned,
    TaskSubmitted,
    TaskWaits,
    Woke,
)
from ipyviews.core.placement import Pool
from ipyviews.core.queues import Home
from ipyviews.core.runs import Runs
from ipyviews.core.tasks import Task, TaskState

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from ipyviews.core.effects import Effect
    from ipyviews.core.events import Event
    from ipyviews.core.schemes import Chance
    from ipyviews.ids import Attempt

#: So often a task is sent again that did not get to its engine. [count]
MOST_STRAYS = 3

#: After these, calls that wait for others may wait for ever.
_MAKE_STUCK = (TaskWaits, TasksReturned, AttemptsMissing, EngineLost)


class ControllerState(Runs):
    """What a controller knows, and what it decides.

    Parameters
    ----------
    bundle
        Calls that may be in flight on one engine, at least 1; None for as many as take a few
        milliseconds by the calls before. More than 1 makes small calls cheap. Cells always run
        alone. [count]
    scheme
        How an engine is chosen among those with room; see `ipyviews.core.schemes`.
    chance
        For the schemes that draw.

    Examples
    --------
    >>> from ipyviews.core.effects import Dispatch
    >>> from ipyviews.core.events import EngineJoined, Kind, TaskSubmitted
    >>> state = ControllerState()
    >>> state.handle(EngineJoined(0.0, engine=0, incarnation=1, can_apply=True))
    []
    >>> task = TaskSubmitted(0.1, task="c-1.0", client="c", submission="c-1", kind=Kind.APPLY)
    >>> [effect.attempt.msg_id for effect in state.handle(task) if isinstance(effect, Dispatch)]
    ['c-1.0/0.1/1']
    """

    def __init__(
        self,
        *,
        bundle: int | None = None,
        scheme: str = schemes.DEFAULT,
        chance: Chance | None = None,
    ) -> None:
        super().__init__(bundle=bundle, scheme=scheme, chance=chance)
        #: Times asked for and not come yet, the nearest last.
        self.alarms: list[float] = []
        self._submitted = 0
        #: Engines that are given more to do once all replies at hand are taken.
        self._freed: dict[Engine, None] = {}

    def handle(self, event: Event) -> list[Effect]:
        """Take in what happened.

        Parameters
        ----------
        event
            Its `now` is not less than that of the event before. Stale and duplicate events
            change nothing.

        Returns
        -------
        list of Effect
            What to do, in this order.

        Raises
        ------
        AssertionError
            A rule of the scheduler itself is broken; carries the task's story.
        """
        self._now = event.now
        effects: list[Effect] = []
        self._effects = effects
        self._handle(event)
        self.holding.settle()
        if self.waits and (self.holding.has_narrowed or isinstance(event, _MAKE_STUCK)):
            self.holding.has_narrowed = False
            self.waits.break_up(self._finish)
            self.holding.settle()
        if self.deadlines:
            self._set_alarm()
        return effects

    def _handle(self, event: Event) -> None:  # noqa: PLR0912 - a branch for each event
        match event:
            case TaskReplied():
                self._task_replied(event)
            case TaskSubmitted():
                self._task_submitted(event)
            case RepliesTaken():
                self._replies_taken()
            case TasksReturned():
                self._tasks_returned(event)
            case AttemptsMissing():
                self._attempts_missing(event)
            case TaskWaits():
                self._task_waits(event)
            case CancelRequested():
                self._cancel_requested(event)
            case EngineExpected():
                self._engine_expected(event)
            case EngineJoined():
                self._engine_joined(event)
            case EngineLost():
                self._engine_lost(event)
            case StrayEnded():
                self._stray_ended(event)
            case EndsTold():
                self.holding.graph.recall(event.ends)
            case ClientLeft():
                self._client_left(event)
            case ClientStalled():
                self.clients.get(event.client).stalled = True
            case ClientResumed():
                self._client_resumed(event)
            case Woke():
                self._woke()
            case _:
                assert_never(event)

    # -- tasks ---------------------------------------------------------------------------------

    def _task_submitted(self, event: TaskSubmitted) -> None:
        if event.task in self.tasks:
            return
        self._submitted += 1
        home = self._home(event)
        task = self.tasks[event.task] = Task(
            event.task,
            self.clients.get(event.client),
            event.submission,
            event.kind,
            order=self._submitted,
            retries=event.retries,
            reruns=event.reruns,
            deadline=inf if event.timeout_s is None else event.now + event.timeout_s,
            home=home,
        )
        if isinstance(home, Pool):
            home.unfinished += 1
        if event.past is not None:
            self._resume(task, event.past)
        if event.found is not None and event.found.attempt.number > task.sent:
            # Where the tasks that it follows ran is not known here.
            task.is_tied = event.follow is not None
            self._task_found(task, event.found)
        elif refusal := self._refusal(event, home) or self.holding.depend(task, event):
            self._finish(task, *refusal)
        elif task.is_timed and task.deadline < event.now:
            self._finish(task, Verdict.TIMEOUT, sentences.too_late(task))
        elif task.conditions:
            self.holding.hold(task)
        else:
            self._enqueue(task)

    def _home(self, event: TaskSubmitted) -> Home:
        if event.engine is None:
            return self.pools.get(event.kind, event.allowed, self.engines)
        return self.engines.get(event.engine) or Home()

    def _refusal(self, event: TaskSubmitted, home: Home) -> tuple[Verdict, str] | None:
        if isinstance(home, Pool):
            return None if home.members else (Verdict.NO_ENGINES, sentences.no_engines(home))
        if not isinstance(home, Engine) or home.state is EngineState.LOST:
            reason = sentences.no_engine(event.engine, home, self.pools.present())
            return Verdict.UNKNOWN_ENGINE, reason
        if not home.may_ever_run(event.kind):
            return Verdict.UNKNOWN_ENGINE, sentences.no_apply(home)
        return None

    def _task_replied(self, event: TaskReplied) -> None:
        attempt, status = event.attempt, event.status
        task = self._running(attempt)
        if task is None:
            return
        engine = self.engines[attempt.engine]
        self._stop(task, engine, status.value, event.ran_s)
        engine.is_late = engine in self.waits
        self._conclude(task, engine, status)
        # What waited for this task came before what is queued.
        self.holding.settle()
        if event.is_one_of_many:
            self._freed[engine] = None
        else:
            self._fill(engine)

    def _stray_ended(self, event: StrayEnded) -> None:
        engine = self.engines.get(event.attempt.engine)
        if engine is not None and engine.stray == event.attempt:
            engine.stray = None
            self._fill(engine)

    def _replies_taken(self) -> None:
        freed, self._freed = self._freed, {}
        for engine in freed:
            self._fill(engine)

    def _running(self, attempt: Attempt) -> Task | None:
        """Find the task that this very attempt is of; None when it is old news."""
        task = self.tasks.get(attempt.task)
        is_running = task is not None and task.state is TaskState.RUNNING
        return task if task is not None and is_running and task.attempt == attempt else None

    def _task_waits(self, event: TaskWaits) -> None:
        if task := self._running(event.attempt):
            engine = self.engines[event.attempt.engine]
            self._effects += self.waits.note(task, engine, event.awaited)

    def _cancel_requested(self, event: CancelRequested) -> None:
        for name in event.tasks:
            task = self.tasks.get(name)
            if task is None or task.client.id != event.client or task.cancelled:
                continue
            if task.state is not TaskState.RUNNING:
                self._finish(task, Verdict.CANCELLED, "cancelled before it started")
            elif task.attempt is not None:
                task.cancelled = True
                self._effects.append(Interrupt(task.attempt, task.kind))

    # -- engines -------------------------------------------------------------------------------

    def _engine_expected(self, event: EngineExpected) -> None:
        engine = self.engines.get(event.engine)
        if engine is None:
            engine = self.engines[event.engine] = Engine(event.engine, self.most)
        elif engine.state is EngineState.LOST:
            engine.state = EngineState.EXPECTED
        self.pools.enrol(engine)

    def _engine_joined(self, event: EngineJoined) -> None:
        engine = self.engines.get(event.engine)
        if engine is None:
            engine = self.engines[event.engine] = Engine(event.engine, self.most)
        elif event.incarnation <= engine.incarnation:
            return
        if engine.state is EngineState.LIVE:
            self._lose(engine, "a new process took its place", restarting=True)
        engine.state = EngineState.LIVE
        engine.incarnation = event.incarnation
        engine.can_apply = event.can_apply
        engine.is_fresh = True
        engine.stray = event.stray
        for task in engine.queued:
            if engine.may_ever_run(task.kind):
                self._move(task, TaskState.READY)
            else:
                self._finish(task, Verdict.UNKNOWN_ENGINE, sentences.no_apply(engine))
        self._give_up(self.pools.enrol(engine))
        self._fill(engine)

    def _engine_lost(self, event: EngineLost) -> None:
        engine = self.engines.get(event.engine)
        if engine is None or engine.is_stale(event.incarnation):
            return
        engine.incarnation = max(engine.incarnation, event.incarnation)
        self._lose(
            engine,
            event.reason,
            restarting=event.restarting,
            self_inflicted=event.self_inflicted,
            untouched=event.untouched,
            ended=event.ended,
        )

    def _lose(
        self,
        engine: Engine,
        reason: str,
        *,
        restarting: bool,
        self_inflicted: bool = False,
        untouched: Collection[Attempt] = (),
        ended: Collection[Attempt] = (),
    ) -> None:
        was_live = engine.state is EngineState.LIVE
        engine.state = EngineState.EXPECTED if restarting else EngineState.LOST
        engine.can_apply = None
        engine.draining = engine.is_late = False
        engine.stray = None
        engine.reason = reason
        deserted = self.pools.enrol(engine)
        self.holding.lose_places(engine)
        for task in [one for one in engine.running.values() if one.attempt in untouched]:
            self._give_back(task, engine)
        running = list(engine.running.values())
        # Of several, the first had been started, and any may have been the one that ran.
        suspects = [task for task in running if task.attempt not in ended]
        for task in running:
            may_have_run = task in suspects
            task.suspect |= may_have_run and len(suspects) > 1
            guilty = self_inflicted and suspects == [task]
            started = not may_have_run or task is suspects[0]
            what = sentences.lost(task, engine)
            self._stop(task, engine, engine.reason, counts=started)
            if (losses := task.losses) > 1:
                what = f"{what} (the last of {losses} engines that were lost with this task)"
            self._run_again(task, what, guilty=guilty, started=started)
        for task in engine.queued:
            if not restarting:
                sentence = f"engine {engine.id} was lost before task {task.id} started: {reason}"
                self._finish(task, Verdict.ENGINE_LOST, sentence)
            elif was_live:
                self._move(task, TaskState.WAITING)
        self._give_up(deserted)

    def _give_up(self, pools: Iterable[Pool]) -> None:
        for pool in pools:
            for task in pool.queued:
                if not pool.fits(task):
                    self._finish(task, *sentences.deserted(task, pool))

    # -- calls sent ahead ----------------------------------------------------------------------

    def _tasks_returned(self, event: TasksReturned) -> None:
        tasks = {
            task: self.engines[attempt.engine]
            for attempt in event.attempts
            if (task := self._running(attempt))
        }
        for engine in tasks.values():
            # What it is busy with takes longer than was thought.
            engine.is_late = True
            for pool in engine.pools:
                pool.refresh(engine)
        for task, engine in tasks.items():
            self._give_back(task, engine)
        for engine in dict.fromkeys(tasks.values()):
            self._fill(engine)

    def _attempts_missing(self, event: AttemptsMissing) -> None:
        engines: dict[Engine, None] = {}
        for attempt in event.attempts:
            task = self._running(attempt)
            if task is None:
                continue
            engine = self.engines[attempt.engine]
            engines[engine] = None
            if attempt in event.untouched and task.strays < MOST_STRAYS:
                task.strays += 1
                self._give_back(task, engine)
            else:
                self._stop(task, engine, UNANSWERED)
                self._run_again(task, sentences.missing(task, engine))
        for engine in engines:
            engine.is_late = engine in self.waits
            self._fill(engine)

    # -- clients and time ----------------------------------------------------------------------

    def _client_left(self, event: ClientLeft) -> None:
        client = self.clients.by_id.get(event.client)
        if client is None:
            return
        if not event.drop:
            client.left = True
            self.clients.forget_if_done(client)
            return
        client.gone = True
        for task in list(client.held.values()):
            self._finish(task, Verdict.CANCELLED, "its client left before it started")
        for home in list(client.lanes):
            for task in home.lanes[client]:
                self._finish(task, Verdict.CANCELLED, "its client left before it started")
        # It may have left before, so that the end of its last task was the end of it.
        self.clients.by_id.pop(event.client, None)

    def _client_resumed(self, event: ClientResumed) -> None:
        client = self.clients.by_id.get(event.client)
        if client is None or not client.stalled:
            return
        client.stalled = False
        if client.queued:
            self.clients.enter(client)
        for home in list(client.lanes):
            self._place(home)

    def _woke(self) -> None:
        while self.alarms and self.alarms[-1] <= self._now:
            self.alarms.pop()
        while self.deadlines:
            task = self.deadlines.first()
            if task.deadline > self._now:
                return
            self._finish(task, Verdict.TIMEOUT, sentences.too_late(task))

    def _set_alarm(self) -> None:
        deadline = self.deadlines.first().deadline
        if not self.alarms or deadline < self.alarms[-1]:
            self.alarms.append(deadline)
            self._effects.append(WakeAt(deadline))
