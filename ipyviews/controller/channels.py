"""One of the two sockets that clients talk to: checks what comes, signs what goes."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from ipyviews.errors import ProtocolError
from ipyviews.ids import ClientId
from ipyviews.protocol.wire import Wire

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Mapping, Sequence

    from ipyviews.protocol.wire import Frame, Message
    from ipyviews.transport.base import Port

    ClientHandler = Callable[[ClientId, Message], None]

log = logging.getLogger(__name__)


class Channel:
    """A ROUTER for all clients and the codec of its messages.

    Parameters
    ----------
    port
        The bound socket.
    key, life
        The cluster's key, and the controller's name in this life.
    counters
        Where messages that do not verify are counted; they are never answered.
    """

    def __init__(self, port: Port, key: bytes, life: str, counters: Counter[str]) -> None:
        self._port = port
        self._wire = Wire(key, life, own=True, name=life)
        self._life = life
        self._counters = counters
        self._sent = 0

    def listen(self, handler: ClientHandler) -> None:
        """Give every message that verifies to `handler`, with its sender."""

        def arrived(frames: list[Frame]) -> None:
            try:
                message = self._wire.decode(frames)
                client = _sender(message)
            except ProtocolError as error:
                self._counters["unverified"] += 1
                log.warning("dropped a message of a client: %s", error)
                return
            handler(client, message)

        self._port.listen(arrived)

    def send(
        self,
        client: ClientId,
        msg_type: str,
        content: Mapping[str, Any] | Frame,
        *,
        parent: str = "",
        metadata: Mapping[str, Any] | None = None,
        buffers: Sequence[Frame] = (),
    ) -> int:
        """Send one message; return its size [bytes], as the client counts it.

        Raises
        ------
        PeerGone
            When the client is not connected.
        """
        self._sent += 1
        frames = self._wire.encode(
            msg_type,
            f"{self._life}-{self._sent}",
            content,
            parent={"msg_id": parent} if parent else None,
            metadata=metadata,
            buffers=buffers,
            to=client,
        )
        self._port.send([client.encode(), *frames])
        return sum(map(size_bytes, frames))

    def close(self) -> None:
        """Close the socket."""
        self._port.close()


def size_bytes(frame: Frame) -> int:
    """Return the length of one frame, whatever its item size."""
    return frame.nbytes if isinstance(frame, memoryview) else len(frame)


def _sender(message: Message) -> ClientId:
    """Name the client: its routing id, which must be its session id too."""
    session = message.header.get("session")
    if len(message.idents) != 1 or message.idents[0] != str(session).encode():
        raise ProtocolError("the sender's routing id is not its session id")
    return ClientId(str(session))
