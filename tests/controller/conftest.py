"""A driver on a network in memory, with fake kernels, for each test."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
import zmq

from ipyviews.controller.config import Config
from ipyviews.controller.driver import Driver
from ipyviews.transport.memory import MemoryNetwork, MemoryTransport
from ipyviews.version import __version__
from tests.controller.fakes import FakeLauncher
from tests.controller.world import World
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


def make_config(folder: Path, n: int = 0, *, detached: bool = False, **settings: Any) -> Config:
    return Config(
        folder=folder,
        cluster_id="test",
        n=n,
        kernels=(),
        env={},
        cwd=None,
        agent=False,
        version=__version__,
        detached=detached,
        **settings,
    )


@pytest.fixture(scope="session", autouse=True)
def _pyzmq_collector() -> None:
    """Start what pyzmq starts once for the whole process, at the first large message."""
    with zmq.Context() as context, context.socket(zmq.PAIR) as one, context.socket(zmq.PAIR) as two:
        one.bind("inproc://large")
        two.connect("inproc://large")
        two.send(bytes(100_000), copy=False)
        one.recv()


@pytest.fixture
async def errors() -> AsyncIterator[list[dict[str, Any]]]:
    """What went wrong in callbacks; a test that expects nothing must leave it empty."""
    found: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: found.append(context))
    yield found
    assert not found


@pytest.fixture
async def start(run_root: Path, errors: list[Any]) -> AsyncIterator[Any]:
    """``await start(n, prepare)``: a world with `n` engines that have joined."""
    worlds: list[World] = []

    async def start(n: int = 0, prepare: Any = None, joined: bool = True, **settings: Any) -> World:
        network = MemoryNetwork(asyncio.get_running_loop())
        transport = MemoryTransport(network)
        driver = Driver(
            make_config(run_root, n, **settings),
            transport,
            lambda exited: FakeLauncher(network, run_root, exited, prepare),
        )
        world = World(driver, network, transport)
        worlds.append(world)
        if n:
            driver.fleet.start(n)
        if joined:
            await eventually(lambda: world.states() == ["live"] * n)
        return world

    yield start
    for world in worlds:
        for client in world.clients:
            client.close()
        await world.driver.close("the test is over")
