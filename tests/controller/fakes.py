"""Kernels without processes, for tests of the controller.

A `FakeKernel` speaks the engine's side of docs/protocol.md on any network that can bind routers
and publishers. It runs no code; its cells and functions are words:

=========== =============================================================================
``echo``    calls only: the arguments come back
``print``   writes a line; what follows the word is the text (for calls: the arguments)
``fail``    raises ZeroDivisionError
``lack``    says that what it requires is not there
``stall``   goes on until it is interrupted or `FakeKernel.finish` is called
``die``     the process ends
=========== =============================================================================
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections import deque
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import zmq

from ipyviews.engine.version import VERSION
from ipyviews.errors import ClusterError
from ipyviews.launching.exits import report_exit
from ipyviews.protocol.wire import Message, Wire

ERROR = {"status": "error", "ename": "ZeroDivisionError", "evalue": "fake", "traceback": []}
UNMET = ERROR | {"ename": "UnmetDependency", "evalue": "no tool", "unmet": True}
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
    #: Whether it has subshells; it then answers questions also while something runs.
    subshells: bool = False
    #: Whether it answers questions about code at all.
    tells: bool = True


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
        #: Every call that came and was not given back.
        self.calls: set[str] = set()
        self.interrupts: list[str] = []
        self.left: list[str] = []
        #: What clients have let go of.
        self.released: list[Any] = []
        #: Questions about code, and the names of its subshells.
        self.questions: list[Message] = []
        self.subshells: list[str] = []
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

    def tell_released(self, message: Message, client: str, held: Any) -> None:
        """Say that it has let go of segments, to who sent `message`."""
        content = {"client": client, "segments": held}
        self._reply("apply", message, "segments_released", content)

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
        self._obey(channel, wire.decode(frames))

    def _obey(self, channel: str, message: Message) -> None:
        self.seen.append((channel, message.msg_type, message.msg_id))
        match message.msg_type:
            case "kernel_info_request":
                if self.habits.answers:
                    self._answer_info(channel, message)
            case "execute_request":
                self._execute(message)
            case "apply_request":
                word, _, text = bytes(message.buffers[0]).decode().partition(" ")
                for call in cut(message):
                    self.calls.add(call.msg_id)
                    self._add(Job("apply", call, word, text))
            case "recall_request":
                self._give_back(message)
            case "ping_request":
                self._reply(channel, message, "ping_reply", self._report(message))
            case "client_left":
                self.left.append(message.read()["client"])
            case "segments_released":
                self.released.append(message.read())
            case "interrupt_request":
                self._answer_interrupt(channel, message)
            case "create_subshell_request":
                self.subshells.append(f"{self.name}-{len(self.subshells)}")
                reply = {"status": "ok", "subshell_id": self.subshells[-1]}
                self._reply(channel, message, "create_subshell_reply", reply)
            case "complete_request" | "inspect_request":
                self._tell(channel, message)

    def _report(self, message: Message) -> dict[str, Any]:
        jobs = [self.running, *self._queue] if self.running else list(self._queue)
        asked = message.read().get("attempts", ())
        unseen = [name for name in asked if name not in self.calls]
        holds = [job.message.msg_id for job in jobs]
        return {"status": "ok", "holds": holds, "unseen": unseen}

    def _tell(self, channel: str, message: Message) -> None:
        self.questions.append(message)
        kind = message.msg_type.removesuffix("_request")
        subshell = message.header.get("subshell_id")
        self._publish("status", {"execution_state": "busy"}, message)
        if subshell is not None and subshell not in self.subshells:
            unknown = {"status": "error", "ename": "UnknownSubshellError", "evalue": "unknown"}
            self._reply(channel, message, f"{kind}_reply", unknown)
        elif self.habits.tells:
            self._reply(channel, message, f"{kind}_reply", {"status": "ok", "told": self.name})

    def give_back_all(self) -> None:
        """Give back what waits, unasked."""
        waiting, message = list(self._queue), self._queue[0].message
        self._queue.clear()
        names = [job.message.msg_id for job in waiting]
        self._reply("apply", message, "calls_returned", {"attempts": names})

    def _give_back(self, message: Message) -> None:
        asked = set(message.read()["attempts"])
        returned = [job for job in self._queue if job.message.msg_id in asked]
        for job in returned:
            self._queue.remove(job)
        names = [job.message.msg_id for job in returned]
        self.calls -= set(names)
        self._reply("apply", message, "calls_returned", {"attempts": names})

    def _answer_info(self, channel: str, message: Message) -> None:
        self._publish("status", {"execution_state": "busy"}, message)
        info = {"status": "ok", "language_info": {"name": self.habits.language}}
        if self.habits.subshells:
            info["supported_features"] = ["debugger", "kernel subshells"]
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
        if job.message.ours.get("urgent"):
            self._queue.appendleft(job)
        else:
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
            case "lack":
                self._end(job, UNMET)
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


def cut(message: Message) -> list[Message]:
    """Make a message of each call of an ``apply_request``."""
    content, calls = message.read(), []
    function, arguments, *rest = message.buffers
    start = first = 0
    attempts = content.get("attempts", [message.msg_id])
    for attempt, (size, count) in zip(attempts, content["index"], strict=True):
        own = [arguments[start : start + size], *rest[first : first + count]]
        start, first = start + size, first + count
        header = {**message.header, "msg_id": attempt}
        calls.append(replace(message, header=header, buffers=[function, *own]))
    return calls


class FakeLauncher:
    """Makes fake kernels; `prepare` may change each before it boots, or make its start fail."""

    #: What it makes.
    kind = FakeKernel

    def __init__(self, network: Any, folder: Path, on_exit: Any, prepare: Any = None) -> None:
        self.kernels: dict[int, FakeKernel] = {}
        self.closed: bool | None = None
        #: Those that were ended for good.
        self.forgotten: list[FakeKernel] = []
        self._network = network
        self._folder = folder
        self._on_exit = on_exit
        self._prepare = prepare or (lambda _kernel: None)

    async def start(self, engine_id: int, incarnation: int, request: Any) -> FakeKernel:
        kernel = self.kind(self._network, engine_id, incarnation, self._folder)
        kernel.on_exit = self._on_exit
        self.kernels[engine_id] = kernel
        if self._prepare(kernel) == "refuse":
            raise ClusterError("there is no such program")
        kernel.boot()
        return kernel

    def forget(self, kernel: FakeKernel) -> None:
        self.forgotten.append(kernel)

    async def close(self, politely: bool) -> None:
        self.closed = politely
        for _ in range(5):
            await asyncio.sleep(0)
        for kernel in self.kernels.values():
            await kernel.shutdown()


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
