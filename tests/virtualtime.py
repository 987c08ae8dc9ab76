"""A scheduler for tests, with the calls of an asyncio loop that drivers of memory ports need."""

import heapq
from collections.abc import Callable
from itertools import count
from typing import Any


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
