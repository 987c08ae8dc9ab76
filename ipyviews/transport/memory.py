"""A network inside one process, for tests of drivers: the same ports, and faults on demand.

Deterministic: everything moves by callbacks of one scheduler (an asyncio loop, or one of virtual
time), chance is one seeded generator. The rules are ZeroMQ's as far as drivers can notice: order
per connection, queues while nobody is there yet, `PeerGone` for unknown peers, a connection that
comes back by itself when its address is bound again, and what was queued meanwhile reaches the
successor. Keys are not looked at.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass
from itertools import count
from random import Random
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from ipyviews.errors import ClusterError
from ipyviews.transport.base import LARGE_FRAME, PeerGone

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ipyviews.transport.base import Frame, Handler


class Scheduler(Protocol):
    """What the network needs of a loop; an asyncio loop has it."""

    def call_soon(self, callback: Callable[..., object], /, *args: Any) -> object:
        """Call in the next turn."""

    def call_later(self, delay: float, callback: Callable[..., object], /, *args: Any) -> object:
        """Call after `delay` seconds."""

    def call_exception_handler(self, context: dict[str, Any], /) -> None:
        """Take an error nobody else takes."""


@dataclass(slots=True)
class Faults:
    """What goes wrong on the way, in one direction; changed at any time, for messages to come."""

    #: Time on the way [s].
    delay: float = 0.0
    #: Probabilities, 0 to 1.
    loss: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0


class Link:
    """One direction of a connection: an ordered queue with faults."""

    def __init__(self, network: MemoryNetwork, deliver: Callable[[list[Frame]], None]) -> None:
        self.faults = Faults()
        self._network = network
        self._deliver = deliver
        self._queue: deque[list[Frame]] = deque()

    def put(self, frames: list[Frame]) -> None:
        """Send one message on its way."""
        chance, faults = self._network.random, self.faults
        if chance.random() < faults.loss:
            return
        for _ in range(2 if chance.random() < faults.duplicate else 1):
            late = bool(self._queue) and chance.random() < faults.reorder
            self._queue.insert(len(self._queue) - late, frames)
            self._network.later(faults.delay, self._arrive)

    def clear(self) -> None:
        """Lose what is on its way."""
        self._queue.clear()

    def _arrive(self) -> None:
        if self._queue:
            self._deliver(self._queue.popleft())


class Connection:
    """A connecting port and, while there is one, the port bound at its address.

    `name` is what a bound router calls the connecting port; `label` is what a connecting ROUTER
    calls the bound one (None for other kinds).
    """

    def __init__(
        self, network: MemoryNetwork, port: MemoryPort, url: str, name: bytes, label: bytes | None
    ) -> None:
        self.url = url
        self.name = name
        self.bound: _BoundPort | None = None
        self.port = port
        #: Towards the bound port, and back from it.
        self.out = Link(network, self._deliver_out)
        self.back = Link(network, port.arrive)
        self._network = network
        self._head: list[Frame] = [] if label is None else [label]
        self._waiting: list[list[Frame]] = []

    def send_out(self, frames: Sequence[Frame]) -> None:
        """Send to the bound port, or keep it for the one to come."""
        message = [self.name, *map(_moved, frames)]
        if self.bound is None:
            self._waiting.append(message)
        else:
            self.out.put(message)

    def send_back(self, frames: Sequence[Frame]) -> None:
        """Send to the connecting port."""
        self.back.put([*self._head, *map(_moved, frames)])

    def attach(self, bound: _BoundPort) -> None:
        """Find somebody at the address: what waited goes there."""
        self.bound = bound
        bound.peers[self.name] = self
        self.port.attached(self)
        for message in self._waiting:
            self.out.put(message)
        self._waiting.clear()

    def detach(self) -> None:
        """Lose the bound port; what it had sent still arrives."""
        if self.bound is not None:
            # Another of the same name may have taken over.
            if self.bound.peers.get(self.name) is self:
                del self.bound.peers[self.name]
            self.bound = None
            self.out.clear()
            self._network.later(self.back.faults.delay, self.port.detached)

    def _deliver_out(self, message: list[Frame]) -> None:
        if self.bound is not None:
            self.bound.arrive(message if self.bound.is_router else message[1:])


def _moved(frame: Frame) -> Frame:
    """Copy a frame into the form in which the real transport delivers it."""
    if memoryview(frame).nbytes < LARGE_FRAME:
        return bytes(frame)
    return memoryview(bytearray(frame))


class MemoryPort:
    """One end. While `stalled` it is a peer that does not read."""

    def __init__(self, network: MemoryNetwork) -> None:
        self.stalled = False
        self.closed = False
        self._network = network
        self._handler: Handler | None = None
        self._inbox: deque[list[Frame]] = deque()

    def send(self, frames: Sequence[Frame]) -> None:
        """Send one message; see `Port.send`."""
        if self.closed:
            raise PeerGone("the port is closed")
        self._send(frames)

    def listen(self, handler: Handler) -> None:
        """Start delivering; see `Port.listen`."""
        self._handler = handler
        self._network.later(0.0, self._look)

    def close(self) -> None:
        """Stop delivering; see `Port.close`."""
        self.closed = True

    def stall(self) -> None:
        """Stop reading."""
        self.stalled = True

    def resume(self) -> None:
        """Read again, beginning with what came meanwhile."""
        self.stalled = False
        self._network.later(0.0, self._look)

    def arrive(self, frames: list[Frame]) -> None:
        """Take one message from the network."""
        self._inbox.append(frames)
        self._look()

    def attached(self, connection: Connection) -> None:
        """Learn that the other end is there."""

    def detached(self) -> None:
        """Learn that the other end went."""

    def _send(self, frames: Sequence[Frame]) -> None:
        raise NotImplementedError

    def _look(self) -> None:
        while self._inbox and self._handler and not self.stalled and not self.closed:
            self._network.guard(self._handler, self._inbox.popleft())


class _BoundPort(MemoryPort):
    """A port with an address."""

    is_router = True

    def __init__(self, network: MemoryNetwork, url: str) -> None:
        super().__init__(network)
        self.url = url
        self.peers: dict[bytes, Connection] = {}

    def close(self) -> None:
        """Give the address up; connections wait for a successor."""
        if not self.closed:
            super().close()
            self._network.unbind(self)


class MemoryRouter(_BoundPort):
    """A bound ROUTER."""

    def _send(self, frames: Sequence[Frame]) -> None:
        connection = self.peers.get(bytes(frames[0]))
        if connection is None:
            raise PeerGone(f"no peer {bytes(frames[0])!r} at {self.url}")
        connection.send_back(frames[1:])


class MemoryPublisher(_BoundPort):
    """A bound XPUB: `on_topic` hears of each topic nobody had subscribed before."""

    is_router = False

    def __init__(
        self, network: MemoryNetwork, url: str, on_topic: Callable[[bytes], None] | None
    ) -> None:
        super().__init__(network, url)
        self._on_topic = on_topic
        self._topics: Counter[bytes] = Counter()

    def add_topic(self, topic: bytes) -> None:
        """Count a subscription."""
        self._topics[topic] += 1
        if self._topics[topic] == 1 and self._on_topic is not None:
            self._network.later(0.0, self._on_topic, topic)

    def drop_topic(self, topic: bytes) -> None:
        """Uncount a subscription."""
        self._topics[topic] -= 1

    def _send(self, frames: Sequence[Frame]) -> None:
        for connection in list(self.peers.values()):
            port = connection.port
            if isinstance(port, MemorySub) and port.wants(bytes(frames[0])):
                connection.send_back(frames)


class MemoryDealer(MemoryPort):
    """A DEALER with its one connection."""

    def __init__(
        self,
        network: MemoryNetwork,
        url: str,
        identity: bytes,
        on_disconnect: Callable[[], None] | None,
    ) -> None:
        super().__init__(network)
        self._on_disconnect = on_disconnect
        self.connection = network.connect(self, url, identity)

    def close(self) -> None:
        """Leave; the router knows this peer no more."""
        if not self.closed:
            super().close()
            self._network.disconnect(self.connection)

    def detached(self) -> None:
        """Tell the owner."""
        if self._on_disconnect is not None and not self.closed:
            self._network.guard(self._on_disconnect)

    def _send(self, frames: Sequence[Frame]) -> None:
        self.connection.send_out(frames)


class MemoryEngineRouter(MemoryPort):
    """A ROUTER that connects out."""

    def __init__(self, network: MemoryNetwork, identity: bytes) -> None:
        super().__init__(network)
        self.connections: dict[bytes, Connection] = {}
        self._identity = identity
        self._used: set[bytes] = set()

    def connect(self, routing_id: bytes, url: str, **_keys: object) -> None:
        """Connect under a fresh name; see `EnginePort.connect`."""
        if routing_id in self._used:
            raise AssertionError(f"the routing id {routing_id!r} was used before on this socket")
        self._used.add(routing_id)
        self.connections[routing_id] = self._network.connect(self, url, self._identity, routing_id)

    def disconnect(self, routing_id: bytes) -> None:
        """Drop a connection and its queue; see `EnginePort.disconnect`."""
        connection = self.connections.pop(routing_id, None)
        if connection is not None:
            self._network.disconnect(connection)

    def close(self) -> None:
        """Drop all connections."""
        super().close()
        for routing_id in list(self.connections):
            self.disconnect(routing_id)

    def _send(self, frames: Sequence[Frame]) -> None:
        connection = self.connections.get(bytes(frames[0]))
        if connection is None:
            raise PeerGone(f"no engine {bytes(frames[0])!r}")
        connection.send_out(frames[1:])


class MemorySub(MemoryPort):
    """A SUB with its one connection."""

    def __init__(self, network: MemoryNetwork, url: str) -> None:
        super().__init__(network)
        self._topics: list[bytes] = []
        self.connection = network.connect(self, url, network.new_name())

    def wants(self, topic: bytes) -> bool:
        """Tell whether a message with this first frame was subscribed."""
        return any(topic.startswith(start) for start in self._topics)

    def subscribe(self, topic: bytes) -> None:
        """Ask for a topic; see `SubPort.subscribe`."""
        self._topics.append(topic)
        if isinstance(self.connection.bound, MemoryPublisher):
            self.connection.bound.add_topic(topic)

    def unsubscribe(self, topic: bytes) -> None:
        """Undo one `subscribe`."""
        self._topics.remove(topic)
        if isinstance(self.connection.bound, MemoryPublisher):
            self.connection.bound.drop_topic(topic)

    def attached(self, connection: Connection) -> None:
        """Tell the publisher what is wanted."""
        if isinstance(connection.bound, MemoryPublisher):
            for topic in self._topics:
                connection.bound.add_topic(topic)

    def close(self) -> None:
        """Leave, taking back all subscriptions."""
        if not self.closed:
            for topic in list(self._topics):
                self.unsubscribe(topic)
            super().close()
            self._network.disconnect(self.connection)


class MemoryNetwork:
    """All ports and connections of one test.

    Parameters
    ----------
    scheduler
        An asyncio loop, or a scheduler of virtual time.
    seed
        Of the chance that decides about loss, duplicates and order.
    """

    def __init__(self, scheduler: Scheduler, seed: int = 0) -> None:
        self.random = Random(seed)
        self._scheduler = scheduler
        self._bound: dict[str, _BoundPort] = {}
        self._connections: dict[str, list[Connection]] = {}
        self._names = count()

    def router(self, url: str) -> MemoryRouter:
        """Bind a ROUTER, as a kernel or a controller does."""
        return self._bind(MemoryRouter(self, url))

    def dealer(
        self, url: str, identity: bytes, on_disconnect: Callable[[], None] | None = None
    ) -> MemoryDealer:
        """Connect a DEALER, as a client does."""
        return MemoryDealer(self, url, identity, on_disconnect)

    def pub(self, url: str, on_topic: Callable[[bytes], None] | None = None) -> MemoryPublisher:
        """Bind a publisher, as a kernel does for its output."""
        return self._bind(MemoryPublisher(self, url, on_topic))

    def connections(self, url: str) -> list[Connection]:
        """All connections to an address, to set faults on their links."""
        return list(self._connections.get(url, ()))

    def drop(self, name: bytes) -> None:
        """Cut, for good, the connections of the peer routers know as `name`."""
        for connections in list(self._connections.values()):
            for connection in [each for each in connections if each.name == name]:
                self.disconnect(connection)

    def new_name(self) -> bytes:
        """Name a peer that did not name itself."""
        return f"\0{next(self._names)}".encode()

    def connect(
        self, port: MemoryPort, url: str, name: bytes, label: bytes | None = None
    ) -> Connection:
        """Connect a port; for the ports' own use."""
        connection = Connection(self, port, url, name, label)
        self._connections.setdefault(url, []).append(connection)
        if url in self._bound:
            self.later(0.0, self._attach, connection)
        return connection

    def disconnect(self, connection: Connection) -> None:
        """Take a connection away; for the ports' own use."""
        connection.detach()
        self._connections[connection.url].remove(connection)

    def unbind(self, port: _BoundPort) -> None:
        """Free an address; for the ports' own use."""
        del self._bound[port.url]
        for connection in self.connections(port.url):
            connection.detach()

    def later(self, delay: float, callback: Callable[..., object], *args: Any) -> None:
        """Schedule a step of the network [s]."""
        if delay > 0:
            self._scheduler.call_later(delay, callback, *args)
        else:
            self._scheduler.call_soon(callback, *args)

    def guard(self, callback: Callable[..., object], *args: Any) -> None:
        """Call a driver; what it raises goes to the scheduler."""
        try:
            callback(*args)
        except Exception as error:  # noqa: BLE001 - whatever a handler does, the port reads on
            self._scheduler.call_exception_handler(
                {"message": "a message handler failed; the port reads on", "exception": error}
            )

    def _bind(self, port: B) -> B:
        if port.url in self._bound:
            raise ClusterError(f"the address {port.url} cannot be used: it is in use")
        self._bound[port.url] = port
        for connection in self.connections(port.url):
            self.later(0.0, self._attach, connection)
        return port

    def _attach(self, connection: Connection) -> None:
        bound = self._bound.get(connection.url)
        present = connection in self._connections.get(connection.url, ())
        if bound is not None and connection.bound is None and present:
            connection.attach(bound)


B = TypeVar("B", bound=_BoundPort)


class MemoryTransport:
    """A `Transport` of one driver on a `MemoryNetwork`."""

    def __init__(self, network: MemoryNetwork) -> None:
        self._network = network
        self._ports: list[MemoryPort] = []

    def bind_router(self, url: str, identity: bytes, **_keys: object) -> MemoryRouter:  # noqa: ARG002
        """Listen at `url`; see `Transport.bind_router`."""
        return self._keep(self._network.router(url))

    def connect_dealer(
        self,
        url: str,
        identity: bytes,
        on_disconnect: Callable[[], None] | None = None,
        **_keys: object,
    ) -> MemoryDealer:
        """Connect to a router; see `Transport.connect_dealer`."""
        return self._keep(self._network.dealer(url, identity, on_disconnect))

    def engine_router(self, identity: bytes) -> MemoryEngineRouter:
        """Make a ROUTER that connects out; see `Transport.engine_router`."""
        return self._keep(MemoryEngineRouter(self._network, identity))

    def connect_sub(self, url: str, **_keys: object) -> MemorySub:
        """Connect to a publisher; see `Transport.connect_sub`."""
        return self._keep(MemorySub(self._network, url))

    def close(self) -> None:
        """Close all ports."""
        for port in self._ports:
            port.close()
        self._ports.clear()

    def _keep(self, port: P) -> P:
        self._ports.append(port)
        return port


P = TypeVar("P", bound=MemoryPort)
