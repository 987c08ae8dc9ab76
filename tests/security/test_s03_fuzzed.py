"""S3: whatever comes, the process lives, honest traffic is served, and memory stays."""

from __future__ import annotations

import asyncio
import logging
import random

import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ipyviews.client.address import read_address
from ipyviews.controller.submissions import parse_submission
from ipyviews.core.events import Kind
from ipyviews.errors import IPyViewsError, ProtocolError
from ipyviews.protocol.wire import Wire, unbundle
from ipyviews.transport.zeromq import ZmqTransport
from tests.chaos.scale import SEED, count, most, scale
from tests.security.decoders import CORPUS, Decoders
from tests.security.decoders import KEY as ENGINE_KEY
from tests.security.fuzzing import Mill
from tests.security.test_s01_forged import channel

__all__ = ["channel"]

KEY = b"the key"
few = settings(
    max_examples=scale(40, 2_000),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
chances = st.randoms(use_true_random=False)


@few
@given(chances)
def test_s03_the_frame_decoder_takes_a_message_or_refuses_it(chance):
    mill, receiver = Mill(chance), Wire(KEY, "life", own=True, name="life")
    for seq in range(20):
        if chance.random() < 0.2:
            frames = mill.rubbish()
        elif chance.random() < 0.5:
            frames = mill.client(chance.choice(["shell", "control"]), "c", "life", KEY, seq + 1)
        else:
            frames = mill.engine("apply", "c", "life", KEY, seq + 1, ["c-1.0/0.1/1"])
        try:
            message = receiver.decode(frames)
            parts = unbundle(message)
            assert [message.read(), *(part.read() for part in parts)]
        except ProtocolError:
            continue
        assert message.header["to"] == "life"
        assert isinstance(message.ours, dict)


@few
@given(chances)
def test_s03_the_event_decoder_makes_a_submission_or_one_sentence(chance):
    mill, receiver = Mill(chance), Wire(KEY, "life", own=True, name="life")
    sentences = []
    for seq in range(20):
        try:
            message = receiver.decode(mill.client("shell", "c", "life", KEY, seq + 1))
            submission = parse_submission(message)
        except IPyViewsError as error:
            sentences.append(str(error))
            continue
        assert submission.kind in (Kind.APPLY, Kind.EXECUTE)
        assert submission.tasks >= 1
    assert all(sentences)


def test_s03_inputs_that_reach_much_are_taken_or_refused(channel):
    decoders = Decoders(channel)
    kept = CORPUS.read_text("ascii").split()
    assert len(kept) > 50
    for line in kept:
        decoders.take(bytes.fromhex(line))


@few
@given(chances)
def test_s03_an_engine_queues_a_call_or_drops_it(channel, chance):
    mill = Mill(chance)
    channel.send = lambda *_message, **_more: None
    for seq in range(20):
        way = "shell" if chance.random() < 0.7 else "control"
        frames = mill.client(way, f"life{chance.random()}", "e0.1", ENGINE_KEY, seq + 1)
        channel._take([b"controller", *frames])
    for call in channel._backlog.waiting:
        assert isinstance(call.attempt, str)
        assert len(call.arguments) >= 0


class Fuzzed:
    """A driver with fake engines, of which the last is honest, and clients, of which one is."""

    def __init__(self, world, honest, chance):
        self.world, self.honest, self.chance = world, honest, chance
        self.mill, self.seq = Mill(chance), 0
        self.stranger = world.stranger()

    def send(self):
        """Send one message from somewhere."""
        self.seq += 1
        world, chance, stranger = self.world, self.chance, self.stranger
        way = chance.choice(["shell", "control", "shell", "control", "engine", "output", "rubbish"])
        if way == "rubbish":
            frames = self.mill.rubbish()
            if frames:
                stranger.ports[chance.choice(["shell", "control"])].send(frames)
        elif way in ("shell", "control"):
            # It may have left, or been sent away: then it would be refused whatever it says.
            world.driver.clients.join(stranger.session, "stranger", 1)
            key = world.driver.key.encode()
            frames = self.mill.client(way, stranger.session, stranger.life, key, self.seq)
            stranger.ports[way].send(frames)
        else:
            self._send_as_engine(way)

    def _send_as_engine(self, way):
        kernel = self.world.kernels[self.chance.choice([0, 1])]
        name = self.chance.choice(["shell", "control", "apply"]) if way == "engine" else "iopub"
        port = kernel._ports.get(name)
        if port is None:
            return
        parents = [msg_id for _, _, msg_id in kernel.seen[-5:]]
        key, life = kernel.info["key"], self.world.driver.life
        frames = self.mill.engine(name, kernel.name, life, key, 10**9 + self.seq, parents)
        peers = [b"kernel.topic"] if name == "iopub" else [*port.peers][:1]
        if peers:
            port.send([*peers, *frames])

    async def is_well(self):
        """Whether an honest call is answered by the honest engine."""
        task = f"{self.honest.apply('echo', b'1', targets=[2])}.0"
        reply = await self.honest.reply(task)
        assert (reply.content["status"], reply.buffers) == ("ok", [b"1"])
        self.stranger.stream.clear()
        self.stranger.notices.clear()
        for kernel in self.world.kernels.values():
            del kernel.seen[:-5]


async def fuzz(start_driver, chance, messages):
    world = await start_driver(3)
    fuzzed = Fuzzed(world, await world.client(), chance)
    for port in fuzzed.stranger.ports.values():
        port.listen(lambda _frames: None)
    for number in range(messages):
        fuzzed.send()
        if number % 10 == 9:
            await world.settle()
        if number % 100 == 99:
            await fuzzed.is_well()
    await fuzzed.is_well()
    assert world.counters["unverified"] > 0
    assert world.counters["refused"] > 0
    count("S3", messages_to_a_driver=messages)


async def test_s03_a_driver_survives_everything(start_driver, caplog):
    chance = random.Random(SEED)
    logging.getLogger(__name__).warning("IPYVIEWS_CHAOS_SEED=%s", SEED)
    await fuzz(start_driver, chance, scale(3_000, 1_000_000))
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


@pytest.mark.kernels
async def test_s03_a_controller_s_memory_stays_through_rubbish(start, members):
    rc = start(2)
    address, controller = read_address(rc.cluster.connection_file), members(rc).controller
    transport, mill = ZmqTransport(asyncio.get_running_loop()), Mill(random.Random(SEED))
    ports = [
        transport.connect_dealer(url, b"stranger", server=address.server)
        for url in (address.shell_url, address.control_url)
    ]
    rubbish = [mill.rubbish() for _ in range(1000)]
    rubbish += [mill.client("shell", "c", address.life, b"wrong", n) for n in range(300)]
    rubbish = [message for message in rubbish if message]
    try:
        messages, before = scale(20_000, 1_000_000), 0
        for number in range(messages):
            ports[number % 2].send(rubbish[number % len(rubbish)])
            if number % 2000 == 0:
                # In turn, so that nothing piles up on the way.
                assert await asyncio.to_thread(rc[:].apply_sync, len, b"1234") == [4, 4]
            if number == messages // 10:
                before = controller.memory_info().rss
        assert await asyncio.to_thread(rc[:].apply_sync, len, b"1234") == [4, 4]
        grown = controller.memory_info().rss - before
        count("S3", messages_to_a_controller=messages)
        most("S3", bytes_grown=grown)
        assert grown < 20e6
        assert psutil.pid_exists(controller.pid)
    finally:
        transport.close()
