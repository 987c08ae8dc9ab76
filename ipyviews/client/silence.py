"""Asks the controller for tasks that have been silent; in the I/O thread.

The question takes the way of the requests, after them, and the answer that of the replies: a task
that the controller does not have then, and that has no reply, will never get one.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

from ipyviews.errors import TaskError
from ipyviews.protocol.wire import pack

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from ipyviews.client.ledger import Ledger
    from ipyviews.client.link import Link
    from ipyviews.client.tasks import Task

#: The controller is asked so often [s], for so many tasks at once [count].
LOOK_S = 5.0
MOST_ASKED = 5000


class Silence:
    """The questions of one connection.

    Parameters
    ----------
    loop
        The loop of the I/O thread.
    ledger
        Has the tasks without a reply.
    link
        Takes the questions.
    fail
        Ends a task with an error.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        ledger: Ledger,
        link: Link,
        fail: Callable[[Task, Exception], None],
    ) -> None:
        self._loop = loop
        self._ledger = ledger
        self._link = link
        self._fail = fail
        #: The latest request that had been sent at the last look.
        self._sent = 0
        #: How many pending tasks the next question leaves out: others were asked for before.
        self._skipped = 0

    def start(self) -> None:
        """Look from now on."""
        self._loop.call_later(LOOK_S, self._go_on)

    def look(self) -> None:
        """Ask for tasks that had been sent at the last look already."""
        with self._ledger.lock:
            pending, sent = self._ledger.pending, self._sent
            self._sent = self._ledger.sent
            if self._skipped >= len(pending):
                self._skipped = 0
            chosen = islice(pending.values(), self._skipped, self._skipped + MOST_ASKED)
            names = [task.id for task in chosen if task.request <= sent]
        self._skipped += MOST_ASKED
        # One that takes over is sent them again first: it would know none of them.
        if names and not self._link.is_down:
            content = pack({"tasks": names, "life": self._link.life})
            self._link.send("missing_request", "missing", content, {}, ())

    def told(self, content: dict[str, Any]) -> None:
        """Take the controller's word on tasks that it does not have."""
        for name in content.get("tasks", ()):
            if (task := self._ledger.find(name)) is not None:
                self._fail(task, _lost(name))
        self._link.resync(content)

    def _go_on(self) -> None:
        self.look()
        self.start()


def _lost(name: str) -> TaskError:
    return TaskError(
        f"The controller knows no task {name} any more, and its reply did not arrive: the "
        "connection lost a message. The task may have run; send it again if that does no harm."
    )
