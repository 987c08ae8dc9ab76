"""The controller's connections to engines: one `Link` for each life of each engine.

One ROUTER per channel serves all engines; a link's routing id is never used twice, so what a former
life sends late names itself and is dropped. Each engine has a SUB of its own, because output does
not say which kernel it comes from.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from ipyviews.controller.channels import note_dropped
from ipyviews.controller.deaths import LastWords
from ipyviews.errors import ClusterError, ProtocolError
from ipyviews.ids import routing_id
from ipyviews.protocol.wire import Wire
from ipyviews.transport.base import PeerGone

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Mapping, Sequence

    from ipyviews.ids import EngineId
    from ipyviews.launching.kernels import LaunchedKernel
    from ipyviews.protocol.wire import Frame, Message
    from ipyviews.transport.base import EnginePort, SubPort, Transport

#: Channels on which engines answer.
CHANNELS = ("shell", "control", "apply")


class Link:
    """One life of one engine, from the connection to its kernel until its end."""

    def __init__(
        self, engine: EngineId, incarnation: int, kernel: LaunchedKernel, life: str
    ) -> None:
        key = kernel.info["key"]
        self.engine = engine
        self.incarnation = incarnation
        self.kernel = kernel
        self.id = routing_id(engine, incarnation)
        self.name = self.id.decode()
        public = kernel.info.get("curve_publickey")
        #: The kernel's public key; None where it does not encrypt.
        self.server: bytes | None = public.encode() if isinstance(public, str) else public
        #: Starts the ``msg_id`` of every request of the controller's own.
        self.prefix = f"{life}-{self.name}-"
        self.stock = Wire(key, life)
        self.own = Wire(key, life, own=True, name=life)
        #: Whether the engine's event loop is another one: then a message on shell must wake it.
        self.foreign_loop = False
        #: Channels that are connected.
        self.open: set[str] = set()
        self.sub: SubPort | None = None
        #: Why the link ended; None while it lives.
        self.ended: str | None = None
        self._waiting: dict[str, asyncio.Future[Message]] = {}
        self._count = 0
        #: What it wrote to stderr last.
        self.words = LastWords()
        #: How many calls were sent.
        self.calls = 0

    @property
    def can_apply(self) -> bool:
        """Whether the apply channel is connected."""
        return "apply" in self.open

    def new_id(self) -> str:
        """Make a ``msg_id`` for a request of the controller's own."""
        self._count += 1
        return f"{self.prefix}{self._count}"

    def expect(self, msg_id: str) -> asyncio.Future[Message]:
        """Return a future for the first message that answers `msg_id`.

        Raises
        ------
        ClusterError
            When the link has ended; the future fails with it when the link ends later.
        """
        if self.ended is not None:
            raise ClusterError(self.ended)
        return self._waiting.setdefault(msg_id, asyncio.get_running_loop().create_future())

    def answered(self, message: Message) -> bool:
        """Give a message to who expects it; False when nobody does."""
        future = self._waiting.pop(message.parent_id, None)
        if future is not None and not future.done():
            future.set_result(message)
        return future is not None

    def fail(self, sentence: str) -> None:
        """End the link for everybody who waits for this engine."""
        self.ended = sentence
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(ClusterError(sentence))
                future.exception()
        self._waiting.clear()


class Links:
    """All living links, the sockets they share, and the way of a message to its link.

    Parameters
    ----------
    transport
        Makes the sockets.
    identity
        The controller's name at kernels, the same for the life of the cluster.
    counters
        Where stale and unverifiable messages are counted.
    """

    def __init__(self, transport: Transport, identity: bytes, counters: Counter[str]) -> None:
        self._transport = transport
        self._counters = counters
        self._ports: dict[str, EnginePort] = {
            name: transport.engine_router(identity) for name in CHANNELS
        }
        self._links: dict[bytes, Link] = {}
        #: Takes replies nobody waits for, and all output: the gate.
        self.on_reply: Callable[[Link, Message], None]
        self.on_output: Callable[[Link, Message], None]
        self._ports["shell"].listen(lambda frames: self._arrived(frames, own=False))
        self._ports["control"].listen(lambda frames: self._arrived(frames, own=False))
        self._ports["apply"].listen(lambda frames: self._arrived(frames, own=True))

    def connect(self, link: Link, channel: str, url: str) -> None:
        """Connect one channel of a link.

        Raises
        ------
        ClusterError
            When the link has ended, or the kernel listens on TCP and does not encrypt.
        """
        if link.ended is not None:
            raise ClusterError(link.ended)
        self._links[link.id] = link
        self._ports[channel].connect(link.id, url, server=link.server)
        link.open.add(channel)

    def subscribe(self, link: Link, url: str, topic: bytes) -> None:
        """Subscribe to everything an engine publishes, and to `topic`, which proves it."""
        link.sub = self._transport.connect_sub(url, server=link.server)
        link.sub.listen(lambda frames: self._published(link, frames))
        link.sub.subscribe(b"")
        link.sub.subscribe(topic)

    def disconnect(self, link: Link, why: str) -> None:
        """End a link; what is queued for it is dropped, so a successor never gets it."""
        self._links.pop(link.id, None)
        for channel in link.open:
            self._ports[channel].disconnect(link.id)
        link.open.clear()
        if link.sub is not None:
            link.sub.close()
            link.sub = None
        link.fail(why)

    def request(
        self,
        link: Link,
        channel: str,
        msg_type: str,
        content: Mapping[str, Any],
        subshell: str | None = None,
    ) -> tuple[str, asyncio.Future[Message]]:
        """Send a request of the controller's own; return its id and a future for the answer."""
        msg_id = link.new_id()
        future = link.expect(msg_id)
        self.send(link, channel, msg_type, msg_id, content, subshell=subshell)
        return msg_id, future

    def send(
        self,
        link: Link,
        channel: str,
        msg_type: str,
        msg_id: str,
        content: Mapping[str, Any] | Frame,
        *,
        metadata: Mapping[str, Any] | None = None,
        buffers: Sequence[Frame] = (),
        subshell: str | None = None,
    ) -> None:
        """Send one message; to an engine that is gone it is dropped: its exit is reported."""
        wire = link.own if channel == "apply" else link.stock
        frames = wire.encode(
            msg_type,
            msg_id,
            content,
            metadata=metadata,
            buffers=buffers,
            to=link.name,
            subshell=subshell,
        )
        try:
            self._ports[channel].send([link.id, *frames])
        except PeerGone:
            self._counters["sent_to_gone_engine"] += 1

    def close(self) -> None:
        """End all links and close the sockets."""
        for link in list(self._links.values()):
            self.disconnect(link, "the cluster is ending")
        for port in self._ports.values():
            port.close()

    def _arrived(self, frames: list[Frame], *, own: bool) -> None:
        link = self._links.get(bytes(frames[0]))
        if link is None:
            self._counters["stale"] += 1
            return
        message = self._decode(link.own if own else link.stock, frames)
        if message is not None and not link.answered(message):
            self.on_reply(link, message)

    def _published(self, link: Link, frames: list[Frame]) -> None:
        message = self._decode(link.stock, frames)
        if message is not None:
            self.on_output(link, message)

    def _decode(self, wire: Wire, frames: list[Frame]) -> Message | None:
        try:
            return wire.decode(frames)
        except ProtocolError as error:
            note_dropped(self._counters, "an engine", error)
            return None
