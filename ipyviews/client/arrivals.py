"""What arrives on the shell channel: replies and output of tasks, and what is told beside them."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from ipyviews.client.tasks import from_content
from ipyviews.client.trimming import Trimmer
from ipyviews.errors import ProtocolError

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Callable

    from ipyviews.client.ledger import Ledger
    from ipyviews.client.sharing import Sharing
    from ipyviews.client.tasks import Task
    from ipyviews.protocol.wire import Message

    Fields = dict[str, Any]


class Arrivals:
    """Gives tasks what is theirs. Used in the I/O thread.

    Parameters
    ----------
    ledger, sharing
        The tasks without a reply, and what they have in shared memory.
    loop
        Of the I/O thread.
    trace
        Prints a message: direction, type, parent and content.
    """

    def __init__(
        self,
        ledger: Ledger,
        sharing: Sharing,
        loop: AbstractEventLoop,
        trace: Callable[[str, str, str, Any], None],
    ) -> None:
        self._ledger = ledger
        self._sharing = sharing
        self._trimmer = Trimmer(loop.call_later)
        self._trace = trace
        #: Takes a ``missing_notice``.
        self.on_missing: Callable[[Fields], None] = lambda _content: None
        #: Looks at the engines again when one has died.
        self.on_death: Callable[[], None] = lambda: None

    def take(self, message: Message) -> None:
        """Take a message."""
        kind, task = message.msg_type, message.parent_id
        try:
            content = message.read()
        except ProtocolError as error:
            # An engine sent it, not the controller: only this task suffers.
            content = {"status": "error", "ename": "ProtocolError", "evalue": str(error)}
        self._trace("<-", kind, task, content)
        if kind.endswith("_reply"):
            self._replied(task, message, content)
        elif kind == "missing_notice":
            self.on_missing(content)
        elif kind == "death_notice":
            self._ledger.deaths.heard(content)
            self.on_death()
        else:
            self._ledger.written(message, content, self._ledger.find(task))

    def refuse(self, request: str, make_error: Callable[[], Exception]) -> None:
        """End all tasks of a request, each with an error of its own."""
        for one in self._ledger.of_request(request):
            self.end(one, make_error())

    def end(self, task: Task, error: Exception) -> None:
        """End a task that will get no reply."""
        self._ledger.leave([task])
        self._sharing.ended(task.id, {}, {})
        self._ledger.endings.fail([task])
        task.fail(error)
        self._ledger.bell.ring()

    def _replied(self, name: str, message: Message, content: Fields) -> None:
        task = self._ledger.take(name)
        if task is None:
            # The controller could not understand the request: all its tasks share the answer.
            self.refuse(name, partial(from_content, content))
            return
        if message.msg_type == "execute_reply":
            # One that was submitted again does not know what it runs.
            task.kind = "execute"
        self._ledger.endings.note(task, message.ours, content)
        content = self._sharing.replied(name, message, content)
        task.finish(message, content, self._ledger.deaths.of(message.ours))
        self._trimmer.moved(task.size_bytes + task.reply_bytes)
        self._ledger.bell.ring()
