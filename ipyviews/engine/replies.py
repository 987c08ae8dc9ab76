"""Answers of calls on their way out: at once, or, of many small calls, several in one message."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

from . import frames
from .backlog import Call, Request
from .kept import Kept

if TYPE_CHECKING:
    from collections.abc import Callable

    from .outcomes import Outcome

#: Longest time from the start of a call until its answer, or else of the first with which it goes,
#: leaves although others could go with it [s].
PATIENCE_S = 0.01

#: An answer with more than this [bytes] of result takes all with it.
SMALL_BYTES = 65_536


class Replies:
    """Answers that are not sent yet. Methods are called from any thread.

    Parameters
    ----------
    send
        Sends a message: to whose request, its type, content, buffers and parent; returns its
        number.
    attend
        Has `flush_old` called soon, from another thread.
    sent
        Told of attempts whose answers have been sent.
    """

    def __init__(
        self,
        send: Callable[[Request, str, dict[str, Any], list[Any], dict[str, Any]], int],
        attend: Callable[[], None],
        sent: Callable[[list[str]], None],
    ) -> None:
        self._send = send
        self._attend = attend
        self._sent = sent
        self._lock = threading.Lock()
        self._waiting: list[tuple[Call, Outcome]] = []
        self._kept = Kept()
        # When the first of those calls began.
        self._since = 0.0

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(self, call: Call, outcome: Outcome, *, at_once: bool, ran_s: float = 0.0) -> None:
        """Send an answer soon, or now with all that wait; an urgent one by itself.

        The controller takes in many answers bit by bit, among those of others.

        Parameters
        ----------
        call, outcome
            Which, and how it ended.
        at_once
            Whether it may not wait.
        ran_s
            How long it ran [s]: behind a call that took its time, others take theirs.
        """
        now = time.monotonic()
        size = sum(map(frames.size_bytes, outcome.buffers))
        with self._lock:
            if call.is_urgent:
                self._send_together([(call, outcome)])
                return
            if not self._waiting:
                self._since = now - ran_s
            self._waiting.append((call, outcome))
            if at_once or size > SMALL_BYTES or now - self._since > PATIENCE_S:
                self._flush()
            else:
                self._attend()

    def flush_old(self) -> None:
        """Send those that have waited long enough."""
        with self._lock:
            if self._waiting and time.monotonic() - self._since > PATIENCE_S:
                self._flush()

    def bounds(self) -> dict[str, int]:
        """Tell how much is kept of what has left; see `Kept.bounds`."""
        with self._lock:
            return self._kept.bounds()

    @property
    def overflowed(self) -> bool:
        """Whether of some that were dropped not even the name is remembered."""
        return self._kept.overflowed

    def acknowledge(self, numbers: list[int]) -> list[str]:
        """Let go of messages that nobody will ask for again; returns their attempts."""
        with self._lock:
            return self._kept.acknowledge(numbers)

    def send_again(self, to: Request) -> list[str]:
        """Send another controller what the one before has not acknowledged.

        Returns
        -------
        list of str
            Attempts that have ended, and whose answers are not there any more.
        """
        with self._lock:
            for answers in self._kept.take():
                self._send_together([(_redirected(attempt, to), it) for attempt, it in answers])
            self._flush()
            return list(self._kept.gone)

    def repeat(self, attempt: str, to: Request) -> None:
        """Answer an attempt that came again, if it has been answered."""
        with self._lock:
            if (outcome := self._kept.find(attempt)) is not None:
                self._send_together([(_redirected(attempt, to), outcome)])

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        while waiting:
            # Two controllers at a time there are only while one takes over from the other.
            first = waiting[0][0]
            self._send_together([one for one in waiting if one[0].sender == first.sender])
            waiting = [one for one in waiting if one[0].sender != first.sender]

    def _send_together(self, answers: list[tuple[Call, Outcome]]) -> None:
        call, outcome = answers[0]
        attempts, ends = [one.attempt for one, _ in answers], [end for _, end in answers]
        if len(answers) == 1:
            content, buffers = outcome.content, outcome.buffers
            number = self._send(call.request, "apply_reply", content, buffers, call.header)
        else:
            replies = [
                [attempt, "apply_reply", end.content, {}, len(end.buffers)]
                for attempt, end in zip(attempts, ends, strict=True)
            ]
            sizes, buffers = frames.join([buffer for end in ends for buffer in end.buffers])
            content = {"replies": replies, "sizes": sizes}
            number = self._send(call.request, "bundle_reply", content, buffers, {})
        self._kept.add(number, attempts, ends)
        self._sent(attempts)


def _redirected(attempt: str, to: Request) -> Call:
    """Return an answered call as if another request had asked for it."""
    return Call(attempt, Request(to.idents, to.header, {}, {}, []), b"", [])
