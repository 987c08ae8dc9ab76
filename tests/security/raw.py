"""A driver on the real network in this process, and peers that speak to it byte by byte."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from typing import TYPE_CHECKING

from ipyviews.controller.driver import Driver
from ipyviews.transport.memory import MemoryNetwork
from ipyviews.transport.zeromq import ZmqTransport, new_curve
from tests.controller.conftest import make_config
from tests.controller.fakes import FakeLauncher
from tests.controller.world import World

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

#: What a ZeroMQ peer without encryption says first: signature, version 3.0, mechanism.
GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)


@contextlib.asynccontextmanager
async def real_world(folder: Path, transport: str = "ipc") -> AsyncIterator[World]:
    """A driver without engines, and a transport for its clients."""
    loop = asyncio.get_running_loop()
    network = MemoryNetwork(loop)
    config = make_config(folder, transport=transport)
    driver = Driver(
        config,
        ZmqTransport(loop),
        lambda exited: FakeLauncher(network, folder, exited, None),
        new_curve() if transport == "tcp" else None,
    )
    world = World(driver, network, ZmqTransport(loop))
    try:
        yield world
    finally:
        for client in world.clients:
            client.close()
        world.transport.close()
        await driver.close("the test is over")


@contextlib.asynccontextmanager
async def zeromq_router(
    folder: Path, **limits: int
) -> AsyncIterator[tuple[dict, list, ZmqTransport]]:
    """A bound ROUTER; how to reach it, what it got, and a transport for its peers."""
    loop = asyncio.get_running_loop()
    here, there, got = ZmqTransport(loop), ZmqTransport(loop), []
    here.bind_router(f"ipc://{folder}/r-1", b"c", **limits).listen(got.append)
    try:
        yield {"transport": "ipc", "ip": f"{folder}/r", "shell_port": 1}, got, there
    finally:
        there.close()
        here.close()


async def connect(info: dict, channel: str = "shell"):
    """Open a connection to a channel; nothing is sent."""
    port = info[f"{channel}_port"]
    if info["transport"] == "tcp":
        return await asyncio.open_connection(info["ip"], port)
    return await asyncio.open_unix_connection(f"{info['ip']}-{port}")


async def shake_hands(info: dict, channel: str = "shell"):
    """Connect as an unencrypted DEALER that may send frames."""
    reader, writer = await connect(info, channel)
    ready = b"\x05READY" + b"\x0bSocket-Type" + struct.pack(">I", 6) + b"DEALER"
    writer.write(GREETING)
    await reader.readexactly(64)
    writer.write(bytes([4, len(ready)]) + ready)
    await reader.readexactly(2)
    return reader, writer


def frame_head(size: int, *, more: bool = False) -> bytes:
    """Announce a large frame."""
    return bytes([2 | more]) + struct.pack(">Q", size)


async def is_closed(reader: asyncio.StreamReader) -> bool:
    """Wait for the end of a connection."""
    with contextlib.suppress(ConnectionError):
        async with asyncio.timeout(30):
            while await reader.read(65536):
                pass
    return True
