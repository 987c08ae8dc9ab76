"""Answers that may be asked for again: sent, but not acknowledged.

A controller acknowledges an answer when its client has it. Until then the engine keeps it: the
controller may die with it, and calls of another one that are the same must not run again.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from .frames import size_bytes
from .outcomes import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable

    #: Attempts, each with how it ended.
    Answers = list[tuple[str, Outcome]]

#: So much is kept [bytes]; of older answers only the names [count].
MOST_BYTES = 64 * 1024 * 1024
MOST_NAMES = 10_000

#: What an answer weighs besides its result, about [bytes].
ANSWER_BYTES = 1000


class Kept:
    """Answers by the number of the message they left with. Used under one lock."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most = most_bytes
        #: Of each message the attempts, how they ended, and what all that weighs.
        self._messages: dict[int, tuple[list[str], list[Outcome], int]] = {}
        self._size = 0
        #: Attempts whose answers were dropped unacknowledged.
        self.gone: deque[str] = deque(maxlen=MOST_NAMES)
        #: Whether of some not even the name is remembered.
        self.overflowed = False

    def __len__(self) -> int:
        return len(self._messages)

    def add(self, number: int, attempts: list[str], outcomes: list[Outcome]) -> None:
        """Keep what has left in a message: attempts, and how they ended."""
        buffers = [buffer for outcome in outcomes for buffer in outcome.buffers]
        are_bytes = set(map(type, buffers)) <= {bytes}
        size = ANSWER_BYTES * len(attempts) + sum(map(len if are_bytes else size_bytes, buffers))
        if size > self._most:
            self._forget(attempts)
            return
        if not are_bytes:
            outcomes = [_as_it_is(outcome) for outcome in outcomes]
        self._messages[number] = (attempts, outcomes, size)
        self._size += size
        while self._size > self._most:
            self._forget(self._drop(next(iter(self._messages))))

    def _forget(self, attempts: Iterable[str]) -> None:
        for attempt in attempts:
            self.overflowed |= len(self.gone) == MOST_NAMES
            self.gone.append(attempt)

    def bounds(self) -> dict[str, int]:
        """Tell how much is kept and may be [bytes], and how many answers were dropped [count]."""
        return {"now": self._size, "most": self._most, "dropped": len(self.gone)}

    def acknowledge(self, numbers: Iterable[int]) -> list[str]:
        """Let go of messages whose answers have arrived; returns the attempts."""
        known = [number for number in numbers if number in self._messages]
        return [attempt for number in known for attempt in self._drop(number)]

    def take(self) -> list[Answers]:
        """Take out everything, in the order in which it was sent."""
        found = [list(zip(*one[:2], strict=True)) for one in self._messages.values()]
        self._messages.clear()
        self._size = 0
        return found

    def find(self, attempt: str) -> Outcome | None:
        """Return how an attempt ended."""
        for attempts, outcomes, _ in self._messages.values():
            if attempt in attempts:
                return outcomes[attempts.index(attempt)]
        return None

    def _drop(self, number: int) -> list[str]:
        attempts, _, size = self._messages.pop(number)
        self._size -= size
        return attempts


def _as_it_is(outcome: Outcome) -> Outcome:
    """Return an answer that does not change when what the call has returned does."""
    return Outcome(outcome.content, [bytes(one) for one in outcome.buffers])
