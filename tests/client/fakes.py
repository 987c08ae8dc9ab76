"""A controller and its engines in the client's own I/O thread, as docs/protocol.md has them."""

from __future__ import annotations

import contextlib
import io
import threading
import time
from collections import Counter
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from ipyviews.engine import names, outcomes, verbs
from ipyviews.protocol.wire import Wire
from ipyviews.transport.memory import MemoryNetwork, MemoryTransport
from ipyviews.version import __version__
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from ipyviews.protocol.wire import Message

LIFE = "life-1"
KEY = "the key"


def engine_info(engine: int, **changes: Any) -> dict[str, Any]:
    """Return what a controller tells of a living Python engine."""
    import sys

    own = f"{sys.implementation.name}-{sys.version_info.major}.{sys.version_info.minor}"
    return {
        "id": engine,
        "incarnation": 1,
        "state": "live",
        "kernel": "ipyviews-engine",
        "language": "python",
        "implementation": own,
        "apply": True,
        "pid": 1000 + engine,
        "connection_file": f"/nowhere/e{engine}.json",
        "reason": None,
    } | changes


class FakeController:
    """Answers one client; engines are dicts, tasks run at once unless `holding`."""

    def __init__(self, engines: int = 2, *, key: str = KEY, version: str = __version__) -> None:
        self.engines = {one: engine_info(one) for one in range(engines)}
        self.namespaces: dict[int, dict[str, Any]] = {one: {} for one in range(engines)}
        self.failed: list[list[Any]] = []
        self.version = version
        #: Requests as ``(type, content, ours)``, in order.
        self.requests: list[tuple[str, dict[str, Any], dict[str, Any]]] = []
        #: Tasks that wait because of `holding`: ``(task, engine, run)``.
        self.held: list[tuple[str, int, Callable[[], None]]] = []
        self.holding = False
        self.mute = False
        self.life = LIFE
        self.obeys_cancel = True
        self.on_request: Callable[[str], None] = lambda _name: None
        self.acknowledged = 0
        self.sent_bytes = 0
        self._key = key.encode()
        self._client = b""
        self._turn = 0
        self._sent = 0
        self._lock = threading.Lock()

    @property
    def file(self) -> dict[str, Any]:
        """The connection file of this controller."""
        return {
            "transport": "ipc",
            "ip": "/nowhere/c",
            "shell_port": 1,
            "control_port": 2,
            "key": KEY,
            "ipyviews": {
                "version": __version__,
                "cluster_id": "fake",
                "life": LIFE,
                "pid": 4242,
                "folder": "/nowhere",
                "n": len(self.engines),
            },
        }

    def transport(self, loop: Any) -> MemoryTransport:
        """Start to serve in the client's loop; what `Connection(transport=…)` takes."""
        self.loop = loop
        self.network = MemoryNetwork(loop)
        self._wires = [Wire(self._key, LIFE, own=True, name=LIFE) for _ in range(2)]
        self._ports = [self.network.router(f"ipc:///nowhere/c-{n}") for n in (1, 2)]
        self._ports[0].listen(lambda frames: self._shell(self._wires[0].decode(frames)))
        self._ports[1].listen(self._control)
        return MemoryTransport(self.network)

    def do(self, action: Callable[[], Any]) -> Any:
        """Do something in the I/O thread and wait for it."""
        done: Future[Any] = Future()

        def run() -> None:
            try:
                done.set_result(action())
            except BaseException as error:  # noqa: BLE001
                done.set_exception(error)

        self.loop.call_soon_threadsafe(run)
        return done.result(10)

    def die(self) -> None:
        """End the connections, as the death of the process does."""
        self.do(lambda: [port.close() for port in self._ports])

    def names(self) -> list[str]:
        """The requests so far, by name, without pings and acknowledgements."""
        skipped = ("ping_request", "received_request", "hello_request")
        return [name for name, _, _ in self.requests if name not in skipped]

    def release(self, count: int | None = None) -> None:
        """Run what is held, or the first `count` of it; without a number hold nothing more."""
        wait_until(lambda: len(self.held) >= (count or 0))

        def run() -> None:
            self.holding = self.holding and count is not None
            chosen, self.held[:] = self.held[:count], self.held[len(self.held[:count]) :]
            for _, _, action in chosen:
                action()

        self.do(run)

    def notice(self, **engines: Any) -> None:
        """Tell the client about a change of the engines."""
        self.do(lambda: self.tell("engines_notice", self._table() | engines))

    def output(self, task: str, engine: int, msg_type: str, content: dict[str, Any]) -> None:
        """Publish output of a task."""
        ours = {"engine": engine, "date": "2026-01-01T00:00:00Z"}
        self._send(0, msg_type, content, task, {"ipyviews": ours}, ())

    def reply(
        self,
        task: str,
        kind: str,
        content: dict[str, Any],
        *,
        buffers: Any = (),
        engine: int | None = None,
        verdict: str = "replied",
    ) -> None:
        """Send a final reply."""
        now = time.time()
        ours = {
            "verdict": verdict,
            "engine": engine,
            "attempts": [] if engine is None else [[engine, 1, now - 0.5, now, "ok"]],
            "incomplete_output": False,
        }
        self._send(0, f"{kind}_reply", content, task, {"ipyviews": ours}, buffers)

    def refuse(self, task: str, kind: str, verdict: str, ename: str, sentence: str) -> None:
        """End a task with a verdict of the controller."""
        content = {"status": "error", "ename": ename, "evalue": sentence, "traceback": []}
        self.reply(task, kind, content, verdict=verdict)

    def tell(self, msg_type: str, content: dict[str, Any], parent: str = "") -> None:
        """Send on the control channel."""
        self._send(1, msg_type, content, parent, {}, ())

    # -- inside --------------------------------------------------------------------------------

    def _table(self) -> dict[str, Any]:
        return {
            "engines": list(self.engines.values()),
            "n": len(self.engines),
            "failed": self.failed,
        }

    def _send(  # noqa: PLR0917
        self, port: int, msg_type: str, content: Any, parent: str, metadata: Any, buffers: Any
    ) -> None:
        if self.mute:
            return
        self._sent += 1
        frames = self._wires[port].encode(
            msg_type,
            f"{LIFE}-{self._sent}",
            content,
            parent={"msg_id": parent},
            metadata=metadata,
            buffers=buffers,
            to=self._client.decode(),
        )
        if port == 0:
            self.sent_bytes += sum(memoryview(frame).nbytes for frame in frames)
        self._ports[port].send([self._client, *frames])

    def _control(self, frames: Any) -> None:
        from ipyviews.errors import ProtocolError

        try:
            message = self._wires[1].decode(frames)
        except ProtocolError:
            return
        self._client = message.idents[0]
        content = message.read()
        self.requests.append((message.msg_type, content, {}))
        self.on_request(message.msg_type)
        handler = getattr(self, "_on_" + message.msg_type.removesuffix("_request"), None)
        fields = {} if handler is None else handler(content)
        if fields is not None:
            kind = message.msg_type.replace("_request", "_reply")
            self.tell(kind, {"status": "ok", **fields}, message.msg_id)

    def _on_hello(self, _content: dict[str, Any]) -> dict[str, Any]:
        return {"version": self.version, "cluster_id": "fake", "life": LIFE, **self._table()}

    def _on_received(self, content: dict[str, Any]) -> None:
        self.acknowledged = content["bytes"]

    def _on_cancel(self, content: dict[str, Any]) -> dict[str, Any]:
        wanted = set(content["tasks"])
        if self.obeys_cancel:
            stopped = [entry for entry in self.held if entry[0] in wanted]
            self.held[:] = [entry for entry in self.held if entry[0] not in wanted]
            for task, _, _ in stopped:
                self.refuse(task, "apply", "cancelled", "TaskAborted", f"{task} was cancelled")
        return {"removed": 0, "interrupted": len(wanted), "done": 0}

    def _on_status(self, _content: dict[str, Any]) -> dict[str, Any]:
        engines = [info | {"running": 1, "queued": 2} for info in self.engines.values()]
        return {"engines": engines, "clients": [], "counters": {}}

    def _on_result(self, content: dict[str, Any]) -> dict[str, Any]:
        # It remembers nothing.
        if content.get("status_only"):
            return {"pending": [], "completed": [], "unknown": content["tasks"]}
        told = {"status": "unknown", "reason": "there is no record of it"}
        return {"results": dict.fromkeys(content["tasks"], told)}

    def _on_queue(self, content: dict[str, Any]) -> dict[str, Any]:
        held = Counter(engine for _, engine, _ in self.held)
        idle = {"tasks": 0, "completed": 0}
        queues = [[engine, idle | {"queue": held[engine]}] for engine in content["engines"]]
        return {"queues": queues, "unassigned": 0}

    def _on_interrupt(self, content: dict[str, Any]) -> dict[str, Any]:
        return {"interrupted": len(content["engines"])}

    def _shell(self, message: Message) -> None:
        content, ours = message.read(), message.ours
        self.requests.append((message.msg_type, content, ours))
        self.on_request(message.msg_type)
        if message.msg_type == "missing_request":
            self._tell_missing(content)
            return
        run = self._apply if message.msg_type == "apply_request" else self._execute
        run(message, content, ours)

    def _tell_missing(self, content: dict[str, Any]) -> None:
        held = {task for task, _, _ in self.held}
        missing = [task for task in content["tasks"] if task not in held]
        if missing and content["life"] == self.life:
            told = {"tasks": missing, "sent": self.sent_bytes}
            self._send(0, "missing_notice", told, "", {}, ())

    def _engines_for(self, ours: dict[str, Any], count: int) -> list[int]:
        if "targets" in ours:
            return list(ours["targets"])
        allowed = sorted(self.engines) if ours["any"] is None else ours["any"]
        chosen = [allowed[(self._turn + i) % len(allowed)] for i in range(count)]
        self._turn += count
        return chosen

    def _apply(self, message: Message, content: dict[str, Any], ours: dict[str, Any]) -> None:
        function, arguments, *buffers = message.buffers
        calls, start, used = [], 0, 0
        for size, count in content["index"]:
            piece = bytes(arguments[start : start + size])
            calls.append((piece, buffers[used : used + count]))
            start, used = start + size, used + count
        engines = self._engines_for(ours, len(calls))
        if len(calls) == 1:
            calls *= len(engines)
        for i, (engine, call) in enumerate(zip(engines, calls, strict=True)):
            task = f"{message.msg_id}.{i}"
            self._start(task, engine, lambda t=task, e=engine, c=call: self._run(t, e, function, c))

    def _execute(self, message: Message, content: dict[str, Any], ours: dict[str, Any]) -> None:
        for i, engine in enumerate(self._engines_for(ours, 1)):
            task = f"{message.msg_id}.{i}"
            code = content["code"]
            self._start(task, engine, lambda t=task, e=engine, c=code: self._cell(t, e, c))

    def _start(self, task: str, engine: int, run: Callable[[], None]) -> None:
        if self.holding:
            self.held.append((task, engine, run))
        else:
            run()

    def _run(self, task: str, engine: int, function: Any, call: Any) -> None:
        names_here = self.namespaces[engine]
        names_here.setdefault("__builtins__", __builtins__)
        scope = names.Scope(names_here)
        text = io.StringIO()
        try:
            with self._inside(engine), contextlib.redirect_stdout(text):
                called = names.loads(function, scope)
                args, kwargs = names.loads(call[0], scope, call[1])
                outcome = outcomes.success(called(*args, **kwargs), "f")
        except Exception as error:  # noqa: BLE001
            outcome = outcomes.failure(error)
        now = time.time()
        if text.getvalue():
            self.output(task, engine, "stream", {"name": "stdout", "text": text.getvalue()})
        content = outcome.content | {"started": now - 0.25, "ended": now}
        self.reply(task, "apply", content, buffers=outcome.buffers, engine=engine)

    def _cell(self, task: str, engine: int, code: str) -> None:
        text, content = io.StringIO(), {"status": "ok", "execution_count": 3}
        self.output(task, engine, "execute_input", {"code": code, "execution_count": 3})
        try:
            with contextlib.redirect_stdout(text):
                exec(code, self.namespaces[engine])
        except Exception as error:  # noqa: BLE001
            content = outcomes.failure(error).content
            self.output(task, engine, "error", content)
        if text.getvalue():
            self.output(task, engine, "stream", {"name": "stdout", "text": text.getvalue()})
        self.reply(task, "execute", content, engine=engine)

    @contextlib.contextmanager
    def _inside(self, engine: int) -> Any:
        with self._lock:
            before = verbs._namespace
            verbs._namespace = lambda: self.namespaces[engine]
            try:
                yield
            finally:
                verbs._namespace = before
