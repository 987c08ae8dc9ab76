"""A daemon thread with an asyncio loop of its own, and a queue of things to do there."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

#: What may wait for more waits so long [s].
PATIENCE_S = 0.002


class IOThread:
    """Runs callbacks in one loop until it is stopped or one of them raises.

    Parameters
    ----------
    on_end
        Called last, in the thread, with the exception that ended it, or None after `stop`.
    """

    def __init__(self, on_end: Callable[[BaseException | None], None]) -> None:
        self._on_end = on_end
        #: When each is to be done at the latest, by the loop's clock [s].
        self._posted: deque[tuple[float, Callable[[], object]]] = deque()
        self._is_draining = False
        # A drain will come by itself.
        self._is_due = False
        self._cause: BaseException | None = None
        self._process: int | None = None
        self._is_over = False
        #: Its loop; of use in the thread only.
        self.loop = asyncio.new_event_loop()
        self.loop.set_exception_handler(self._crashed)
        # The loop's own way of being woken makes an object each time and reads twice.
        self._alarm, self._alarmed = socket.socketpair()
        self._alarm.setblocking(False)
        self._alarmed.setblocking(False)
        self.loop.add_reader(self._alarmed, self._woken)
        self._thread = threading.Thread(target=self._run, name="ipyviews-io", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()
        self._process = os.getpid()

    def is_current(self) -> bool:
        """Whether the caller runs in this thread."""
        return threading.current_thread() is self._thread

    def is_alive(self) -> bool:
        """Whether it still runs; never in a forked child."""
        # Not `Thread.is_alive`: interrupted by Ctrl-C, that takes a living thread for an ended one.
        return self._process == os.getpid() and not self._is_over

    def post(self, action: Callable[[], object], *, patiently: bool = False) -> None:
        """Do `action` in the thread, after all that was posted before. From any thread.

        Parameters
        ----------
        action
            What to do.
        patiently
            Whether it may wait `PATIENCE_S` for something that is posted after it and may not.
        """
        self._posted.append((self.loop.time() + PATIENCE_S if patiently else 0.0, action))
        # Only the thread itself sets the flags: an interrupt here can lose no wake-up but its own.
        if not (self._is_draining or (patiently and self._is_due)):
            self._wake()

    def hurry(self) -> None:
        """Let nothing that was posted wait for more; from any thread."""
        # What is there may be taken out at this moment: then it does not wait.
        with suppress(IndexError):
            if self._posted[-1][0]:
                self.post(_nothing)

    def stop(self, timeout_s: float = 2.0) -> None:
        """End the thread; waits for it at most `timeout_s` [s], not at all from inside it."""
        # One turn later, so that what was posted before has its effects.
        self.post(lambda: self.loop.call_soon(self.loop.stop))
        if not self.is_current() and self._thread.ident is not None:
            self._thread.join(timeout_s)

    def _wake(self) -> None:
        try:
            self._alarm.send(b"!")
        except OSError:
            # It is full: the thread will wake. Or closed: `on_end` has told everybody who waits.
            return

    def _woken(self) -> None:
        self._alarmed.recv(4096)
        self._drain()

    def _drain(self) -> None:
        self._is_due = False
        while ready := self._count_ready():
            self._is_draining = True
            try:
                for _ in range(ready):
                    _, action = self._posted.popleft()
                    action()
            finally:
                self._is_draining = False
        if self._posted:
            self._is_due = True
            self.loop.call_at(self._posted[0][0], self._drain)

    def _count_ready(self) -> int:
        """Count what must be done now: the last that may not wait, and all before it."""
        now, posted = self.loop.time(), list(self._posted)
        while posted and posted[-1][0] > now:
            posted.pop()
        return len(posted)

    def _crashed(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        self._cause = error if error is not None else RuntimeError(str(context.get("message")))
        self.loop.stop()

    def _run(self) -> None:
        try:
            self.loop.run_forever()
        except BaseException as error:  # noqa: BLE001 - whatever it was, those who wait are told
            self._cause = error
        finally:
            try:
                self._on_end(self._cause)
            finally:
                self.loop.close()
                self._alarm.close()
                self._alarmed.close()
                self._is_over = True


def _nothing() -> None:
    """Be the last thing that was posted, and one that may not wait."""
