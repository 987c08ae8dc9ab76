"""Waiting for a change in a way that Ctrl-C may end at any moment.

A `threading.Condition` can be left locked for ever, or unlocked too early, by an interrupt inside
its own methods; then the I/O thread, which must never wait, would.
"""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

#: While somebody waits, how often it is checked that waiting makes sense [s].
LOOK_S = 1.0


class Waiter(Protocol):
    """Somebody who waits."""

    def release(self) -> None:
        """Wake it."""


class Bell:
    """Whoever changes something rings; whoever waits for it looks again."""

    # Each result has two.
    __slots__ = ("_waiters",)

    def __init__(self) -> None:
        self._waiters: list[Waiter] = []

    def ring(self) -> None:
        """Wake all who wait. Call after the change, from any thread."""
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            waiter.release()

    def wait_for(
        self,
        predicate: Callable[[], bool],
        timeout_s: float | None,
        look: Callable[[], object],
    ) -> bool:
        """Wait until `predicate` holds after a ring; False after `timeout_s` [s].

        Parameters
        ----------
        predicate
            Called without any lock.
        timeout_s
            None for no limit.
        look
            Called about once a second; raises when waiting makes no sense any more.
        """
        if predicate():
            return True
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            waiter = threading.Lock()
            waiter.acquire()
            # In this order nothing is missed: a change is made before the bell is rung.
            self._waiters.append(waiter)
            if predicate():
                return True
            left = LOOK_S if deadline is None else min(LOOK_S, deadline - time.monotonic())
            if left <= 0:
                return False
            if not waiter.acquire(timeout=left):
                look()

    async def wait_async(self, predicate: Callable[[], bool], look: Callable[[], object]) -> None:
        """As `wait_for`, while the running loop goes on."""
        while not predicate():
            waiter = _AsyncWaiter()
            self._waiters.append(waiter)
            if predicate():
                return
            try:
                await asyncio.wait_for(waiter.woken.wait(), LOOK_S)
            except TimeoutError:
                look()


class _AsyncWaiter:
    def __init__(self) -> None:
        self.woken = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def release(self) -> None:
        # The loop may be closed by now: then nobody waits.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self.woken.set)
