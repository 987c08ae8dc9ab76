"""Every decoder in one function, and the inputs that were found to reach much of them."""

from __future__ import annotations

import random
from pathlib import Path
from unittest.mock import MagicMock

from ipyviews.controller import channels, submissions
from ipyviews.engine import backlog
from ipyviews.engine import channel as apply_channel
from ipyviews.engine import frames as codec
from ipyviews.errors import IPyViewsError
from ipyviews.protocol import wire
from tests.security.fuzzing import Mill

KEY = b"the key"

#: One input in each line.
CORPUS = Path(__file__).parents[1] / "chaos" / "corpus.txt"


class Chance(random.Random):
    """Chance that is the input, byte by byte; then always the first choice."""

    def __init__(self, data: bytes) -> None:
        super().__init__(0)
        self._data = data
        self._place = 0

    def random(self) -> float:
        """Return two bytes of the input as a number from 0 to 1."""
        return self.getrandbits(16) / 65536

    def getrandbits(self, count: int, /) -> int:
        """Return bits of the input."""
        size = (count + 7) // 8
        part = self._data[self._place : self._place + size].ljust(size, b"\0")
        self._place += size
        return int.from_bytes(part, "little") & ((1 << count) - 1)

    def choice(self, options):
        """Return one of the options; unlike the original it never draws twice."""
        return options[self.getrandbits(16) % len(options)]

    def randint(self, first: int, last: int) -> int:
        """Return a number; as `choice`."""
        return first + self.getrandbits(16) % (last - first + 1)

    def randrange(self, end: int) -> int:
        """Return a number below `end`; as `choice`."""
        return self.getrandbits(16) % end


def make_engine() -> apply_channel.Channel:
    """Make a channel that has joined and is never started."""
    made = apply_channel.Channel(MagicMock(key=KEY), backlog.Backlog(), MagicMock())
    made.name = "e0.1"
    return made


class Decoders:
    """The controller's and an engine's."""

    def __init__(self, engine: apply_channel.Channel) -> None:
        self._engine = engine
        self._engine.send = lambda *_message, **_more: None

    def take(self, data: bytes) -> None:
        """Give one input to all: the chance that a `Mill` draws from, or frames as they are."""
        if data[:1] == b"\xff":
            frames = [codec.DELIMITER, b"", *data[1:].split(b"\xff")]
            frames[1] = codec.sign(KEY, frames[2:6], frames[6:])
            self._to_controller(frames)
            self._to_engine(frames)
            return
        mill = Mill(Chance(data))
        for way in ("shell", "control"):
            self._to_controller(mill.client(way, "c", "life", KEY, 1))
            self._to_engine(mill.client(way, "life", "e0.1", KEY, 1))
        self._to_controller(mill.engine("apply", "c", "life", KEY, 1, ["c-1.0/0.1/1"]))
        self._to_controller(mill.rubbish())

    def _to_controller(self, frames: list[bytes]) -> None:
        receiver = wire.Wire(KEY, "life", own=True, name="life")
        try:
            message = receiver.decode([b"c", *frames])
            channels._sender(message)
            for part in wire.unbundle(message):
                part.read()
            submissions.parse_submission(message)
        except IPyViewsError:
            return

    def _to_engine(self, frames: list[bytes]) -> None:
        self._engine._seen, self._engine._backlog = {}, backlog.Backlog()
        self._engine._take([b"controller", *frames])
