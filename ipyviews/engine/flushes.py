"""Flushing costs two switches of threads and a message, so it is done only where it is of use.

A kernel flushes both streams several times for each cell, mostly with nothing to send. And a
program that flushes after each line would send a message for each: here only a few in a moment; the
rest goes out by itself soon after, and before any other message.
"""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

#: So many flushes are carried out in such a time [count], [s].
FLUSHES = 5
MOMENT_S = 0.05


class Flushes:
    """The flushes of one stream of the kernel, as an attribute of the stream itself.

    Parameters
    ----------
    stream
        Sends what was written by itself after a moment.
    sender
        The thread that sends; it flushes when it says so.
    clock
        Returns the time [s].
    """

    def __init__(
        self,
        stream: Any,
        sender: threading.Thread,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream = stream
        self._flush: Callable[[], None] = stream.flush
        self._sender = sender
        self._clock = clock
        self._pid = os.getpid()
        self._began = float("-inf")
        self._count = 0
        #: Whether something may wait to be sent, and whether its writer has flushed it.
        self._has_text = True
        self._is_held = False
        stream.flush = self.flush

    def wrote(self) -> None:
        """Take note that something was written."""
        self._has_text = True

    def flush(self) -> None:
        """Flush, unless there is nothing or that was done a few times just now."""
        if self._must():
            self._flush()
            return
        if not self._has_text:
            return
        now = self._clock()
        if now - self._began > MOMENT_S:
            self._began, self._count = now, 0
        self._count += 1
        self._is_held = self._count > FLUSHES
        if not self._is_held:
            self._send()

    def catch_up(self) -> None:
        """Send what was held back, because something else is about to be sent."""
        if self._is_held:
            self._is_held = False
            self._send()

    def undo(self) -> None:
        """Let the stream flush as it did."""
        del self._stream.flush

    def _send(self) -> None:
        # Before: what other threads write meanwhile may be sent with this or not.
        self._has_text = False
        self._flush()

    def _must(self) -> bool:
        # A forked process has no thread that would send the rest.
        return threading.current_thread() is self._sender or os.getpid() != self._pid
