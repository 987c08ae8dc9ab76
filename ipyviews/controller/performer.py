"""Feeds events to the core and does what it decides.

The core decides, this performs: nothing here chooses an engine, an order or an outcome.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any, assert_never

from ipyviews.controller.turns import Turns
from ipyviews.core.effects import Dispatch, Interrupt, Recall, Reply, Requeued, Verdict, WakeAt
from ipyviews.core.events import (
    AttemptsMissing,
    Kind,
    RepliesTaken,
    Status,
    TaskReplied,
    TasksReturned,
    Woke,
)
from ipyviews.protocol.wire import pack, unpack

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Sequence

    from ipyviews.controller.clients import Clients
    from ipyviews.controller.fleet import Fleet
    from ipyviews.controller.links import Link, Links
    from ipyviews.controller.outputs import Flight, Gate
    from ipyviews.controller.pasts import Pasts
    from ipyviews.controller.records import Records
    from ipyviews.controller.requests import PendingTask, Store
    from ipyviews.controller.sharing import Sharing
    from ipyviews.controller.withheld import Withheld
    from ipyviews.core.effects import Effect, Run
    from ipyviews.core.events import Event
    from ipyviews.core.state import ControllerState
    from ipyviews.ids import Attempt, EngineId, TaskId
    from ipyviews.protocol.wire import Frame

    #: What goes in one message: kind, submission, urgency.
    Together = tuple[Kind, int, bool]

#: The error a client raises for each verdict that is not the engine's own reply.
ENAMES = {
    Verdict.CANCELLED: "TaskAborted",
    Verdict.ABORTED: "TaskAborted",
    Verdict.ENGINE_LOST: "EngineError",
    Verdict.UNKNOWN_ENGINE: "UsageError",
    Verdict.NO_ENGINES: "NoEnginesRegistered",
    Verdict.DEADLOCK: "ImpossibleDependency",
    Verdict.TIMEOUT: "TaskTimeout",
    Verdict.IMPOSSIBLE: "ImpossibleDependency",
    Verdict.INVALID: "InvalidDependency",
}


REPLY_TYPES = {kind: f"{kind}_reply" for kind in Kind}


class Performer:
    """The way of every event into the core and of every effect out of it.

    Parameters
    ----------
    state
        The core.
    store
        The frames of tasks that are not final.
    """

    def __init__(self, state: ControllerState, store: Store) -> None:
        self.state = state
        self.clients: Clients
        self.links: Links
        self.fleet: Fleet
        self.gate: Gate
        self.records: Records
        self.pasts: Pasts
        self.sharing: Sharing
        self.withheld: Withheld
        #: Called with a sentence when an event could not be handled.
        self.on_broken: Callable[[str], None] = lambda _why: None
        self._store = store
        self._loop = asyncio.get_running_loop()
        self._queue: deque[tuple[Event, Flight | None]] = deque()
        self._is_busy = False
        #: More than 0 while what is decided is sent later, more together.
        self._held = 0
        #: Whether engines that replied meanwhile have been given nothing more to do so far.
        self._has_freed = False
        #: Work that is done in slices.
        self.turns = Turns(self._loop, self.quietly, self.send)
        #: Calls and cells that go out, by engine and request.
        self._leaving: dict[Link, dict[Together, list[tuple[str, PendingTask]]]] = {}
        self._timers: dict[float, asyncio.TimerHandle] = {}
        self._background: set[asyncio.Task[None]] = set()

    def feed(self, event: Event, flight: Flight | None = None) -> list[Effect]:
        """Give one event to the core and perform its effects, then those of what follows.

        Returns
        -------
        list of Effect
            What the core decided on `event`; empty when called while another is performed.
        """
        if self._is_busy:
            self._queue.append((event, flight))
            return []
        self._is_busy = True
        try:
            first = self._take(event, flight)
            while self._queue:
                self._take(*self._queue.popleft())
        except Exception as error:
            # The core and the world may differ now, and somebody would wait for ever.
            self.on_broken(f"the controller failed: {error!r}; its log in the run folder says more")
            raise
        finally:
            self._is_busy = False
        if not self._held:
            self.send()
        return first

    def _take(self, event: Event, flight: Flight | None) -> list[Effect]:
        effects = self.state.handle(event)
        for effect in effects:
            self._perform(effect, flight)
        if flight is not None and flight.reply is not None and not flight.is_told:
            # It is run again, or nobody is there to have it.
            received = partial(self.gate.receipts.received, flight.link, flight.receipt)
            self.records.when_written(received)
        return effects

    def quietly(self, work: Callable[[], None]) -> None:
        """Run `work` and leave what it causes to be sent by the next `send`."""
        self._held += 1
        try:
            work()
            if self._held == 1 and self._has_freed:
                self._has_freed = False
                self.feed(RepliesTaken(self._loop.time()))
        finally:
            self._held -= 1

    def send(self) -> None:
        """Send what was decided on: the calls of one request to one engine in one message."""
        self._send_dispatches()
        self.clients.flush()

    def answered(self, flight: Flight) -> None:
        """Tell the core that an attempt has ended; its answer is at hand for the reply."""
        now, is_held = self._loop.time(), self._held > 0
        self._has_freed |= is_held
        self.feed(TaskReplied(now, flight.attempt, flight.status, flight.ran_s, is_held), flight)

    def returned(self, attempts: tuple[Attempt, ...]) -> None:
        """Tell the core that an engine gave back what it had not started."""
        self.feed(TasksReturned(self._loop.time(), attempts))

    def missing(self, attempts: tuple[Attempt, ...], untouched: frozenset[Attempt]) -> None:
        """Tell the core that engines hold attempts no more and have not answered them."""
        self.feed(AttemptsMissing(self._loop.time(), attempts, untouched))

    def unknown(self, tasks: Iterable[TaskId]) -> list[TaskId]:
        """Return those that have ended, or whose request has not been taken in so far."""
        return [task for task in tasks if task not in self._store]

    def is_busy(self, engine: EngineId) -> bool:
        """Whether an engine has been sent something that has not ended."""
        return bool(self.state.engines[engine].running)

    def close(self) -> None:
        """Stop timers and what runs in the background."""
        self.turns.close()
        for timer in self._timers.values():
            timer.cancel()
        for task in self._background:
            task.cancel()

    def _perform(self, effect: Effect, flight: Flight | None) -> None:
        match effect:
            case Dispatch():
                self._dispatch(effect)
            case Reply():
                self._reply(effect, flight)
            case Recall(attempts):
                self._recall(attempts)
            case Interrupt(attempt, kind):
                self.interrupt(attempt, kind)
            case Requeued(task, past):
                self.pasts.requeued(task, past)
            case WakeAt(when):
                self._wake_at(when)
            case _:
                assert_never(effect)

    # -- to engines ------------------------------------------------------------------------------

    def _dispatch(self, dispatch: Dispatch) -> None:
        attempt, kind, is_urgent = dispatch
        link = self.fleet.link(attempt.engine, attempt.incarnation)
        if link is None:
            # Its exit is being told; the core hears of it in an event that is already queued.
            return
        pending = self._store.get(attempt.task)
        name = attempt.msg_id
        self.gate.open(name, attempt, kind, pending.client, link)
        together = kind, id(pending.submission), is_urgent
        self._leaving.setdefault(link, {}).setdefault(together, []).append((name, pending))

    def _send_dispatches(self, to: Link | None = None) -> None:
        """Send what goes out, that `to` an engine in any case.

        More is coming for an engine while a bundle of its replies is taken in: only what is urgent
        does not wait for it, nor for what goes out with it.
        """
        hasty = {
            link
            for link, requests in self._leaving.items()
            if any(urgent or kind is Kind.EXECUTE for kind, _, urgent in requests)
        }
        for link in sorted(self._leaving, key=lambda link: link not in hasty):
            if link is to or link in hasty or not self.turns.is_ending(link):
                requests = self._leaving.pop(link)
                for kind, submission, urgent in sorted(requests, key=lambda one: not one[2]):
                    self._send(link, kind, requests[kind, submission, urgent], urgent=urgent)

    def _send(
        self, link: Link, kind: Kind, calls: list[tuple[str, PendingTask]], *, urgent: bool
    ) -> None:
        name, pending = calls[0]
        if len(calls) > 1:
            places = [one.place for _, one in calls]
            bundle, buffers = pending.submission.cut_together(places)
            content: Frame = pack({**bundle, "attempts": [name for name, _ in calls]})
        else:
            content, buffers = pending.frames()
        metadata = None
        if kind is Kind.APPLY:
            first = self.gate.number(link, [name for name, _ in calls])
            metadata = pending.metadata(first, urgent=urgent)
        self.links.send(
            link,
            "apply" if kind is Kind.APPLY else "shell",
            f"{kind}_request",
            name,
            content,
            metadata=metadata,
            buffers=buffers,
        )
        if kind is Kind.APPLY and link.foreign_loop:
            self._nudge(link)

    def _recall(self, attempts: tuple[Attempt, ...]) -> None:
        link = self.fleet.link(attempts[0].engine, attempts[0].incarnation)
        if link is None:
            return
        self._send_dispatches(link)
        content = {"attempts": [attempt.msg_id for attempt in attempts]}
        self.links.send(link, "apply", "recall_request", link.new_id(), content)

    def interrupt(self, attempt: Attempt, kind: Kind) -> None:
        """Stop an attempt if it still runs, and nothing else."""
        link = self.fleet.link(attempt.engine, attempt.incarnation)
        if link is None or not self.gate.is_running(attempt):
            return
        self._send_dispatches(link)
        if link.can_apply:
            content = {"attempt": attempt.msg_id, "kind": kind}
            _, answer = self.links.request(link, "apply", "interrupt_request", content)
            self.gate.stops(attempt, answer)
        elif link.kernel.interrupt_mode == "message":
            self.links.request(link, "control", "interrupt_request", {})
            self._nudge(link)
        else:
            self._spawn(self._signal(link))

    async def _signal(self, link: Link) -> None:
        await link.kernel.interrupt()
        self._nudge(link)

    def _nudge(self, link: Link) -> None:
        """Wake a kernel's loop, which may not notice a signal or our channel by itself."""
        if link.ended is None:
            self.links.request(link, "shell", "kernel_info_request", {})

    # -- to clients ------------------------------------------------------------------------------

    def _reply(self, reply: Reply, flight: Flight | None) -> None:
        task, client, verdict, attempt, _, runs = reply
        pending = self._store.take(task)
        self.pasts.ended(task)
        ours: dict[str, Any] = {
            "verdict": verdict,
            "engine": attempt.engine if attempt else pending.engine,
            "attempts": self._history(runs),
        }
        if verdict in (Verdict.ENGINE_LOST, Verdict.UNKNOWN_ENGINE):
            ours["deaths"] = self.fleet.deaths.named(runs, pending.engine)
        metadata: dict[str, Any] = {"ipyviews": ours}
        message = flight.reply if flight and verdict is Verdict.REPLIED else None
        body: Frame | dict[str, Any]
        buffers: Sequence[Frame] = ()
        if message is None:
            body = error_content(ENAMES.get(verdict, "TaskError"), _reason(reply, flight))
        else:
            body, buffers = message.body, message.buffers
            if message.metadata:
                metadata = {**message.metadata, **metadata}
            if flight and flight.incomplete:
                ours["incomplete_output"] = True
            if pending.submission.is_setup and flight and flight.status is Status.OK:
                self._note_setup(flight, pending)
        msg_type = REPLY_TYPES[pending.kind]
        told = task, msg_type, body, metadata, buffers
        if flight is None or message is None:
            self.clients.reply(client, told)
        else:
            flight.is_told = self.clients.reply(client, told, (flight.link, flight.receipt, task))
        self.records.ended(client, task, ours, body, buffers)

    def _note_setup(self, flight: Flight, pending: PendingTask) -> None:
        code = str(unpack(pending.submission.content).get("code", ""))
        self.fleet.setups.note(flight.attempt.engine, code)

    def _history(self, runs: Sequence[Run]) -> list[list[Any]]:
        """Put the runs into wall-clock time; the core's clock means nothing elsewhere."""
        offset = time.time() - self._loop.time()
        return [
            [engine, incarnation, started + offset, ended + offset, outcome]
            for engine, incarnation, started, ended, outcome in runs
        ]

    # -- time ------------------------------------------------------------------------------------

    def _wake_at(self, when: float) -> None:
        if when not in self._timers:
            self._timers[when] = self._loop.call_at(when, self._wake, when)

    def _wake(self, when: float) -> None:
        del self._timers[when]
        self.feed(Woke(max(when, self._loop.time())))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)


def _reason(reply: Reply, flight: Flight | None) -> str:
    """Say why a task did not run to its end; of a requirement also what its engine says of it."""
    said = flight.reply if flight and reply.attempt else None
    if reply.verdict is not Verdict.IMPOSSIBLE or said is None:
        return reply.reason
    return f"{reply.reason}; the last said: {said.read().get('evalue', '')}"


def error_content(ename: str, sentence: str) -> dict[str, Any]:
    """Make the content of a reply that no engine sent."""
    return {"status": "error", "ename": ename, "evalue": sentence, "traceback": []}
