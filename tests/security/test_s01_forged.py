"""S1: what is not signed with the key, or was changed, is dropped, counted, and never repeated."""

from __future__ import annotations

import asyncio
import logging
import os
from unittest.mock import MagicMock

import pytest

from ipyviews.client.address import read_address
from ipyviews.engine import frames as codec
from ipyviews.engine.backlog import Backlog
from ipyviews.engine.channel import Channel
from ipyviews.errors import UsageError
from ipyviews.protocol.wire import Wire, pack
from ipyviews.transport.zeromq import ZmqTransport, new_curve
from tests.security.decoders import KEY as ENGINE_KEY
from tests.security.decoders import make_engine
from tests.security.proxy import FlippingProxy
from tests.waiting import eventually

SECRET = "a-word-that-no-log-may-have"


def flipped(frame):
    """The frame with one bit changed, in the middle; a longer one where there is none."""
    changed = bytearray(frame) or bytearray(b"x")
    changed[len(changed) // 2] ^= 1
    return bytes(changed)


BUFFERS = (b"function", SECRET.encode(), bytes(65_536))


def message(wire, to, buffers=BUFFERS):
    """A call as a client sends it."""
    return [
        bytes(frame)
        for frame in wire.encode(
            "apply_request",
            f"{wire.session}-1",
            {"index": [[len(SECRET), 1]], SECRET: 1},
            parent={"msg_id": SECRET},
            metadata={"ipyviews": {"any": None, "label": SECRET}},
            buffers=buffers,
            to=to,
        )
    ]


def forgeries(key, session, to):
    """Every wrong form of a message, by name."""
    good = message(Wire(key, session, own=True), to)
    yield "wrong key", message(Wire(b"another key", session, own=True), to)
    yield "empty key", [good[0], codec.sign(b"", good[2:6]), *good[2:]]
    yield "no signature", [good[0], b"", *good[2:]]
    yield "stock signature", [good[0], codec.sign(key, good[2:6]), *good[2:]]
    for place in range(len(good)):
        yield f"frame {place}", [*good[:place], flipped(good[place]), *good[place + 1 :]]


@pytest.mark.parametrize("channel", ["shell", "control"])
async def test_s01_the_controller_drops_every_forgery(start_driver, channel, caplog):
    caplog.set_level(logging.DEBUG)
    world = await start_driver(1)
    honest, forger = await world.client(), world.stranger()
    key = world.driver.key.encode()
    for count, (name, frames) in enumerate(forgeries(key, forger.session, forger.life), 1):
        forger.ports[channel].send(frames)
        await world.settle()
        assert world.counters["unverified"] == count, name
    assert not forger.stream
    assert not forger.replies
    assert (await honest.reply(f"{honest.apply('echo', b'1', any=None)}.0")).content[
        "status"
    ] == "ok"
    assert "dropped a message of a client" in caplog.text
    assert SECRET not in caplog.text


@pytest.fixture
def channel(monkeypatch):
    """An engine's channel that has joined as ``e0.1``; it has no socket and no thread."""
    monkeypatch.setattr(os, "pipe", lambda: (-1, -1))
    monkeypatch.setattr(os, "set_blocking", lambda *_: None)
    made = make_engine()
    monkeypatch.undo()
    return made


def test_s01_an_engine_drops_every_forgery(channel):
    for count, (name, frames) in enumerate(forgeries(ENGINE_KEY, "life", "e0.1"), 1):
        channel._take([b"controller", *frames])
        assert channel.dropped == count, name
    assert channel._backlog.holds() == []
    channel._take([b"controller", *message(Wire(ENGINE_KEY, "life", own=True), "e0.1")])
    assert channel._backlog.holds() == ["life-1"]


def test_s01_a_channel_of_ours_without_a_key_is_not_opened():
    with pytest.raises(UsageError, match="needs a key"):
        Wire(b"", "client", own=True)
    with pytest.raises(RuntimeError, match="no key"):
        Channel(MagicMock(key=b""), Backlog(), MagicMock())


async def test_s01_a_client_takes_no_connection_file_without_keys(start_driver):
    info = (await start_driver()).driver.connection_info(1)
    with pytest.raises(UsageError, match="the key, which is empty"):
        read_address({**info, "key": ""})
    with pytest.raises(UsageError, match="curve_publickey"):
        read_address({**info, "transport": "tcp", "ip": "127.0.0.1"})


async def test_s01_a_byte_changed_on_the_wire_never_arrives():
    loop = asyncio.get_running_loop()
    here, there, curve = ZmqTransport(loop), ZmqTransport(loop), new_curve()
    got, ends = [], []
    router = here.bind_router("tcp://127.0.0.1:0", b"c", curve=curve)
    router.listen(got.append)
    async with FlippingProxy(int(router.url.rpartition(":")[2])) as proxy:
        dealer = there.connect_dealer(
            f"tcp://127.0.0.1:{proxy.port}", b"me", lambda: ends.append(1), server=curve.public
        )
        dealer.listen(got.append)
        dealer.send([b"first"])
        await eventually(lambda: got == [[b"me", b"first"]])
        proxy.flip_after(500_000)
        dealer.send([b"changed", bytes(1_000_000)])
        await eventually(lambda: ends)
        assert proxy.flipped == 1
        # It connects again by itself.
        dealer.send([b"later"])
        await eventually(lambda: got[-1] == [b"me", b"later"])
        assert [frames[1] for frames in got] == [b"first", b"later"]
        there.close()
        here.close()


def test_s01_buffers_above_the_limit_are_left_to_curve_and_the_folder():
    sender, receiver = (Wire(b"key", name, own=True, name=name) for name in ("client", "life"))
    frames = message(sender, "life", buffers=[b"f", pack([]), bytes(codec.SIGNED_BUFFER_LIMIT + 1)])
    assert receiver.decode([*frames[:-1], flipped(frames[-1])]).msg_id == "client-1"
