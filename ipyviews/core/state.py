"""The scheduler: one state machine, no I/O, no clock.

`ControllerState.handle` is the only thing that changes state. Every accepted task gets exactly one
reply, because

* a task is in `tasks` from its acceptance to `_finish`, which alone makes a `Reply` and takes the
  task out, and which the transition table allows from every state but DONE;
* a task in `tasks` is queued or running. A queued one leaves the queue by being started or
  finished. A running one ends by its engine's reply or its engine's loss, one of which always
  comes; each queues it again, at most `retries + reruns` times, or finishes it.
"""

from __future__ import annotations

from itertools import islice
from math import inf
from typing import TYPE_CHECKING, assert_never

from ipyviews.core.clients import Clients
from ipyviews.core.effects import Dispatch, Forget, Interrupt, Reply, Run, Verdict, WakeAt
from ipyviews.core.engines import Engine, EngineState
from ipyviews.core.events import (
    CancelRequested,
    ClientLeft,
    ClientResumed,
    ClientStalled,
    EngineExpected,
    EngineJoined,
    EngineLost,
    Kind,
    Status,
    TaskReplied,
    TaskSubmitted,
    Woke,
)
from ipyviews.core.placement import Pool, Pools
from ipyviews.core.queues import Home, Queue
from ipyviews.core.tasks import Story, Task, TaskState
from ipyviews.ids import Attempt

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from ipyviews.core.effects import Effect
    from ipyviews.core.events import Event
    from ipyviews.ids import EngineId, TaskId

#: Engines named in one sentence.
MOST_NAMES = 16


class ControllerState:
    """What a controller knows, and what it decides.

    Parameters
    ----------
    depth
        Tasks in flight on one engine, at least 1. More than 1 hides the way to the engine, but
        a task sent early cannot go elsewhere. Cells always run alone. [count]

    Examples
    --------
    >>> from ipyviews.core.events import EngineJoined, Kind, TaskSubmitted
    >>> state = ControllerState()
    >>> state.handle(EngineJoined(0.0, engine=0, incarnation=1, can_apply=True))
    []
    >>> task = TaskSubmitted(0.1, task="c-1.0", client="c", submission="c-1", kind=Kind.APPLY)
    >>> [effect.attempt.msg_id for effect in state.handle(task)]
    ['c-1.0/0.1/1']
    """

    def __init__(self, *, depth: int = 1) -> None:
        self.depth = depth
        #: Every engine there was; read only.
        self.engines: dict[EngineId, Engine] = {}
        #: Every task without a reply; read only.
        self.tasks: dict[TaskId, Task] = {}
        self.clients = Clients()
        self.pools = Pools(depth)
        #: Queued tasks that have not started and may not wait for ever.
        self.deadlines: Queue[tuple[float, int]] = Queue()
        #: Times asked for and not come yet, the nearest last.
        self.alarms: list[float] = []
        self._story = Story()
        self._submitted = 0
        self._now = 0.0
        self._effects: list[Effect] = []

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
        if self.deadlines:
            self._set_alarm()
        return effects

    def story(self, task: TaskId) -> list[str]:
        """Tell the remembered moves of a task, also of a finished one, oldest first."""
        return self._story.of(task)

    def _handle(self, event: Event) -> None:
        match event:
            case TaskReplied():
                self._task_replied(event)
            case TaskSubmitted():
                self._task_submitted(event)
            case CancelRequested():
                self._cancel_requested(event)
            case EngineExpected():
                self._engine_expected(event)
            case EngineJoined():
                self._engine_joined(event)
            case EngineLost():
                self._engine_lost(event)
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
        if refusal := self._refusal(event, home):
            self._finish(task, *refusal)
        else:
            self._enqueue(task)

    def _home(self, event: TaskSubmitted) -> Home:
        if event.engine is None:
            return self.pools.get(event.kind, event.allowed, self.engines)
        return self.engines.get(event.engine) or Home()

    def _refusal(self, event: TaskSubmitted, home: Home) -> tuple[Verdict, str] | None:
        if isinstance(home, Pool):
            return None if home.members else (Verdict.NO_ENGINES, _no_engines(home))
        if not isinstance(home, Engine) or home.state is EngineState.LOST:
            return Verdict.UNKNOWN_ENGINE, self._no_engine(event, home)
        if not home.may_ever_run(event.kind):
            return Verdict.UNKNOWN_ENGINE, _no_apply(home)
        return None

    def _no_engine(self, event: TaskSubmitted, home: Home) -> str:
        present = _names(self.pools.present())
        what = f"there is no engine {event.engine}"
        if isinstance(home, Engine):
            what = f"engine {event.engine} is gone ({home.reason})"
        return f"{what}; {f'engines: {present}' if present else 'there are no engines'}"

    def _task_replied(self, event: TaskReplied) -> None:
        attempt, status = event.attempt, event.status
        task = self.tasks.get(attempt.task)
        if task is None or task.state is not TaskState.RUNNING or task.attempt != attempt:
            return
        engine = self.engines[attempt.engine]
        self._stop(task, engine, status.value)
        if status is Status.ERROR and task.retries and not task.is_unwanted:
            task.retries -= 1
            self._enqueue(task)
        else:
            if task.cancelled and status is not Status.OK:
                reason = f"cancelled while it ran on engine {engine.id}"
                self._finish(task, Verdict.CANCELLED, reason)
            else:
                self._finish(task, Verdict.REPLIED)
            if task.kind is Kind.EXECUTE and status is not Status.OK:
                self._abort_rest(task, engine)
        self._fill(engine)

    def _abort_rest(self, failed: Task, engine: Engine) -> None:
        lane = engine.lanes.get(failed.client)
        for task in lane.cells(failed.submission) if lane else ():
            reason = f"an earlier cell of the same request failed on engine {engine.id}"
            self._finish(task, Verdict.ABORTED, reason)

    def _cancel_requested(self, event: CancelRequested) -> None:
        for name in event.tasks:
            task = self.tasks.get(name)
            if task is None or task.client.id != event.client or task.cancelled:
                continue
            if task.queued:
                self._finish(task, Verdict.CANCELLED, "cancelled before it started")
            elif task.attempt is not None:
                task.cancelled = True
                self._effects.append(Interrupt(task.attempt, task.kind))

    # -- engines -------------------------------------------------------------------------------

    def _engine_expected(self, event: EngineExpected) -> None:
        engine = self.engines.get(event.engine)
        if engine is None:
            engine = self.engines[event.engine] = Engine(event.engine, self.depth)
        elif engine.state is EngineState.LOST:
            engine.state = EngineState.EXPECTED
        self.pools.enrol(engine)

    def _engine_joined(self, event: EngineJoined) -> None:
        engine = self.engines.get(event.engine)
        if engine is None:
            engine = self.engines[event.engine] = Engine(event.engine, self.depth)
        elif event.incarnation <= engine.incarnation:
            return
        if engine.state is EngineState.LIVE:
            self._lose(engine, "a new process took its place", restarting=True)
        engine.state = EngineState.LIVE
        engine.incarnation = event.incarnation
        engine.can_apply = event.can_apply
        for task in engine.queued:
            if engine.may_ever_run(task.kind):
                self._move(task, TaskState.READY)
            else:
                self._finish(task, Verdict.UNKNOWN_ENGINE, _no_apply(engine))
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
        )

    def _lose(
        self,
        engine: Engine,
        reason: str,
        *,
        restarting: bool,
        self_inflicted: bool = False,
    ) -> None:
        was_live = engine.state is EngineState.LIVE
        engine.state = EngineState.EXPECTED if restarting else EngineState.LOST
        engine.can_apply = None
        engine.draining = False
        engine.reason = reason
        deserted = self.pools.enrol(engine)
        for position, task in enumerate(list(engine.running.values())):
            # Which of several had started is not known; only the first certainly had.
            self._lose_run(task, engine, guilty=self_inflicted and position == 0)
        for task in engine.queued:
            if not restarting:
                sentence = f"engine {engine.id} was lost before task {task.id} started: {reason}"
                self._finish(task, Verdict.ENGINE_LOST, sentence)
            elif was_live:
                self._move(task, TaskState.WAITING)
        self._give_up(deserted)

    def _lose_run(self, task: Task, engine: Engine, *, guilty: bool) -> None:
        self._stop(task, engine, engine.reason)
        pool = task.home if isinstance(task.home, Pool) else None
        what = f"engine {engine.id} was lost while it ran task {task.id}: {engine.reason}"
        if task.cancelled:
            self._finish(task, Verdict.CANCELLED, f"cancelled; {what}")
        elif pool is None or guilty or not task.reruns or task.is_unwanted:
            self._finish(task, Verdict.ENGINE_LOST, what)
        elif not pool.members:
            self._finish(task, Verdict.ENGINE_LOST, f"{what}; no engine is left to run it again")
        else:
            task.reruns -= 1
            self._enqueue(task)

    def _give_up(self, pools: Iterable[Pool]) -> None:
        for pool in pools:
            for task in pool.queued:
                self._finish(task, Verdict.NO_ENGINES, _no_engines(pool))

    # -- clients and time ----------------------------------------------------------------------

    def _client_left(self, event: ClientLeft) -> None:
        client = self.clients.by_id.get(event.client)
        if client is None or not event.drop:
            return
        client.gone = True
        for home in list(client.lanes):
            for task in home.lanes[client]:
                self._finish(task, Verdict.CANCELLED, "its client left before it started")
        del self.clients.by_id[event.client]

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
            self._finish(task, Verdict.TIMEOUT, f"task {task.id} was not started in time")

    def _set_alarm(self) -> None:
        deadline = self.deadlines.first().deadline
        if not self.alarms or deadline < self.alarms[-1]:
            self.alarms.append(deadline)
            self._effects.append(WakeAt(deadline))

    # -- the moves of a task -------------------------------------------------------------------

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
            self._place(home)

    def _dequeue(self, task: Task) -> None:
        task.home.take(task)
        if task.is_timed:
            self.deadlines.remove((task.deadline, task.order))

    def _place(self, home: Home) -> None:
        """Start what is queued there on engines that have room."""
        while home.has_work() and (engine := home.free_engine()):
            self._fill(engine)

    def _fill(self, engine: Engine) -> None:
        """Give an engine what is next in turn, until it has no room."""
        engine.draining = False
        while engine.has_room() and (task := _next_in_turn(engine)):
            if not engine.can_take(task.kind):
                # Passing it over, work of the other kind could keep it waiting for ever.
                engine.draining = True
                break
            self._start(task, engine)
        for pool in engine.pools:
            pool.refresh(engine)

    def _start(self, task: Task, engine: Engine) -> None:
        self._dequeue(task)
        self._move(task, TaskState.RUNNING)
        task.attempt = Attempt(task.id, engine.id, engine.incarnation, len(task.runs) + 1)
        task.started = self._now
        engine.begin(task)
        self.clients.charge(task)
        self._effects.append(Dispatch(task.attempt, task.kind))

    def _stop(self, task: Task, engine: Engine, outcome: str) -> None:
        """End a run; the task must be queued again or finished next."""
        engine.end(task)
        task.runs += (Run(engine.id, engine.incarnation, task.started, self._now, outcome),)
        self.clients.settle(task, self._now - task.started)

    def _finish(self, task: Task, verdict: Verdict, reason: str = "") -> None:
        """Give a task its one reply."""
        if task.queued:
            self._dequeue(task)
        self._move(task, TaskState.DONE)
        del self.tasks[task.id]
        if isinstance(task.home, Pool):
            self.pools.release(task.home)
        self._effects.append(
            Reply(task.id, task.client.id, verdict, task.attempt, reason, task.runs)
        )
        self._effects.append(Forget(task.id))


def _next_in_turn(engine: Engine) -> Task | None:
    """Find the task to run next on an engine: the least served client's first."""
    best: tuple[float, int, int] | None = None
    found: Task | None = None
    for home in (engine, *engine.pools):
        for client, lane in home.lanes.items():
            if not client.stalled:
                task = lane.first()
                rank = (client.used_s, client.served, task.order)
                if best is None or rank < best:
                    best, found = rank, task
    return found


def _no_apply(engine: Engine) -> str:
    return f"engine {engine.id} runs a kernel without apply; use execute"


def _no_engines(pool: Pool) -> str:
    limit = "" if pool.allowed is None else f" on engine {_names(sorted(pool.allowed))}"
    return f"no engine is there, or coming, to run this {pool.kind} task{limit}"


def _names(engines: Collection[EngineId]) -> str:
    names = ", ".join(str(name) for name in islice(engines, MOST_NAMES))
    more = len(engines) - MOST_NAMES
    return f"{names} and {more} more" if more > 0 else names
