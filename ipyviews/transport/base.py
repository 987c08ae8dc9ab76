"""What a driver sees of the network, whatever carries it.

A port moves whole multipart messages, in order for each peer, never blocks and never drops.
It is used from the thread of its loop only. `zeromq` is the real one, `memory` the one for tests.

Frames that arrive: small ones are ``bytes``, those of `LARGE_FRAME` bytes or more may be writable
memoryviews of bytes that belong to the receiver. Frames that are sent are copied, and may change
afterwards, except those that had arrived and are passed on whole: these must not change any more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeAlias

from ipyviews.engine import frames

if TYPE_CHECKING:
    from collections.abc import Sequence

Frame: TypeAlias = bytes | bytearray | memoryview

#: Takes one whole multipart message. What it raises goes to the loop's exception handler.
Handler: TypeAlias = Callable[[list[Frame]], None]

#: From this size [bytes] on a frame that arrives is not copied.
LARGE_FRAME = 65_536

#: A frame of this size [bytes] is refused where it arrives, and its sender disconnected, before
#: there is memory for it. Honest senders say so themselves: `MOST_BYTES` in `engine.frames`.
MOST_BYTES = frames.MOST_BYTES

#: Most frames of one message [count]; of what has more nothing is delivered.
MOST_FRAMES = 1_000_000


@dataclass(frozen=True, slots=True)
class Curve:
    """The keys of a port that listens, in Z85. Who connects needs to know the public one."""

    public: bytes = field(repr=False)
    secret: bytes = field(repr=False)


class PeerGone(Exception):
    """The peer of a send is not connected; nothing was sent."""


class Port(Protocol):
    """One socket."""

    def send(self, frames: Sequence[Frame]) -> None:
        """Send one message; on ROUTER kinds ``frames[0]`` is the peer.

        Raises
        ------
        PeerGone
            If that peer is not connected, or this port is closed.
        """

    def listen(self, handler: Handler) -> None:
        """Start delivering, beginning with what has arrived already."""

    def close(self) -> None:
        """Stop delivering and let go of the socket; may be called again."""


class EnginePort(Port, Protocol):
    """A ROUTER that connects out to many engines."""

    def connect(self, routing_id: bytes, url: str, *, server: bytes | None = None) -> None:
        """Connect to `url` under a name never used before on this port.

        Messages may be sent at once. They wait until the other end is there. `server` is the
        public key of the other end; TCP is refused without.
        """

    def disconnect(self, routing_id: bytes) -> None:
        """Drop the connection and all that is queued for it; unknown names are ignored."""


class SubPort(Port, Protocol):
    """Receives what is published."""

    def subscribe(self, topic: bytes) -> None:
        """Receive messages whose first frame starts with `topic`."""

    def unsubscribe(self, topic: bytes) -> None:
        """Undo one `subscribe`."""


class BoundPort(Port, Protocol):
    """A ROUTER that listens."""

    @property
    def url(self) -> str:
        """Where it listens: with the port that was chosen."""


class Transport(Protocol):
    """Makes the ports of one driver."""

    def bind_router(
        self, url: str, identity: bytes, *, curve: Curve | None = None, most_bytes: int = MOST_BYTES
    ) -> BoundPort:
        """Listen at `url`; each message that arrives begins with its sender.

        TCP is refused without `curve`; port 0 means any. Who sends a frame of `most_bytes` or more
        is disconnected.
        """

    def connect_dealer(
        self,
        url: str,
        identity: bytes,
        on_disconnect: Callable[[], None] | None = None,
        *,
        server: bytes | None = None,
    ) -> Port:
        """Connect to the router at `url`, which will see us as `identity`.

        `on_disconnect` is called each time an established connection ends, after everything
        that had arrived before was delivered. `server` is as for `EnginePort.connect`.
        """

    def engine_router(self, identity: bytes) -> EnginePort:
        """Make a ROUTER that all its engines see as `identity`."""

    def connect_sub(self, url: str, *, server: bytes | None = None) -> SubPort:
        """Connect to a publisher; subscribes to nothing yet. `server`: see `EnginePort.connect`."""

    def close(self) -> None:
        """Close all ports; takes at most about half a second to send what is queued."""
