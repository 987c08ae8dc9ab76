"""The client's one connection to a controller.

A daemon thread owns two sockets::

    any thread ── submit, request ──► queue ──► I/O thread ──► shell, control ──► controller
    any thread ◄── tasks, futures ◄── finish ◄── I/O thread ◄── replies, output, notices

Tasks and futures are registered before their request is sent, and every one of them ends: by a
reply, or, when the controller or this thread dies, by an error that says so. The I/O thread never
waits for anybody and never unpickles.
"""

from __future__ import annotations

import logging
import os
import secrets
import sys
import time
import weakref
from concurrent.futures import Future
from functools import partial
from typing import TYPE_CHECKING, Any

from ipyviews.client.address import check_alive, check_version, read_address
from ipyviews.client.iothread import IOThread
from ipyviews.client.ledger import Ledger
from ipyviews.client.link import Link
from ipyviews.client.tasks import Task, from_content
from ipyviews.errors import (
    ClusterError,
    ControllerLost,
    ProtocolError,
    TooManyPending,
    UsageError,
)
from ipyviews.ids import task_id
from ipyviews.protocol.wire import pack
from ipyviews.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ipyviews.client.address import Source
    from ipyviews.client.bell import Bell
    from ipyviews.client.tasks import Kind
    from ipyviews.protocol.wire import Frame, Message
    from ipyviews.transport.base import Transport


log = logging.getLogger(__name__)

#: What functions that travel by value must find on an engine.
PYTHON = f"{sys.implementation.name}-{sys.version_info.major}.{sys.version_info.minor}"

_living: weakref.WeakSet[Connection] = weakref.WeakSet()


def _orphan_all() -> None:
    # In a forked child there is no I/O thread, and its locks may be held for ever.
    for connection in list(_living):
        connection.failure = ClusterError(
            "This Client was made in another process: create a new Client()."
        )


os.register_at_fork(after_in_child=_orphan_all)


class Answer(Future[dict[str, Any]]):
    """What the controller answers to a request."""

    def __init__(self, bell: Bell) -> None:
        super().__init__()
        self._bell = bell
        #: Readable without the lock of the base class; see `ipyviews.client.bell`.
        self.is_settled = False
        # Marked as running: an asyncio waiter that is cancelled must not cancel it for the others.
        self.set_running_or_notify_cancel()

    def settle(self, answer: dict[str, Any] | Exception) -> None:
        """Give the answer, or the error that is it."""
        if isinstance(answer, Exception):
            self.set_exception(answer)
        else:
            self.set_result(answer)
        self.is_settled = True
        self._bell.ring()


class Connection:
    """A session with a controller; thread-safe.

    Parameters
    ----------
    source
        Connection file, run folder, dict or `ClusterFile`.
    timeout
        Longest time until the controller has answered [s].
    blocks
        Whether `make_room` may wait; if not, it raises `TooManyPending`.
    transport
        Makes the sockets in the I/O thread's loop; plain ZeroMQ if None.

    Raises
    ------
    UsageError
        The source is not a connection file.
    ClusterError
        The cluster is gone, or its controller did not answer; the sentence names likely causes.
    VersionMismatch
        Client and controller do not fit together.
    """

    def __init__(
        self,
        source: Source,
        *,
        timeout: float = 10.0,
        blocks: bool = True,
        transport: Callable[[Any], Transport] | None = None,
    ) -> None:
        self.address = read_address(source)
        if transport is None:
            check_alive(self.address)
        self.session = secrets.token_hex(8)
        self.blocks = blocks
        self.timeout = timeout
        #: Why nothing can be asked any more; None while all is well.
        self.failure: Exception | None = None
        #: Tasks without a final reply. Its lock guards the tables below too.
        self.ledger = Ledger()
        #: Engine infos by id, as the controller last told.
        self.engines: dict[int, dict[str, Any]] = {}
        #: How many engines are wanted [count], and those that never came up: ``(id, sentence)``.
        self.wanted = 0
        self.failed: list[tuple[int, str]] = []
        self._make_transport = transport or _zeromq
        self._asked: dict[str, Answer] = {}
        #: The number of the latest request.
        self.number = 0
        self._io = IOThread(self._ended)
        self._link = Link(
            self.address,
            self.session,
            self._io.loop,
            on_shell=self._shell_arrived,
            on_control=self._control_arrived,
            on_lost=self._lose,
        )
        _living.add(self)
        #: Ends with the controller's answer to the greeting, or with the reason there is none.
        self.ready: Answer = self._hello()

    # -- life ---------------------------------------------------------------------------------

    def _hello(self) -> Answer:
        self._io.start()
        self._io.post(partial(self._link.open, self._make_transport))
        greeted = Answer(self.ledger.bell)
        answer = self.request(
            "hello",
            version=__version__,
            client=self.session,
            python=PYTHON,
            pid=os.getpid(),
            name="ipyviews",
        )
        answer.add_done_callback(partial(self._greeted, greeted))
        late = partial(self._io.loop.call_later, self.timeout, self._greeting_missed, greeted)
        self._io.post(late)
        return greeted

    def wait_ready(self) -> None:
        """Wait for the controller's greeting; on failure close and raise why."""
        try:
            limit = self.timeout + 5.0
            self.ledger.bell.wait_for(lambda: self.ready.is_settled, limit, self.check_thread)
            self.ready.result(0)
        except BaseException:
            self.close()
            raise

    def _greeted(self, greeted: Answer, answer: Future[dict[str, Any]]) -> None:
        if greeted.done():
            return
        try:
            content = answer.result()
            check_version(str(content.get("version")), self.address.origin)
        except Exception as error:  # noqa: BLE001 - handed to whoever waits for the greeting
            greeted.settle(error)
            return
        self._take_engines(content)
        greeted.settle(content)
        self._link.start_pings()

    def _greeting_missed(self, greeted: Answer) -> None:
        if not greeted.done():
            greeted.settle(
                ClusterError(
                    f"The controller of {self.address.origin} (process {self.address.pid}) did not "
                    f"answer within {self.timeout:g} s: it has ended, is stopped or very busy, or "
                    "the key in the file is not its key (a file of an earlier cluster)."
                )
            )

    def check(self) -> None:
        """Raise at once if the connection is of no more use."""
        if self.failure is not None:
            raise self.failure.with_traceback(None)

    def check_may_wait(self) -> None:
        """Raise unless this thread may wait for replies now."""
        if self._io.is_current():
            raise UsageError(
                "A callback of a result runs in the client's I/O thread, which cannot wait for "
                "another result: use that result's own add_done_callback()."
            )
        self.check()

    def check_thread(self) -> None:
        """Raise if nobody is left who could end a wait."""
        if not self._io.is_alive():
            self.check()
            raise ClusterError("The client's I/O thread is gone: create a new Client().")

    def close(self) -> None:
        """Leave the controller and end the thread. May be called again and from anywhere."""
        forked = self.failure is not None and not self._io.is_alive()
        if forked:
            return
        with self.ledger.lock:
            if self.failure is None:
                self.failure = ClusterError("This Client is closed: create a new Client().")
        self._io.post(partial(self._link.tell, "bye_request", {}))
        self._io.stop()

    def _ended(self, cause: BaseException | None) -> None:
        with self.ledger.lock:
            if self.failure is None:
                self.failure = ClusterError(
                    f"The client's I/O thread failed with {type(cause).__name__}: {cause}. "
                    "The engines go on; create a new Client()."
                )
                self.failure.__cause__ = cause
        self._fail_all(self.failure)
        self._link.close()

    def _fail_all(self, error: Exception) -> None:
        with self.ledger.lock:
            asked, self._asked = list(self._asked.values()), {}
            tasks = list(self.ledger.pending.values())
            self.ledger.leave(tasks)
        for future in asked:
            future.settle(error)
        for task in tasks:
            task.fail(error)

    def _lose(self, error: ClusterError) -> None:
        with self.ledger.lock:
            self.failure = self.failure or error
        self._fail_all(error)
        self._io.loop.stop()

    # -- asking -------------------------------------------------------------------------------

    def submit(
        self,
        kind: Kind,
        content: Mapping[str, Any],
        engines: Sequence[int | None],
        *,
        ours: Mapping[str, Any],
        buffers: Sequence[Frame] = (),
        size_bytes: int = 0,
    ) -> list[Task]:
        """Send a request and return its tasks, one for each of `engines`, in that order.

        Parameters
        ----------
        kind, content, buffers
            What to run; see docs/protocol.md.
        engines
            Where each task runs; None where the scheduler chooses.
        ours
            The ``ipyviews`` part of the metadata.
        size_bytes
            What the request weighs in the client's cap.
        """
        packed = pack(content)
        share = size_bytes // max(1, len(engines))
        label, name = ours.get("label"), str(ours.get("name", ""))
        now = time.time()
        with self.ledger.lock:
            self.check()
            request = self._next()
            tasks = [
                Task(
                    task_id(request, i),
                    kind,
                    engine,
                    now,
                    label=label,
                    function=name,
                    size_bytes=share,
                    request=self.number,
                )
                for i, engine in enumerate(engines)
            ]
            send = partial(
                self._link.send,
                f"{kind}_request",
                request,
                packed,
                {"ipyviews": ours},
                list(buffers),
            )
            try:
                self.ledger.enter(tasks)
                self._io.post(send)
            except BaseException:
                # Ctrl-C at this very moment: nobody must wait for what may not have been sent.
                self.ledger.leave(tasks)
                raise
        return tasks

    def _next(self) -> str:
        self.number += 1
        return f"{self.session}-{self.number}"

    def request(self, name: str, /, **content: Any) -> Answer:
        """Ask the controller something on the control channel; the future ends with its answer."""
        future = Answer(self.ledger.bell)
        with self.ledger.lock:
            self.check()
            msg_id = self._next()
            self._asked[msg_id] = future
            self._io.post(partial(self._link.tell, f"{name}_request", content, msg_id))
        return future

    def ask(self, name: str, /, timeout_s: float | None = None, **content: Any) -> dict[str, Any]:
        """Ask and wait for the answer.

        Raises
        ------
        TimeoutError
            When it has not come within `timeout_s` [s]; None means 60.
        """
        self.check_may_wait()
        limit = 60.0 if timeout_s is None else timeout_s
        answer = self.request(name, **content)
        if not self.ledger.bell.wait_for(lambda: answer.is_settled, limit, self.check_thread):
            raise TimeoutError(f"The controller did not answer {name!r} within {limit:g} s.")
        return answer.result()

    def make_room(self) -> None:
        """Wait until more may be sent.

        Raises
        ------
        TooManyPending
            If this client does not block, or from a callback in the I/O thread.
        """
        if self.ledger.has_room():
            return
        if not self.blocks or self._io.is_current():
            raise TooManyPending(f"{self.ledger.room()}: await some results before sending more.")
        self.wait_for(self.ledger.has_room)

    def wait_for(self, predicate: Callable[[], bool], timeout_s: float | None = None) -> bool:
        """Wait until `predicate` holds after a change; False after `timeout_s` [s].

        Raises
        ------
        ClusterError
            When the connection is lost while waiting.
        """
        self.check_may_wait()
        return self.ledger.bell.wait_for(predicate, timeout_s, self.check)

    # -- in the I/O thread --------------------------------------------------------------------

    def _shell_arrived(self, message: Message) -> None:
        task = self.ledger.find(message.parent_id)
        try:
            content = message.read()
        except ProtocolError as error:
            # An engine sent it, not the controller: only this task suffers.
            content = {"status": "error", "ename": "ProtocolError", "evalue": str(error)}
        if message.msg_type.endswith("_reply"):
            self._replied(message, content, task)
        elif task is not None:
            self.ledger.written(message, content, task)

    def _replied(self, message: Message, content: dict[str, Any], task: Task | None) -> None:
        if task is not None:
            self.ledger.leave([task])
            task.finish(message, content)
            return
        # The controller could not understand the request: all its tasks share the answer.
        refused = self.ledger.of_request(message.parent_id)
        self.ledger.leave(refused)
        for one in refused:
            one.fail(from_content(content))

    def _control_arrived(self, message: Message) -> None:
        kind = message.msg_type
        if kind == "engines_notice":
            self._take_engines(message.read())
        elif kind == "bye_notice":
            self._dismissed(str(message.read().get("reason", "")))
        elif kind.endswith("_reply"):
            self._answered(message)

    def _answered(self, message: Message) -> None:
        with self.ledger.lock:
            future = self._asked.pop(message.parent_id, None)
        if future is None or future.done():
            return
        content = message.read()
        future.settle(content if content.get("status") == "ok" else from_content(content))

    def _take_engines(self, content: dict[str, Any]) -> None:
        with self.ledger.lock:
            self.engines = {int(info["id"]): info for info in content.get("engines", [])}
            self.wanted = int(content.get("n", self.wanted))
            self.failed = [(int(one), str(why)) for one, why in content.get("failed", [])]
        self.ledger.bell.ring()

    def _dismissed(self, reason: str) -> None:
        self._lose(ControllerLost(f"The cluster has ended: {reason or 'it was stopped.'}"))


def _zeromq(loop: Any) -> Transport:
    # Only a client that really connects pays for importing ZeroMQ.
    from ipyviews.transport.zeromq import ZmqTransport  # noqa: PLC0415

    return ZmqTransport(loop)
