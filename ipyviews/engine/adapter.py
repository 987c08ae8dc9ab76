"""Everything the extension asks of ipykernel and IPython, in one place.

All of it is public; `PRIVATE` would list what is not, and a test compares it with this file.
Methods are called in the kernel's main thread unless they say otherwise.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import traceback
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any

import zmq
from tornado.ioloop import IOLoop

from .flushes import Flushes, guard_exit
from .frames import MOST_BYTES

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Callable, Sequence
    from contextvars import Context
    from types import CodeType

    from .backlog import Call

#: Names with an underscore that belong to ipykernel or IPython.
PRIVATE: frozenset[str] = frozenset()

#: How long printed text may wait for more of it [s]; ipykernel's own is 0.2.
FLUSH_S = 0.05

#: Requests that may come while something runs, or between two cells, and write nothing.
QUESTIONS = frozenset(
    {
        "comm_info_request",
        "complete_request",
        "history_request",
        "inspect_request",
        "is_complete_request",
        "kernel_info_request",
    }
)

#: Longest wait for the control thread when the kernel ends [s].
CONTROL_S = 5.0

#: Longest wait for output to leave a process that ends itself [s].
EXIT_S = 5.0

#: What libzmq certainly sends from where it is, and so holds until it is written [bytes].
UNCOPIED_SIZE = 1 << 17


def _lift_send_limit(socket: Any) -> None:
    # ZeroMQ tells that to the other end of each connection, and crashes where one has just ended.
    if socket.getsockopt(zmq.SNDHWM):
        socket.setsockopt(zmq.SNDHWM, 0)


def is_plain(shell: Any) -> bool:
    """Whether a kernel listens on TCP without encryption, as Jupyter's do if not told otherwise.

    Nothing of ours may listen there.
    """
    from ipykernel.kernelapp import IPKernelApp  # noqa: PLC0415 - clients import this package

    app = getattr(getattr(shell, "kernel", None), "parent", None)
    # Older ones inherit the name from jupyter_client, and do nothing with it.
    has_key = "curve_secretkey" in vars(IPKernelApp) and bool(app and app.curve_secretkey)
    return getattr(app, "transport", "") == "tcp" and not has_key


def _do_nothing() -> None:
    """Stand in where nothing is to be done."""


class Kernel:
    """The kernel this process is.

    Parameters
    ----------
    shell
        Its interactive shell.

    Raises
    ------
    RuntimeError
        In an IPython that is no kernel.
    """

    def __init__(self, shell: Any) -> None:
        if getattr(shell, "kernel", None) is None:
            raise RuntimeError("ipyviews.engine can only be loaded in a Jupyter kernel")
        self._shell = shell
        self._kernel = shell.kernel
        self._app = self._kernel.parent
        self._loop: AbstractEventLoop = IOLoop.current().asyncio_loop  # type: ignore[attr-defined]
        self._streams: list[Any] = [s for s in (sys.stdout, sys.stderr) if hasattr(s, "set_parent")]
        self._in_task = False
        #: Something was written since `begin`.
        self._wrote = False
        self._watch()

    @property
    def key(self) -> bytes:
        """The HMAC key of its connection file."""
        return bytes(self._kernel.session.key)

    @property
    def namespace(self) -> dict[str, Any]:
        """The user's names."""
        names: dict[str, Any] = self._shell.user_ns
        return names

    @property
    def in_eventloop(self) -> bool:
        """Whether a GUI's loop runs, during which ours is deaf."""
        return self._kernel.eventloop is not None

    @property
    def cell_code(self) -> CodeType:
        """The function above whose frame there is only a cell's code."""
        code: CodeType = type(self._shell).run_code.__code__
        return code

    @property
    def cell(self) -> str:
        """``msg_id`` of the shell message being handled."""
        header = self._kernel.get_parent("shell").get("header", {})
        return str(header.get("msg_id", ""))

    def describe(self) -> dict[str, Any]:
        """Return versions and pid for the report."""
        return {"ipykernel": sys.modules["ipykernel"].__version__, "pid": os.getpid()}

    def call_soon(self, function: Callable[[], None], context: Context | None = None) -> None:
        """Run a function on the kernel's loop; from any thread."""
        with contextlib.suppress(RuntimeError):  # The loop is closed: the kernel is ending.
            self._loop.call_soon_threadsafe(function, context=context)

    def watch(self, descriptor: int, notice: Callable[[], None]) -> None:
        """Run a function on the kernel's loop whenever a descriptor can be read."""
        self._loop.add_reader(descriptor, notice)

    def unwatch(self, descriptor: int) -> None:
        """Undo `watch`."""
        self._loop.remove_reader(descriptor)

    def go_on(self, function: Callable[[], None], context: Context) -> None:
        """Run a function on the kernel's loop, in which the caller is: it need not be woken."""
        self._loop.call_soon(function, context=context)

    def open_socket(self) -> zmq.Socket[bytes]:
        """Make a ROUTER with the options of the kernel's own sockets."""
        context: zmq.Context[Any] = self._kernel.shell_stream.socket.context
        socket: zmq.Socket[bytes] = context.socket(zmq.ROUTER)
        socket.setsockopt(zmq.SNDHWM, 0)
        socket.setsockopt(zmq.RCVHWM, 0)
        socket.setsockopt(zmq.ROUTER_HANDOVER, 1)
        socket.setsockopt(zmq.MAXMSGSIZE, MOST_BYTES - 1)
        if getattr(self._app, "curve_secretkey", None) is not None:
            socket.setsockopt(zmq.CURVE_SERVER, 1)
            socket.setsockopt(zmq.CURVE_PUBLICKEY, self._app.curve_publickey)
            socket.setsockopt(zmq.CURVE_SECRETKEY, self._app.curve_secretkey)
        return socket

    def bind(self, socket: zmq.Socket[bytes]) -> str:
        """Bind beside the kernel's other channels and return the address."""
        if self._app.transport == "ipc":
            url = f"ipc://{self._app.ip}-apply"
            before = os.umask(0o077)
            try:
                socket.bind(url)
            finally:
                os.umask(before)
            return url
        address = f"tcp://{self._app.ip}"
        return f"{address}:{socket.bind_to_random_port(address)}"

    def unbind(self, socket: zmq.Socket[bytes], url: str) -> None:
        """Unbind and remove the file, which libzmq leaves behind."""
        with contextlib.suppress(zmq.ZMQError):
            socket.unbind(url)
        if url.startswith("ipc://"):
            Path(url.removeprefix("ipc://")).unlink(missing_ok=True)

    def lift_send_limit(self) -> None:
        """Stop iopub from dropping what is sent faster than it is read; for living connections."""
        thread = self._kernel.iopub_thread
        thread.schedule(lambda: _lift_send_limit(thread.socket))

    def on_cells(self, begin: Callable[[], None], end: Callable[[], None]) -> Callable[[], None]:
        """Call back around each cell; returns what undoes it."""
        events = self._shell.events
        events.register("pre_execute", begin)
        events.register("post_execute", end)

        def undo() -> None:
            events.unregister("pre_execute", begin)
            events.unregister("post_execute", end)

        return undo

    def on_send(
        self,
        before: Callable[[Any, Any, Any], None],
        after: Callable[[Any, Sequence[Any]], None],
    ) -> Callable[[], None]:
        """Call back around each message that the kernel sends; returns the undoing.

        First with its type, content and parent, then with the whole message and its buffers.
        """
        session = self._kernel.session
        original = session.send

        def send(
            stream: Any,
            msg_or_type: Any,
            content: Any = None,
            parent: Any = None,
            *more: Any,
            **named: Any,
        ) -> Any:
            # Nothing of ours may keep a message from being sent, or its sender from going on.
            with contextlib.suppress(Exception):
                before(msg_or_type, content, parent)
            message = original(stream, msg_or_type, content, parent, *more, **named)
            with contextlib.suppress(Exception):
                after(message, named.get("buffers") or (message or {}).get("buffers") or ())
            return message

        def undo() -> None:
            del session.send

        session.send = send
        return undo

    def begin(self, call: Call) -> None:
        """Attribute all output from now on to a call."""
        parent = {
            "header": call.header,
            "msg_id": call.attempt,
            "msg_type": "apply_request",
            "parent_header": {},
            "metadata": {},
            "content": {},
            "buffers": [],
        }
        self._kernel.set_parent(call.idents, parent, channel="shell")
        self._wrote = False
        self._in_task = True

    def end(self, call: Call) -> bool:
        """Show figures; if anything was written, promise an idle status after it: True."""
        inline = sys.modules.get("matplotlib_inline.backend_inline")
        if inline is not None:
            try:
                inline.flush_figures()
            except Exception:  # noqa: BLE001 - the call's own answer must not be lost
                traceback.print_exc()
        self._in_task = False
        if self._wrote:
            self._kernel.iopub_thread.schedule(lambda: self._publish_idle(call))
        return self._wrote

    def publish(self, msg_type: str, content: dict[str, Any], buffers: list[bytes]) -> None:
        """Send on iopub, as output of what runs."""
        self._kernel.session.send(
            self._kernel.iopub_socket,
            msg_type,
            content,
            parent=self._kernel.get_parent("shell"),
            buffers=buffers,
        )

    def close(self) -> None:
        """Undo what was put on the kernel's objects."""
        self._shell.builtin_trap.__exit__(None, None, None)
        for stream in self._streams:
            del stream.write, stream.flush_interval
        for flushes in self._flushes:
            flushes.undo()
        self._flushes.clear()
        self._unguard()
        del self._kernel.iopub_thread.send_multipart
        del self._shell.ask_exit, self._shell.set_parent

    def end_control_thread(self) -> None:
        """Let the control thread finish before the kernel closes the sockets it uses.

        It is still busy with the shutdown request. ipykernel stops the iopub thread first: of a
        hundred polite shutdowns 16 then waited 10 s or more, and two ended in SIGABRT or SIGSEGV.
        """
        thread = self._kernel.control_thread
        if thread is not None and thread.is_alive():
            thread.stop()
            thread.join(CONTROL_S)

    def _publish_idle(self, call: Call) -> None:
        # In the iopub thread, where flush sends at once; its queue keeps the order.
        for stream in self._streams:
            stream.flush()
        self._kernel.session.send(
            self._kernel.iopub_socket,
            "status",
            {"execution_state": "idle"},
            parent={"header": call.header},
            ident=f"kernel.{self._kernel.ident}.status".encode(),
        )

    def _watch(self) -> None:
        """Note whatever is written; on the instances, so that others of the class are untouched."""
        sender = self._kernel.iopub_thread
        self._flushes = [Flushes(stream, sender, self._catch_up) for stream in self._streams]
        for stream, flushes in zip(self._streams, self._flushes, strict=True):
            self._watch_call(stream, "write", after=flushes.wrote)
            stream.flush_interval = FLUSH_S
        self._watch_call(self._kernel.iopub_thread, "send_multipart", before=self._catch_up)
        # A child would have a copy of what waits, and send it again.
        os.register_at_fork(before=self._catch_up)
        self._unguard = guard_exit(self._finish)
        self._guard_exit()
        self._guard_parent()
        # As in a cell: display() and get_ipython() are there without an import.
        self._shell.builtin_trap.__enter__()

    def _catch_up(self) -> None:
        for flushes in self._flushes:
            flushes.catch_up()

    def _finish(self) -> None:
        for flushes in self._flushes:
            flushes.finish()
        tracker: Future[zmq.MessageTracker] = Future()
        self._kernel.iopub_thread.schedule(lambda: tracker.set_result(self._send_last()))
        tracker.result(EXIT_S).wait(EXIT_S)

    def _send_last(self) -> zmq.MessageTracker:
        """Repeat in the iopub thread that the kernel is busy; when that is written, all is."""
        message = self._kernel.session.send(
            self._kernel.iopub_thread.socket,
            "status",
            {"execution_state": "busy"},
            parent=self._kernel.get_parent("shell"),
            ident=f"kernel.{self._kernel.ident}.status".encode(),
            buffers=[bytes(UNCOPIED_SIZE)],
            track=True,
        )
        tracker: zmq.MessageTracker = message["tracker"]
        return tracker

    def _watch_call(
        self,
        owner: Any,
        name: str,
        *,
        before: Callable[[], None] = _do_nothing,
        after: Callable[[], None] = _do_nothing,
    ) -> None:
        original = getattr(owner, name)
        iopub = self._kernel.iopub_thread.thread

        def watched(*args: Any, **kwargs: Any) -> Any:
            # What the iopub thread flushes was noted when it was written.
            if threading.current_thread() is not iopub:
                self._wrote = True
                before()
            result = original(*args, **kwargs)
            after()
            return result

        setattr(owner, name, watched)

    def _guard_exit(self) -> None:
        """Make ``exit()`` in a call an error of that call; in a cell it ends the kernel."""
        original = self._shell.ask_exit

        def ask_exit() -> None:
            if self._in_task:
                raise SystemExit("exit() in a call does not end an engine")
            original()

        self._shell.ask_exit = ask_exit

    def _guard_parent(self) -> None:
        """Let what threads write stay with their cell when a question comes meanwhile."""
        original = self._shell.set_parent

        def set_parent(parent: dict[str, Any]) -> None:
            if parent.get("header", {}).get("msg_type") not in QUESTIONS:
                original(parent)

        self._shell.set_parent = set_parent
