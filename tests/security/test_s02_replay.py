"""S2: a message is taken once, by its receiver only, whatever comes in between."""

from __future__ import annotations

import pytest

from ipyviews.errors import ProtocolError
from ipyviews.protocol.wire import Wire
from tests.chaos.scale import count, scale
from tests.security.decoders import KEY as ENGINE_KEY
from tests.security.test_s01_forged import channel, message

__all__ = ["channel"]

KEY = b"the key of the cluster"

#: What cannot be verified, or is in no form at all.
RUBBISH = [b"<IDS|MSG>", bytes(64), b'{"session":"client","seq":999,"to":"life"}', *[b"{}"] * 3]
FLOOD = scale(200_000, 1_000_000)


def test_s02_a_replay_to_the_same_receiver_is_refused_after_a_flood_of_rubbish():
    sender, receiver = (Wire(KEY, name, own=True, name=name) for name in ("client", "life"))
    frames = message(sender, "life")
    receiver.decode(frames)
    for number in range(FLOOD):
        RUBBISH[1] = f"{number:064x}".encode()
        try:
            receiver.decode(RUBBISH)
        except ProtocolError:
            continue
        raise AssertionError("rubbish was taken")
    with pytest.raises(ProtocolError, match="seen before"):
        receiver.decode(frames)
    assert receiver.decode(message(sender, "life")).msg_id == "client-1"
    count("S2", rubbish=FLOOD)


def test_s02_a_replay_after_a_controller_restart_is_refused():
    # Same key, same channel; the name of a controller is random and new at each start.
    sender = Wire(KEY, "client", own=True, name="client")
    frames = message(sender, "life1")
    Wire(KEY, "life1", own=True, name="life1").decode(frames)
    with pytest.raises(ProtocolError, match="somebody else"):
        Wire(KEY, "life2", own=True, name="life2").decode(frames)


def test_s02_what_a_controller_said_means_nothing_from_another_life():
    client = Wire(KEY, "client", own=True, name="client")
    frames = message(Wire(KEY, "life1", own=True), "client")
    client.decode(frames)
    client.decode(message(Wire(KEY, "life2", own=True), "client"))
    with pytest.raises(ProtocolError, match="seen before"):
        client.decode(frames)


async def test_s02_each_start_of_a_controller_has_a_name_and_a_key_of_its_own(start_driver):
    infos = [(await start_driver()).driver.connection_info(1) for _ in range(2)]
    assert len({info["ipyviews"]["life"] for info in infos}) == 2
    assert len({info["key"] for info in infos}) == 2


async def test_s02_the_controller_runs_a_replayed_call_once(start_driver):
    world = await start_driver(1)
    client = await world.client()
    sent = client._wires["shell"].encode(
        "apply_request",
        f"{client.session}-7",
        {"index": [[1, 0]]},
        metadata={"ipyviews": {"any": None}},
        buffers=[b"echo", b"x"],
        to=client.life,
    )
    for _ in range(3):
        client.ports["shell"].send(sent)
    assert (await client.reply(f"{client.session}-7.0")).content["status"] == "ok"
    await world.settle()
    assert world.counters["unverified"] == 2
    calls = [seen for seen in world.kernels[0].seen if seen[1] == "apply_request"]
    assert len(calls) == 1


def test_s02_an_engine_refuses_replays(channel):
    controller = Wire(ENGINE_KEY, "life1", own=True)
    frames = message(controller, "e0.1")
    channel._take([b"c", *frames])
    assert (channel._backlog.holds(), channel.dropped) == (["life1-1"], 0)
    # Again, after rubbish, and when another controller has sent something meanwhile.
    for number in range(FLOOD // 20):
        RUBBISH[1] = f"{number:064x}".encode()
        channel._take([b"c", *RUBBISH])
    channel._take([b"c", *message(Wire(ENGINE_KEY, "life2", own=True), "e0.1")])
    dropped = channel.dropped
    channel._take([b"c", *frames])
    assert channel.dropped == dropped + 1
    assert channel._backlog.holds() == ["life1-1", "life2-1"]


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("e1.1", b"another engine's key"),
        ("e1.1", ENGINE_KEY),
        ("e0.2", ENGINE_KEY),
        ("", ENGINE_KEY),
    ],
    ids=["another engine", "another engine of the same key", "its next life", "not joined yet"],
)
def test_s02_another_engine_and_another_life_refuse_it(channel, name, key):
    frames = message(Wire(ENGINE_KEY, "life", own=True), "e0.1")
    channel.name, channel._key = name, key
    channel._take([b"c", *frames])
    assert (channel._backlog.holds(), channel.dropped) == ([], 1)
