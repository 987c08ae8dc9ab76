"""A daemon thread with an asyncio loop of its own, and a queue of things to do there."""

from __future__ import annotations

import asyncio
import os
import threading
from collections import deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


class IOThread:
    """Runs callbacks in one loop until it is stopped or one of them raises.

    Parameters
    ----------
    on_end
        Called last, in the thread, with the exception that ended it, or None after `stop`.
    """

    def __init__(self, on_end: Callable[[BaseException | None], None]) -> None:
        self._on_end = on_end
        self._posted: deque[Callable[[], object]] = deque()
        self._is_draining = False
        self._cause: BaseException | None = None
        self._process: int | None = None
        self._is_over = False
        #: Its loop; of use in the thread only.
        self.loop = asyncio.new_event_loop()
        self.loop.set_exception_handler(self._crashed)
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

    def post(self, action: Callable[[], object]) -> None:
        """Do `action` in the thread, after all that was posted before. From any thread."""
        self._posted.append(action)
        # Only the thread itself sets the flag: an interrupt here can lose no wake-up but its own.
        if not self._is_draining:
            self._wake(self._drain)

    def stop(self, timeout_s: float = 2.0) -> None:
        """End the thread; waits for it at most `timeout_s` [s], not at all from inside it."""
        # One turn later, so that what was posted before has its effects.
        self.post(lambda: self.loop.call_soon(self.loop.stop))
        if not self.is_current() and self._thread.ident is not None:
            self._thread.join(timeout_s)

    def _wake(self, callback: Callable[[], object]) -> None:
        try:
            self.loop.call_soon_threadsafe(callback)
        except RuntimeError:
            # The loop is closed: `on_end` has told everybody who waits.
            return

    def _drain(self) -> None:
        while self._posted:
            self._is_draining = True
            try:
                while self._posted:
                    self._posted.popleft()()
            finally:
                self._is_draining = False

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
                self._is_over = True
