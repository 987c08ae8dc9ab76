"""What an engine has to do: the one piece of state that both its threads share.

Everything here happens under `Backlog.lock`; holding it never waits for anything else.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .begun import Begun

#: Calls that wait behind one that runs for so long, or that have waited for so long behind many,
#: are given back [s].
BEHIND_ONE_S = 0.03
BEHIND_MANY_S = 0.05

#: So many attempts are remembered whose answers have not arrived, to run none twice. [count]
MEMORY = 10_000


@dataclass(slots=True)
class Request:
    """One verified message on the apply channel."""

    idents: list[bytes]
    header: dict[str, Any]
    #: The ``ipyviews`` part of the metadata.
    ours: dict[str, Any]
    content: dict[str, Any]
    buffers: list[Any]

    #: Its function, loaded, if all its calls may share it.
    function: Any = None


@dataclass(slots=True)
class Call:
    """One call of an ``apply_request``."""

    #: The ``msg_id`` of the attempt.
    attempt: str
    request: Request
    arguments: Any
    #: Out-of-band parts of the arguments.
    buffers: list[Any]
    #: When it came, by the monotonic clock [s].
    since: float = 0.0
    #: Its number among the calls sent to this life of the engine; negative when none was told.
    number: int = -1

    @property
    def idents(self) -> list[bytes]:
        """The way back."""
        return self.request.idents

    @property
    def sender(self) -> str:
        """Who sent it."""
        return str(self.request.header["session"])

    @property
    def header(self) -> dict[str, Any]:
        """The header of its request, as if it had come alone."""
        return {**self.request.header, "msg_id": self.attempt}

    @property
    def ours(self) -> dict[str, Any]:
        """The ``ipyviews`` part of the metadata."""
        return self.request.ours

    @property
    def client(self) -> str:
        """Whose call it is."""
        return str(self.ours.get("client", ""))

    def take_buffers(self) -> list[Any]:
        """Return its buffers, which are not kept: its arguments decide how long they live."""
        buffers, self.buffers = self.buffers, []
        return buffers

    @property
    def is_urgent(self) -> bool:
        """Whether it goes before the others that wait."""
        return self.ours.get("urgent") is True

    @property
    def is_direct(self) -> bool:
        """Whether it is for this engine and no other."""
        return self.ours.get("direct") is True


def split(request: Request) -> list[Call]:
    """Cut an ``apply_request`` into its calls.

    Raises
    ------
    ValueError
        If index, attempts and buffers do not fit each other.
    """
    _, arguments, *rest = request.buffers
    index = request.content["index"]
    attempts = request.content.get("attempts", [request.header["msg_id"]])
    calls, view, start, first = [], memoryview(arguments), 0, 0
    number = request.ours.get("first", -len(index))
    for attempt, (size, count) in zip(attempts, index, strict=True):
        own = rest[first : first + count]
        calls.append(Call(str(attempt), request, view[start : start + size], own, number=number))
        number += 1
        start, first = start + size, first + count
    if (start, first) != (view.nbytes, len(rest)):
        raise ValueError("an apply_request must have all buffers of its calls and no more")
    return calls


@dataclass(slots=True)
class Backlog:
    """Calls that wait, the one that runs, and the cell that runs instead."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    #: Those for this very engine are before the others.
    waiting: deque[Call] = field(default_factory=deque)
    direct: int = 0
    begun: Begun | None = None
    #: Attempt of the call that runs, and since when, by the monotonic clock [s].
    running: str | None = None
    since: float = 0.0
    #: The call that was begun last, while its answer is not on its way.
    unanswered: Call | None = None
    #: Numbers from this one on were given to no call.
    next: int = 0
    #: ``msg_id`` of the cell that runs.
    cell: str | None = None
    #: Cells begun and not ended; more than one when a cell runs cells.
    cells: int = 0
    #: Attempts that came and whose answer has not been sent.
    outstanding: dict[str, None] = field(default_factory=dict)
    # Attempts that came, with their numbers, the oldest first.
    _known: OrderedDict[str, int] = field(default_factory=OrderedDict)
    # Calls up to this number may have come and be forgotten.
    _forgotten: int = -1

    def add(self, calls: list[Call]) -> list[Call]:
        """Queue calls; returns those that had come before, which are not queued again."""
        now = time.monotonic()
        with self.lock:
            fresh = [call for call in calls if call.attempt not in self._known]
            self._remember(fresh)
            for call in fresh:
                call.since = now
                if call.is_direct or call.is_urgent:
                    self.waiting.insert(self.direct, call)
                    self.direct += call.is_direct
                else:
                    self.waiting.append(call)
        if len(fresh) == len(calls):
            return []
        new = set(map(id, fresh))
        return [call for call in calls if id(call) not in new]

    def take(self) -> Call | None:
        """Start the next call, if it may start now; the caller holds the lock."""
        if not self.waiting or self.cells or self.running is not None:
            return None
        call = self.waiting.popleft()
        self.direct -= call.is_direct
        if self.begun is not None and not self.begun.begin(call.number):
            return None
        self.running, self.since = call.attempt, time.monotonic()
        self.unanswered = call
        return call

    def drop_waiting(self) -> None:
        """Forget what has not begun: whoever asked for it will ask again."""
        with self.lock:
            # What runs, or has an answer nobody acknowledged, stays known: it must not run again.
            for call in self.waiting:
                self.outstanding.pop(call.attempt, None)
                self._known.pop(call.attempt, None)
            self.waiting.clear()
            self.direct = 0
            self._forgotten = self.next - 1

    @property
    def is_busy(self) -> bool:
        """Whether a call or a cell runs."""
        return self.running is not None or self.cells > 0

    @property
    def is_ahead(self) -> bool:
        """Whether calls wait behind the one that runs, or runs next."""
        return len(self.waiting) > (self.running is None)

    @property
    def may_be_overdue(self) -> bool:
        """Whether calls wait that others could do instead."""
        return len(self.waiting) > max(self.direct, self.running is None)

    def take_overdue(self) -> list[Call]:
        """Take out what waits behind a long call, or has waited for long; others may do it.

        When no call of ours runs, the first stays: given back, it would come again at once.
        """
        now = time.monotonic()
        with self.lock:
            if not self.may_be_overdue:
                return []
            waits = self.running is not None and now - self.since > BEHIND_ONE_S
            first = max(self.direct, self.running is None)
            calls = list(self.waiting)
            if not waits and now - calls[first].since < BEHIND_MANY_S:
                return []
            self.waiting = deque(calls[:first])
        return calls[first:]

    def remove(self, attempts: set[str]) -> list[Call]:
        """Take those calls out of the queue that wait there."""
        with self.lock:
            removed = [call for call in self.waiting if call.attempt in attempts]
            if removed:
                self.waiting = deque(call for call in self.waiting if call.attempt not in attempts)
                self.direct = sum(call.is_direct for call in self.waiting)
        return removed

    @property
    def remembered(self) -> int:
        """How many attempts are remembered. [count]."""
        return len(self._known)

    def holds(self) -> list[str]:
        """Name what runs, what waits, and what has ended and was not answered so far."""
        with self.lock:
            running = [one for one in (self.running, self.cell) if one is not None]
            waiting = [call.attempt for call in self.waiting]
            return list(dict.fromkeys([*running, *waiting, *self.outstanding]))

    def unseen(self, asked: dict[str, int]) -> list[str]:
        """Name those of the calls, given with their numbers, that never came, or were given back.

        They never will be begun here: a message that is late is refused as seen before.
        """
        with self.lock:
            return [
                attempt
                for attempt, number in asked.items()
                if number > self._forgotten and attempt not in self._known
            ]

    def answered(self, attempts: Iterable[str]) -> None:
        """Note that these have been answered; only once the answer was sent."""
        with self.lock:
            for attempt in attempts:
                self.outstanding.pop(attempt, None)

    def acknowledged(self, attempts: Iterable[str]) -> None:
        """Note that these answers have arrived: another controller may give the names again."""
        with self.lock:
            for attempt in attempts:
                self._known.pop(attempt, None)

    def returned(self, attempts: Iterable[str]) -> None:
        """Note that these have been given back; only once that was sent."""
        with self.lock:
            for attempt in attempts:
                self.outstanding.pop(attempt, None)
                self._known.pop(attempt, None)

    def _remember(self, calls: list[Call]) -> None:
        numbers = {call.attempt: call.number for call in calls}
        self.outstanding.update(dict.fromkeys(numbers))
        self._known.update(numbers)
        self.next = max([self.next, *(number + 1 for number in numbers.values())])
        while len(self._known) > MEMORY:
            _, number = self._known.popitem(last=False)
            self._forgotten = max(self._forgotten, number)
