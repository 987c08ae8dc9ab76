"""Kernels and clients without processes, for tests of the controller.

A `FakeKernel` speaks the engine's side of docs/protocol.md on any network that can bind routers
and publishers. It runs no code; its cells and functions are words:

=========== =============================================================================
``echo``    calls only: the arguments come back
``print``   writes a line; what follows the word is the text (for calls: the arguments)
``fail``    raises ZeroDivisionError
``stall``   goes on until it is interrupted or `FakeKernel.finish` is called
``die``     the process ends
=========== =============================================================================
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import zmq

from ipyviews.engine.version import VERSION
from ipyviews.errors import ClusterError, ProtocolError
from ipyviews.launching.exits import report_exit
from ipyviews.protocol.wire import Message, Wire
from ipyviews.version import __version__

ERROR = {"status": "error", "ename": "ZeroDivisionError", "evalue": "fake", "traceback": []}
INTERRUPTED = {"status": "error", "ename": "KeyboardInterrupt", "evalue": "", "traceback": []}


@dataclass
class Job:
    """One request that a fake kernel runs."""

    channel: str
    message: Message
    word: str
    text: str


@dataclass
class Habits:
    """How a fake kernel behaves; changed at any time."""

    language: str = "python"
    #: Whether the extension can be loaded, and by which request: "probe", "source" or "".
    loads: str = "probe"
    #: Whether its iopub greets subscribers.
    welcomes: bool = True
    #: Whether it answers kernel_info_request.
    answers: bool = True
    #: When idle is published: "before" or "after" the reply, "later" (by hand), or "never".
    idle: str = "before"
    #: How often replies are sent.
    copies: int = 1


class FakeKernel:
    """The kernel's side; also the controller's handle on it, as `LaunchedKernel` is."""

    def __init__(self, network: Any, engine_id: int, incarnation: int, folder: Path) -> None:
        self.habits = Habits()
        self.info = {"key": secrets.token_hex(16).encode()}
        self.kernel_name = "fake"
        self.connection_file = folder / f"e{engine_id}.json"
        self.interrupt_mode = "signal"
        self.pid = 1000 + engine_id
        self.engine_id = engine_id
        self.incarnation = incarnation
        self.running: Job | None = None
        #: Every request that came: (channel, type, msg_id).
        self.seen: list[tuple[str, str, str]] = []
        self.interrupts: list[str] = []
        self.signals: list[int] = []
        self.on_exit: Any = None
        #: Replies to send late, by hand: of a former life, for example.
        self.last_reply: Any = None
        self._network = network
        self._base = f"{folder}/e{engine_id}-ipc"
        self._ports: dict[str, Any] = {}
        self._queue: deque[Job] = deque()
        self._late_idle: list[Message] = []

    @property
    def name(self) -> str:
        return f"e{self.engine_id}.{self.incarnation}"

    def url(self, channel: str) -> str:
        return f"ipc://{self._base}-{channel}"

    # -- life

    def boot(self) -> None:
        key = self.info["key"]
        self._stock = Wire(key, self.name)
        self._own = Wire(key, self.name, own=True, name=self.name)
        for channel in ("shell", "control", "apply"):
            port = self._network.router(self.url(channel))
            port.listen(lambda frames, channel=channel: self._arrived(channel, frames))
            self._ports[channel] = port
        self._ports["iopub"] = self._network.pub(self.url("iopub"), self._subscribed)

    def die(self, returncode: int = -9, *, told: bool = True, tail: bytes = b"") -> None:
        """End without a word; the exit is reported when `told`."""
        for port in self._ports.values():
            port.close()
        self._ports.clear()
        self.running = None
        self._queue.clear()
        if told and self.on_exit is not None:
            report = report_exit(self.pid, returncode, tail=tail)
            self.on_exit(self.engine_id, self.incarnation, report)

    async def restart(self, now: bool = False) -> None:
        self.die(told=False)
        self.incarnation += 1
        self.boot()

    async def shutdown(self, now: bool = False) -> None:
        self.die(told=False)

    async def interrupt(self) -> None:
        self.signals.append(2)
        self._interrupt()

    async def signal(self, signum: int) -> None:
        self.signals.append(signum)
        if signum == 9:
            self.die()

    # -- by hand

    def finish(self) -> None:
        """End the stalled job well."""
        job = self.running
        self.running = None
        self._end(job, {"status": "ok"})
        self._next()

    def publish_late_idle(self) -> None:
        for parent in self._late_idle:
            self._publish("status", {"execution_state": "idle"}, parent)
        self._late_idle.clear()

    def publish(self, msg_type: str, content: Any, parent_id: str) -> None:
        """Publish anything under any parent."""
        self._send_iopub(msg_type, content, {"msg_id": parent_id})

    def send_again(self) -> None:
        """Send a reply once more, as it was."""
        channel, frames = self.last_reply
        self._ports[channel].send(frames)

    # -- messages

    def _subscribed(self, topic: bytes) -> None:
        if self.habits.welcomes and topic:
            frames = self._stock.encode("iopub_welcome", secrets.token_hex(4), {})
            self._ports["iopub"].send([topic, *frames])

    def _publish(self, msg_type: str, content: Any, parent: Message) -> None:
        self._send_iopub(msg_type, content, parent.header)

    def _send_iopub(self, msg_type: str, content: Any, parent: Any) -> None:
        if "iopub" in self._ports:
            frames = self._stock.encode(msg_type, secrets.token_hex(4), content, parent=parent)
            self._ports["iopub"].send([b"kernel.topic", *frames])

    def _arrived(self, channel: str, frames: list[Any]) -> None:
        wire = self._own if channel == "apply" else self._stock
        message = wire.decode(frames)
        self.seen.append((channel, message.msg_type, message.msg_id))
        match message.msg_type:
            case "kernel_info_request":
                if self.habits.answers:
                    self._answer_info(channel, message)
            case "execute_request":
                self._execute(message)
            case "apply_request":
                word, _, text = bytes(message.buffers[0]).decode().partition(" ")
                self._add(Job("apply", message, word, text))
            case "ping_request":
                self._reply(channel, message, "ping_reply", {"status": "ok", "holds": []})
            case "interrupt_request":
                self._answer_interrupt(channel, message)

    def _answer_info(self, channel: str, message: Message) -> None:
        self._publish("status", {"execution_state": "busy"}, message)
        info = {"status": "ok", "language_info": {"name": self.habits.language}}
        self._reply(channel, message, "kernel_info_reply", info)
        self._publish("status", {"execution_state": "idle"}, message)

    def _execute(self, message: Message) -> None:
        content = message.read()
        if content.get("user_expressions"):
            self._answer_probe(message, content)
            return
        word, _, text = content["code"].partition(" ")
        self._add(Job("shell", message, word, text))

    def _answer_probe(self, message: Message, content: dict[str, Any]) -> None:
        way = "source" if len(json.dumps(content)) > 5000 else "probe"
        report = {
            "apply_url": self.url("apply"),
            "python": "cpython-3.11",
            "ipykernel": "7.4.0",
            "version": VERSION,
            "pid": self.pid,
            "has_cloudpickle": True,
        }
        answer = {"status": "ok", "data": {"text/plain": repr(json.dumps(report))}}
        if self.habits.loads != way:
            answer = {"status": "error", "ename": "ImportError", "evalue": "no ipyviews"}
        reply = {"status": "ok", "user_expressions": {"ipyviews": answer}}
        self._reply("shell", message, "execute_reply", reply)

    def _answer_interrupt(self, channel: str, message: Message) -> None:
        attempt = message.read().get("attempt", "")
        self.interrupts.append(attempt)
        found = self.running is not None and attempt in ("", self.running.message.msg_id)
        self._reply(channel, message, "interrupt_reply", {"status": "ok", "found": found})
        if found:
            self._interrupt()

    def _interrupt(self) -> None:
        job, self.running = self.running, None
        if job is not None:
            self._end(job, INTERRUPTED)
            self._next()

    # -- work

    def _add(self, job: Job) -> None:
        self._queue.append(job)
        self._next()

    def _next(self) -> None:
        while self._queue and self.running is None:
            self._run(self._queue.popleft())

    def _run(self, job: Job) -> None:
        if job.channel == "shell":
            self._publish("status", {"execution_state": "busy"}, job.message)
            self._publish("execute_input", {"code": job.word, "execution_count": 1}, job.message)
        match job.word:
            case "stall":
                self.running = job
            case "die":
                self.die(tail=b"Fatal: fake")
            case "fail":
                self._end(job, ERROR)
            case _:
                self._end(job, {"status": "ok"})

    def _end(self, job: Job, content: dict[str, Any]) -> None:
        wrote = job.word == "print"
        if wrote:
            text = job.text or bytes(job.message.buffers[1]).decode()
            self._publish("stream", {"name": "stdout", "text": text + "\n"}, job.message)
        marked = job.channel == "shell" or wrote
        if marked and self.habits.idle == "before":
            self._publish("status", {"execution_state": "idle"}, job.message)
        buffers = []
        if job.channel == "apply":
            content = {**content, "started": 1.0, "ended": 2.0, "output": wrote, "eventloop": False}
            if content["status"] == "ok":
                buffers = list(job.message.buffers[1:])
        msg_type = "apply_reply" if job.channel == "apply" else "execute_reply"
        copies = self.habits.copies
        self._reply(job.channel, job.message, msg_type, content, buffers=buffers, copies=copies)
        if marked and self.habits.idle == "after":
            self._publish("status", {"execution_state": "idle"}, job.message)
        if marked and self.habits.idle == "later":
            self._late_idle.append(job.message)

    def _reply(
        self,
        channel: str,
        message: Message,
        msg_type: str,
        content: Any,
        *,
        buffers: Any = (),
        copies: int = 1,
    ) -> None:
        wire = self._own if channel == "apply" else self._stock
        for _ in range(copies):
            frames = wire.encode(
                msg_type,
                secrets.token_hex(4),
                content,
                parent=message.header,
                buffers=buffers,
                to=message.header["session"],
            )
            self.last_reply = (channel, [*message.idents, *frames])
            self._ports[channel].send(self.last_reply[1])


class FakeLauncher:
    """Makes fake kernels; `prepare` may change each before it boots, or make its start fail."""

    def __init__(self, network: Any, folder: Path, on_exit: Any, prepare: Any = None) -> None:
        self.kernels: dict[int, FakeKernel] = {}
        self.closed: bool | None = None
        self._network = network
        self._folder = folder
        self._on_exit = on_exit
        self._prepare = prepare or (lambda _kernel: None)

    async def start(self, engine_id: int, incarnation: int, request: Any) -> FakeKernel:
        kernel = FakeKernel(self._network, engine_id, incarnation, self._folder)
        kernel.on_exit = self._on_exit
        self.kernels[engine_id] = kernel
        if self._prepare(kernel) == "refuse":
            raise ClusterError("there is no such program")
        kernel.boot()
        return kernel

    async def close(self, politely: bool) -> None:
        self.closed = politely
        for _ in range(5):
            await asyncio.sleep(0)
        for kernel in self.kernels.values():
            await kernel.shutdown()


class FakeClient:
    """A client's side, message by message.

    Parameters
    ----------
    transport
        Makes its two sockets.
    info
        The connection info of the controller.
    """

    def __init__(self, transport: Any, info: dict[str, Any], key: str | None = None) -> None:
        self.session = secrets.token_hex(8)
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
        self.ports = {
            name: transport.connect_dealer(
                f"ipc://{info['ip']}-{info[f'{name}_port']}", self.session.encode()
            )
            for name in ("shell", "control")
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
        self.stream.append(self._wires["shell"].decode(frames))
        self._changed.set()

    def _control_arrived(self, frames: list[Any]) -> None:
        message = self._wires["control"].decode(frames)
        if message.msg_type.endswith("_reply"):
            assert message.parent_id not in self.replies, "answered twice"
            self.replies[message.parent_id] = message.read()
        else:
            self.notices.append((message.msg_type, message.read()))
        self._changed.set()


class ZmqNetwork:
    """Binds for fake kernels over real sockets, as `MemoryNetwork` does in memory."""

    def __init__(self, transport: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._context = zmq.Context()

    def router(self, url: str) -> Any:
        return self._transport.bind_router(url, b"kernel")

    def pub(self, url: str, on_topic: Any) -> Any:
        return ZmqPublisher(self._context, self._loop, url, on_topic)

    def close(self) -> None:
        self._context.term()


class ZmqPublisher:
    """An XPUB that tells of new topics."""

    def __init__(self, context: Any, loop: Any, url: str, on_topic: Any) -> None:
        self._loop = loop
        self._on_topic = on_topic
        self._socket = context.socket(zmq.XPUB)
        self._socket.setsockopt(zmq.SNDHWM, 0)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.bind(url)
        loop.add_reader(self._socket.FD, self._look)

    def send(self, frames: Any) -> None:
        self._socket.send_multipart(frames, zmq.NOBLOCK)
        self._loop.call_soon(self._look)

    def close(self) -> None:
        if not self._socket.closed:
            self._loop.remove_reader(self._socket.FD)
            self._socket.close()

    def _look(self) -> None:
        while not self._socket.closed and self._socket.EVENTS & zmq.POLLIN:
            frame = self._socket.recv(zmq.NOBLOCK)
            if frame[:1] == b"\x01":
                self._on_topic(frame[1:])


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

    async def settle(self) -> None:
        """Let everything that is on its way arrive."""
        for _ in range(30):
            await asyncio.sleep(0)


__all__ = ["FakeClient", "FakeKernel", "FakeLauncher", "ProtocolError", "World", "ZmqNetwork"]
