"""A TCP proxy that changes a byte."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Self


class FlippingProxy:
    """Passes on everything between who connects and a port of this host; use ``async with``."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._tasks: set[asyncio.Task] = set()
        self._writers: list[asyncio.StreamWriter] = []
        self._left: int | None = None
        #: Bytes that were changed. [count]
        self.flipped = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in self._writers:
            writer.transport.abort()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
        await self._server.wait_closed()

    def flip_after(self, count: int) -> None:
        """Change one bit when so many bytes more were passed on towards the target."""
        self._left = count

    async def _accept(self, reader, writer):
        there, back = await asyncio.open_connection("127.0.0.1", self._target)
        self._writers += [writer, back]
        ways = [self._pass(reader, back, is_out=True), self._pass(there, writer, is_out=False)]
        self._tasks |= {asyncio.create_task(way) for way in ways}

    async def _pass(self, reader, writer, *, is_out):
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                writer.write(self._changed(data) if is_out else data)
                await writer.drain()
        writer.close()

    def _changed(self, data):
        if self._left is None:
            return data
        if self._left >= len(data):
            self._left -= len(data)
            return data
        changed = bytearray(data)
        changed[self._left] ^= 1
        self._left = None
        self.flipped += 1
        return bytes(changed)
