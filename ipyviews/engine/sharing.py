"""Large buffers of calls and results in shared memory: the engine's side.

A client says which ``/dev/shm`` it sees (``m.shared``). Large buffers of its calls may be
references, which are mapped before the call runs; where the engine sees the same, so are those of
results.
What still maps a segment when the call has ended is named in the reply (``held``); when it lets go,
the next reply or a message tells (``released``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import segments
from .backlog import Request
from .dependencies import UnmetDependency
from .received import Mapping, Receiver
from .sender import Sender

if TYPE_CHECKING:
    from .backlog import Backlog, Call
    from .channel import Channel
    from .outcomes import Outcome
    from .received import Told
    from .sender import Use

#: Clients that have left and are remembered [count].
MOST_LEFT = 1000


class Sharing:
    """All that an engine maps and all that it sends that way.

    Parameters
    ----------
    channel, backlog
        The engine's other parts.
    """

    def __init__(self, channel: Channel, backlog: Backlog) -> None:
        self._channel = channel
        self._backlog = backlog
        self._receiver = Receiver(self._let_go)
        self._sender: Sender | None = None
        # The mappings of the call that runs, and how to reach the controller.
        self._mapped: list[Mapping] = []
        self._way: Request | None = None
        self._is_closed = False
        # Clients that have left: nobody would let go of what they are sent.
        self._left: dict[str, None] = {}

    def open(self, call: Call) -> None:
        """Map what the buffers of a call refer to, in the main thread, just before it runs.

        Raises
        ------
        UnmetDependency
            In another place than the client; a balanced call then runs elsewhere.
        SegmentGone
            If it is not there any more.
        """
        cluster, _, place = str(call.ours.get("shared", "")).rpartition("/")
        if not cluster or not call.buffers:
            return
        for buffer in call.take_buffers():
            if place != segments.place() and segments.Reference.read(buffer) is not None:
                raise UnmetDependency("the shared memory that the call's data is in")
            memory, mapping = self._receiver.open(buffer, cluster, call.client)
            call.buffers.append(memory)
            if mapping is not None:
                self._mapped.append(mapping)

    def close_call(self, call: Call, outcome: Outcome) -> None:
        """Put a result into shared memory and say what of the call is still mapped."""
        self._share(call, outcome)
        mapped, self._mapped = self._mapped, []
        if mapped:
            header = {"session": call.sender}
            self._way = Request(call.idents, header, {}, {}, [])
            if held := self._receiver.settle(mapped):
                outcome.content["held"] = held
        if released := self._receiver.released(call.client):
            outcome.content["released"] = [one.told for one in released]

    def tell_when_idle(self) -> None:
        """Tell what was let go of; in the I/O thread. While a call runs, the end of it will."""
        if self._backlog.running is None:
            self.tell()

    def tell(self) -> None:
        """Tell clients what was let go of."""
        if self._way is None or not self._receiver.has_news:
            return
        by_client: dict[str, list[Told]] = {}
        for mapping in self._receiver.released():
            by_client.setdefault(mapping.owner, []).append(mapping.told)
        for client, told in by_client.items():
            content = {"client": client, "segments": told}
            self._channel.send(self._way, "segments_released", content, parent={})

    def released(self, content: dict[str, Any]) -> None:
        """Take in that a client has let go of results."""
        if self._sender is not None:
            self._sender.released(content["segments"], str(content["client"]))

    def client_left(self, client: str) -> None:
        """Take in that a client will tell nothing any more."""
        self._left[client] = None
        if len(self._left) > MOST_LEFT:
            # What was called for it has ended long ago.
            del self._left[next(iter(self._left))]
        if self._sender is not None:
            self._sender.lost(client)

    def close(self) -> None:
        """Remove this engine's segments, before the channel is closed.

        Results that a client has not released may be on their way: the controller removes them.
        """
        self._is_closed = True
        if self._sender is not None:
            self._sender.close(keep=lambda segment: not segment.is_free)

    def _share(self, call: Call, outcome: Outcome) -> None:
        cluster, _, place = str(call.ours.get("shared", "")).rpartition("/")
        is_here = bool(cluster) and place == segments.place() and call.client not in self._left
        if not is_here or outcome.content.get("status") != "ok":
            return
        large = [
            number
            for number, buffer in enumerate(outcome.buffers[1:], 1)
            if memoryview(buffer).nbytes >= segments.SHARE_FROM
        ]
        if large and self._sender is None:
            self._sender = Sender(cluster, self._channel.name)
        if large and self._sender is not None:
            data: list[tuple[Any, list[Use]]] = [(outcome.buffers[n], []) for n in large]
            found = self._sender.put_all(data, holders=[call.client])
            for number, reference in zip(large, found, strict=True):
                if reference is not None:
                    outcome.buffers[number] = reference.pack()

    def _let_go(self) -> None:
        # Where garbage is collected: nothing but a byte into a pipe.
        if self._backlog.running is None and not self._is_closed:
            self._channel.poke()
