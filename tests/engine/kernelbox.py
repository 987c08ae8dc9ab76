"""A real kernel and a raw client of all its channels, for tests."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any, Self

import zmq

from ipyviews.engine import begun, names
from ipyviews.launching import bootstrap
from ipyviews.protocol import payload
from ipyviews.protocol.wire import Message, Wire, unbundle
from tests.waiting import wait_until

CHANNELS = {"shell": 1, "iopub": 2, "stdin": 3, "control": 4, "hb": 5}
QUICK = ["--HistoryManager.enabled=False"]


class Answer:
    """One apply_reply, its result unpickled when it is asked for."""

    def __init__(self, message: Message) -> None:
        self.content = message.read()
        self.buffers = message.buffers

    @property
    def value(self) -> Any:
        assert self.content["status"] == "ok", self.content
        return payload.unpack_result(self.buffers)

    @property
    def error(self) -> tuple[str, str]:
        return self.content["ename"], self.content["evalue"]


class KernelBox:
    """A kernel of its own process over ipc; use as a context manager.

    `python` is the interpreter, `arguments` go to the kernel.
    """

    def __init__(self, *arguments: str, python: str = sys.executable, name: str = "e0.1", **env):
        self.name = name
        self._stack = contextlib.ExitStack()
        self.folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="ipv")))
        self.key = b"a test's key"
        file = self.folder / "k.json"
        ports = {f"{channel}_port": port for channel, port in CHANNELS.items()}
        file.write_text(
            json.dumps(
                {
                    "transport": "ipc",
                    "ip": str(self.folder / "k"),
                    "key": self.key.decode(),
                    "signature_scheme": "hmac-sha256",
                    **ports,
                }
            )
        )
        self.log = self._stack.enter_context((self.folder / "log").open("w+"))
        self.process = subprocess.Popen(
            [python, "-m", "ipykernel_launcher", "-f", file, *QUICK, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=self.log,
            cwd=self.folder,
            env={**os.environ, "PYTHONWARNINGS": "", "IPYTHONDIR": str(self.folder), **env},
        )
        self._context = self._stack.enter_context(zmq.Context())
        self._stack.callback(self._end)
        self.sockets: dict[str, zmq.Socket[bytes]] = {}
        self._poller = zmq.Poller()
        self.replies: dict[str, Message] = {}
        self.outputs: dict[str, list[Message]] = defaultdict(list)
        #: Message types and parents in the order they came, replies included.
        self.order: list[tuple[str, str]] = []
        #: Types of all messages that came.
        self.messages: list[str] = []
        #: Attempts that were given back.
        self.returned: list[str] = []
        self._wires = {c: Wire(self.key, "tester") for c in CHANNELS}
        self._wires["apply"] = Wire(self.key, "tester", own=True, name="tester")
        self._count = 0
        # The number of each single call.
        self._calls: dict[str, int] = {}
        for channel in ("shell", "control", "iopub"):
            self.connect(channel, f"ipc://{self.folder}/k-{CHANNELS[channel]}")

    def __enter__(self) -> Self:
        try:
            self.wait_until_ready()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _end(self) -> None:
        for socket in self.sockets.values():
            socket.close(linger=0)
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(10)

    def connect(self, channel: str, url: str) -> None:
        socket = self._context.socket(zmq.SUB if channel == "iopub" else zmq.DEALER)
        socket.setsockopt(zmq.RCVHWM, 0)
        socket.setsockopt(zmq.SNDHWM, 0)
        if channel == "iopub":
            socket.setsockopt(zmq.SUBSCRIBE, b"")
        else:
            socket.setsockopt(zmq.IDENTITY, b"tester")
        socket.connect(url)
        self.sockets[channel] = socket
        self._poller.register(socket, zmq.POLLIN)

    def wait_until_ready(self) -> None:
        """Repeat a request until its output arrives: a subscription takes effect when it does."""
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            asked = self.request("shell", "kernel_info_request", {})
            self.reply(asked, 30)
            with contextlib.suppress(TimeoutError):
                self.wait(lambda asked=asked: self.is_idle(asked), 0.2)
                # Connected now: later it would look like a descriptor a test has left open.
                self.reply(self.request("control", "kernel_info_request", {}), 30)
                return
        raise TimeoutError(self.read_log())

    def request(
        self,
        channel: str,
        msg_type: str,
        content: dict[str, Any],
        *,
        ours: dict[str, Any] | None = None,
        buffers: Any = (),
        msg_id: str | None = None,
        to: str | None = None,
        subshell: str | None = None,
    ) -> str:
        self._count += 1
        msg_id = msg_id or f"t-{self._count}.0/0.1/1"
        frames = self._wires[channel].encode(
            msg_type,
            msg_id,
            content,
            metadata={"ipyviews": ours or {}},
            buffers=buffers,
            to=self.name if to is None else to,
            subshell=subshell,
        )
        self.sockets[channel].send_multipart(frames)
        return msg_id

    def receive(self, timeout: float) -> None:
        """Take what comes within the time, at least one message if any."""
        for socket, _ in self._poller.poll(timeout * 1000):
            channel = next(c for c, s in self.sockets.items() if s is socket)
            for _ in range(1000):
                try:
                    frames = socket.recv_multipart(zmq.NOBLOCK)
                except zmq.Again:
                    break
                message = self._wires[channel].decode(frames)
                self.messages.append(message.msg_type)
                if message.msg_type == "calls_returned":
                    self.returned += message.read()["attempts"]
                for one in unbundle(message):
                    self.order.append((one.msg_type, one.parent_id))
                    if channel == "iopub":
                        self.outputs[one.parent_id].append(one)
                    else:
                        self.replies[one.parent_id] = one

    def wait(self, condition: Any, timeout: float = 10) -> None:
        deadline = time.monotonic() + timeout
        while not condition():
            left = deadline - time.monotonic()
            if left < 0 or self.process.poll() is not None:
                raise TimeoutError(f"kernel rc {self.process.poll()}: {self.read_log()}")
            self.receive(min(left, 0.1))

    def read_log(self) -> str:
        return (self.folder / "log").read_text()[-3000:]

    def reply(self, msg_id: str, timeout: float = 10) -> Message:
        self.wait(lambda: msg_id in self.replies, timeout)
        return self.replies[msg_id]

    def is_idle(self, msg_id: str) -> bool:
        return any(
            m.msg_type == "status" and m.read()["execution_state"] == "idle"
            for m in self.outputs[msg_id]
        )

    def text(self, msg_id: str, name: str = "stdout") -> str:
        return "".join(
            m.read()["text"]
            for m in self.outputs[msg_id]
            if m.msg_type == "stream" and m.read()["name"] == name
        )

    def join(self, *, source: bool = False, name: str | None = None) -> bootstrap.EngineReport:
        self.name = name or self.name
        make = bootstrap.source_request if source else bootstrap.probe_request
        content = self.reply(self.request("shell", "execute_request", make(self.name))).read()
        report = bootstrap.read_report(content)
        assert report is not None, bootstrap.refusal(content)
        if "apply" not in self.sockets:
            self.connect("apply", report.apply_url)
        return report

    def keep_calls(self, seconds: float = 60.0) -> None:
        """Let calls wait so long in the engine before they are given back."""
        module = "__import__('ipyviews.engine.backlog').engine.backlog"
        names = ("BEHIND_ONE_S", "BEHIND_MANY_S")
        self.execute("\n".join(f"{module}.{name} = {seconds}" for name in names), silent=True)

    def send_code(self, code: str, msg_id: str | None = None, **content: Any) -> str:
        content = {"silent": False, "stop_on_error": False, "allow_stdin": False, **content}
        return self.request("shell", "execute_request", {"code": code, **content}, msg_id=msg_id)

    def execute(self, code: str, **content: Any) -> dict[str, Any]:
        return self.reply(self.send_code(code, **content)).read()

    def send_call(
        self, function: Any, *args: Any, ours: Any = None, msg_id: str | None = None, **kwargs: Any
    ) -> str:
        packed = payload.pack_calls(function, [(args, kwargs)])
        python = {"python": names.implementation()} if packed.by_value else {}
        number = len(self._calls)
        attempt = self.request(
            "apply",
            "apply_request",
            {"index": packed.index},
            ours={"client": "tester", "first": number, **python, **(ours or {})},
            buffers=[packed.function, packed.arguments, *packed.buffers],
            msg_id=msg_id,
        )
        self._calls[attempt] = number
        return attempt

    def has_begun(self, attempt: str) -> bool:
        """Whether a call was begun; there may have been some thousands of them at most."""
        page = Path(begun.path_of(str(self.folder / "k.json"))).read_bytes()
        return page[begun.FIRST + self._calls[attempt]] > 0

    def send_bundle(self, function: Any, *values: Any, **ours: Any) -> list[str]:
        """Send one call for each value in one message; return the attempts."""
        packed = payload.pack_calls(function, [((value,), {}) for value in values])
        python = {"python": names.implementation()} if packed.by_value else {}
        self._count += 1
        attempts = [f"b-{self._count}.{i}/0.1/1" for i in range(len(values))]
        first = len(self._calls)
        self._calls.update(zip(attempts, range(first, first + len(values)), strict=True))
        self.request(
            "apply",
            "apply_request",
            {"index": packed.index, "attempts": attempts},
            ours={"first": first, **python, **ours},
            buffers=[packed.function, packed.arguments, *packed.buffers],
            msg_id=attempts[0],
        )
        return attempts

    def answer(self, msg_id: str, timeout: float = 10) -> Answer:
        return Answer(self.reply(msg_id, timeout))

    def call(self, function: Any, *args: Any, **kwargs: Any) -> Answer:
        return self.answer(self.send_call(function, *args, **kwargs))

    def interrupt(self, attempt: str, kind: str = "apply") -> str:
        return self.request("apply", "interrupt_request", {"attempt": attempt, "kind": kind})

    def ping(self, **asked: int) -> dict[str, Any]:
        """Ask what is held, and for calls with their numbers."""
        return self.reply(self.request("apply", "ping_request", {"attempts": asked})).read()

    def wait_until_idle(self) -> None:
        """Wait until nothing is held: an answer is let go of just after it was sent."""
        wait_until(lambda: self.ping()["holds"] == [])

    def shut_down(self) -> int:
        """End the kernel politely and return its exit code."""
        self.request("control", "shutdown_request", {"restart": False})
        return self.process.wait(10)

    def signal(self) -> None:
        self.process.send_signal(signal.SIGINT)


def interactive(source: str) -> dict[str, Any]:
    """Run source as if it were typed into a notebook; returns the namespace."""
    space: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(source, "<cell>", "exec", dont_inherit=True), space)
    return space
