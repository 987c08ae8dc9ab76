"""The tasks of a connection that have no reply yet, and who listens to their output."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any, Protocol

from ipyviews.client.bell import Bell
from ipyviews.client.deaths import Deaths
from ipyviews.client.display import relay
from ipyviews.client.endings import Endings
from ipyviews.client.late import Late
from ipyviews.client.outputs import OUTPUT_TYPES
from ipyviews.client.tasks import Task

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ipyviews.protocol.wire import Frame, Message


class Listener(Protocol):
    """Takes output."""

    def __call__(  # noqa: PLR0917 - what a message has
        self,
        task: Task,
        msg_type: str,
        content: dict[str, Any],
        metadata: dict[str, Any],
        buffers: Sequence[Frame],
        date: str | None,
    ) -> None:
        """Take a message of output."""

    def ended(self, task: Task) -> None:
        """Take note that a task ends now; there is still output if threads write it."""


log = logging.getLogger(__name__)

#: Unanswered calls beyond which more have to wait [count], [bytes].
MAX_TASKS = 100_000
MAX_BYTES = 64 * 1024 * 1024


class Ledger:
    """Tasks by id. Hold `lock` to see several things at one moment."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        #: Rung when tasks end, or something else of the connection changes.
        self.bell = Bell()
        self.pending: dict[str, Task] = {}
        self.pending_bytes = 0
        #: The number of the latest request that was handed to the socket, which copies it.
        self.sent = 0
        #: Tasks that have ended and may still write.
        self.late = Late()
        #: How tasks ended, for a controller that was not there.
        self.endings = Endings()
        #: Why engines died, as the controller told before the replies of what died with them.
        self.deaths = Deaths()
        self._listeners: dict[str, list[Listener]] = {}

    def enter(self, tasks: Sequence[Task]) -> None:
        """Expect the replies of new tasks."""
        new = {task.id: task for task in tasks}
        size = sum(task.size_bytes for task in tasks)
        with self.lock:
            before = self.pending_bytes
            try:
                self.pending.update(new)
                self.pending_bytes = before + size
            except BaseException:
                # Ctrl-C in between: who leaves must have been counted.
                for name in new:
                    self.pending.pop(name, None)
                self.pending_bytes = before
                raise

    def leave(self, tasks: Iterable[Task]) -> None:
        """Expect nothing more of these tasks."""
        with self.lock:
            for task in tasks:
                if self.pending.pop(task.id, None) is not None:
                    self._left(task)
        self.bell.ring()

    def take(self, name: str) -> Task | None:
        """Return a pending task and expect nothing more of it; whoever ends it rings the bell."""
        with self.lock:
            task = self.pending.pop(name, None)
            if task is not None:
                self._left(task)
        return task

    def _left(self, task: Task) -> None:
        self.pending_bytes = self.pending_bytes - task.size_bytes if self.pending else 0
        if (listeners := self._listeners.pop(task.id, None)) is not None:
            self.late.add(task, listeners)
            self._tell_end(task, listeners)

    def find(self, task: str) -> Task | None:
        """Return a pending task."""
        with self.lock:
            return self.pending.get(task)

    def of_request(self, request: str) -> list[Task]:
        """Return the pending tasks of a request."""
        with self.lock:
            return [task for name, task in self.pending.items() if name.startswith(request + ".")]

    def has_room(self) -> bool:
        """Whether more may be sent."""
        return len(self.pending) < MAX_TASKS and self.pending_bytes < MAX_BYTES

    def room(self) -> str:
        """Tell people how full it is."""
        return (
            f"{len(self.pending)} calls ({self.pending_bytes / 2**20:.0f} MiB) have no answer yet; "
            f"at most {MAX_TASKS} or {MAX_BYTES >> 20} MiB may wait"
        )

    @property
    def is_listened(self) -> bool:
        """Whether output of tasks that have not ended is shown as it comes."""
        with self.lock:
            return any(self._listeners.values())

    def listen(self, tasks: Iterable[Task], listener: Listener) -> None:
        """Call `listener` in the I/O thread for each message of output of these tasks.

        What arrived before is in ``task.output``; hold `lock` to read it and listen in one go.
        """
        with self.lock:
            for task in tasks:
                if task.id in self.pending:
                    self._listeners.setdefault(task.id, []).append(listener)
                else:
                    self.late.listen(task, listener)

    def mute(self, tasks: Iterable[Task], listener: Listener) -> None:
        """Undo `listen`."""
        with self.lock:
            for task in tasks:
                listeners = self._listeners.get(task.id, [])
                if listener in listeners:
                    listeners.remove(listener)
                self.late.mute(task, listener)

    def written(self, message: Message, content: dict[str, Any], task: Task | None) -> None:
        """Keep a message of output and pass it on; without its task if that has ended."""
        with self.lock:
            listeners: list[Listener] = []
            if task is None:
                task, listeners = self.late.find(message.parent_id)
            else:
                listeners = self._listeners.get(task.id, [])
            # Nobody keeps an ended task: what it writes is shown all the same.
            task = task or Task(message.parent_id, "execute", None, 0.0)
            if not task.is_news(message.ours):
                return
            if message.ours.get("engine") is not None:
                task.engine = message.ours["engine"]
            self._keep(task, message, content)
            self._pass_on(task, message, content, listeners)

    def _keep(self, task: Task, message: Message, content: dict[str, Any]) -> None:
        kind = message.msg_type
        if kind in OUTPUT_TYPES:
            task.written().add(kind, content)
        elif kind.startswith("comm_"):
            relay(kind, content, message.metadata, message.buffers)
        elif kind == "data_message" and message.buffers:
            task.written().published.add(content.get("keys", ()), message.buffers[0])

    def _pass_on(
        self, task: Task, message: Message, content: dict[str, Any], listeners: list[Listener]
    ) -> None:
        for listener in list(listeners):
            try:
                listener(
                    task,
                    message.msg_type,
                    content,
                    message.metadata,
                    message.buffers,
                    message.ours.get("date"),
                )
            except Exception:
                log.exception("showing output failed; the rest of this task is only kept")
                self.mute([task], listener)

    def _tell_end(self, task: Task, listeners: list[Listener]) -> None:
        for listener in listeners:
            try:
                listener.ended(task)
            except Exception:
                log.exception("showing output failed")
