"""One of the two sockets that clients talk to: checks what comes, signs what goes."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Any

from ipyviews.engine.frames import size_bytes
from ipyviews.errors import ProtocolError
from ipyviews.ids import ClientId
from ipyviews.protocol.wire import Wire, is_told

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Mapping, Sequence

    from ipyviews.protocol.wire import Frame, Message
    from ipyviews.transport.base import Port

    ClientHandler = Callable[[ClientId, Message], None]

log = logging.getLogger(__name__)

#: What clients may name themselves: what can be sent, logged and written down as it is.
_NAME = re.compile(r"[\w.-]{1,64}", re.ASCII)


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
                note_dropped(self._counters, "a client", error)
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


def note_dropped(counters: Counter[str], whose: str, error: ProtocolError) -> None:
    """Count a message that does not verify, and log some of them; never what is in it."""
    counters["unverified"] += 1
    if is_told(counters["unverified"]):
        count = counters["unverified"]
        log.warning("dropped a message of %s, the %dth such message: %s", whose, count, error)


def _sender(message: Message) -> ClientId:
    """Name the client: its routing id, which must be its session id too."""
    session = str(message.header.get("session"))
    if _NAME.fullmatch(session) is None:
        raise ProtocolError("the sender's session id is not 1 to 64 letters, digits and _ . -")
    if [session.encode()] != message.idents:
        raise ProtocolError("the sender's routing id is not its session id")
    return ClientId(session)
