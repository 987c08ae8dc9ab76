"""Answers that may be asked for again: sent, but not acknowledged.

A controller acknowledges an answer when its client has it. Until then the engine keeps it: the
controller may die with it, and calls of another one that are the same must not run again.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from .backlog import Call, Request
from .outcomes import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    Answers = list[tuple[Call, Outcome]]

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

    def __len__(self) -> int:
        return len(self._messages)

    def add(self, number: int, answers: Sequence[tuple[Call, Outcome]]) -> None:
        """Keep what has left in a message."""
        size = sum(map(_weigh, answers))
        if size > self._most:
            self.gone.extend(call.attempt for call, _ in answers)
            return
        self._messages[number] = ([_light(*answer) for answer in answers], size)
        self._size += size
        while self._size > self._most:
            self.gone.extend(call.attempt for call, _ in self._drop(next(iter(self._messages))))

    def acknowledge(self, numbers: Iterable[int]) -> list[str]:
        """Let go of messages whose answers have arrived; returns the attempts."""
        known = [number for number in numbers if number in self._messages]
        return [call.attempt for number in known for call, _ in self._drop(number)]

    def take(self) -> list[Answers]:
        """Take out everything, in the order in which it was sent."""
        found = [answers for answers, _ in self._messages.values()]
        self._messages.clear()
        self._size = 0
        return found

    def find(self, attempt: str) -> tuple[Call, Outcome] | None:
        """Return the answer of an attempt."""
        for answers, _ in self._messages.values():
            for answer in answers:
                if answer[0].attempt == attempt:
                    return answer
        return None

    def _drop(self, number: int) -> Answers:
        answers, size = self._messages.pop(number)
        self._size -= size
        return answers


def _weigh(answer: tuple[Call, Outcome]) -> int:
    return ANSWER_BYTES + sum(memoryview(buffer).nbytes for buffer in answer[1].buffers)


def _light(call: Call, outcome: Outcome) -> tuple[Call, Outcome]:
    """Return an answer without what its call was sent, and as it is now."""
    request = Request(call.request.idents, call.request.header, call.ours, {}, [])
    # What a call has returned may change afterwards.
    buffers: list[Any] = [b if type(b) is bytes else bytes(b) for b in outcome.buffers]
    return Call(call.attempt, request, b"", []), Outcome(outcome.content, buffers)
