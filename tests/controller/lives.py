"""Controllers one after the other on one network, with fake kernels that outlive them."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ipyviews.controller.driver import Driver
from ipyviews.launching.exits import report_exit
from ipyviews.launching.link import Running
from ipyviews.store.journal import Journal
from ipyviews.transport.base import PeerGone
from ipyviews.transport.memory import MemoryNetwork, MemoryTransport
from tests.controller.conftest import make_config
from tests.controller.fakes import FakeKernel, FakeLauncher
from tests.controller.world import FakeClient
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ipyviews.protocol.wire import Message


class LastingKernel(FakeKernel):
    """A fake kernel that keeps its answers, as the extension does."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        #: Answers that nobody has acknowledged: message, content, buffers; and how cells ended.
        self.kept: dict[int, tuple[Message, Any, Any]] = {}
        self.cells: dict[str, Any] = {}
        #: What it tells of output when it is taken over, and the cells that were acknowledged.
        self.printed: list[dict[str, Any]] = []
        self.read: list[str] = []
        #: What it says besides when it is taken over.
        self.says: dict[str, Any] = {}
        self.process: asyncio.Future[Any] | None = None
        self._numbers = 0

    def die(self, returncode: int = -9, *, told: bool = True, tail: bytes = b"") -> None:
        if self.process is not None and not self.process.done():
            self.process.set_result(report_exit(self.pid, returncode))
        super().die(returncode, told=told, tail=tail)

    def _arrived(self, channel: str, frames: list[Any]) -> None:
        super()._arrived(channel, frames)
        kind = self.seen[-1][1]
        if kind == "resume_request":
            self._resume(frames)
        elif kind == "replies_received":
            self._acknowledged(frames)

    def _decode(self, frames: list[Any]) -> Message:
        # The number was taken in by then.
        self._own._seen.clear()
        return self._own.decode(frames)

    def _acknowledged(self, frames: list[Any]) -> None:
        content = self._decode(frames).read()
        self.read += content["cells"]
        for number in content["numbers"]:
            self.kept.pop(number, None)

    def _resume(self, frames: list[Any]) -> None:
        message = self._decode(frames)
        self._queue.clear()
        kept, self.kept = self.kept, {}
        for asked, content, buffers in kept.values():
            asked.header["session"] = message.header["session"]
            self._reply("apply", asked, "apply_reply", content, buffers=buffers)
        for printed in self.printed:
            nobody = replace(message, header={"session": message.header["session"]})
            self._reply("apply", nobody, "output_again", printed)
        job = self.running
        told: dict[str, Any] = {"status": "ok", "gone": [], "cells": self.cells, "next": 7}
        told |= {"running": None, "cell": None}
        if job is not None:
            job.message.header["session"] = message.header["session"]
            name = job.message.msg_id
            told |= {"running": [name, 3]} if job.channel == "apply" else {"cell": name}
        self._reply("apply", message, "resume_reply", told | self.says)

    def _reply(self, channel: str, message: Message, msg_type: str, content: Any, **more: Any):
        if msg_type == "apply_reply":
            # The next message of this wire has the next number.
            self.kept[self._own._seq + 1] = (message, content, more.get("buffers", ()))
        if msg_type == "execute_reply" and "ipyviews" not in str(content):
            self.cells[message.msg_id] = content
        with contextlib.suppress(PeerGone):
            super()._reply(channel, message, msg_type, content, **more)


class LastingLauncher(FakeLauncher):
    """Finds the kernels of the launcher before it."""

    async def start(self, engine_id: int, incarnation: int, request: Any) -> FakeKernel:
        kernel = LastingKernel(self._network, engine_id, incarnation, self._folder)
        kernel.on_exit = self._on_exit
        kernel.process = asyncio.get_running_loop().create_future()
        self.kernels[engine_id] = kernel
        self._prepare(kernel)
        kernel.boot()
        return kernel

    async def running(self) -> tuple[dict[str, Running], dict[str, Any]]:
        names = {f"e{one}": kernel for one, kernel in self.kernels.items()}
        running = {
            name: Running(kernel.pid, "fork", kernel.process)
            for name, kernel in names.items()
            if kernel._ports
        }
        ended = {
            name: kernel.process.result() for name, kernel in names.items() if kernel.process.done()
        }
        return running, ended

    def adopt(self, engine_id: int, incarnation: int, _request: Any, process: Any) -> FakeKernel:
        kernel = self.kernels[engine_id]
        assert kernel.incarnation == incarnation
        kernel.on_exit = self._on_exit
        return kernel

    async def kill(self, pid: int) -> None:
        next(kernel for kernel in self.kernels.values() if kernel.pid == pid).die()

    async def close(self, politely: bool) -> None:
        if politely:
            await super().close(politely)


class Lives:
    """A cluster whose controller dies and is replaced."""

    def __init__(
        self,
        folder: Path,
        prepare: Callable[[Any], None] = lambda _: None,
        **settings: Any,
    ) -> None:
        self._settings = settings
        self.network = MemoryNetwork(asyncio.get_running_loop())
        self.clients: list[FakeClient] = []
        self.driver: Any = None
        self._folder = folder
        self._prepare = prepare
        self._kernels: dict[int, LastingKernel] = {}
        self._transport = MemoryTransport(self.network)

    @property
    def kernels(self) -> dict[int, LastingKernel]:
        return self._kernels

    def states(self) -> list[str]:
        return [info["state"] for info in self.driver.fleet.infos()]

    async def begin(self, n: int) -> None:
        """Start the first controller and its engines."""
        self._start(None)
        self.driver.fleet.start(n)
        await eventually(lambda: self.states() == ["live"] * n)

    def _start(self, former: dict[str, Any] | None) -> None:
        self._port = MemoryTransport(self.network)

        def launcher(exited: Any) -> LastingLauncher:
            made = LastingLauncher(self.network, self._folder, exited, self._prepare)
            made.kernels = self._kernels
            return made

        self.driver = Driver(
            make_config(self._folder, **self._settings),
            self._port,
            launcher,
            journal=Journal(self._folder / "state.db"),
            former=former,
        )

    async def die(self) -> dict[str, Any]:
        """Kill the controller; nobody hears of it but by the end of its connections."""
        former = self.driver.connection_info(1)
        self._port.close()
        for kernel in self._kernels.values():
            kernel.on_exit = None
        await self.driver.close("killed", politely=False)
        await self.settle()
        return former

    async def take_over(self, former: dict[str, Any]) -> None:
        """Start the next controller."""
        self._start(former)
        await self.driver.take_over()

    async def replace(self) -> None:
        """Kill the controller and start the next one; clients greet it."""
        await self.take_over(await self.die())
        for client in self.clients:
            await self.greet(client)

    async def greet(self, client: FakeClient) -> dict[str, Any]:
        client.life = self.driver.life
        return await client.hello()

    async def client(self) -> FakeClient:
        client = FakeClient(self._transport, self.driver.connection_info(1))
        self.clients.append(client)
        assert (await client.hello())["status"] == "ok"
        return client

    async def close(self) -> None:
        for client in self.clients:
            client.close()
        await self.driver.close("the test is over")

    async def settle(self) -> None:
        for _ in range(30):
            await asyncio.sleep(0)


def again(client: FakeClient, request: str, places: list[int], **sent: Any) -> None:
    """Send a request once more, for those of its tasks that have no reply."""
    if "code" in sent:
        content = {"code": sent.pop("code"), "silent": False, "stop_on_error": False}
        kind, buffers = "execute_request", ()
    else:
        function, arguments = sent.pop("function"), sent.pop("arguments")
        content = {"index": [[len(one), 0] for one in arguments]}
        kind, buffers = "apply_request", [function.encode(), b"".join(arguments)]
    ours = {"ipyviews": {**sent, "again": places}}
    client.send("shell", kind, content, metadata=ours, buffers=buffers, msg_id=request)
