"""Ctrl-C while a segment is looked for: nothing stays that nobody knows."""

from __future__ import annotations

import pytest

from ipyviews.engine import segments
from ipyviews.engine.lifecycle import Pool
from ipyviews.engine.sender import Sender
from tests.waiting import wait_until

pytestmark = pytest.mark.usefixtures("folder")

SIZE = 4096


@pytest.fixture
def sender():
    made = Sender("c0ffee00", "me")
    yield made
    made.close()


@pytest.fixture
def interrupted(monkeypatch):
    """Let Ctrl-C come at the very end of the next `Pool.take`."""
    original = Pool.take

    def take(pool, size, room):
        monkeypatch.setattr(Pool, "take", original)
        original(pool, size, room)
        raise KeyboardInterrupt

    return lambda: monkeypatch.setattr(Pool, "take", take)


def files():
    return sorted(segments.names("c0ffee00"))


def send(sender, size=SIZE):
    """Send something that one task uses, and return the reference."""
    return sender.put(bytes(size), users=1)


def give_back(sender, reference):
    sender.ended(reference.name, reference.use)


def test_a_new_segment_is_not_left_in_the_table(sender, interrupted):
    interrupted()
    with pytest.raises(KeyboardInterrupt):
        send(sender)
    assert sender._pool.segments == {}
    assert files() == []
    assert send(sender) is not None


def test_a_used_segment_is_removed(sender, interrupted):
    give_back(sender, send(sender))
    assert len(files()) == 1
    interrupted()
    with pytest.raises(KeyboardInterrupt):
        send(sender)
    wait_until(lambda: not files())
    assert sender._pool.segments == sender._pool.leaving == {}


def test_segments_that_were_to_make_room_are_removed(sender, interrupted, monkeypatch):
    for reference in [send(sender), send(sender)]:
        give_back(sender, reference)
    assert len(files()) == 2
    monkeypatch.setattr(segments, "room", lambda: 0)
    interrupted()
    with pytest.raises(KeyboardInterrupt):
        send(sender, 2 * SIZE)
    wait_until(lambda: not files())


def test_what_others_fill_meanwhile_stays(sender, interrupted, monkeypatch):
    write, found = segments.write, []

    def slow(name, *more, **how):
        # While this one is written, another thread's call is interrupted.
        monkeypatch.setattr(segments, "write", write)
        interrupted()
        with pytest.raises(KeyboardInterrupt):
            send(sender)
        write(name, *more, **how)

    monkeypatch.setattr(segments, "write", slow)
    found.append(send(sender))
    assert files() == [found[0].name]
    assert bytes(segments.copy(found[0], "c0ffee00")) == bytes(SIZE)
