"""A client without a process, and everything of a test in one place."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from ipyviews.client.address import read_address
from ipyviews.protocol.wire import Message, Wire, unbundle
from ipyviews.version import __version__

if TYPE_CHECKING:
    from tests.controller.fakes import FakeKernel


class FakeClient:
    """A client's side, message by message.

    Parameters
    ----------
    transport
        Makes its two sockets.
    info
        The connection info of the controller.
    """

    def __init__(
        self, transport: Any, info: dict[str, Any], key: str | None = None, session: str = ""
    ) -> None:
        self.session = session or secrets.token_hex(8)
        self.life = info["ipyviews"]["life"]
        #: Everything that came on shell, in order.
        self.stream: list[Message] = []
        self.notices: list[tuple[str, dict[str, Any]]] = []
        self.replies: dict[str, dict[str, Any]] = {}
        self.bytes = 0
        key_bytes = (key or info["key"]).encode()
        self._wires = {
            name: Wire(key_bytes, self.session, own=True, name=self.session)
            for name in ("shell", "control")
        }
        where = read_address(info)
        self.ports = {
            name: transport.connect_dealer(
                url, self.session.encode(errors="replace"), server=where.server
            )
            for name, url in (("shell", where.shell_url), ("control", where.control_url))
        }
        self.ports["shell"].listen(self._shell_arrived)
        self.ports["control"].listen(self._control_arrived)
        self._changed = asyncio.Event()
        self._count = 0

    def close(self) -> None:
        for port in self.ports.values():
            port.close()

    # -- sending

    def send(self, channel: str, msg_type: str, content: Any, **more: Any) -> str:
        """Send anything; return its msg_id."""
        self._count += 1
        msg_id = more.pop("msg_id", f"{self.session}-{self._count}")
        to = more.pop("to", self.life)
        frames = self._wires[channel].encode(msg_type, msg_id, content, to=to, **more)
        self.ports[channel].send(frames)
        return msg_id

    async def ask(self, name: str, /, **content: Any) -> dict[str, Any]:
        """Ask on control and wait for the reply."""
        msg_id = self.send("control", f"{name}_request", content)
        await self.until(lambda: msg_id in self.replies)
        return self.replies[msg_id]

    async def hello(self, version: str = __version__) -> dict[str, Any]:
        return await self.ask(
            "hello", version=version, client=self.session, python="cpython-3.11", pid=1, name="fake"
        )

    def execute(self, code: str, **ours: Any) -> str:
        content = {"code": code, "silent": False, "stop_on_error": False}
        return self.send("shell", "execute_request", content, metadata={"ipyviews": ours})

    def apply(self, function: str, *arguments: bytes, **ours: Any) -> str:
        """Send calls, one for each of `arguments`."""
        index = [[len(argument), 0] for argument in arguments]
        buffers = [function.encode(), b"".join(arguments)]
        return self.send(
            "shell",
            "apply_request",
            {"index": index},
            metadata={"ipyviews": ours},
            buffers=buffers,
        )

    # -- receiving

    async def until(self, predicate: Any, timeout_s: float = 10.0) -> None:
        """Wait until something that came makes the predicate true."""

        async def wait() -> None:
            while not predicate():
                self._changed.clear()
                await self._changed.wait()

        await asyncio.wait_for(wait(), timeout_s)

    async def reply(self, task: str) -> SimpleNamespace:
        """Wait for the reply of a task."""
        await self.until(lambda: self.replies_to(task))
        message = self.replies_to(task)[0]
        return SimpleNamespace(
            type=message.msg_type,
            content=message.read(),
            ours=message.ours,
            buffers=[bytes(buffer) for buffer in message.buffers],
        )

    def replies_to(self, task: str) -> list[Message]:
        return [m for m in self.of(task) if m.msg_type.endswith("_reply")]

    def of(self, task: str) -> list[Message]:
        """All that came for a task."""
        return [message for message in self.stream if message.parent_id == task]

    def types(self, task: str) -> list[str]:
        return [message.msg_type for message in self.of(task)]

    def text(self, task: str) -> str:
        return "".join(m.read()["text"] for m in self.of(task) if m.msg_type == "stream")

    def acknowledge(self, size: int | None = None) -> None:
        self.send("control", "received_request", {"bytes": self.bytes if size is None else size})

    def _shell_arrived(self, frames: list[Any]) -> None:
        self.bytes += sum(memoryview(frame).nbytes for frame in frames)
        self.stream += unbundle(self._wires["shell"].decode(frames))
        self._changed.set()

    def _control_arrived(self, frames: list[Any]) -> None:
        message = self._wires["control"].decode(frames)
        if message.msg_type.endswith("_reply"):
            assert message.parent_id not in self.replies, "answered twice"
            self.replies[message.parent_id] = message.read()
            if message.buffers:
                frames = [bytes(buffer) for buffer in message.buffers]
                self.replies[message.parent_id]["buffers"] = frames
        else:
            self.notices.append((message.msg_type, message.read()))
        self._changed.set()


@dataclass
class World:
    """A driver with its fake engines and clients, in one process."""

    driver: Any
    network: Any
    transport: Any
    clients: list[FakeClient] = field(default_factory=list)

    @property
    def kernels(self) -> dict[int, FakeKernel]:
        return self.driver.fleet.launcher.kernels

    @property
    def counters(self) -> Any:
        return self.driver.counters

    async def client(self, **more: Any) -> FakeClient:
        """Connect a client that has said hello."""
        client = self.stranger(**more)
        assert (await client.hello())["status"] == "ok"
        return client

    def stranger(self, **more: Any) -> FakeClient:
        """Connect a client that has not said hello."""
        client = FakeClient(self.transport, self.driver.connection_info(1), **more)
        self.clients.append(client)
        return client

    def states(self) -> list[str]:
        return [info["state"] for info in self.driver.fleet.infos()]

    def lives(self) -> list[int]:
        """Return the incarnation that each engine is in."""
        return [info["incarnation"] for info in self.driver.fleet.infos()]

    async def settle(self) -> None:
        """Let everything that is on its way arrive."""
        for _ in range(30):
            await asyncio.sleep(0)
