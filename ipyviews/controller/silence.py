"""Asks engines for what they were sent and are silent about.

Between living peers messages do not get lost, except when a connection breaks and comes back. Then
a call, or its reply, may be missing, and nobody would ever tell. So an engine is asked for attempts
that have been silent for a while: it says which it holds, and which never came. The answer takes
the way of the replies, after them: what is not held then, and has no reply, has none.

A kernel takes what comes on shell in order, so its answer to a question there comes after the reply
of any cell before.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from ipyviews.core.events import Kind
from ipyviews.errors import ProtocolError

if TYPE_CHECKING:
    import asyncio
    from collections import Counter
    from collections.abc import Callable, Iterable

    from ipyviews.controller.links import Link, Links
    from ipyviews.controller.outputs import Flight, Gate
    from ipyviews.ids import Attempt
    from ipyviews.protocol.wire import Message

    Answered = Callable[[list[Flight], Message], None]

#: The first question is repeated after so long [s], each next one after twice that. Questions on
#: the apply channel are answered while an engine computes; those on shell wait for its cell.
FIRST_S = 2.0
LONGEST_S = {"apply": 20.0, "shell": 300.0}


@dataclass(slots=True)
class Question:
    """What one channel of an engine was asked last."""

    #: When it may be asked again, by the loop's clock, and how long after that [s].
    due: float
    pause: float = FIRST_S


class Silence:
    """The questions to all engines.

    Parameters
    ----------
    loop
        Its clock.
    gate, links
        The attempts in flight, and the way to their engines.
    missing
        Takes attempts that are lost, and those of them that were never begun.
    interrupt
        Asks once more to stop an attempt.
    counters
        Counts for the status reply.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        gate: Gate,
        links: Links,
        counters: Counter[str],
        *,
        missing: Callable[[tuple[Attempt, ...], frozenset[Attempt]], None],
        interrupt: Callable[[Attempt, Kind], None],
    ) -> None:
        self._loop = loop
        self._gate = gate
        self._links = links
        self._counters = counters
        self._missing = missing
        self._interrupt = interrupt
        #: Names of the attempts that were silent at the last look.
        self._before: set[str] = set()
        self._questions: dict[tuple[Link, str], Question] = {}

    def look(self) -> None:
        """Ask for what was silent at the last look, too; called every few seconds."""
        silent = self._gate.unanswered()
        old = [flight for flight in silent if flight.name in self._before]
        self._before = {flight.name for flight in silent}
        asked: dict[tuple[Link, str], list[Flight]] = {}
        for flight in filter(_was_sent, old):
            channel = "apply" if flight.kind is Kind.APPLY else "shell"
            asked.setdefault((flight.link, channel), []).append(flight)
            if flight.stopping is not None and not flight.stopping.done():
                self._interrupt(flight.attempt, flight.kind)
        self._questions = {key: self._questions.get(key) or Question(0.0) for key in asked}
        for (link, channel), flights in asked.items():
            self._ask_if_due(link, channel, flights)

    def _ask_if_due(self, link: Link, channel: str, flights: list[Flight]) -> None:
        question, now = self._questions[link, channel], self._loop.time()
        if now < question.due:
            return
        question.due = now + question.pause
        question.pause = min(2 * question.pause, LONGEST_S[channel])
        if channel == "apply":
            self._ask_what_is_held(flights)
        else:
            asked = self._cells_answered
            self._when_answered(flights, asked, "shell", "kernel_info_request", {})

    def _ask_what_is_held(self, flights: list[Flight]) -> None:
        calls = {flight.name: flight.number for flight in flights if flight.kind is Kind.APPLY}
        self._when_answered(flights, self._told, "apply", "ping_request", {"attempts": calls})

    def _when_answered(
        self, flights: list[Flight], answered: Answered, channel: str, *request: Any
    ) -> None:
        link = flights[0].link
        if link.ended is None:
            _, answer = self._links.request(link, channel, *request)
            answer.add_done_callback(partial(self._take, flights, answered))

    def _take(
        self, flights: list[Flight], answered: Answered, answer: asyncio.Future[Message]
    ) -> None:
        # The end of an engine ends its attempts by itself.
        if not answer.cancelled() and answer.exception() is None:
            silent = [flight for flight in flights if self._gate.is_silent(flight)]
            if silent:
                answered(silent, answer.result())

    def _cells_answered(self, cells: list[Flight], _: Message) -> None:
        """Take a kernel's word that it has been through its queue up to these cells and further."""
        if cells[0].link.can_apply:
            self._ask_what_is_held(cells)
        else:
            # One that works at several cells at a time says of each that it began.
            self._give_up([cell for cell in cells if cell.idle or not cell.busy], ())

    def _told(self, flights: list[Flight], message: Message) -> None:
        try:
            report = message.read()
        except ProtocolError:
            return
        held, unseen = set(report.get("holds", ())), set(report.get("unseen", ()))
        gone = [flight for flight in flights if flight.name not in held]
        self._give_up(gone, [flight for flight in gone if flight.name in unseen])

    def _give_up(self, gone: list[Flight], untouched: Iterable[Flight]) -> None:
        if not gone:
            return
        self._counters["attempts_missing"] += len(gone)
        for flight in gone:
            self._gate.give_up(flight)
        attempts = tuple(flight.attempt for flight in gone)
        self._missing(attempts, frozenset(flight.attempt for flight in untouched))


def _was_sent(flight: Flight) -> bool:
    """Tell whether it has left; a call has its number from then on."""
    return flight.kind is Kind.EXECUTE or flight.number >= 0
