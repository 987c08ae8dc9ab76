"""Ports over plain ZeroMQ sockets on an asyncio loop.

No silent loss: nothing that is sent is dropped (bounds are the driver's credits), ROUTERs report
peers they do not know, nothing blocks. ZeroMQ's file descriptor tells of *changes* only, so each
wake-up reads until nothing is left, and a send, which may swallow such a change, is followed by
another look.
"""

from __future__ import annotations

import resource
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar

import zmq

from ipyviews.errors import ClusterError
from ipyviews.transport.base import LARGE_FRAME, MOST_BYTES, MOST_FRAMES, Curve, PeerGone

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence

    from ipyviews.transport.base import Frame, Handler

# Plain ints: pyzmq looks its enums up again on each call, which costs as much as the call.
_NOBLOCK = int(zmq.NOBLOCK)
_MORE = int(zmq.NOBLOCK | zmq.SNDMORE)
_EVENTS = int(zmq.EVENTS)
_POLLIN = int(zmq.POLLIN)

#: Longest time one port may read before others get their turn [s].
_TURN = 0.0003

#: How long closing may wait for queued messages to leave [ms].
_LINGER = 500

#: Time between attempts to connect [ms]; an engine binds some tenths of a second after its start.
_RETRY = 50

#: Frames before this position are small in every Jupyter message; later ones may be buffers.
_FIRST_BUFFER = 6

_MAX_SOCKETS = 16_384

#: Open files of a controller for each engine, and besides, with some clients. [count]
_FILES_PER_ENGINE = 7
_OTHER_FILES = 40

#: Frames of one peer that wait to be read here [count]; more wait at the peer. What is unread is
#: unverified, too: a flood must not fill the memory of who listens.
_UNREAD = 10_000

#: How long who connects over TCP may take to prove that it knows the key [ms].
_HANDSHAKE = 10_000


def raise_file_limit(wanted: int = 65_536) -> int:
    """Raise this process's limit of open files, as far as it is allowed to.

    Each engine takes one file per channel; common defaults end at about 150 engines.

    Parameters
    ----------
    wanted
        Number of files. [count]

    Returns
    -------
    int
        The limit that now holds. [count]
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return soft


def engines_within(files: int) -> int:
    """Tell how many engines a controller can have with so many open files, and a few clients.

    Beyond it ZeroMQ fails without a word, and those that are there already suffer too.

    Examples
    --------
    >>> engines_within(1024)
    140
    """
    if files == resource.RLIM_INFINITY:
        return _MAX_SOCKETS
    return max(0, files - _OTHER_FILES) // _FILES_PER_ENGINE


def new_curve() -> Curve:
    """Make the keys of ports that listen."""
    return Curve(*zmq.curve_keypair())


class ZmqPort:
    """One socket: a bound ROUTER, or the base of the other kinds."""

    def __init__(
        self,
        socket: zmq.Socket[bytes],
        loop: asyncio.AbstractEventLoop,
        on_close: Callable[[ZmqPort], None],
    ) -> None:
        self._socket = socket
        self._loop = loop
        self._on_close = on_close
        self._handler: Handler | None = None
        self._look_pending = False
        self._is_looking = False

    def attach(self, how: Literal["bind", "connect"], url: str) -> Self:
        """Bind or connect; closes the port if that cannot be."""
        try:
            _attach(self._socket, how, url)
        except ClusterError:
            self.close()
            raise
        return self

    @property
    def url(self) -> str:
        """Where it listens."""
        return bytes(self._socket.getsockopt(zmq.LAST_ENDPOINT)).rstrip(b"\0").decode()

    def send(self, frames: Sequence[Frame]) -> None:
        """Send one message; see `Port.send`."""
        send = self._socket.send
        try:
            for frame in frames[:-1]:
                send(frame if type(frame) is bytes else _cheapest(frame), _MORE)
            send(_cheapest(frames[-1]), _NOBLOCK)
        except zmq.ZMQError as error:
            # One that fails has taken note of what arrives, too: nothing else will tell of it.
            self._look_soon()
            if error.errno in (zmq.EHOSTUNREACH, zmq.EAGAIN, zmq.ENOTSOCK, zmq.ETERM):
                raise PeerGone(error.strerror) from None
            raise
        self._was_sent()

    def listen(self, handler: Handler) -> None:
        """Start delivering; see `Port.listen`."""
        if self._handler is None:
            self._loop.add_reader(self._socket.FD, self._look)
        self._handler = handler
        self._look_soon()

    def close(self) -> None:
        """Stop delivering; what is queued is still sent for a short while."""
        if self._socket.closed:
            return
        if self._handler is not None:
            self._loop.remove_reader(self._socket.FD)
        self._socket.close(linger=_LINGER)
        self._on_close(self)

    def _look_soon(self) -> None:
        if self._handler is not None and not self._look_pending:
            self._look_pending = True
            self._loop.call_soon(self._look)

    def _was_sent(self) -> None:
        """See to it that what arrives during a send is delivered.

        Asking here is cheaper than a turn of the loop: almost always there is nothing.
        """
        if self._look_pending or self._is_looking or self._handler is None:
            return
        if _readable(self._socket):
            self._look_soon()

    def _look(self) -> None:
        """Deliver what is there, for at most one turn."""
        self._look_pending = False
        self._is_looking = True
        try:
            self._deliver()
        finally:
            self._is_looking = False

    def _deliver(self) -> None:
        socket, handler = self._socket, self._handler
        end = time.monotonic() + _TURN
        while handler and not socket.closed:
            # Before asking for events, which takes a message out of its pipe: were the turn to
            # end then, a disconnect could leave a ROUTER readable and empty for ever.
            if time.monotonic() > end:
                self._look_soon()
                return
            if not _readable(socket):
                break
            try:
                handler(self._receive())
            except Exception as error:  # noqa: BLE001 - whatever a handler does, the port reads on
                self._report(error)
        self._drained()

    def _receive(self) -> list[Frame]:
        receive = self._socket.recv
        frames: list[Frame] = []
        more = True
        while more:
            frame = receive(_NOBLOCK, copy=False)
            is_large = len(frame) >= LARGE_FRAME and len(frames) >= _FIRST_BUFFER
            if len(frames) <= MOST_FRAMES:
                frames.append(frame.buffer if is_large else frame.bytes)
            more = frame.more
        # Nobody takes a sender's name for a message.
        return frames if len(frames) <= MOST_FRAMES else frames[:1]

    def _drained(self) -> None:
        """Everything that had arrived was delivered."""

    def _report(self, error: Exception) -> None:
        self._loop.call_exception_handler(
            {"message": "a message handler failed; the port reads on", "exception": error}
        )


def _readable(socket: zmq.Socket[bytes]) -> bool:
    return bool(int(socket.getsockopt(_EVENTS)) & _POLLIN)


def _cheapest(frame: Frame) -> Any:
    """Pass a received frame on as libzmq's own; anything else is copied.

    pyzmq can send other memory without a copy too, at the price of a thread of its own that stays,
    and of users who change an array before it has left.
    """
    if isinstance(frame, memoryview) and isinstance(frame.obj, zmq.Frame):
        whole = frame.obj
        if len(whole) == frame.nbytes:
            return whole
    return frame


class ZmqDealerPort(ZmqPort):
    """A DEALER that can tell when its connection ended."""

    def __init__(
        self,
        socket: zmq.Socket[bytes],
        loop: asyncio.AbstractEventLoop,
        on_close: Callable[[ZmqPort], None],
        on_disconnect: Callable[[], None] | None,
    ) -> None:
        super().__init__(socket, loop, on_close)
        self._on_disconnect = on_disconnect
        self._ended = False
        self._monitor: zmq.Socket[bytes] | None = None
        if on_disconnect is not None:
            self._monitor = socket.get_monitor_socket(zmq.EVENT_DISCONNECTED)
            loop.add_reader(self._monitor.FD, self._look_at_monitor)
            # The descriptor tells of changes only after a first look.
            loop.call_soon(self._look_at_monitor)

    def close(self) -> None:
        """Close the monitor, then the socket."""
        if self._monitor is not None:
            self._loop.remove_reader(self._monitor.FD)
            self._socket.disable_monitor()
            self._monitor.close(linger=0)
            self._monitor = None
        super().close()

    def _look_at_monitor(self) -> None:
        monitor = self._monitor
        while monitor is not None and _readable(monitor):
            monitor.recv_multipart(_NOBLOCK)
            self._ended = True
        if self._handler is None:
            self._drained()
        else:
            self._look()

    def _drained(self) -> None:
        # Last words first: what the peer sent before it went has been delivered by now.
        if not self._ended or self._on_disconnect is None or self._socket.closed:
            return
        self._ended = False
        try:
            self._on_disconnect()
        except Exception as error:  # noqa: BLE001 - whatever a handler does, the port reads on
            self._report(error)


class ZmqEnginePort(ZmqPort):
    """A ROUTER that connects out, one name for each life of an engine."""

    def __init__(
        self,
        socket: zmq.Socket[bytes],
        loop: asyncio.AbstractEventLoop,
        on_close: Callable[[ZmqPort], None],
        keys: tuple[bytes, bytes],
    ) -> None:
        super().__init__(socket, loop, on_close)
        self._keys = keys
        self._urls: dict[bytes, str] = {}
        self._connected: set[str] = set()
        self._used: set[bytes] = set()

    def connect(self, routing_id: bytes, url: str, *, server: bytes | None = None) -> None:
        """Connect under a fresh name; see `EnginePort.connect`."""
        # Of this connection; those made before keep theirs.
        _encrypt(self._socket, url, server, self._keys)
        # libzmq ends the whole process when a name comes back, even after a disconnect.
        if routing_id in self._used:
            raise AssertionError(f"the routing id {routing_id!r} was used before on this socket")
        if url in self._connected:
            raise AssertionError(f"{url} is connected already; disconnect its old life first")
        self._used.add(routing_id)
        self._socket.setsockopt(zmq.CONNECT_ROUTING_ID, routing_id)
        _attach(self._socket, "connect", url)
        self._urls[routing_id] = url
        self._connected.add(url)

    def _was_sent(self) -> None:
        # Asking takes a message out of its pipe, and a disconnect may come before it is read.
        if not self._is_looking:
            self._look_soon()

    def disconnect(self, routing_id: bytes) -> None:
        """Drop a connection and its queue; see `EnginePort.disconnect`."""
        url = self._urls.pop(routing_id, None)
        if url is not None and not self._socket.closed:
            self._connected.discard(url)
            self._socket.disconnect(url)
            self._look_soon()


class ZmqSubPort(ZmqPort):
    """A SUB."""

    def subscribe(self, topic: bytes) -> None:
        """Ask for a topic; see `SubPort.subscribe`."""
        self._socket.setsockopt(zmq.SUBSCRIBE, topic)
        self._look_soon()

    def unsubscribe(self, topic: bytes) -> None:
        """Undo one `subscribe`."""
        self._socket.setsockopt(zmq.UNSUBSCRIBE, topic)
        self._look_soon()


class ZmqTransport:
    """Makes ports on `loop`; has a ZeroMQ context of its own.

    Parameters
    ----------
    loop
        The loop whose thread uses the ports.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._context = zmq.Context()
        self._context.setsockopt(zmq.MAX_SOCKETS, _MAX_SOCKETS)
        #: Public and secret key of all that connects from here; servers ask for no certain one.
        self._keys = zmq.curve_keypair() if zmq.has("curve") else (b"", b"")
        # Held, not weakly: closing must know every open socket, or the context never ends.
        self._ports: set[ZmqPort] = set()

    def bind_router(
        self, url: str, identity: bytes, *, curve: Curve | None = None, most_bytes: int = MOST_BYTES
    ) -> ZmqPort:
        """Listen at `url`; see `Transport.bind_router`.

        Raises
        ------
        ClusterError
            If the address cannot be used, or is on a network and there are no keys.
        """
        _refuse_plain(url, curve)
        socket = self._router(identity)
        socket.setsockopt(zmq.MAXMSGSIZE, most_bytes - 1)
        socket.setsockopt(zmq.RCVHWM, _UNREAD)
        if curve is not None:
            socket.curve_server = True
            socket.curve_publickey, socket.curve_secretkey = curve.public, curve.secret
            socket.setsockopt(zmq.HANDSHAKE_IVL, _HANDSHAKE)
        # A client whose connection broke comes back under its own name.
        socket.setsockopt(zmq.ROUTER_HANDOVER, 1)
        port = self._keep(ZmqPort(socket, self._loop, self._ports.discard)).attach("bind", url)
        if url.startswith("ipc://"):
            Path(url.removeprefix("ipc://")).chmod(0o600)
        return port

    def connect_dealer(
        self,
        url: str,
        identity: bytes,
        on_disconnect: Callable[[], None] | None = None,
        *,
        server: bytes | None = None,
    ) -> ZmqDealerPort:
        """Connect to a router; see `Transport.connect_dealer`.

        Raises
        ------
        ClusterError
            If the address cannot be used, or is on a network and there is no key. Nobody listening
            there yet is no error.
        """
        _refuse_plain(url, server)
        socket = self._socket(zmq.DEALER, identity)
        _encrypt(socket, url, server, self._keys)
        port = self._keep(ZmqDealerPort(socket, self._loop, self._ports.discard, on_disconnect))
        return port.attach("connect", url)

    def engine_router(self, identity: bytes) -> ZmqEnginePort:
        """Make a ROUTER that connects out; see `Transport.engine_router`."""
        socket = self._router(identity)
        return self._keep(ZmqEnginePort(socket, self._loop, self._ports.discard, self._keys))

    def connect_sub(self, url: str, *, server: bytes | None = None) -> ZmqSubPort:
        """Connect to a publisher; see `Transport.connect_sub`."""
        _refuse_plain(url, server)
        socket = self._socket(zmq.SUB, b"")
        _encrypt(socket, url, server, self._keys)
        return self._keep(ZmqSubPort(socket, self._loop, self._ports.discard)).attach(
            "connect", url
        )

    def close(self) -> None:
        """Close all ports, then the context."""
        for port in list(self._ports):
            port.close()
        self._context.destroy(linger=_LINGER)

    def _keep(self, port: P) -> P:
        self._ports.add(port)
        return port

    def _router(self, identity: bytes) -> zmq.Socket[bytes]:
        socket = self._socket(zmq.ROUTER, identity)
        socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        return socket

    def _socket(self, kind: int, identity: bytes) -> zmq.Socket[bytes]:
        try:
            socket: zmq.Socket[bytes] = self._context.socket(kind)
        except zmq.ZMQError as error:
            raise ClusterError(f"no more sockets can be made: {error.strerror}") from None
        for option in (zmq.SNDHWM, zmq.RCVHWM, zmq.LINGER):
            socket.setsockopt(option, 0)
        socket.setsockopt(zmq.MAXMSGSIZE, MOST_BYTES - 1)
        socket.setsockopt(zmq.RECONNECT_IVL, _RETRY)
        if identity:
            socket.setsockopt(zmq.ROUTING_ID, identity)
        return socket


P = TypeVar("P", bound=ZmqPort)


def _refuse_plain(url: str, key: object) -> None:
    """Keep everything that could leave the host encrypted.

    Raises
    ------
    ClusterError
        Where it would not be.
    """
    if key is None and url.startswith("tcp://"):
        raise ClusterError(
            f"{url} is refused: over TCP everything is encrypted, and there is no Curve key for "
            "it. Kernels get one with transport_encryption='required'."
        )


def _encrypt(
    socket: zmq.Socket[bytes], url: str, server: bytes | None, keys: tuple[bytes, bytes]
) -> None:
    """Let the connections that a socket makes from now on be encrypted, if there is a key."""
    _refuse_plain(url, server)
    if server is None:
        socket.curve_server = False
    else:
        socket.curve_publickey, socket.curve_secretkey = keys
        socket.curve_serverkey = server


def _attach(socket: zmq.Socket[bytes], how: Literal["bind", "connect"], url: str) -> None:
    try:
        getattr(socket, how)(url)
    except zmq.ZMQError as error:
        raise ClusterError(f"the address {url} cannot be used: {error.strerror}") from None
