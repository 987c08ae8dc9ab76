"""The apply channel: a ROUTER socket, and the two threads that receive on it.

The main thread receives while it is idle and between calls, and sends its replies itself, under the
socket's lock: a call costs no switch of threads. The I/O thread verifies, queues calls, and answers
pings, recalls and interrupts while the main thread computes.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import threading
import time
from typing import TYPE_CHECKING, Any

import zmq

from . import frames, outcomes
from .backlog import Call, Request, split
from .cells import Cells
from .interrupts import REPEAT_S
from .printed import Printed
from .replies import Replies

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .adapter import Kernel
    from .backlog import Backlog
    from .interrupts import Interrupts

# Plain ints, frame by frame: pyzmq's own loop over frames handles its enums for each.
_NOBLOCK = int(zmq.NOBLOCK)
_MORE = int(zmq.NOBLOCK | zmq.SNDMORE)
_EVENTS = int(zmq.EVENTS)
_POLLIN = int(zmq.POLLIN)

#: So many messages are taken at once before the lock is free for a reply.
BATCH = 64

#: While answers or calls wait, the I/O thread looks after them so often [s].
ATTENTION_S = 0.01

#: What arrives while the main thread is idle, or was just before, is left to that for so long [s].
REST_S = 0.01

#: So long after that had taken something the I/O thread is not woken by what arrives [s].
LULL_S = 1.0

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
        #: Run in the main thread's loop when something has arrived: looks, and runs calls.
        self.on_arrival: Callable[[], None] = lambda: None
        self.on_refused: Callable[[Call, outcomes.Outcome], None] = lambda _call, _outcome: None
        #: Run in the I/O thread when a client has left, or let go of results.
        self.on_client_left: Callable[[str], None] = lambda _: None
        self.on_released: Callable[[dict[str, Any]], None] = lambda _: None
        #: Run there at each look around.
        self.on_look: Callable[[], None] = lambda: None
        #: Tells what the engine keeps and may keep.
        self.bounds: Callable[[], dict[str, Any]] = dict
        self._key = _key_of(kernel)
        self._seq = 0
        self._seen: dict[str, int] = {}
        # The controller that has taken over, and those whose messages count no more.
        self._successor = ""
        self._over: set[str] = set()
        #: Answers of calls.
        self.replies = Replies(self.send, self._attend, backlog.answered)
        #: What became of cells.
        self.cells = Cells()
        #: What calls and cells wrote whose replies have not arrived.
        self.printed = Printed()
        # The I/O thread looks after answers and calls that wait.
        self._is_attentive = False
        # The main thread takes what arrives, between calls, for it has several to run.
        self._is_relieved = False
        # Of the socket, and of taking messages from it one after another.
        self._lock = threading.Lock()
        self._receiving = threading.Lock()
        self._socket = kernel.open_socket()
        self.url = kernel.bind(self._socket)
        self._descriptor = int(self._socket.getsockopt(zmq.FD))
        # How often the main thread's loop has noticed something.
        self._noticed = 0
        self._wake_in, self._wake_out = os.pipe()
        os.set_blocking(self._wake_in, False)
        os.set_blocking(self._wake_out, False)
        # The I/O thread waits for messages and pokes, or for pokes only.
        self._always, self._resting = select.poll(), select.poll()
        self._closing = False
        self._thread = threading.Thread(target=self._serve, name="ipyviews-apply", daemon=True)

    def start(self) -> None:
        """Start receiving; in the main thread."""
        self._kernel.watch(self._descriptor, self._notice)
        self._thread.start()

    def close(self) -> None:
        """Stop the thread and close the socket, so that the kernel's context can end."""
        self._closing = True
        self._kernel.unwatch(self._descriptor)
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

    def send(
        self,
        request: Request,
        msg_type: str,
        content: dict[str, Any],
        buffers: Sequence[Any] = (),
        parent: dict[str, Any] | None = None,
    ) -> int:
        """Send a message to who sent a request, which is its parent if no other is given.

        It goes to the successor of a controller that has died. Its number is returned.
        """
        with self._lock:
            if self._socket.closed:
                return 0
            header = self._header(msg_type, to=self._successor or request.header["session"])
            answers = request.header if parent is None else parent
            parts = [_pack(header), _pack(answers) if answers else b"{}", b"{}", _pack(content)]
            signature = frames.sign(self._key, parts, buffers)
            message = [*request.idents, frames.DELIMITER, signature, *parts, *buffers]
            send = self._socket.send
            for frame in message[:-1]:
                send(frame, _MORE)
            send(message[-1], _NOBLOCK)
            # The socket's descriptor is edge-triggered and a send can swallow the edge.
            arrived = not self._is_relieved and self._has_messages()
        if arrived:
            self.poke()
        return int(header["seq"])

    def look(self) -> None:
        """Take what has arrived; in the main thread, which need not wait for the other."""
        if not self._receiving.acquire(blocking=False):
            return
        try:
            with self._lock:
                arrived = not self._socket.closed and self._has_messages()
            if arrived:
                self._take_all()
                if self._backlog.may_be_overdue:
                    self._attend()
        finally:
            self._receiving.release()

    def _notice(self) -> None:
        self._noticed += 1
        self.on_arrival()

    def _attend(self) -> None:
        """See to it that neither answers nor calls wait for the end of a long call."""
        if not self._is_attentive:
            self.poke()

    def _header(self, msg_type: str, to: str) -> dict[str, Any]:
        self._seq += 1
        return {
            "msg_id": f"{self.name}-{self._seq}",
            "msg_type": msg_type,
            "username": "ipyviews",
            "session": self.name,
            "date": frames.date(),
            "version": "5.4",
            "seq": self._seq,
            "to": to,
        }

    def _serve(self) -> None:
        for poller in (self._always, self._resting):
            poller.register(self._wake_in, select.POLLIN)
        self._always.register(self._descriptor, select.POLLIN)
        noticed, rested, is_deaf = 0, False, False
        while not self._closing:
            with self._receiving:
                found = self._take_all()
            self._look_around()
            # It had the time: a loop of a GUI runs, or a long handler of some other message.
            is_deaf = noticed == self._noticed and (is_deaf or (found and rested))
            noticed = self._noticed
            patience_ms = self._patience_ms()
            ready = (self._resting if self._is_relieved else self._always).poll(patience_ms)
            # While messages are taken here again, a send must not swallow the sign of one.
            self._is_relieved = False
            is_free = not (is_deaf or self._backlog.is_busy)
            rested = is_free and ready == [(self._descriptor, select.POLLIN)]
            if rested:
                ready = self._rest()
            if any(descriptor == self._wake_in for descriptor, _ in ready):
                os.read(self._wake_in, 4096)

    def _rest(self) -> list[tuple[int, int]]:
        """Leave what arrives to the main thread, as long as that takes it and is not busy.

        Were this thread woken for each message too, it would take the interpreter's lock from the
        other at every second one.
        """
        noticed, until = self._noticed, time.monotonic() + LULL_S
        while True:
            ready = self._resting.poll(REST_S * 1000)
            if ready or self._backlog.is_busy:
                return ready
            if noticed != self._noticed:
                noticed, until = self._noticed, time.monotonic() + LULL_S
            elif self._always.poll(0) or time.monotonic() > until:
                return []

    def _look_around(self) -> None:
        if self._interrupts.outstanding:
            self._interrupts.repeat()
        self.replies.flush_old()
        self._give_back(self._backlog.take_overdue())
        self.on_look()

    def _patience_ms(self) -> float | None:
        # Each message would take Python's lock from what the main thread computes.
        self._is_relieved = self._backlog.is_ahead
        if self._interrupts.outstanding:
            return REPEAT_S * 1000
        # In this order: whatever comes from now on makes the main thread poke.
        self._is_attentive = False
        self._is_attentive = self._is_relieved or bool(self.replies)
        self._is_attentive |= self._backlog.may_be_overdue
        return ATTENTION_S * 1000 if self._is_attentive else None

    def _has_messages(self) -> bool:
        return bool(int(self._socket.getsockopt(_EVENTS)) & _POLLIN)

    def _take_all(self) -> bool:
        """Take what there is; one thread at a time, for messages are numbered."""
        found = False
        while batch := self._receive():
            found = True
            for message in batch:
                self._take(message)
        return found

    def _receive(self) -> list[list[Any]]:
        batch: list[list[Any]] = []
        with self._lock:
            while len(batch) < BATCH and not self._socket.closed and self._has_messages():
                batch.append(self._receive_one())
        return batch

    def _receive_one(self) -> list[Any]:
        message: list[Any] = []
        more = True
        while more:
            frame = self._socket.recv(_NOBLOCK, copy=False)
            message.append(frame.bytes if len(frame) < COPY_LIMIT else frame.buffer)
            more = frame.more
        return message

    def _take(self, message: list[Any]) -> None:
        try:
            request = self._decode(message)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            self.dropped += 1
            return
        msg_type, content = request.header.get("msg_type"), request.content
        if msg_type == "apply_request":
            self._queue(request)
        elif msg_type == "recall_request":
            self._give_back(self._backlog.remove(set(_names(content, "attempts"))))
        elif msg_type == "interrupt_request":
            found = self._interrupt(content)
            self.send(request, "interrupt_reply", {"status": "ok", "found": found})
        elif msg_type == "ping_request":
            self.send(request, "ping_reply", self._report(request))
        elif msg_type == "replies_received":
            cells, numbers = _names(content, "cells"), content.get("numbers")
            known = [one for one in numbers if type(one) is int] if type(numbers) is list else []
            self.cells.forget(cells)
            attempts = self.replies.acknowledge(known)
            self._backlog.acknowledged(attempts)
            self.printed.forget(attempts + cells)
        elif msg_type == "resume_request":
            self._resume(request)
        elif msg_type == "client_left":
            self.on_client_left(str(content.get("client")))
        elif msg_type == "segments_released":
            self.on_released(content)
        else:
            self.dropped += 1

    def _report(self, request: Request) -> dict[str, Any]:
        """Tell what is held, and which of the calls asked for never came.

        In this order: whatever is not held has been answered, and that answer was sent before. It
        is sent again, for it did not arrive.
        """
        attempts = request.content.get("attempts")
        calls = attempts.items() if isinstance(attempts, dict) else ()
        asked = {name: number for name, number in calls if type(number) is int}
        holds = self._backlog.holds()
        unseen = self._backlog.unseen(asked)
        for attempt in asked.keys() - set(holds) - set(unseen):
            self.replies.repeat(attempt, request)
        report = {"holds": holds, "unseen": unseen, "bounds": self.bounds()}
        return {"status": "ok", **report, "dropped": self.dropped}

    def _give_back(self, calls: list[Call]) -> None:
        """Tell the controller that these were not started and never will be, here."""
        if calls:
            content = {"attempts": [call.attempt for call in calls]}
            self.send(calls[0].request, "calls_returned", content, parent={})
            self._backlog.returned(content["attempts"])

    def _queue(self, request: Request) -> None:
        try:
            calls = split(request)
        except (ValueError, TypeError, KeyError) as error:
            attempts = request.content.get("attempts")
            for attempt in attempts if isinstance(attempts, list) else [request.header["msg_id"]]:
                refusal = outcomes.refusal("ValueError", f"not an apply_request: {error}")
                self.on_refused(Call(str(attempt), request, b"", []), refusal)
            return
        for call in self._backlog.add(calls):
            self.replies.repeat(call.attempt, request)
        self.on_call()

    def _resume(self, request: Request) -> None:
        """Serve another controller from now on, and tell what the one before has left here."""
        sender = str(request.header["session"])
        # What it has sent may still arrive; its clients will ask again.
        self._over.update(self._seen.keys() - {sender})
        self._successor = sender
        self._backlog.drop_waiting()
        # Before its answer, which may be on its way by now.
        running = self._backlog.unanswered
        for told, buffers in self.printed.told():
            self.send(request, "output_again", told, buffers, parent={})
        self._kernel.lift_send_limit()
        content = {
            "status": "ok",
            "gone": self.replies.send_again(request) + self.cells.gone(),
            "forgot": self.replies.overflowed or self.cells.overflowed,
            "running": None if running is None else [running.attempt, running.number],
            "cell": self.cells.running,
            "cells": self.cells.replies(),
            "next": self._backlog.next,
        }
        self.send(request, "resume_reply", content)

    def _interrupt(self, content: dict[str, Any]) -> bool:
        attempt, kind = str(content.get("attempt")), str(content.get("kind"))
        if kind == "apply" and (waiting := self._backlog.remove({attempt})):
            self._give_back(waiting)
            return True
        return self._interrupts.request(attempt, kind)

    def _decode(self, message: list[Any]) -> Request:
        idents, signature, parts, buffers = frames.split(message)
        frames.verify(self._key, signature, parts, buffers)
        header, metadata, content = (frames.load(parts[i], "surrogatepass") for i in (0, 2, 3))
        self._refuse_replay(header)
        ours = metadata.get("ipyviews") or {}
        return Request(idents, header, dict(ours), dict(content), buffers)

    def _refuse_replay(self, header: dict[str, Any]) -> None:
        sender, seq = header["session"], header["seq"]
        if not isinstance(header["msg_id"], str):
            raise frames.BadMessage("no msg_id")
        # Before it has joined nothing is for it, so that nothing of an earlier life can be either.
        if not self.name or header["to"] != self.name:
            raise frames.BadMessage("addressed to another")
        if sender in self._over:
            raise frames.BadMessage("its controller is over")
        if type(seq) is not int or seq <= self._seen.get(sender, 0):
            raise frames.BadMessage("seen before")
        self._seen[sender] = seq


# Made once: that takes as long as encoding a small message.
_encode = json.JSONEncoder(separators=(",", ":")).encode


def _pack(value: Any) -> bytes:
    # In ASCII: users' texts may hold lone surrogates, which UTF-8 cannot.
    return _encode(value).encode()


def _names(content: dict[str, Any], kind: str) -> list[str]:
    names = content.get(kind)
    return list(map(str, names)) if isinstance(names, list) else []


def _key_of(kernel: Kernel) -> bytes:
    if not kernel.key:
        raise RuntimeError("the kernel has no key: anybody could send calls")
    return kernel.key
