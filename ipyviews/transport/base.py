"""What a driver sees of the network, whatever carries it.

A port moves whole multipart messages, in order for each peer, never blocks and never drops.
It is used from the thread of its loop only. `zeromq` is the real one, `memory` the one for tests.

Frames that arrive: small ones are ``bytes``, those of `LARGE_FRAME` bytes or more may be writable
memoryviews that belong to the receiver. Frames that are sent are copied, and may change afterwards,
except those that had arrived and are passed on whole: these must not change any more.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Sequence

Frame: TypeAlias = bytes | bytearray | memoryview

#: Takes one whole multipart message. What it raises goes to the loop's exception handler.
Handler: TypeAlias = Callable[[list[Frame]], None]

#: From this size [bytes] on a frame that arrives is not copied.
LARGE_FRAME = 65_536


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

    def connect(self, routing_id: bytes, url: str) -> None:
        """Connect to `url` under a name never used before on this port.

        Messages may be sent at once. They wait until the other end is there.
        """

    def disconnect(self, routing_id: bytes) -> None:
        """Drop the connection and all that is queued for it; unknown names are ignored."""


class SubPort(Port, Protocol):
    """Receives what is published."""

    def subscribe(self, topic: bytes) -> None:
        """Receive messages whose first frame starts with `topic`."""

    def unsubscribe(self, topic: bytes) -> None:
        """Undo one `subscribe`."""


class Transport(Protocol):
    """Makes the ports of one driver."""

    def bind_router(self, url: str, identity: bytes) -> Port:
        """Listen at `url`; each message that arrives begins with its sender."""

    def connect_dealer(
        self, url: str, identity: bytes, on_disconnect: Callable[[], None] | None = None
    ) -> Port:
        """Connect to the router at `url`, which will see us as `identity`.

        `on_disconnect` is called each time an established connection ends, after everything
        that had arrived before was delivered.
        """

    def engine_router(self, identity: bytes) -> EnginePort:
        """Make a ROUTER that all its engines see as `identity`."""

    def connect_sub(self, url: str) -> SubPort:
        """Connect to a publisher; subscribes to nothing yet."""

    def close(self) -> None:
        """Close all ports; takes at most about half a second to send what is queued."""
