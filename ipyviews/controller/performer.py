"""Feeds events to the core and does what it decides.

The core decides, this performs: nothing here chooses an engine, an order or an outcome.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import TYPE_CHECKING, Any, assert_never

from ipyviews.controller.turns import Turns
from ipyviews.core.effects import Dispatch, Forget, Interrupt, Recall, Reply, Verdict, WakeAt
from ipyviews.core.events import Kind, TaskReplied, TasksReturned, Woke
from ipyviews.protocol.wire import pack

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Sequence

    from ipyviews.controller.clients import Clients
    from ipyviews.controller.fleet import Fleet
    from ipyviews.controller.links import Link, Links
    from ipyviews.controller.outputs import Answer, Gate
    from ipyviews.controller.records import Records
    from ipyviews.controller.requests import PendingTask, Store
    from ipyviews.core.effects import Effect, Run
    from ipyviews.core.events import Event, Status
    from ipyviews.core.state import ControllerState
    from ipyviews.ids import Attempt, TaskId

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
        #: Called with a sentence when an event could not be handled.
        self.on_broken: Callable[[str], None] = lambda _why: None
        self._store = store
        self._loop = asyncio.get_running_loop()
        self._queue: deque[tuple[Event, Answer | None]] = deque()
        self._is_busy = False
        #: More than 0 while what is decided is sent later, more together.
        self._held = 0
        #: Work that is done in slices.
        self.turns = Turns(self._loop, self.quietly, self.send)
        #: Calls and cells that go out, by engine and request.
        self._leaving: dict[Link, dict[Together, list[tuple[Attempt, PendingTask]]]] = {}
        self._timers: dict[float, asyncio.TimerHandle] = {}
        self._background: set[asyncio.Task[None]] = set()

    def feed(self, event: Event, answer: Answer | None = None) -> list[Effect]:
        """Give one event to the core and perform its effects, then those of what follows.

        Returns
        -------
        list of Effect
            What the core decided on `event`; empty when called while another is performed.
        """
        self._queue.append((event, answer))
        first: list[Effect] = []
        if self._is_busy:
            return first
        self._is_busy = True
        try:
            while self._queue:
                current, answer = self._queue.popleft()
                effects = self.state.handle(current)
                if current is event:
                    first = effects
                for effect in effects:
                    self._perform(effect, answer)
        except Exception as error:
            # The core and the world may differ now, and somebody would wait for ever.
            self.on_broken(f"the controller failed: {error!r}; its log in the run folder says more")
            raise
        finally:
            self._is_busy = False
        if not self._held:
            self.send()
        return first

    def quietly(self, work: Callable[[], None]) -> None:
        """Run `work` and leave what it causes to be sent by the next `send`."""
        self._held += 1
        try:
            work()
        finally:
            self._held -= 1

    def send(self) -> None:
        """Send what was decided on: the calls of one request to one engine in one message."""
        self._send_dispatches()
        self.clients.flush()

    def answered(self, attempt: Attempt, status: Status, answer: Answer) -> None:
        """Tell the core that an attempt has ended; its answer is at hand for the reply."""
        self.feed(TaskReplied(self._loop.time(), attempt, status, answer.ran_s), answer)

    def returned(self, attempts: tuple[Attempt, ...]) -> None:
        """Tell the core that an engine gave back what it had not started."""
        self.feed(TasksReturned(self._loop.time(), attempts))

    def unknown(self, tasks: Iterable[TaskId]) -> list[TaskId]:
        """Return those that have ended, or whose request has not been taken in so far."""
        return [task for task in tasks if task not in self._store]

    def close(self) -> None:
        """Stop timers and what runs in the background."""
        self.turns.close()
        for timer in self._timers.values():
            timer.cancel()
        for task in self._background:
            task.cancel()

    def _perform(self, effect: Effect, answer: Answer | None) -> None:
        match effect:
            case Dispatch():
                self._dispatch(effect)
            case Recall(attempts):
                self._recall(attempts)
            case Interrupt(attempt, kind):
                self.interrupt(attempt, kind)
            case Reply():
                self._reply(effect, answer)
            case Forget(task):
                self._store.forget(task)
            case WakeAt(when):
                self._wake_at(when)
            case _:
                assert_never(effect)

    # -- to engines ------------------------------------------------------------------------------

    def _dispatch(self, dispatch: Dispatch) -> None:
        attempt, kind = dispatch.attempt, dispatch.kind
        link = self.fleet.link(attempt.engine, attempt.incarnation)
        if link is None:
            # Its exit is being told; the core hears of it in an event that is already queued.
            return
        pending = self._store.get(attempt.task)
        self.gate.open(attempt, kind, pending.client)
        together = kind, id(pending.submission), dispatch.urgent
        self._leaving.setdefault(link, {}).setdefault(together, []).append((attempt, pending))

    def _send_dispatches(self, to: Link | None = None) -> None:
        """Send what goes out, that `to` an engine in any case.

        More is coming for an engine while a bundle of its replies is taken in: only what is urgent
        does not wait for it.
        """
        for link, requests in list(self._leaving.items()):
            is_hasty = any(urgent or kind is Kind.EXECUTE for kind, _, urgent in requests)
            if link is to or is_hasty or not self.turns.is_ending(link):
                del self._leaving[link]
                for (kind, _, urgent), calls in requests.items():
                    self._send(link, kind, calls, urgent=urgent)

    def _send(
        self, link: Link, kind: Kind, calls: list[tuple[Attempt, PendingTask]], *, urgent: bool
    ) -> None:
        attempt, pending = calls[0]
        content, buffers = pending.frames()
        if len(calls) > 1:
            tasks = [one.index for _, one in calls]
            bundle, buffers = pending.submission.cut_together(tasks)
            content = pack({**bundle, "attempts": [one.msg_id for one, _ in calls]})
        self.links.send(
            link,
            "apply" if kind is Kind.APPLY else "shell",
            f"{kind}_request",
            attempt.msg_id,
            content,
            metadata=pending.metadata(urgent=urgent) if kind is Kind.APPLY else None,
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
            self.links.request(link, "apply", "interrupt_request", content)
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

    def _reply(self, reply: Reply, answer: Answer | None) -> None:
        pending = self._store.get(reply.task)
        ours: dict[str, Any] = {
            "verdict": reply.verdict,
            "engine": reply.attempt.engine if reply.attempt else pending.engine,
            "attempts": self._history(reply.runs),
        }
        msg_type = f"{pending.kind}_reply"
        if reply.verdict is not Verdict.REPLIED or answer is None:
            reason = _reason(reply, answer)
            content = error_content(ENAMES.get(reply.verdict, "TaskError"), reason)
            self.clients.reply(
                reply.client, msg_type, content, task=reply.task, metadata={"ipyviews": ours}
            )
            self.records.ended(reply.client, reply.task, ours, content, ())
            return
        if answer.incomplete:
            ours["incomplete_output"] = True
        self.clients.reply(
            reply.client,
            msg_type,
            answer.message.body,
            task=reply.task,
            metadata={**answer.message.metadata, "ipyviews": ours},
            buffers=answer.message.buffers,
        )
        message = answer.message
        self.records.ended(reply.client, reply.task, ours, message.body, message.buffers)

    def _history(self, runs: Sequence[Run]) -> list[list[Any]]:
        """Put the runs into wall-clock time; the core's clock means nothing elsewhere."""
        offset = time.time() - self._loop.time()
        return [
            [run.engine, run.incarnation, run.started + offset, run.ended + offset, run.outcome]
            for run in runs
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


def _reason(reply: Reply, answer: Answer | None) -> str:
    """Say why a task did not run to its end; of a requirement also what its engine says of it."""
    if reply.verdict is not Verdict.IMPOSSIBLE or reply.attempt is None or answer is None:
        return reply.reason
    return f"{reply.reason}; the last said: {answer.message.read().get('evalue', '')}"


def error_content(ename: str, sentence: str) -> dict[str, Any]:
    """Make the content of a reply that no engine sent."""
    return {"status": "error", "ename": ename, "evalue": sentence, "traceback": []}
