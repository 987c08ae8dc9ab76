"""The two sockets of a client: signing, acknowledging, and noticing that the other end is gone.

Everything here happens in the I/O thread.
"""

from __future__ import annotations

import itertools
import logging
from functools import partial
from typing import TYPE_CHECKING, Any

from ipyviews.engine.frames import too_much
from ipyviews.errors import ControllerLost, ProtocolError, UsageError
from ipyviews.protocol.wire import JSON_LIMIT, Wire, is_told, unbundle

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Collection, Mapping, Sequence

    from ipyviews.client.address import Address
    from ipyviews.errors import ClusterError
    from ipyviews.protocol.wire import Frame, Message
    from ipyviews.transport.base import Port, Transport

log = logging.getLogger(__name__)

#: Which frame it is, and how large it may be [bytes]: the controller adds to it.
METADATA = 4
METADATA_LIMIT = JSON_LIMIT // 2

#: Time between pings, and how many may stay without any word before the controller is gone. A
#: network may be cut for a minute and TCP then wait for another one before it tries again.
PING_S = 5.0
SILENT_PINGS = 6
SILENT_PINGS_REMOTE = 60

#: What was read is acknowledged after this time [s], or this much at once [bytes].
ACK_S = 0.05
ACK_BYTES = 1024 * 1024


class Link:
    """Messages to and from one controller.

    Parameters
    ----------
    address, session
        The other end, and our name.
    loop
        The loop of the I/O thread.
    on_shell, on_control
        Take every message that verifies.
    on_lost
        Called with the reason when the controller is gone.
    """

    def __init__(
        self,
        address: Address,
        session: str,
        loop: asyncio.AbstractEventLoop,
        *,
        on_shell: Callable[[Message], None],
        on_control: Callable[[Message], None],
        on_lost: Callable[[ClusterError], None],
    ) -> None:
        self._address = address
        #: The controller's name.
        self.life = address.life
        #: The connection broke, and nothing has come since.
        self.is_down = False
        self._session = session
        self._loop = loop
        self._on_shell = on_shell
        self._on_control = on_control
        self._on_lost = on_lost
        #: Called when the connection broke: that may be all, or the controller has died.
        self.on_break: Callable[[], None] = lambda: None
        self._wires = [Wire(address.key, session, own=True, name=session) for _ in range(2)]
        self._transport: Transport | None = None
        self._shell: Port | None = None
        self._control: Port | None = None
        self._numbers = itertools.count(1)
        #: The newest request sent on the shell channel.
        self._newest = ""
        self._received = self._acknowledged = 0
        self._ack_is_due = False
        self._unheard = 0
        self._dropped = 0
        # The controller that has answered, and what is not sent while the connection is broken.
        self._met = self.life
        self._withheld: list[tuple[str, Callable[[], None]]] = []
        self._latest_withheld: set[str] = set()

    def open(self, make_transport: Callable[[Any], Transport]) -> None:
        """Make the sockets and start to connect."""
        transport = self._transport = make_transport(self._loop)
        identity, server = self._session.encode(), self._address.server
        self._shell = transport.connect_dealer(self._address.shell_url, identity, server=server)
        self._control = transport.connect_dealer(
            self._address.control_url, identity, on_disconnect=self._disconnected, server=server
        )
        self._shell.listen(self._shell_arrived)
        self._control.listen(self._control_arrived)

    def close(self) -> None:
        """Close the sockets; what was sent still leaves if that is quick."""
        if self._transport is not None:
            self._transport.close()

    def send(
        self,
        msg_type: str,
        msg_id: str,
        content: bytes,
        metadata: Mapping[str, Any],
        buffers: Sequence[Frame],
    ) -> None:
        """Send on the shell channel.

        Raises
        ------
        UsageError
            It is larger than the controller takes.
        """
        if problem := too_much(buffers):
            raise UsageError(f"What is sent is too large: {problem}.")
        frames = self._wires[0].encode(
            msg_type,
            msg_id,
            content,
            metadata=metadata,
            buffers=buffers,
            to=self.life,
        )
        if len(frames[METADATA]) > METADATA_LIMIT:
            raise UsageError(
                "The label, the targets and the dependencies of a request are too long: together "
                f"they may have {METADATA_LIMIT // 2**20} MiB."
            )
        if self.is_down:
            again = partial(self.send, msg_type, msg_id, content, metadata, buffers)
            self._withheld.append(("", again))
            return
        if msg_type not in ("waiting_request", "missing_request"):
            self._newest = msg_id
        if self._shell is not None:
            self._shell.send(frames)

    def tell(
        self, msg_type: str, content: Mapping[str, Any], msg_id: str = "", parent: str = ""
    ) -> None:
        """Send on the control channel."""
        if self.is_down and msg_type not in ("hello_request", "ping_request", "bye_request"):
            again = partial(self.tell, msg_type, content, msg_id, parent)
            self._withheld.append((msg_id or msg_type, again))
            return
        frames = self._wires[1].encode(
            msg_type,
            msg_id or f"{self._session}:{next(self._numbers)}",
            content,
            parent={"msg_id": parent} if parent else None,
            metadata={"ipyviews": {"behind": self._newest}} if self._newest else None,
            to=self.life,
        )
        if self._control is not None:
            self._control.send(frames)

    def resync(self, content: Mapping[str, Any]) -> None:
        """Count as received what the controller has sent before; some of it may be lost."""
        self._received = max(self._received, int(content.get("sent", 0)))

    def start_pings(self) -> None:
        """Watch over the controller from now on."""
        self._loop.call_later(PING_S, self._ping)

    def _shell_arrived(self, frames: list[Frame]) -> None:
        size = sum(map(len, frames))
        try:
            for part in self._decode(self._wires[0], frames):
                self._on_shell(part)
        finally:
            # Only now: what it refers to has been mapped, and may be unlinked.
            self._acknowledge(size)

    def _control_arrived(self, frames: list[Frame]) -> None:
        for message in self._decode(self._wires[1], frames):
            if self.is_down and self.life == self._met:
                self._restore()
            if message.msg_type == "ping_request":
                self.tell("ping_reply", {"status": "ok"}, parent=message.msg_id)
            else:
                self._on_control(message)

    def _decode(self, wire: Wire, frames: list[Frame]) -> Sequence[Message]:
        """Return the message or, of a bundle, the messages; none of what does not verify."""
        try:
            messages = unbundle(wire.decode(frames))
        except ProtocolError as error:
            self._dropped += 1
            if is_told(self._dropped):
                log.warning(
                    "dropped %d messages that are not the controller's: %s", self._dropped, error
                )
            return ()
        self._unheard = 0
        return messages

    def _acknowledge(self, size: int) -> None:
        self._received += size
        if self._received - self._acknowledged >= ACK_BYTES:
            self._send_ack()
        elif not self._ack_is_due:
            self._ack_is_due = True
            self._loop.call_later(ACK_S, self._ack_due)

    def _ack_due(self) -> None:
        self._ack_is_due = False
        if self._acknowledged != self._received:
            self._send_ack()

    def _send_ack(self) -> None:
        self._acknowledged = self._received
        self.tell("received_request", {"bytes": self._received})

    def _ping(self) -> None:
        most = SILENT_PINGS_REMOTE if self._address.is_remote else SILENT_PINGS
        if self._unheard >= most:
            silent = PING_S * most
            self.lose(f"has been silent for {silent:g} s")
            return
        self._unheard += 1
        self.tell("ping_request", {})
        self._loop.call_later(PING_S, self._ping)

    def _disconnected(self) -> None:
        # Of this channel only: what the other one had received may still come.
        self.is_down = True
        self.tell("ping_request", {})
        self.on_break()

    def _restore(self) -> None:
        """Go on: it was only the connection."""
        self.is_down = False
        withheld, self._withheld = self._withheld, []
        for _, again in withheld:
            again()

    # -- another controller ---------------------------------------------------------------------

    def meet(self, life: str) -> None:
        """Talk to another controller at the same address from now on; so far only in greetings."""
        self.life, self._newest = life, ""
        self._received = self._acknowledged = self._unheard = 0

    def resume(self, asked: Collection[str]) -> None:
        """Send again: the other controller has answered.

        What was withheld of requests that expect an answer (ids in `asked`) and on the shell
        channel is the caller's to send.
        """
        self.is_down, self._met = False, self.life
        withheld, self._withheld = self._withheld, []
        self._latest_withheld = {name for name, _ in withheld}
        for name, again in withheld:
            if name and name not in asked:
                again()

    def was_withheld(self, msg_id: str) -> bool:
        """Whether a request had not been sent to the controller before."""
        return msg_id in self._latest_withheld

    def lose(self, what: str) -> None:
        """Give the controller up; `what` it did, for people."""
        self._on_lost(
            ControllerLost(
                f"The controller of cluster {self._address.cluster_id!r} "
                f"(process {self._address.pid}) {what}. Calls without an answer may have run; "
                "start a new cluster."
            )
        )
