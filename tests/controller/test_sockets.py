"""The same over real sockets, with fake kernels."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from ipyviews.controller.driver import Driver
from ipyviews.transport.zeromq import ZmqTransport
from tests.controller.conftest import make_config
from tests.controller.fakes import FakeLauncher, ZmqNetwork
from tests.controller.world import World
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
async def world(run_root, errors) -> AsyncIterator[World]:
    loop = asyncio.get_running_loop()
    transport, others = ZmqTransport(loop), ZmqTransport(loop)
    network = ZmqNetwork(others, loop)
    driver = Driver(
        make_config(run_root),
        transport,
        lambda exited: FakeLauncher(network, run_root, exited),
    )
    world = World(driver, network, others)
    driver.fleet.start(3)
    try:
        await eventually(lambda: world.states() == ["live"] * 3)
        yield world
    finally:
        for client in world.clients:
            client.close()
        await driver.close("the test is over")
        others.close()
        network.close()


async def test_cells_and_calls_over_real_sockets(world):
    client = await world.client()
    cells = client.execute("print hello", targets=[0, 1, 2])
    calls = client.apply("echo", *[f"{i}".encode() for i in range(300)], any=None)
    for index in range(3):
        await client.reply(f"{cells}.{index}")
        assert client.types(f"{cells}.{index}") == ["execute_input", "stream", "execute_reply"]
    for index in range(300):
        assert (await client.reply(f"{calls}.{index}")).buffers == [f"{index}".encode()]


async def test_large_buffers_arrive_whole_and_once(world):
    client = await world.client()
    large = bytes(range(256)) * 40_000
    request = client.apply("echo", large, targets=[0, 1, 2])
    for index in range(3):
        assert (await client.reply(f"{request}.{index}")).buffers == [large]


async def test_a_death_ends_a_call_and_a_restart_answers_again(world):
    client = await world.client()
    task = client.apply("stall", b"", targets=[1]) + ".0"
    await eventually(lambda: world.kernels[1].running)
    world.kernels[1].die(-9)
    assert (await client.reply(task)).ours["verdict"] == "engine_lost"
    for _ in range(5):
        answer = await client.ask("restart", engines=[1], now=True)
        assert answer["engines"][0]["state"] == "live"
        reply = await client.reply(client.apply("echo", b"x", targets=[1]) + ".0")
        assert reply.buffers == [b"x"]


async def test_a_client_whose_connection_is_gone_is_noticed(world):
    client, other = await world.client(), await world.client()
    client.close()

    def noticed() -> bool:
        world.driver.clients.probe(everybody=True)
        return len(world.driver.clients) == 1

    await eventually(noticed)
    assert (await other.ask("ping"))["status"] == "ok"


async def test_the_connection_file_has_the_form_of_a_kernel_s(world):
    info: Any = json.loads(json.dumps(world.driver.connection_info(7)))
    ports = [info[f"{name}_port"] for name in ("shell", "iopub", "stdin", "control", "hb")]
    assert ports == [1, 2, 3, 4, 5]
    assert info["transport"] == "ipc"
    ours = SimpleNamespace(**info["ipyviews"])
    assert (ours.pid, ours.cluster_id, ours.life) == (7, "test", world.driver.life)
