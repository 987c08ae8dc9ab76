"""A coverage-guided fuzzer for every decoder, by hand: not part of any test run.

It needs atheris (``pip install atheris``; not for every Python)::

    python tests/chaos/fuzz_messages.py -runs=1000000 tests/chaos/corpus
    python tests/chaos/fuzz_messages.py crash-…             # repeats what it found

An input is the chance that a `Mill` draws from, or frames as they are. New inputs that reach more
code are added to the corpus; ``-merge=1 <small folder> tests/chaos/corpus`` keeps it small.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path
from unittest.mock import MagicMock

import atheris

sys.path.insert(0, str(Path(__file__).parents[2]))

with atheris.instrument_imports(include=["ipyviews"]):
    from ipyviews.controller import channels, submissions
    from ipyviews.engine import backlog
    from ipyviews.engine import channel as apply_channel
    from ipyviews.engine import frames as codec
    from ipyviews.errors import IPyViewsError
    from ipyviews.protocol import wire

from tests.security.fuzzing import Mill

KEY = b"the key"


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


def split(data: bytes) -> list[bytes]:
    """Cut an input into frames at each 0xFF, and sign what stands where a message does."""
    frames = [codec.DELIMITER, b"", *data.split(b"\xff")]
    frames[1] = codec.sign(KEY, frames[2:6], frames[6:])
    return frames


def to_controller(frames: list[bytes]) -> None:
    """Decode as the controller does with what clients and engines send."""
    receiver = wire.Wire(KEY, "life", own=True, name="life")
    try:
        message = receiver.decode([b"c", *frames])
        channels._sender(message)
        for part in wire.unbundle(message):
            part.read()
        submissions.parse_submission(message)
    except IPyViewsError:
        return


def to_engine(frames: list[bytes]) -> None:
    """Decode as an engine does with what the controller sends."""
    channel = object.__new__(apply_channel.Channel)
    vars(channel).update(vars(made))
    channel._seen, channel._backlog = {}, backlog.Backlog()
    channel._take([b"controller", *frames])


def one_input(data: bytes) -> None:
    """Give one input to every decoder."""
    if data[:1] == b"\xff":
        for decode in (to_controller, to_engine):
            decode(split(data[1:]))
        return
    mill = Mill(Chance(data))
    for way in ("shell", "control"):
        to_controller(mill.client(way, "c", "life", KEY, 1))
        to_engine(mill.client(way, "life", "e0.1", KEY, 1))
    to_controller(mill.engine("apply", "c", "life", KEY, 1, ["c-1.0/0.1/1"]))
    to_controller(mill.rubbish())


if __name__ == "__main__":
    made = apply_channel.Channel(MagicMock(key=KEY), backlog.Backlog(), MagicMock())
    made.name = "e0.1"
    made.send = lambda *_message, **_more: None
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
