"""Flushing costs two switches of threads and a message, so it is done only where it is of use.

A kernel flushes both streams several times for each cell, mostly with nothing to send. And a
program that flushes after each line would send a message for each: here only a few in a moment are
waited for; the sending thread carries out the rest as soon as it can, many at once. They are waited
for before anything else is sent, and before the process forks or ends itself.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

#: So many flushes are waited for in such a time [count], [s].
FLUSHES = 5
MOMENT_S = 0.05


class Flushes:
    """The flushes of one stream of the kernel, as an attribute of the stream itself.

    Parameters
    ----------
    stream
        Sends what was written by itself after a moment.
    sender
        Has the ``thread`` that sends, which flushes when it says so, and can ``schedule`` a call
        in it.
    catch_up
        Sends what the other streams hold back.
    clock
        Returns the time [s].
    """

    def __init__(
        self,
        stream: Any,
        sender: Any,
        catch_up: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream = stream
        self._flush: Callable[[], None] = stream.flush
        self._sender = sender
        self._catch_up_all = catch_up
        self._clock = clock
        self._pid = os.getpid()
        self._began = float("-inf")
        self._count = 0
        #: Whether something may wait to be sent, whether its writer has flushed it and not waited
        #: for that, and whether the sender is still to begin with it.
        self._has_text = True
        self._is_held = False
        self._is_scheduled = False
        stream.flush = self.flush

    def wrote(self) -> None:
        """Take note that something was written."""
        self._has_text = True

    def flush(self) -> None:
        """Flush, unless there is nothing; do not wait if that was done a few times just now."""
        if self._must():
            self._flush()
            return
        if not self._has_text:
            return
        # Not for this stream: its own text is in order.
        self._is_held = False
        self._catch_up_all()
        now = self._clock()
        if now - self._began > MOMENT_S:
            self._began, self._count = now, 0
        self._count += 1
        if self._count > FLUSHES:
            self._schedule()
        else:
            self._send()

    def catch_up(self) -> None:
        """Wait for what was not waited for, because something else is about to be sent."""
        if self._is_held:
            self._send()

    def finish(self) -> None:
        """Hand all that was written to the socket."""
        self._flush()
        # What the first one sends is itself queued for the thread: the second one waits for that.
        self._flush()

    def undo(self) -> None:
        """Let the stream flush as it did."""
        del self._stream.flush

    def _send(self) -> None:
        # Before: what other threads write meanwhile may be sent with this or not.
        self._has_text = self._is_held = False
        self._flush()

    def _schedule(self) -> None:
        self._has_text = False
        self._is_held = True
        if not self._is_scheduled:
            self._is_scheduled = True
            self._sender.schedule(self._carry_out)

    def _carry_out(self) -> None:
        # Before: what is written from now on needs a flush of its own.
        self._is_scheduled = False
        self._flush()

    def _must(self) -> bool:
        # A forked process has no thread that would send the rest.
        return threading.current_thread() is self._sender.thread or os.getpid() != self._pid


def guard_exit(finish: Callable[[], None]) -> Callable[[], None]:
    """Let ``os._exit`` end this process only when its output has left it; returns what undoes it.

    Parameters
    ----------
    finish
        Waits until all output has left this process.
    """
    names = vars(os)
    original, pid = os._exit, os.getpid()

    def leave(status: int) -> None:
        # A child ends as it would: it shares the sockets, and has no threads.
        if os.getpid() == pid:
            with contextlib.suppress(Exception):
                finish()
        original(status)

    def undo() -> None:
        names["_exit"] = original

    names["_exit"] = leave
    return undo
