"""Results that were asked of the controller: another client's, or this one's of long ago."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ipyviews.client.results import AsyncResult
from ipyviews.client.tasks import Task

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from concurrent.futures import Future

    from ipyviews.client.session import Session
    from ipyviews.client.tasks import Kind
    from ipyviews.protocol.wire import Frame

    #: Asks for tasks by id and answers for each: its reply; None, not yet; an error, never.
    Fetch = Callable[[Sequence[str]], Future[Mapping[str, "Reply | Exception | None"]]]

#: Time until the controller is asked again: at first, growing to at most [s].
FIRST_S = 0.1
LAST_S = 2.0
GROWTH = 1.5


@dataclass(frozen=True, slots=True)
class Reply:
    """A final reply out of the controller's records; what `Task.finish` takes."""

    #: ``"apply"`` or ``"execute"``.
    kind: Kind
    #: The content of the reply.
    content: dict[str, Any]
    buffers: Sequence[Frame] = ()
    #: ``verdict``, ``engine``, ``attempts`` …: the ``ipyviews`` part of its metadata.
    ours: dict[str, Any] = field(default_factory=dict)
    #: Seconds since the epoch; None if the record has none.
    submitted: float | None = None
    label: str | None = None
    #: Output as ``(msg_type, content)``, in order.
    output: Sequence[tuple[str, dict[str, Any]]] = ()


class AsyncHubResult(AsyncResult):
    """A result out of the controller's records; made by `Client.get_result` and `resubmit`.

    It can be waited for like any other. What the tasks print while they run does not come.

    Parameters
    ----------
    client
        The client that asks.
    msg_ids
        Id of one task, for a bare value; or several ids, for a list.
    fetch
        Asks the controller, without waiting, for those that are still missing. Called again, in
        the I/O thread, while some are not there yet: soon at first, then every two seconds.
    fname
        What ran, for people.
    """

    def __init__(
        self,
        client: Session,
        msg_ids: str | Sequence[str],
        fetch: Fetch,
        fname: str = "unknown",
    ) -> None:
        single = isinstance(msg_ids, str)
        names = [msg_ids] if isinstance(msg_ids, str) else msg_ids
        tasks = [Task(name, "apply", None, time.time(), function=fname) for name in names]
        self._fetch = fetch
        self._pause_s = FIRST_S
        super().__init__(client, tasks[0] if single else tasks, fname)
        # Whatever ends the connection ends these too.
        self._connection.ledger.enter(tasks)
        self._ask()

    def _ask(self) -> None:
        missing = [task.id for task in self.tasks if not task.done]
        if not missing:
            return
        try:
            self._fetch(missing).add_done_callback(self._answered)
        except Exception as error:  # noqa: BLE001 - it is told by the result
            self._fail(error)

    def _answered(self, answer: Future[Mapping[str, Reply | Exception | None]]) -> None:
        try:
            found = answer.result()
        except Exception as error:  # noqa: BLE001 - it is told by the result
            self._fail(error)
            return
        for task in self.tasks:
            if not task.done and (reply := found.get(task.id)) is not None:
                self._take(task, reply)
        if not self.done():
            self._connection.later(self._pause_s, self._ask)
            self._pause_s = min(LAST_S, self._pause_s * GROWTH)

    def _take(self, task: Task, reply: Reply | Exception) -> None:
        self._connection.ledger.leave([task])
        if isinstance(reply, Exception):
            task.fail(reply)
            return
        task.kind, task.label = reply.kind, reply.label
        task.submitted = reply.submitted or task.submitted
        for msg_type, content in reply.output:
            task.written().add(msg_type, content)
        reports = self._connection.ledger.deaths.of(reply.ours)
        task.finish(reply, reply.content, reports)

    def _fail(self, error: Exception) -> None:
        self._connection.ledger.leave(self.tasks)
        for task in self.tasks:
            task.fail(error)
