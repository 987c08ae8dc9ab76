"""The clients that said hello, and what each has been sent but not yet read.

A client is never waited for. What it does not read is counted: beyond `STALL_BYTES` nothing more is
started for it, `FOLD_BYTES` later its output is dropped and counted. Replies are never dropped.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING, Any

from ipyviews.core.events import ClientLeft, ClientResumed, ClientStalled
from ipyviews.engine.frames import size_bytes
from ipyviews.errors import ProtocolError
from ipyviews.protocol.wire import bundle
from ipyviews.transport.base import PeerGone

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from ipyviews.controller.channels import Channel
    from ipyviews.controller.links import Link
    from ipyviews.controller.turns import Turns
    from ipyviews.core.events import Event
    from ipyviews.ids import ClientId, TaskId
    from ipyviews.protocol.wire import Frame

    #: The link of an engine, the number of its message with a reply, or the name of a cell, and
    #: the task.
    Receipt = tuple[Link, int | str, TaskId]
    #: Task, type, content, metadata and buffers of a message.
    Due = tuple[str, str, Mapping[str, Any] | Frame, Mapping[str, Any], Sequence[Frame]]

log = logging.getLogger(__name__)

#: Unread bytes at which a client counts as stalled; it resumes at half of it.
STALL_BYTES = 64 * 1024 * 1024

#: Unread bytes of output and small replies at which output is dropped and counted.
FOLD_BYTES = 2 * STALL_BYTES

#: A reply above this size [bytes] is data somebody asked for: it does not count against output.
BULK_BYTES = 1024 * 1024

#: Replies go together up to so many [count], and only while their results are small [bytes].
MOST_TOGETHER = 256
SMALL_BYTES = 65_536

#: A client silent for this long [s] is sent a message, which fails when it is gone.
PROBE_AFTER_S = 2.0

#: Requests of one client that may be cancelled ahead of their arrival. [count]
MOST_DOOMED = 1000


@dataclass(slots=True)
class Credit:
    """The bytes one client has been sent and has not acknowledged."""

    sent: int = 0
    acknowledged: int = 0
    stalled: bool = False
    _bulk: deque[tuple[int, int]] = field(default_factory=deque)
    _bulk_bytes: int = 0

    @property
    def unread(self) -> int:
        """Bytes on their way or waiting in a socket."""
        return self.sent - self.acknowledged

    def is_full(self) -> bool:
        """Whether further output must be dropped."""
        return self.unread - self._bulk_bytes > FOLD_BYTES

    def spend(self, size: int) -> None:
        """Count a message of `size` bytes as sent."""
        self.sent += size
        if size > BULK_BYTES:
            self._bulk.append((self.sent, size))
            self._bulk_bytes += size

    def acknowledge(self, total: int) -> None:
        """Note that the client has read `total` bytes since its hello."""
        self.acknowledged = max(self.acknowledged, min(total, self.sent))
        while self._bulk and self._bulk[0][0] <= self.acknowledged:
            self._bulk_bytes -= self._bulk.popleft()[1]


@dataclass(slots=True)
class Folded:
    """Output of one task that was dropped."""

    messages: int = 0
    size: int = 0

    def notice(self) -> dict[str, int]:
        """Return the content of the message that tells it."""
        return {"messages": self.messages, "bytes": self.size}


@dataclass(slots=True)
class Client:
    """One connected client."""

    id: ClientId
    name: str
    pid: int | None
    #: When it was last heard, by the loop's clock [s].
    heard: float
    credit: Credit = field(default_factory=Credit)
    folded: dict[str, Folded] = field(default_factory=dict)
    #: Replies that are not sent yet.
    due: list[Due] = field(default_factory=list)
    #: Receipts for those, and for those that were sent and not read, with what had been sent then.
    receipts: list[Receipt] = field(default_factory=list)
    unread: deque[tuple[int, list[Receipt]]] = field(default_factory=deque)
    #: The number of its newest request.
    newest: int = 0
    #: Tasks cancelled before their request came, by request: it travels on another channel.
    doomed: dict[str, set[TaskId]] = field(default_factory=dict)
    #: Questions that wait for a request, by its number.
    behind: list[tuple[int, asyncio.Future[None]]] = field(default_factory=list)


class Clients:
    """Sessions, credit, and sending to clients.

    Parameters
    ----------
    shell, control
        The two channels.
    clock
        Returns the time of events [s].
    turns
        Has what clients asked for and was not done yet.
    feed
        Takes events for the core.
    counters
        Counts for the status reply.
    keep_work
        Whether what a client had queued is still run after it left.
    """

    def __init__(
        self,
        shell: Channel,
        control: Channel,
        clock: Callable[[], float],
        feed: Callable[[Event], object],
        counters: Counter[str],
        *,
        turns: Turns,
        keep_work: bool = False,
    ) -> None:
        self._keep_work = keep_work
        self._shell = shell
        self._control = control
        self._clock = clock
        self._turns = turns
        self._feed = feed
        self._counters = counters
        self._clients: dict[ClientId, Client] = {}
        self._due: dict[ClientId, Client] = {}
        #: Called with the number of clients whenever it changes.
        self.on_count: Callable[[int], None] = lambda _n: None
        #: Called with a client that has left.
        self.on_left: Callable[[ClientId], None] = lambda _client: None
        #: The same, before that; and whether it has said goodbye.
        self.on_gone: Callable[[ClientId, bool], None] = lambda _client, _orderly: None
        #: Called with what `reply` was given, once these replies were read or nobody will.
        self.on_received: Callable[[list[Receipt]], None] = lambda _receipts: None

    def __len__(self) -> int:
        return len(self._clients)

    def __iter__(self) -> Iterator[Client]:
        return iter(list(self._clients.values()))

    def __contains__(self, client: object) -> bool:
        return client in self._clients

    def join(self, client: ClientId, name: str, pid: int | None) -> None:
        """Open a session; saying hello again keeps the one there is."""
        if client in self._clients:
            return
        self._clients[client] = Client(client, name, pid, self._clock())
        log.info("client %s joined (%s, pid %s)", client, name, pid)
        self.on_count(len(self._clients))

    def note_request(self, client: ClientId, request: str) -> set[TaskId]:
        """Note a request that came, and return the tasks that were cancelled ahead of it."""
        known = self._clients.get(client)
        if known is None:
            # It left meanwhile; what it had asked for was taken in and dropped.
            return set()
        known.newest = max(known.newest, _number(request))
        self._go_on(known, known.newest)
        return known.doomed.pop(request, set())

    def is_ahead(self, client: ClientId, request: str) -> bool:
        """Whether a request of a client is still to be taken in."""
        known = self._clients.get(client)
        return known is not None and _number(request) > known.newest

    async def taken_in(self, client: ClientId, request: str) -> None:
        """Return when a request of a client was taken in or refused, or its client has left."""
        if self.is_ahead(client, request):
            waiting = asyncio.get_running_loop().create_future()
            self._clients[client].behind.append((_number(request), waiting))
            await waiting

    def _go_on(self, known: Client, newest: float) -> None:
        if not known.behind:
            return
        for number, waiting in known.behind:
            if number <= newest and not waiting.done():
                waiting.set_result(None)
        known.behind = [one for one in known.behind if not one[1].done()]

    def doom(self, client: ClientId, tasks: Iterable[TaskId]) -> int:
        """Remember cancelled tasks whose request has not come; return how many those are."""
        known = self._clients[client]
        count = 0
        for task in tasks:
            request = task.rpartition(".")[0]
            own = request.startswith(f"{client}-")
            if own and _number(request) > known.newest and len(known.doomed) < MOST_DOOMED:
                known.doomed.setdefault(request, set()).add(task)
                count += 1
        return count

    def wants_work(self, client: ClientId) -> bool:
        """Whether what a client asked for is to be done: it is there, or work is kept."""
        return self._keep_work or client in self._clients

    def leave(self, client: ClientId, why: str, *, orderly: bool = False) -> None:
        """End a session; what it has queued still runs only on a detached cluster.

        Parameters
        ----------
        client, why
            Whose, and the reason for the log.
        orderly
            Whether it has said goodbye: then nobody will come for what it was sent.
        """
        known = self._clients.pop(client, None)
        if known is None:
            return
        log.info("client %s left: %s", client, why)
        self._turns.finish(client)
        self._go_on(known, inf)
        if known.credit.stalled:
            self._feed(ClientResumed(self._clock(), client))
        self._feed(ClientLeft(self._clock(), client, drop=not self._keep_work))
        self.on_gone(client, orderly)
        for receipts in (known.receipts, *(late for _, late in known.unread)):
            self.on_received(receipts)
        self.on_left(client)
        self.on_count(len(self._clients))

    def heard(self, client: ClientId) -> bool:
        """Note that a client is alive; False when it has no session."""
        known = self._clients.get(client)
        if known is None:
            return False
        known.heard = self._clock()
        return True

    def probe(self, *, everybody: bool = False) -> None:
        """Write to the clients that are silent: that fails when their connection is gone.

        A process that is only stopped or busy keeps its connection and its results.
        """
        limit = self._clock() - PROBE_AFTER_S
        for client in self:
            if everybody or client.heard < limit:
                self.tell(client.id, "ping_request", {})

    def tell(
        self,
        client: ClientId,
        msg_type: str,
        content: Mapping[str, Any] | Frame,
        parent: str = "",
        buffers: Sequence[Frame] = (),
    ) -> None:
        """Send on the control channel; a client that is gone leaves."""
        try:
            self._control.send(client, msg_type, content, parent=parent, buffers=buffers)
        except PeerGone:
            self.leave(client, "its connection is gone")

    def tell_all(self, msg_type: str, content: Mapping[str, Any]) -> None:
        """Send a notice to every client."""
        for client in self:
            self.tell(client.id, msg_type, content)

    def announce(self, msg_type: str, content: Mapping[str, Any]) -> None:
        """Send everybody a notice that comes before the replies that are not sent yet."""
        for client in self:
            self._send(client, ("", msg_type, content, {}, ()))

    def refuse(self, client: ClientId, msg_type: str, content: Mapping[str, Any], to: str) -> None:
        """Answer a request on the shell channel that made no task."""
        try:
            size = self._shell.send(client, msg_type, content, parent=to)
        except PeerGone:
            self.leave(client, "its connection is gone")
        else:
            if (known := self._clients.get(client)) is not None:
                self._spend(known, size)

    def tell_missing(self, client: ClientId, tasks: list[TaskId]) -> None:
        """Name tasks that have no reply to come but what was sent, and how much that was."""
        known = self._clients.get(client)
        if known is not None:
            self._send_due(known)
            told = {"tasks": tasks, "sent": known.credit.sent}
            self._send(known, ("", "missing_notice", told, {}, ()))

    def reply(self, client: ClientId, reply: Due, receipt: Receipt | None = None) -> bool:
        """Send a task's reply with the next `flush`, after a notice of dropped output, if any.

        Returns
        -------
        bool
            False if the client is not there; then nothing is sent.
        """
        known = self._clients.get(client)
        if known is None:
            return False
        if known.folded and (folded := known.folded.pop(reply[0], None)):
            known.due.append((reply[0], "output_folded", folded.notice(), {}, ()))
        content = reply[2]
        size = 0 if isinstance(content, Mapping) else size_bytes(content)
        if size > SMALL_BYTES:
            # It goes alone, behind the others: together they may be more than a client takes.
            self._send_due(known)
        known.due.append(reply)
        if receipt is not None:
            known.receipts.append(receipt)
        self._due[client] = known
        if len(known.due) >= MOST_TOGETHER or size + sum(map(len, reply[-1])) > SMALL_BYTES:
            self._send_due(known)
        return True

    def flush(self) -> None:
        """Send the replies that wait, those of one client in one message, the fewest first."""
        due, self._due = self._due, {}
        for client in sorted(due.values(), key=lambda client: len(client.due)):
            self._send_due(client)

    def output(
        self,
        client: ClientId,
        msg_type: str,
        content: Frame,
        *,
        task: str,
        metadata: Mapping[str, Any],
        buffers: Sequence[Frame] = (),
    ) -> None:
        """Send a message of a task's output, or count it when the client does not read."""
        known = self._clients.get(client)
        if known is None:
            self._counters["output_without_client"] += 1
        elif known.credit.is_full():
            folded = known.folded.setdefault(task, Folded())
            folded.messages += 1
            folded.size += size_bytes(content) + sum(map(size_bytes, buffers))
            self._counters["output_folded"] += 1
        else:
            if task in known.folded:
                folded = known.folded.pop(task)
                # Here, for a task that has replied can still write.
                self._send(known, (task, "output_folded", folded.notice(), {}, ()))
            self._send(known, (task, msg_type, content, metadata, buffers))

    def acknowledge(self, client: ClientId, total: int) -> None:
        """Take a client's word on what it has read; a stalled one may resume."""
        known = self._clients[client]
        credit = known.credit
        credit.acknowledge(total)
        while known.unread and known.unread[0][0] <= credit.acknowledged:
            self.on_received(known.unread.popleft()[1])
        if credit.stalled and credit.unread < STALL_BYTES // 2:
            credit.stalled = False
            self._feed(ClientResumed(self._clock(), client))

    def close(self) -> None:
        """Close both channels."""
        self._shell.close()
        self._control.close()

    def _send_due(self, client: Client) -> None:
        due, client.due = client.due, []
        if len(due) > 1:
            # What an engine sent may be no JSON; then each goes as it is.
            with contextlib.suppress(ProtocolError):
                content, buffers = bundle(due)
                due = [("", "bundle_reply", content, {}, buffers)]
        for message in due:
            self._send(client, message)
        if client.receipts:
            client.unread.append((client.credit.sent, client.receipts))
            client.receipts = []

    def _send(self, client: Client, message: Due) -> None:
        task, msg_type, content, metadata, buffers = message
        try:
            size = self._shell.send(
                client.id, msg_type, content, parent=task, metadata=metadata, buffers=buffers
            )
        except PeerGone:
            self.leave(client.id, "its connection is gone")
            return
        self._spend(client, size)

    def _spend(self, client: Client, size: int) -> None:
        client.credit.spend(size)
        if not client.credit.stalled and client.credit.unread > STALL_BYTES:
            client.credit.stalled = True
            self._counters["clients_stalled"] += 1
            self._feed(ClientStalled(self._clock(), client.id))


def _number(request: str) -> int:
    number = request.rpartition("-")[2]
    return int(number) if number.isascii() and number.isdigit() and len(number) < 19 else 0
