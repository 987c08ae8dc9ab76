"""The gate: output to the client that asked, and a task's reply only after its output.

Replies and output of an engine come by different sockets. A cell's reply waits for the cell's
``status: idle``, a call's reply too when it promises one (``output: true``). A kernel may lose its
idle; then the reply passes after a quiet time, marked as having incomplete output.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ipyviews.controller.channels import note_dropped
from ipyviews.core.events import Kind, Status
from ipyviews.errors import ProtocolError
from ipyviews.ids import client_of, parse_attempt
from ipyviews.protocol.wire import unbundle

if TYPE_CHECKING:
    import asyncio
    from collections import Counter
    from collections.abc import Callable, Iterator, Sequence

    from ipyviews.controller.clients import Clients
    from ipyviews.controller.links import Link
    from ipyviews.controller.receipts import Receipts
    from ipyviews.controller.turns import Turns
    from ipyviews.ids import Attempt, ClientId, TaskId
    from ipyviews.protocol.wire import Frame, Message

log = logging.getLogger(__name__)

#: How long a reply waits for its idle after the last sign of output [s].
IDLE_PATIENCE_S = 2.0

#: Messages with replies that engines keep until their clients have them.
ANSWERS = frozenset({"apply_reply", "bundle_reply"})

#: What a kernel publishes about itself, not as output of a task.
NOT_OUTPUT = frozenset({"status", "iopub_welcome", "shutdown_reply"})


@dataclass(slots=True)
class Flight:
    """An attempt from its dispatch until its reply and all its output are passed on."""

    #: The ``msg_id`` its engine sees.
    name: str
    attempt: Attempt
    kind: Kind
    client: ClientId
    link: Link
    idle: bool = False
    #: Whether its kernel said that it began.
    busy: bool = False
    #: The answer to its interrupt, if it was asked to stop.
    stopping: asyncio.Future[Message] | None = None
    #: Which of the calls sent to its engine's life it is, from 0; negative before, and for a cell.
    number: int = -1
    #: The engine's reply; from then on it waits for the idle at most.
    reply: Message | None = None
    status: Status = Status.OK
    #: How long the call ran; None when its engine did not say [s].
    ran_s: float | None = None
    #: Whether the reply is on its way to the client.
    is_told: bool = False
    #: It ran while there was no controller.
    has_gap: bool = False
    #: Whether some of the output may be missing.
    incomplete: bool = False
    #: When the reply or output came last, by the loop's clock [s].
    heard: float = 0.0
    timer: asyncio.TimerHandle | None = None

    @property
    def receipt(self) -> int | str:
        """What tells its engine that the reply has reached the client."""
        if self.kind is Kind.EXECUTE or self.reply is None:
            return self.name
        return int(self.reply.header.get("seq", 0))


class Gate:
    """All attempts in flight.

    Parameters
    ----------
    loop
        Its clock and timers.
    clients
        Where output goes.
    turns
        Takes in bundles.
    counters
        Counts for the status reply.
    answered
        Called once for each attempt that has its reply and its output.
    returned
        Called with attempts that their engine had not started and gave back.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        clients: Clients,
        turns: Turns,
        counters: Counter[str],
        *,
        answered: Callable[[Flight], None],
        returned: Callable[[tuple[Attempt, ...]], None],
    ) -> None:
        self._loop = loop
        self._clients = clients
        self._turns = turns
        self._counters = counters
        self._answered = answered
        self._returned = returned
        self._flights: dict[str, Flight] = {}
        #: Called with task, type and content of every message of output.
        self.on_output: Callable[[TaskId, str, Frame], None] = lambda _task, _type, _content: None
        #: Takes an engine's word that it has let go of shared memory.
        self.on_released: Callable[[Link, Message], None] = lambda _link, _message: None
        #: Takes a reply to what a controller before this one sent; False if it is none.
        self.on_stray: Callable[[Link, Message], bool] = lambda _link, _message: False
        #: Takes output of that, live or told again; False if it is none.
        self.on_stray_output: Callable[[Link, Message], bool] = lambda _link, _message: False
        #: Which replies have reached their clients.
        self.receipts: Receipts

    def open(  # noqa: PLR0917 - all that a flight is
        self,
        name: str,
        attempt: Attempt,
        kind: Kind,
        client: ClientId,
        link: Link,
        number: int = -1,
    ) -> Flight:
        """Expect output and a reply of an attempt that is about to be sent, or was before."""
        flight = Flight(name, attempt, kind, client, link, number=number)
        self._flights[name] = flight
        return flight

    def number(self, link: Link, names: Sequence[str]) -> int:
        """Number calls that are about to be sent, and return the first number."""
        first = link.calls
        for number, name in enumerate(names, first):
            # Its engine may be lost already.
            if (flight := self._flights.get(name)) is not None:
                flight.number = number
        link.calls += len(names)
        return first

    def is_running(self, attempt: Attempt) -> bool:
        """Whether the attempt was sent and has not replied."""
        flight = self._flights.get(attempt.msg_id)
        return flight is not None and flight.reply is None

    def unanswered(self) -> list[Flight]:
        """Return the attempts that have not replied, in the order of their dispatch."""
        return [flight for flight in self._flights.values() if flight.reply is None]

    def is_silent(self, flight: Flight) -> bool:
        """Whether it has not replied; replies that came are taken in first."""
        self._turns.finish(flight.link)
        return self._flights.get(flight.name) is flight and flight.reply is None

    def give_up(self, flight: Flight) -> None:
        """Expect nothing more of an attempt."""
        self._close(flight)

    def stops(self, attempt: Attempt, answer: asyncio.Future[Message]) -> None:
        """Note that an attempt was asked to stop."""
        self._flights[attempt.msg_id].stopping = answer

    def running(self, client: ClientId) -> list[Flight]:
        """Return the attempts of a client that have not replied."""
        return [f for f in self._flights.values() if f.client == client and f.reply is None]

    def replied(self, link: Link, message: Message) -> None:
        """Take an engine's reply, or several; pass each on now or when its output is complete."""
        try:
            parts = unbundle(message)
        except ProtocolError as error:
            note_dropped(self._counters, "an engine", error)
            return
        if message.msg_type in ANSWERS:
            self.receipts.arrived(link, message.header["seq"], len(parts))
        if message.msg_type == "calls_returned":
            self._give_back(link, message)
        elif message.msg_type == "output_again":
            self.on_stray_output(link, message)
        elif message.msg_type == "segments_released":
            self.on_released(link, message)
        elif len(parts) == 1:
            self._replied(link, parts[0])
        else:
            self._turns.end_tasks(link, self._replied_all(link, parts))

    def _replied_all(self, link: Link, parts: Sequence[Message]) -> Iterator[None]:
        for part in parts:
            self._replied(link, part)
            yield

    def _give_back(self, link: Link, message: Message) -> None:
        names = _read(message).get("attempts")
        named = names if isinstance(names, list) else ()
        flights = [self._flights.get(str(name)) for name in named]
        found = [flight for flight in flights if flight is not None and flight.link is link]
        for flight in found:
            self._close(flight)
        self._returned(tuple(flight.attempt for flight in found))

    def _replied(self, link: Link, message: Message) -> None:
        flight = self._flights.get(message.parent_id)
        if flight is None or flight.reply is not None or flight.link is not link:
            if flight is not None or not self.on_stray(link, message):
                self._counters["stale"] += 1
                self.receipts.received(link, message.header.get("seq", 0))
            return
        content = _read(message)
        is_call = flight.kind is Kind.APPLY
        link.foreign_loop = is_call and content.get("eventloop") is True
        flight.status = Status.OK if content.get("status") == "ok" else _status(content)
        flight.ran_s = _ran_s(message, content)
        flight.reply = message
        if flight.idle or (is_call and content.get("output") is not True):
            self._pass(flight, incomplete=False)
        else:
            flight.heard = self._loop.time()
            self._wait(flight)

    def published(self, link: Link, message: Message) -> None:
        """Take a message from an engine's iopub."""
        flight = self._flights.get(message.parent_id)
        if flight is None:
            self._published_late(link, message)
        elif flight.link is not link:
            self._counters["output_without_task"] += 1
        elif message.msg_type == "status":
            self._status_changed(flight, message)
        elif message.msg_type not in NOT_OUTPUT:
            flight.heard = self._loop.time()
            self._send_output(link, flight.client, flight.attempt, message)

    def _published_late(self, link: Link, message: Message) -> None:
        """Pass on what a thread or callback writes after the end of its cell or call.

        To whom, its name says: nothing need be remembered of what has ended.
        """
        attempt = parse_attempt(message.parent_id)
        if attempt is None or not _is_from(link, attempt):
            self._counters["output_without_task"] += 1
        elif message.msg_type not in NOT_OUTPUT and not self.on_stray_output(link, message):
            self._counters["output_late"] += 1
            self._send_output(link, client_of(attempt.task), attempt, message)

    def repeat(self, link: Link, client: ClientId, attempt: Attempt, message: Message) -> None:
        """Pass on output that the client may have had from a controller before this one."""
        self._send_output(link, client, attempt, message, again=True)

    def _send_output(
        self,
        link: Link,
        client: ClientId,
        attempt: Attempt,
        message: Message,
        *,
        again: bool = False,
    ) -> None:
        if message.msg_type == "stream":
            link.words.heard(message.content)
        self.on_output(attempt.task, message.msg_type, message.content)
        self._clients.output(
            client,
            message.msg_type,
            message.content,
            task=attempt.task,
            metadata=_output_metadata(message, attempt, again=again),
            buffers=message.buffers,
        )

    def engine_lost(self, link: Link) -> list[Flight]:
        """Pass the replies that were held and expect nothing more of this engine.

        Returns
        -------
        list of Flight
            The calls and cells without a reply.
        """
        self._turns.finish(link)
        for flight in self._of(link):
            if flight.reply is not None:
                self._pass(flight, incomplete=True)
        # After that, for a reply makes room, which may have been filled.
        unanswered = self._of(link)
        for flight in unanswered:
            self._close(flight)
        return unanswered

    def _of(self, link: Link) -> list[Flight]:
        return [flight for flight in self._flights.values() if _is_from(link, flight.attempt)]

    def close(self) -> None:
        """Stop all timers."""
        for flight in list(self._flights.values()):
            self._close(flight)

    def _status_changed(self, flight: Flight, message: Message) -> None:
        state = _read(message).get("execution_state")
        flight.busy |= state == "busy"
        if state != "idle":
            return
        flight.idle = True
        if flight.reply is not None:
            self._pass(flight, incomplete=False)

    def _wait(self, flight: Flight) -> None:
        quiet_at = flight.heard + IDLE_PATIENCE_S
        if self._loop.time() < quiet_at:
            flight.timer = self._loop.call_at(quiet_at, self._wait, flight)
        else:
            self._counters["idle_lost"] += 1
            self._pass(flight, incomplete=True)

    def _pass(self, flight: Flight, *, incomplete: bool) -> None:
        self._close(flight)
        flight.incomplete = incomplete or flight.has_gap
        self._answered(flight)

    def _close(self, flight: Flight) -> None:
        if flight.timer is not None:
            flight.timer.cancel()
        del self._flights[flight.name]


def conclusion(message: Message, kind: Kind) -> tuple[Status, float | None, bool]:
    """Return how an attempt ended, how long it ran, and whether it may have written output."""
    content = _read(message)
    status = Status.OK if content.get("status") == "ok" else _status(content)
    wrote = kind is Kind.EXECUTE or content.get("output") is True
    return status, _ran_s(message, content), wrote


def _is_from(link: Link, attempt: Attempt) -> bool:
    return attempt.engine == link.engine and attempt.incarnation == link.incarnation


def _read(message: Message) -> dict[str, Any]:
    """Decode the content; what cannot be read counts as empty, so that nothing waits for it."""
    try:
        return message.read()
    except ProtocolError as error:
        log.warning("an engine sent a %s that cannot be read: %s", message.msg_type, error)
        return {}


def _status(content: dict[str, Any]) -> Status:
    if content.get("unmet") is True:
        return Status.UNMET
    return Status.ABORTED if content.get("status") in ("aborted", "abort") else Status.ERROR


def _ran_s(message: Message, content: dict[str, Any]) -> float | None:
    """Return how long it ran by the engine's clock: a call says it, a cell's reply has it too."""
    started, ended = content.get("started"), content.get("ended")
    if type(started) is float is type(ended):
        return max(0.0, ended - started)
    if started is None:
        started, ended = message.metadata.get("started"), message.header.get("date")
    try:
        ran_s = _seconds(ended) - _seconds(started)
    except (TypeError, ValueError):
        return None
    # The wall clock may be set back meanwhile.
    return max(0.0, ran_s)


def _seconds(when: Any) -> float:
    return when if type(when) is float else datetime.fromisoformat(when).timestamp()


def _output_metadata(message: Message, attempt: Attempt, *, again: bool) -> dict[str, Any]:
    ours = {"engine": attempt.engine, "date": message.header.get("date")}
    if again:
        ours["again"] = True
    return {**message.metadata, "ipyviews": ours}
