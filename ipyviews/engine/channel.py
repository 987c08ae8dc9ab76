"""The apply channel: a ROUTER socket, and the I/O thread that receives on it.

The thread verifies, queues calls, and answers pings and interrupts while the main thread computes.
The main thread sends its replies itself, under the socket's lock: one thread switch less per call.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import zmq

from . import frames, outcomes
from .backlog import Request
from .interrupts import REPEAT_S

if TYPE_CHECKING:
    from collections.abc import Callable

    from .adapter import Kernel
    from .backlog import Backlog
    from .interrupts import Interrupts

#: So many messages are taken at once before the lock is free for a reply.
BATCH = 64

#: Smaller frames are cheaper to copy than to share [bytes].
COPY_LIMIT = 8192


class Channel:
    """Both directions of the channel.

    Parameters
    ----------
    kernel, backlog, interrupts
        The engine's other parts.
    """

    def __init__(self, kernel: Kernel, backlog: Backlog, interrupts: Interrupts) -> None:
        self._kernel = kernel
        self._backlog = backlog
        self._interrupts = interrupts
        #: ``"e<id>.<incarnation>"``; empty until the controller tells.
        self.name = ""
        #: Messages that did not verify.
        self.dropped = 0
        #: Run in the I/O thread when a call was queued, and to answer one that never runs.
        self.on_call: Callable[[], None] = lambda: None
        self.on_removed: Callable[[Request], None] = lambda _: None
        #: Run in the I/O thread when a client has left.
        self.on_client_left: Callable[[str], None] = lambda _: None
        self._key = kernel.key
        self._seq = 0
        self._seen: dict[str, int] = {}
        self._lock = threading.Lock()
        self._socket = kernel.open_socket()
        self.url = kernel.bind(self._socket)
        self._wake_in, self._wake_out = os.pipe()
        os.set_blocking(self._wake_in, False)
        os.set_blocking(self._wake_out, False)
        self._closing = False
        self._thread = threading.Thread(target=self._serve, name="ipyviews-apply", daemon=True)

    def start(self) -> None:
        """Start receiving."""
        self._thread.start()

    def close(self) -> None:
        """Stop the thread and close the socket, so that the kernel's context can end."""
        self._closing = True
        self.poke()
        self._thread.join()
        with self._lock:
            self._kernel.unbind(self._socket, self.url)
            self._socket.close(linger=1000)
        os.close(self._wake_in)
        os.close(self._wake_out)

    def poke(self) -> None:
        """Make the I/O thread look around; from any thread."""
        with contextlib.suppress(BlockingIOError):  # A full pipe wakes it, too.
            os.write(self._wake_out, b".")

    def reply(
        self, request: Request, msg_type: str, content: dict[str, Any], buffers: list[Any]
    ) -> None:
        """Send an answer; from any thread."""
        with self._lock:
            if self._socket.closed:
                return
            message = self._encode(request, msg_type, content, buffers)
            self._socket.send_multipart([*request.idents, *message], zmq.NOBLOCK)
            # The socket's descriptor is edge-triggered and a send can swallow the edge.
            arrived = self._has_messages()
        if arrived:
            self.poke()

    def _encode(
        self, request: Request, msg_type: str, content: dict[str, Any], buffers: list[Any]
    ) -> list[Any]:
        self._seq += 1
        header = {
            "msg_id": f"{self.name}-{self._seq}",
            "msg_type": msg_type,
            "username": "ipyviews",
            "session": self.name,
            "date": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
            "version": "5.4",
            "seq": self._seq,
            "to": request.header["session"],
        }
        parts = [_pack(part) for part in (header, request.header, {}, content)]
        return [frames.DELIMITER, frames.sign(self._key, parts, buffers), *parts, *buffers]

    def _serve(self) -> None:
        poller = select.poll()
        poller.register(int(self._socket.getsockopt(zmq.FD)), select.POLLIN)
        poller.register(self._wake_in, select.POLLIN)
        while not self._closing:
            while batch := self._receive():
                for message in batch:
                    self._take(message)
            if self._interrupts.outstanding:
                self._interrupts.repeat()
            ready = poller.poll(REPEAT_S * 1000 if self._interrupts.outstanding else None)
            if any(descriptor == self._wake_in for descriptor, _ in ready):
                os.read(self._wake_in, 4096)

    def _has_messages(self) -> bool:
        return bool(int(self._socket.getsockopt(zmq.EVENTS)) & zmq.POLLIN)

    def _receive(self) -> list[list[Any]]:
        batch: list[list[Any]] = []
        with self._lock:
            while len(batch) < BATCH and self._has_messages():
                batch.append(self._socket.recv_multipart(zmq.NOBLOCK, copy=False))
        return [[f.bytes if len(f) < COPY_LIMIT else f.buffer for f in m] for m in batch]

    def _take(self, message: list[Any]) -> None:
        try:
            request = self._decode(message)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            self.dropped += 1
            return
        msg_type = request.header.get("msg_type")
        if msg_type == "apply_request":
            if self._backlog.add(request):
                self.on_call()
        elif msg_type == "interrupt_request":
            found = self._interrupt(request.content)
            self.reply(request, "interrupt_reply", {"status": "ok", "found": found}, [])
        elif msg_type == "ping_request":
            content = {"status": "ok", "holds": self._backlog.holds(), "dropped": self.dropped}
            self.reply(request, "ping_reply", content, [])
        elif msg_type == "client_left":
            self.on_client_left(str(request.content.get("client")))
        else:
            self.dropped += 1

    def _interrupt(self, content: dict[str, Any]) -> bool:
        attempt, kind = str(content.get("attempt")), str(content.get("kind"))
        removed = self._backlog.remove(attempt) if kind == "apply" else None
        if removed is not None:
            self.on_removed(removed)
            return True
        return self._interrupts.request(attempt, kind)

    def _decode(self, message: list[Any]) -> Request:
        idents, signature, parts, buffers = frames.split(message)
        frames.verify(self._key, signature, parts, buffers)
        header, _, metadata, content = (json.loads(bytes(part)) for part in parts)
        self._refuse_replay(header)
        ours = metadata.get("ipyviews") or {}
        return Request(idents, header, dict(ours), dict(content), buffers)

    def _refuse_replay(self, header: dict[str, Any]) -> None:
        sender, seq = header["session"], header["seq"]
        if not isinstance(header["msg_id"], str):
            raise frames.BadMessage("no msg_id")
        if self.name and header["to"] != self.name:
            raise frames.BadMessage("addressed to another")
        if type(seq) is not int or seq <= self._seen.get(sender, 0):
            raise frames.BadMessage("seen before")
        self._seen[sender] = seq


def _pack(value: Any) -> bytes:
    # In ASCII: users' texts may hold lone surrogates, which UTF-8 cannot.
    return json.dumps(value, separators=(",", ":")).encode()


def interrupted() -> outcomes.Outcome:
    """Describe a call that was interrupted while it waited."""
    return outcomes.refusal("KeyboardInterrupt", "interrupted before it started")
