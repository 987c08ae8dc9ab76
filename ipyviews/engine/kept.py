"""Answers that may be asked for again: sent, but not acknowledged.

A controller acknowledges an answer when its client has it. Until then the engine keeps it: the
controller may die with it, and calls of another one that are the same must not run again.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from .outcomes import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .backlog import Call

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
        self._messages: dict[int, tuple[Answers, int]] = {}
        self._size = 0
        #: Attempts whose answers were dropped unacknowledged.
        self.gone: deque[str] = deque(maxlen=MOST_NAMES)
        #: Whether of some not even the name is remembered.
        self.overflowed = False

    def __len__(self) -> int:
        return len(self._messages)

    def add(self, number: int, answers: Sequence[tuple[Call, Outcome]]) -> None:
        """Keep what has left in a message."""
        size = sum(_weigh(outcome) for _, outcome in answers)
        if size > self._most:
            self._forget(call.attempt for call, _ in answers)
            return
        self._messages[number] = ([(call.attempt, _as_it_is(it)) for call, it in answers], size)
        self._size += size
        while self._size > self._most:
            self._forget(attempt for attempt, _ in self._drop(next(iter(self._messages))))

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
        return [attempt for number in known for attempt, _ in self._drop(number)]

    def take(self) -> list[Answers]:
        """Take out everything, in the order in which it was sent."""
        found = [answers for answers, _ in self._messages.values()]
        self._messages.clear()
        self._size = 0
        return found

    def find(self, attempt: str) -> tuple[str, Outcome] | None:
        """Return the answer of an attempt."""
        for answers, _ in self._messages.values():
            for answer in answers:
                if answer[0] == attempt:
                    return answer
        return None

    def _drop(self, number: int) -> Answers:
        answers, size = self._messages.pop(number)
        self._size -= size
        return answers


def _weigh(outcome: Outcome) -> int:
    size = ANSWER_BYTES
    for buffer in outcome.buffers:
        size += len(buffer) if type(buffer) is bytes else memoryview(buffer).nbytes
    return size


def _as_it_is(outcome: Outcome) -> Outcome:
    """Return an answer that does not change when what the call has returned does."""
    for buffer in outcome.buffers:
        if type(buffer) is not bytes:
            return Outcome(outcome.content, [bytes(one) for one in outcome.buffers])
    return outcome
