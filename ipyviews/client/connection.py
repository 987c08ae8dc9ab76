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
import threading
import weakref
from functools import partial
from pprint import pformat
from typing import TYPE_CHECKING, Any

from ipyviews.client.address import check_alive, check_version, read_address
from ipyviews.client.answers import QUICK_S, Answer, ClientClosed, NoAnswer, Watches
from ipyviews.client.arrivals import Arrivals
from ipyviews.client.iothread import IOThread
from ipyviews.client.ledger import Ledger
from ipyviews.client.link import Link
from ipyviews.client.nesting import Nesting
from ipyviews.client.obstacles import PYTHON, runs_all
from ipyviews.client.outbox import Outbox
from ipyviews.client.returning import WATCH_S, Asked, Returning
from ipyviews.client.sharing import Sharing
from ipyviews.client.silence import Silence
from ipyviews.client.tasks import from_content
from ipyviews.errors import ClusterError, ControllerLost, TooManyPending, UsageError
from ipyviews.protocol.wire import pack, unpack
from ipyviews.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from concurrent.futures import Future

    from ipyviews.client.address import Source
    from ipyviews.client.tasks import Task
    from ipyviews.protocol.payload import Payload
    from ipyviews.protocol.wire import Frame, Message
    from ipyviews.transport.base import Transport

    Fields = dict[str, Any]

log = logging.getLogger(__name__)

_living: weakref.WeakSet[Connection] = weakref.WeakSet()


def _orphan_all() -> None:
    # In a forked child there is no I/O thread, and its locks may be held for ever.
    for connection in list(_living):
        connection.ledger.lock = threading.RLock()
        connection.failure = ClusterError(
            "This Client was made in another process: create a new Client()."
        )


os.register_at_fork(after_in_child=_orphan_all)


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
    debug
        Whether each message is printed.

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
        debug: bool = False,
    ) -> None:
        self.address = read_address(source)
        if transport is None:
            check_alive(self.address)
        self.session = secrets.token_hex(8)
        self.blocks = blocks
        self.debug = debug
        self.timeout = timeout
        self._process = os.getpid()
        #: Why nothing can be asked any more; None while all is well.
        self.failure: Exception | None = None
        #: Tasks without a final reply. Its lock guards the tables below too.
        self.ledger = Ledger()
        #: Engine infos by id, as the controller last told.
        self.engines: dict[int, dict[str, Any]] = {}
        #: Whether whatever is sent can run on any of them.
        self.are_alike = False
        #: How many engines are wanted [count], and those that never came up: ``(id, sentence)``.
        self.wanted = 0
        self.failed: list[tuple[int, str]] = []
        self._make_transport = transport or _zeromq
        self._asked: dict[str, Asked] = {}
        self._watches = Watches()
        #: What a call on an engine waits for, if this client is used in one.
        self.nesting = Nesting(self._tell_wait)
        self._io = IOThread(self._ended)
        self._link = Link(
            self.address,
            self.session,
            self._io.loop,
            on_shell=self._shell_arrived,
            on_control=self._control_arrived,
            on_lost=self._lose,
        )
        self._outbox = Outbox(self.session, self.ledger, self._io.post, self._send)
        self._sharing = Sharing(
            self.address.segments, self.session, self.ledger.lock, self._io.post, self._link.tell
        )
        self._arrivals = Arrivals(self.ledger, self._sharing, self._io.loop, self._trace)
        end = self._arrivals.end
        self._silence = Silence(self._io.loop, self.ledger, self._link, end)
        self._arrivals.on_missing = self._silence.told
        self._arrivals.on_death = lambda: self._engines_are(self.engines.values())
        self._returning = self._make_returning()
        self._link.on_break = self._returning.doubt
        _living.add(self)
        #: Ends with the controller's answer to the greeting, or with the reason there is none.
        self.ready: Answer[Fields] = self._hello()

    def _make_returning(self) -> Returning:
        return Returning(
            self.address,
            self._io.loop,
            self._link,
            self.ledger,
            self._asked,
            greet=self._greet,
            welcomed=self._welcomed,
            nesting=self.nesting,
            end=self._arrivals.end,
        )

    # -- life ---------------------------------------------------------------------------------

    def _hello(self) -> Answer[Fields]:
        self._io.start()
        self._io.post(partial(self._link.open, self._make_transport))
        greeted: Answer[Fields] = Answer(self, "hello", self.timeout + 5.0)
        self._greet().add_done_callback(partial(self._greeted, greeted))
        self.later(WATCH_S, partial(self._returning.watch, greeted))
        self.later(self.timeout, partial(self._greeting_missed, greeted))
        return greeted

    def _greet(self) -> Answer[Fields]:
        who: Fields = {"version": __version__, "client": self.session, "python": PYTHON}
        return self.request("hello", **who, pid=os.getpid(), name="ipyviews")

    def wait_ready(self) -> None:
        """Wait for the controller's greeting; on failure close and raise why."""
        try:
            self.ready.result()
        except BaseException:
            self.close()
            raise

    def _greeted(self, greeted: Answer[Fields], answer: Future[Fields]) -> None:
        if greeted.done():
            return
        try:
            content = answer.result()
            check_version(str(content.get("version")), self.address.origin)
        except Exception as error:  # noqa: BLE001 - handed to whoever waits for the greeting
            greeted.settle(error)
            return
        self._welcomed(content)
        greeted.settle(content)
        self._link.start_pings()
        self._silence.start()

    def _welcomed(self, content: Fields) -> None:
        self.ledger.deaths.take(content.get("deaths", ()))
        self._take_engines(content)

    def _greeting_missed(self, greeted: Answer[Fields]) -> None:
        if not greeted.done():
            greeted.settle(
                NoAnswer(
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
        """Raise unless this thread may wait for replies now; what it has called leaves at once."""
        if self._io.is_current():
            raise UsageError(
                "A callback of a result runs in the client's I/O thread, which cannot wait for "
                "another result: use that result's own add_done_callback()."
            )
        # While the thread lives, it is ending what there is to wait for.
        self.check_thread()
        self.hurry()

    def hurry(self) -> None:
        """Let all calls leave that wait for others to leave with them."""
        self._io.hurry()

    def check_thread(self) -> None:
        """Raise if nobody is left who could end a wait."""
        if not self._io.is_alive():
            self.check()
            raise ClusterError("The client's I/O thread is gone: create a new Client().")

    def close(self) -> None:
        """Leave the controller and end the thread. May be called again and from anywhere."""
        if self._process != os.getpid():
            return
        with self.ledger.lock:
            if not isinstance(self.failure, ClientClosed):
                self.failure = ClientClosed("This Client is closed: create a new Client().")
        if self._io.is_alive():
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
        self._sharing.close(keep_needed=not isinstance(self.failure, ControllerLost))

    def _fail_all(self, error: Exception) -> None:
        with self.ledger.lock:
            answers = [one.answer for one in self._asked.values()]
            asked: list[Answer[Any]] = [*answers, *self._watches.leave()]
            self._asked.clear()
            tasks = list(self.ledger.pending.values())
            self.ledger.leave(tasks)
        ends = [partial(one.settle, error) for one in asked if not one.done()]
        for end in [*ends, *(partial(task.fail, error) for task in tasks)]:
            try:
                end()
            except BaseException:
                # A callback of the user left with SystemExit: the others are told all the same.
                log.exception("a callback failed while the connection ended")
        self.ledger.bell.ring()

    def _lose(self, error: ClusterError) -> None:
        with self.ledger.lock:
            self.failure = self.failure or error
        self._fail_all(error)
        self._io.loop.stop()

    # -- asking -------------------------------------------------------------------------------

    def call(
        self, payload: Payload, engines: Sequence[int | None], ours: Mapping[str, Any]
    ) -> list[Task]:
        """Send packed calls and return their tasks, one for each of `engines`, in that order.

        Parameters
        ----------
        payload
            One call for all engines, or one for each.
        engines
            Where each task runs; None where the scheduler chooses.
        ours
            The ``ipyviews`` part of the metadata, without the targets; see docs/protocol.md.
        """
        return self._sharing.call(payload, engines, ours, self._call)

    def _call(
        self, payload: Payload, engines: Sequence[int | None], ours: Mapping[str, Any]
    ) -> list[Task]:
        with self.ledger.lock:
            self.check()
            return self._outbox.call(payload, engines, ours)

    def execute(
        self, content: Mapping[str, Any], engines: Sequence[int | None], ours: Mapping[str, Any]
    ) -> list[Task]:
        """Send a cell, with the content and metadata of docs/protocol.md; as `call`."""
        with self.ledger.lock:
            self.check()
            return self._outbox.execute(content, engines, ours)

    def let_leave(self) -> None:
        """Let the first call of a burst leave before its caller goes on; returns soon."""
        if self.blocks and not self._io.is_current():
            self._outbox.let_leave()

    @property
    def number(self) -> int:
        """The number of the latest request or call."""
        return self._outbox.number

    def next_id(self) -> str:
        """Name a request; hold the ledger's lock."""
        return self._outbox.next_id()

    def request(
        self, name: str, /, limit_s: float | None = QUICK_S, **content: Any
    ) -> Answer[Fields]:
        """Ask the controller something on the control channel; the future ends with its answer.

        Parameters
        ----------
        name, content
            See docs/protocol.md.
        limit_s
            How long whoever waits for it waits if nothing else is said [s].
        """
        future: Answer[Fields] = Answer(self, name, limit_s)
        with self.ledger.lock:
            self.check()
            msg_id = self.next_id()
            self._trace("->", f"{name}_request", msg_id, content)
            self._asked[msg_id] = Asked(future, name, content)
            self._returning.asks(name, content)
            self._io.post(partial(self._link.tell, f"{name}_request", content, msg_id))
        return future

    def ask(self, name: str, /, timeout_s: float | None = None, **content: Any) -> Fields:
        """Ask and wait for the answer.

        Raises
        ------
        TimeoutError
            When it has not come within `timeout_s` [s]; None means 60.
        """
        self.check_may_wait()
        return self.request(name, timeout_s or QUICK_S, **content).result()

    def watch(
        self, look: Callable[[], bool], timeout_s: float | None, late: Callable[[], str]
    ) -> Answer[None]:
        """Return an answer that ends when `look`, called at each change of the engines, is true.

        Parameters
        ----------
        look
            Called in the I/O thread; what it raises ends the answer too.
        timeout_s, late
            Longest wait [s], None for no limit; and the sentence of the `TimeoutError` then.
        """
        answer: Answer[None] = Answer(self, limit_s=None)
        with self.ledger.lock:
            self.check()
            self._io.post(partial(self._watches.add, look, answer))
            if timeout_s is not None:
                self.later(timeout_s, partial(self._watches.give_up, answer, late))
        return answer

    def look(self) -> None:
        """Look again at what `watch` is for; also when no engine has changed."""
        self._io.post(self._watches.look)

    def later(self, delay_s: float, action: Callable[[], object]) -> None:
        """Do `action` in the I/O thread after a while, unless the connection has ended."""
        self._io.post(partial(self._io.loop.call_later, delay_s, action))

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

    def _tell_wait(self, attempt: str, tasks: list[str]) -> None:
        # On the channel of the tasks: after them.
        content = pack({"attempt": attempt, "tasks": tasks})
        name = f"{self.session}:wait"
        self._io.post(partial(self._link.send, "waiting_request", name, content, {}, ()))

    # -- in the I/O thread --------------------------------------------------------------------

    def _send(
        self,
        msg_type: str,
        msg_id: str,
        content: bytes,
        metadata: Mapping[str, Any],
        buffers: Sequence[Frame],
    ) -> None:
        self._trace("->", msg_type, msg_id, partial(unpack, content))
        try:
            self._link.send(msg_type, msg_id, content, metadata, buffers)
        except UsageError as error:
            self._arrivals.refuse(msg_id, partial(UsageError, str(error)))

    def _shell_arrived(self, message: Message) -> None:
        self._arrivals.take(message)

    def _control_arrived(self, message: Message) -> None:
        kind = message.msg_type
        self._trace("<-", kind, message.parent_id, message.read)
        if kind == "engines_notice":
            self._take_engines(message.read())
        elif kind == "segments_notice":
            self._sharing.released(message.read())
        elif kind == "bye_notice":
            self._dismissed(str(message.read().get("reason", "")))
        elif kind.endswith("_reply"):
            self._answered(message)

    def _answered(self, message: Message) -> None:
        with self.ledger.lock:
            asked = self._asked.pop(message.parent_id, None)
        if asked is None or asked.answer.done():
            return
        content = message.read()
        if message.buffers:
            content["buffers"] = message.buffers
        asked.answer.settle(content if content.get("status") == "ok" else from_content(content))

    def _take_engines(self, content: dict[str, Any]) -> None:
        with self.ledger.lock:
            self.wanted = int(content.get("n", self.wanted))
            self.failed = [(int(one), str(why)) for one, why in content.get("failed", [])]
        self._engines_are(content.get("engines", []))

    def _engines_are(self, infos: Iterable[Fields]) -> None:
        corrected = map(self.ledger.deaths.corrected, infos)
        with self.ledger.lock:
            self.engines = {int(info["id"]): info for info in corrected}
            self.are_alike = all(map(runs_all, self.engines.values()))
            self._sharing.engines_changed(self.engines)
        self._watches.look()
        self.ledger.bell.ring()

    def _trace(self, way: str, msg_type: str, msg_id: str, content: Any) -> None:
        if self.debug:
            content = content() if callable(content) else content
            sys.stdout.write(f"{way} {msg_type} {msg_id} {pformat(content)}\n")

    def _dismissed(self, reason: str) -> None:
        self._lose(ControllerLost(f"The cluster has ended: {reason or 'it was stopped.'}"))


def _zeromq(loop: Any) -> Transport:
    # Only a client that really connects pays for importing ZeroMQ.
    from ipyviews.transport.zeromq import ZmqTransport  # noqa: PLC0415

    return ZmqTransport(loop)
