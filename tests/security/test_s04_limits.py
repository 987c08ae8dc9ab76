"""S4: what is too large, too much or never finished is refused, and others are served."""

from __future__ import annotations

import asyncio
import json
import resource
import tracemalloc

import psutil
import pytest

from ipyviews.engine import frames as codec
from ipyviews.engine import outcomes
from ipyviews.errors import ProtocolError, UsageError
from ipyviews.protocol import wire
from ipyviews.protocol.wire import Wire, pack
from ipyviews.transport import zeromq
from ipyviews.transport.base import MOST_BYTES
from ipyviews.version import __version__
from tests.chaos.scale import count, most, scale
from tests.security.raw import (
    GREETING,
    connect,
    frame_head,
    is_closed,
    real_world,
    shake_hands,
    zeromq_router,
)
from tests.waiting import eventually

KEY = b"key"


def pair():
    return (Wire(KEY, name, own=True, name=name) for name in ("client", "life"))


async def serves(world):
    """Whether a client that comes now is answered."""
    client = await world.client()
    assert (await client.ask("status"))["status"] == "ok"
    return True


@pytest.mark.parametrize("size", [MOST_BYTES, 2**40, 2**63 - 1])
async def test_s04_a_frame_of_4_gb_is_refused_when_it_is_announced(run_root, size):
    async with zeromq_router(run_root) as (info, got, there):
        before = psutil.Process().memory_info().vms
        reader, writer = await shake_hands(info)
        writer.write(frame_head(size))
        assert await is_closed(reader)
        writer.close()
        assert psutil.Process().memory_info().vms - before < 2**30
        there.connect_dealer(f"ipc://{info['ip']}-1", b"honest").send([b"x", bytes(100_000)])
        await eventually(lambda: got)
        assert got[0][:2] == [b"honest", b"x"]


async def test_s04_a_channel_may_have_a_limit_of_its_own(run_root):
    async with zeromq_router(run_root, most_bytes=2**20) as (info, got, there):
        large = there.connect_dealer(f"ipc://{info['ip']}-1", b"large")
        large.send([b"x", bytes(2**20)])
        there.connect_dealer(f"ipc://{info['ip']}-1", b"honest").send([b"x", bytes(2**20 - 1)])
        await eventually(lambda: got)
        assert [frames[0] for frames in got] == [b"honest"]


async def test_s04_an_honest_large_array_arrives(run_root):
    async with real_world(run_root) as world:
        client = await world.client()
        data = bytes(100_000_000)
        msg_id = client.send(
            "shell",
            "apply_request",
            {"index": [[len(data), 0]]},
            metadata={"ipyviews": {"targets": [7]}},
            buffers=[b"f", data],
        )
        # It was taken in whole: what is wrong with it is its target.
        reply = await client.reply(f"{msg_id}.0")
        assert "7" in reply.content["evalue"]


@pytest.mark.parametrize("place", range(5), ids=["sender", "key", "header", "parent", "metadata"])
def test_s04_a_header_of_100_mb_is_refused_before_it_is_hashed(place, monkeypatch):
    sender, receiver = pair()
    frames = [b"client", *sender.encode("x", "client-1", {}, to="life")]
    frames[[0, 2, 3, 4, 5][place]] = bytes(100_000_000)
    monkeypatch.setattr(codec, "sign", lambda *_: pytest.fail("it was hashed"))
    tracemalloc.start()
    try:
        with pytest.raises(ProtocolError, match="too large"):
            receiver.decode(frames)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


async def test_s04_a_request_that_is_too_long_is_answered(start_driver):
    world = await start_driver()
    client = await world.client()
    content = b'{"tasks": ["' + bytes(wire.JSON_LIMIT) + b'"]}'
    for channel, request in (("control", "cancel_request"), ("shell", "apply_request")):
        msg_id = client.send(channel, request, content, metadata={"ipyviews": {"any": None}})
        await client.until(lambda msg_id=msg_id: msg_id in client.replies or client.of(msg_id))
        reply = client.replies.get(msg_id) or client.of(msg_id)[0].read()
        assert "larger than 64 MiB" in reply["evalue"]
    assert world.counters["refused"] == 2


def test_s04_deep_nesting_is_refused_where_it_would_be_encoded_again():
    deep = b'{"a":' * 101 + b"1" + b"}" * 101
    due = [("task", "execute_reply", deep, {}, ())] * 2
    with pytest.raises(ProtocolError, match="nested"):
        wire.bundle(due)


@pytest.mark.parametrize("session", ["x\ud800", "a/b", 65 * "x"])
async def test_s04_a_session_id_that_is_no_plain_text_is_not_heard(start_driver, session):
    world = await start_driver(0)
    world.stranger(session=session).send("control", "hello_request", {"version": __version__})
    await eventually(lambda: world.counters["unverified"] == 1)
    assert len(world.driver.clients) == 0


async def test_s04_deep_replies_of_an_engine_reach_their_client(start_driver):
    world = await start_driver(2)
    client = await world.client()
    deep: list = []
    for _ in range(300):
        deep = [deep]
    for kernel in world.kernels.values():
        reply = kernel._reply
        kernel._reply = lambda one, two, kind, content, reply=reply, **more: reply(
            one, two, kind, {**content, "deep": deep}, **more
        )
    tasks = [f"{client.apply('echo', b'1', targets=[n])}.0" for n in (0, 1)]
    for task in tasks:
        assert (await client.reply(task)).content["status"] == "ok"


async def test_s04_a_message_of_too_many_frames_does_not_get_through(run_root, monkeypatch):
    monkeypatch.setattr(zeromq, "MOST_FRAMES", 1000)
    async with zeromq_router(run_root) as (info, got, there):
        peer = there.connect_dealer(f"ipc://{info['ip']}-1", b"many")
        for count in (900, 5000, 10):
            peer.send([b"<IDS|MSG>", *[b"{}"] * count])
        await eventually(lambda: len(got) == 3)
        assert [len(frames) for frames in (got[0], got[2])] == [902, 12]
        assert got[1] == [b"many"]


def test_s04_what_a_client_cannot_send_is_one_sentence(monkeypatch):
    monkeypatch.setattr(codec, "MOST_BYTES", 1000)
    assert codec.too_much([bytes(999)] * 9) == ""
    problem = codec.too_much([b"", memoryview(bytes(2000))])
    assert "in one piece" in problem
    assert "send it in parts" in problem


def test_s04_a_result_too_large_for_a_message_is_an_error(monkeypatch):
    monkeypatch.setattr(codec, "MOST_BYTES", 1000)
    outcome = outcomes.Outcome({"status": "ok", "held": [1]}, [b"", bytes(1000)])
    outcomes.shorten(outcome, "f", codec.too_much(outcome.buffers))
    assert (outcome.content["status"], outcome.content["ename"]) == ("error", "UsageError")
    assert outcome.content["evalue"].startswith("f returned what cannot be sent back: it has")
    assert (outcome.buffers, outcome.content["held"]) == ([], [1])


@pytest.mark.kernels
def test_s04_a_call_too_large_for_a_message_fails_and_the_next_is_served(start, monkeypatch):
    rc = start(1, shared_memory=False)
    monkeypatch.setattr(codec, "MOST_BYTES", 2_000_000)
    with pytest.raises(UsageError, match="too large: it has"):
        rc[0].apply_sync(len, bytearray(3_000_000))
    labelled = rc[0]
    labelled.set_flags(label="x" * 40_000_000)
    with pytest.raises(UsageError, match=r"label.*too long"):
        labelled.apply_sync(len, b"1")
    assert rc[0].apply_sync(len, b"1") == 1


#: Connects so many times, says so little, and stays.
IDLER = """
import json, socket, sys
count, greets, family, address = json.loads(sys.argv[1])
idle = []
for _ in range(count):
    idle.append(socket.socket(getattr(socket, family)))
    idle[-1].connect(address if isinstance(address, str) else tuple(address))
    if greets:
        idle[-1].sendall(b"\\xff" + bytes(8) + b"\\x7f")
print(json.dumps(len(idle)), flush=True)
sys.stdin.readline()
"""

CONNECTIONS = scale(300, 10_000)


@pytest.fixture
def many_files():
    """Allow us, and programs that we start, as many descriptors as the system does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < CONNECTIONS + 200:
        pytest.skip(f"no process may have more than {hard} files here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("transport", ["ipc", "tcp"])
@pytest.mark.parametrize("greets", [False, True], ids=["silent", "half a handshake"])
async def test_s04_idle_connections_keep_nobody_out(
    run_root, script, transport, greets, many_files
):
    async with real_world(run_root, transport) as world:
        info, before = world.driver.connection_info(1), psutil.Process().memory_info().rss
        ip, port = info["ip"], info["shell_port"]
        told = ["AF_UNIX", f"{ip}-{port}"] if transport == "ipc" else ["AF_INET", [ip, port]]
        idle = script(IDLER, json.dumps([CONNECTIONS, greets, *told]))
        assert await asyncio.to_thread(idle.read) == CONNECTIONS
        assert await serves(world)
        grown = psutil.Process().memory_info().rss - before
        count("S4", connections=CONNECTIONS)
        most("S4", bytes_grown=grown)
        assert grown < CONNECTIONS * 200_000 + 20e6
        idle.tell()


async def test_s04_who_does_not_finish_the_handshake_is_sent_away(run_root, monkeypatch):
    monkeypatch.setattr(zeromq, "_HANDSHAKE", 200)
    async with real_world(run_root, "tcp") as world:
        info = world.driver.connection_info(1)
        for said in (b"", b"\xff" + bytes(8) + b"\x7f\x03", b"GET / HTTP/1.1\r\n\r\n"):
            reader, writer = await connect(info)
            writer.write(said)
            assert await is_closed(reader)
            writer.close()
        assert await serves(world)


async def test_s04_plain_peers_are_refused_on_tcp(run_root):
    async with real_world(run_root, "tcp") as world:
        info = world.driver.connection_info(1)
        reader, writer = await connect(info)
        writer.write(GREETING)
        await is_closed(reader)
        writer.close()
        assert await serves(world)


def test_s04_numbers_beyond_all_limits_are_no_problem():
    sender, receiver = pair()
    frames = sender.encode("x", "client-1", {"n": 0}, to="life")
    frames[5] = b'{"n":' + b"9" * 5000 + b"}"
    frames[1] = codec.sign(KEY, frames[2:6])
    with pytest.raises(ProtocolError, match="not JSON"):
        receiver.decode(frames).read()
    assert pack({"n": 2**70}) == b'{"n":1180591620717411303424}'
