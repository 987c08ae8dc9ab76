"""A network inside one process, for tests of drivers: the same ports, and faults on demand.

Deterministic: everything moves by callbacks of one scheduler (an asyncio loop, or `VirtualTime`),
chance is one seeded generator. The rules are ZeroMQ's as far as drivers can notice: order per
connection, queues while nobody is there yet, `PeerGone` for unknown peers, a connection that comes
back by itself when its address is bound again, and what was queued meanwhile reaches the successor.
"""

from __future__ import annotations

import heapq
from collections import deque
from dataclasses import dataclass, field
from itertools import count
from random import Random
from typing import TYPE_CHECKING, Any, Protocol

from ipyviews.transport.base import LARGE_FRAME, PeerGone

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ipyviews.transport.base import Frame, Handler


class Scheduler(Protocol):
    """What the network needs of a loop; an asyncio loop has it."""

    def call_soon(self, callback: Callable[..., object], /, *args: Any) -> object:
        """Call in the next turn."""

    def call_later(self, delay: float, callback: Callable[..., object], /, *args: Any) -> object:
        """Call after `delay` seconds."""

    def call_exception_handler(self, context: dict[str, Any], /) -> None:
        """Take an error nobody else takes."""


class VirtualTime:
    """A scheduler whose time moves only when told to."""

    def __init__(self) -> None:
        self.now = 0.0
        #: What `call_exception_handler` was given.
        self.errors: list[dict[str, Any]] = []
        self._calls: list[tuple[float, int, Callable[..., object], tuple[Any, ...]]] = []
        self._numbers = count()

    def time(self) -> float:
        """Seconds since the beginning."""
        return self.now

    def call_soon(self, callback: Callable[..., object], /, *args: Any) -> None:
        """Call at the present time, after what is planned for it already."""
        self.call_later(0.0, callback, *args)

    def call_later(self, delay: float, callback: Callable[..., object], /, *args: Any) -> None:
        """Call after `delay` seconds."""
        heapq.heappush(self._calls, (self.now + delay, next(self._numbers), callback, args))

    def call_exception_handler(self, context: dict[str, Any], /) -> None:
        """Keep the error for the test to look at."""
        self.errors.append(context)

    def run(self, seconds: float = 0.0) -> None:
        """Advance the time by `seconds`, making all calls that fall due."""
        end = self.now + seconds
        while self._calls and self._calls[0][0] <= end:
            self.now, _, callback, args = heapq.heappop(self._calls)
            callback(*args)
        self.now = end


@dataclass(slots=True)
class Faults:
    """What goes wrong on the way, in one direction; changed at any time, for messages to come."""

    #: Time on the way [s].
    delay: float = 0.0
    #: Probabilities, 0 to 1.
    loss: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0


class Link:
    """One direction of a connection: an ordered queue with faults."""

    def __init__(self, network: MemoryNetwork, deliver: Callable[[list[Frame]], None]) -> None:
        self.faults = Faults()
        self._network = network
        self._deliver = deliver
        self._queue: deque[list[Frame]] = deque()

    def put(self, frames: list[Frame]) -> None:
        """Send one message on its way."""
        chance, faults = self._network.random, self.faults
        if chance.random() < faults.loss:
            return
        for _ in range(2 if chance.random() < faults.duplicate else 1):
            if self._queue and chance.random() < faults.reorder:
                self._queue.insert(len(self._queue) - 1, frames)
            else:
                self._queue.append(frames)
            self._network.scheduler.call_later(faults.delay, self._arrive)

    def clear(self) -> None:
        """Lose what is on its way."""
        self._queue.clear()

    def _arrive(self) -> None:
        if self._queue:
            self._deliver(self._queue.popleft())


class MemoryPort:
    """One end. `stall` makes it a peer that does not read."""

    def __init__(self, network: MemoryNetwork) -> None:
        self._network = network
        self._handler: Handler | None = None
        self._inbox: deque[list[Frame]] = deque()
        self.stalled = False
        self.closed = False

    def send(self, frames: Sequence[Frame]) -> None:
        """Send one message; see `Port.send`."""
        raise NotImplementedError

    def listen(self, handler: Handler) -> None:
        """Start delivering; see `Port.listen`."""
        self._handler = handler
        self._network.scheduler.call_soon(self._look)

    def close(self) -> None:
        """Let go of all peers."""
        self.closed = True

    def stall(self) -> None:
        """Stop reading."""
        self.stalled = True

    def resume(self) -> None:
        """Read again, beginning with what came meanwhile."""
        self.stalled = False
        self._network.scheduler.call_soon(self._look)

    def arrive(self, frames: list[Frame]) -> None:
        """Take one message from the network."""
        if not self.closed:
            self._inbox.append(frames)
            self._look()

    def _look(self) -> None:
        while self._inbox and self._handler and not self.stalled and not self.closed:
            frames = self._inbox.popleft()
            try:
                self._handler(frames)
            except Exception as error:
                self._network.scheduler.call_exception_handler(
                    {"message": "a message handler failed; the port reads on", "exception": error}
                )
