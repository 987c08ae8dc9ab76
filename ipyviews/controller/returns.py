"""What engines hold of the tasks of a controller that died, until their clients ask for them.

Engines tell it when they are taken over: answers that nobody has received, what runs, what ran and
left no answer. Clients then send again what has no reply, and each of these tasks is gone on with
where it was left. One that no engine knows has not run, unless an engine was lost meanwhile or
cannot tell.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from ipyviews.controller.outputs import Flight, conclusion
from ipyviews.core.events import Found, Kind, Status, StrayEnded
from ipyviews.engine.frames import size_bytes
from ipyviews.errors import ProtocolError
from ipyviews.ids import Attempt, EngineId, TaskId, parse_attempt
from ipyviews.protocol.wire import Message, pack

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from ipyviews.controller.fleet import Fleet
    from ipyviews.controller.links import Link
    from ipyviews.controller.outputs import Gate
    from ipyviews.controller.receipts import Receipts
    from ipyviews.controller.requests import PendingTask
    from ipyviews.core.effects import Past
    from ipyviews.core.events import Event
    from ipyviews.protocol.wire import Frame

#: How long clients of a controller that died have to come back [s].
RETURN_S = 60.0

#: Of the output of each attempt so much waits for its client [bytes]; what a message weighs besides
#: its content, about.
MOST_OUTPUT = 2 * 1024 * 1024
MESSAGE_BYTES = 1000

_GONE = "it ran, and its result was lost with the controller"
_LATE = f"it ran, and its client was back later than {RETURN_S:g} s after the controller died"
_UNKNOWN = "the controller died, and the kernel cannot tell whether it ran"


class Running(NamedTuple):
    """An attempt that goes on."""

    attempt: Attempt
    link: Link
    #: Its number among the calls of that life of its engine.
    number: int


class Answered(NamedTuple):
    """An attempt that has ended."""

    attempt: Attempt
    link: Link
    reply: Message


class Lost(NamedTuple):
    """An attempt of which nothing is known any more."""

    attempt: Attempt
    reason: str
    #: Whether its engine lives, and only the answer is lost.
    lives: bool


class Missed(NamedTuple):
    """An engine that was lost while no controller was there."""

    engine: EngineId
    incarnation: int
    reason: str


@dataclass(slots=True)
class Output:
    """What an attempt has written: as its engine has kept it, and what came since."""

    messages: deque[Message] = field(default_factory=deque)
    size: int = 0
    #: Whether nothing of it is missing.
    is_whole: bool = False
    #: When each was written, which names it.
    dates: set[Any] = field(default_factory=set)

    def add(self, message: Message) -> None:
        """Add a message, unless it is there."""
        date = message.header.get("date")
        if date in self.dates:
            return
        self.dates.add(date)
        self.messages.append(message)
        self.size += _weight(message)
        while self.size > MOST_OUTPUT:
            oldest = self.messages.popleft()
            self.dates.discard(oldest.header.get("date"))
            self.size -= _weight(oldest)
            self.is_whole = False


class Returns:
    """What was found on engines.

    Parameters
    ----------
    loop
        Its timer.
    gate, fleet, receipts
        Of this controller.
    feed
        Takes events for the core.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        gate: Gate,
        fleet: Fleet,
        receipts: Receipts,
        feed: Callable[[Event], object],
    ) -> None:
        self._loop = loop
        self._gate = gate
        self._fleet = fleet
        self._receipts = receipts
        self._feed = feed
        #: Whether there was a controller before this one, and its clients may yet come.
        self.is_open = False
        self._running: dict[TaskId, Running] = {}
        self._answered: dict[TaskId, Answered] = {}
        self._lost: dict[TaskId, Lost] = {}
        self._output: dict[TaskId, Output] = {}
        self._missed: list[Missed] = []
        #: Engines that cannot tell whether they run a cell, and those that have forgotten more.
        self._mute: set[Link] = set()
        self._forgetful: set[Link] = set()
        self._timer: asyncio.TimerHandle | None = None
        #: Engines of the controller before this one that have told nothing so far.
        self._untold: set[EngineId] = set()
        #: Called when one of these has told, or is lost.
        self.on_told: Callable[[], None] = lambda: None

    def open(self) -> None:
        """Begin to take note."""
        self.is_open = True
        self._timer = self._loop.call_later(RETURN_S, self._expire)

    def close(self) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._timer.cancel()

    @property
    def size(self) -> int:
        """What was found and waits for its clients. [bytes]."""
        answers = sum(_weight(answered.reply) for answered in self._answered.values())
        return answers + sum(output.size for output in self._output.values())

    # -- engines ---------------------------------------------------------------------------------

    def resumed(self, link: Link, told: Mapping[str, Any]) -> Attempt | None:
        """Take what an engine tells when it is taken over; returns what it runs for others."""
        link.calls = int(told.get("next", 0))
        for name in told.get("gone", ()):
            if (attempt := parse_attempt(str(name))) is not None:
                self._lost[attempt.task] = Lost(attempt, _GONE, lives=True)
        if told.get("forgot"):
            self._forgetful.add(link)
        for name, content in told.get("cells", {}).items():
            self.replied(link, Message({}, {"msg_id": name}, {}, pack(content), [], []))
        name, number = told.get("running") or (told.get("cell"), -1)
        attempt = parse_attempt(str(name))
        if attempt is None and name is not None:
            # A console's cell; one of ours may be waiting behind it.
            self._mute.add(link)
        if attempt is None:
            return None
        known = self._answered.get(attempt.task)
        if known is not None and known.attempt == attempt:
            return None
        if _is_newer(attempt, known) and _is_newer(attempt, self._running.get(attempt.task)):
            self._running[attempt.task] = Running(attempt, link, number)
        return attempt

    def expect(self, engine: EngineId) -> None:
        """Note an engine that is being taken over."""
        self._untold.add(engine)

    @property
    def has_untold(self) -> bool:
        """Whether engines are being taken over."""
        return bool(self._untold)

    def is_untold(self, engine: EngineId | None) -> bool:
        """Whether an engine is being taken over."""
        return engine in self._untold

    def told(self, engine: EngineId) -> None:
        """Note that it has been, or is lost."""
        self._untold.discard(engine)
        self.on_told()

    def missed(self, engine: EngineId, incarnation: int, reason: str) -> None:
        """Note an engine that was lost while no controller was there."""
        self._missed.append(Missed(engine, incarnation, reason))

    def were_lost(self, names: Iterable[str], reason: str) -> tuple[Attempt, ...]:
        """Note what an engine had begun that was lost before; returns these attempts."""
        attempts = tuple(one for name in names if (one := parse_attempt(name)) is not None)
        for attempt in attempts:
            self._note_lost(attempt, reason)
        return attempts

    def _note_lost(self, attempt: Attempt, reason: str) -> None:
        known = self._lost.get(attempt.task)
        if known is None or known.attempt.number <= attempt.number:
            what = f"engine {attempt.engine} was lost while it ran task {attempt.task}: {reason}"
            self._lost[attempt.task] = Lost(attempt, what, lives=False)

    def replied(self, link: Link, message: Message) -> bool:
        """Take an answer that nobody here has asked for; False if it means nothing."""
        attempt = parse_attempt(message.parent_id)
        if attempt is None or link.id != attempt.routing_id:
            return False
        # Whoever asks for it, and whether or not: its engine is free for others.
        self._feed(StrayEnded(self._loop.time(), attempt))
        running = self._running.get(attempt.task)
        if is_known := running is not None and running.attempt == attempt:
            del self._running[attempt.task]
        if not self.is_open:
            if is_known:
                self._lost[attempt.task] = Lost(attempt, _LATE, lives=True)
            return False
        if not _is_newer(attempt, self._answered.get(attempt.task)):
            return False
        self._answered[attempt.task] = Answered(attempt, link, message)
        return True

    def published(self, link: Link, message: Message) -> bool:
        """Take output of an attempt whose client has not asked for it so far; False if it is not.

        It comes as it is published, or as an ``output_again`` with all there was.
        """
        if message.msg_type == "output_again":
            self._told_again(link, message)
            return True
        attempt = parse_attempt(message.parent_id)
        if attempt is None or (
            attempt.task not in self._running and attempt.task not in self._output
        ):
            return False
        known = Output(is_whole=link.can_apply)
        self._output.setdefault(attempt.task, known).add(message)
        return True

    def _told_again(self, link: Link, message: Message) -> None:
        try:
            told = message.read()
            attempt, is_whole = parse_attempt(str(told["attempt"])), told["whole"] is True
            parts = list(_parts(told["messages"], message.buffers))
        except (ProtocolError, KeyError, TypeError, ValueError):
            return
        if attempt is None or attempt.routing_id != link.id or not self.is_open:
            return
        since = self._output.pop(attempt.task, Output()).messages
        output = self._output[attempt.task] = Output(is_whole=is_whole)
        for part in (*parts, *since):
            output.add(part)

    def engine_lost(self, link: Link, reason: str) -> None:
        """Note that an engine is lost, with what it ran."""
        for task, running in list(self._running.items()):
            if running.link is link:
                del self._running[task]
                self._note_lost(running.attempt, reason)

    # -- clients ---------------------------------------------------------------------------------

    def may_be_told(self, task: TaskId, pending: PendingTask) -> bool:
        """Whether an engine may yet tell more of a task."""
        if not self._untold or self._is_done(task, pending):
            return False
        if (running := self._running.get(task)) is not None:
            # The core knows of the run only when its engine has joined.
            return running.attempt.engine in self._untold
        return pending.engines is None or not self._untold.isdisjoint(pending.engines)

    def _is_done(self, task: TaskId, pending: PendingTask) -> bool:
        known = self._answered.get(task)
        return known is not None and conclusion(known.reply, pending.kind)[0] is Status.OK

    def claim(
        self, task: TaskId, pending: PendingTask, past: Past | None = None
    ) -> tuple[Found | None, Flight | None]:
        """Tell what is known of a task that its client sends again, and its answer if there is one.

        Parameters
        ----------
        task, pending
            The task.
        past
            What is behind it for certain.

        Returns
        -------
        found : Found or None
            None when it has not run.
        flight : Flight or None
            For the core's reply.
        """
        output, lost = self._output.pop(task, Output()), self._lost.pop(task, None)
        before = None if lost is None else (lost.attempt, lost.reason)
        answered, running = self._answered.pop(task, None), self._running.pop(task, None)
        if answered is not None and (running is None or _is_newer(answered.attempt, running)):
            self._repeat(answered, pending, output)
            return self._pass_on(answered, pending, before, is_whole=output.is_whole)
        if running is not None:
            attempt, link, number = running
            flight = self._gate.open(
                attempt.msg_id, attempt, pending.kind, pending.client, link, number
            )
            flight.has_gap = not (output.is_whole or (link.can_apply and not output.messages))
            self._repeat(running, pending, output)
            return Found(attempt, before=before), None
        if lost is not None:
            return Found(lost.attempt, lost=lost.reason, lives=lost.lives), None
        return self._doubt(task, pending, past.sent + 1 if past else 1), None

    def _repeat(self, run: Running | Answered, pending: PendingTask, output: Output) -> None:
        for message in output.messages:
            self._gate.repeat(run.link, pending.client, run.attempt, message)

    def _pass_on(
        self,
        answered: Answered,
        pending: PendingTask,
        before: tuple[Attempt, str] | None,
        *,
        is_whole: bool,
    ) -> tuple[Found, Flight]:
        attempt, link, reply = answered
        status, ran_s, wrote = conclusion(reply, pending.kind)
        flight = Flight(attempt.msg_id, attempt, pending.kind, pending.client, link)
        flight.reply, flight.status, flight.ran_s = reply, status, ran_s
        flight.incomplete = wrote and not is_whole
        return Found(attempt, status, ran_s, before=before), flight

    def _doubt(self, task: TaskId, pending: PendingTask, number: int) -> Found | None:
        """Tell where a task may have run that no engine knows, the next time it was sent."""
        allowed = pending.engines
        for engine, incarnation, reason in self._missed:
            if allowed is None or engine in allowed:
                sentence = f"engine {engine} may have run task {task} and was lost: {reason}"
                return Found(Attempt(task, engine, incarnation, number), lost=sentence)
        for one in self._fleet:
            if self._is_unsure(one.link, pending.kind) and (allowed is None or one.id in allowed):
                sentence = f"task {task} may have run on engine {one.id}: {_UNKNOWN}"
                attempt = Attempt(task, one.id, one.incarnation, number)
                return Found(attempt, lost=sentence, lives=True)
        return None

    def _is_unsure(self, link: Link | None, kind: Kind) -> bool:
        if link is None or link in self._forgetful:
            return link is not None
        return kind is Kind.EXECUTE and (link in self._mute or not link.can_apply)

    def _expire(self) -> None:
        """Let go of what nobody has asked for, but for what must not run again in secret."""
        self.is_open = False
        for task, (attempt, link, reply) in self._answered.items():
            number = reply.header.get("seq")
            self._receipts.received(link, reply.parent_id if number is None else int(number))
            self._lost[task] = Lost(attempt, _LATE, lives=True)
        self._answered.clear()
        self._output.clear()


def _weight(message: Message) -> int:
    return MESSAGE_BYTES + sum(map(size_bytes, (message.content, *message.buffers)))


def _is_newer(attempt: Attempt, known: Running | Answered | None) -> bool:
    return known is None or known.attempt.number < attempt.number


def _parts(told: Sequence[Sequence[Any]], buffers: Sequence[Frame]) -> Iterator[Message]:
    """Make messages of what an engine tells again."""
    first = 0
    for msg_type, content, metadata, date, count in told:
        header = {"msg_type": str(msg_type), "date": str(date)}
        own = list(buffers[first : first + count])
        first += count
        yield Message(header, {}, dict(metadata), pack(content), own, [])
