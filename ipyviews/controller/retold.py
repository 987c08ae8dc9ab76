"""Replies of tasks that ended while their client was taken for gone, told when it is back.

On a detached cluster its work goes on under the next controller. When it then sends again what has
no reply, what the records have is its reply: nothing runs again.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ipyviews.controller.performer import error_content
from ipyviews.core.effects import Verdict
from ipyviews.ids import TaskId, task_id

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ipyviews.controller.clients import Clients
    from ipyviews.controller.records import Records
    from ipyviews.controller.submissions import Submission
    from ipyviews.core.events import Kind
    from ipyviews.ids import ClientId, RequestId


class Retold:
    """Tells replies from the records.

    Parameters
    ----------
    records, clients
        Have them, and take them.
    """

    def __init__(self, records: Records, clients: Clients) -> None:
        self._records = records
        self._clients = clients
        #: Tasks that had ended before this controller, as far as that is written down.
        self.before: frozenset[str] = frozenset()
        self._work: set[asyncio.Task[None]] = set()

    def tell(self, client: ClientId, request: RequestId, submission: Submission) -> Submission:
        """Tell what has ended, soon; returns the submission without that."""
        ended = {one for one in submission.wanted if self.has_ended(task_id(request, one))}
        if not ended:
            return submission
        names = [task_id(request, place) for place in sorted(ended)]
        work = asyncio.get_running_loop().create_task(self._tell(client, submission.kind, names))
        self._work.add(work)
        work.add_done_callback(self._work.discard)
        left = tuple(place for place in submission.wanted if place not in ended)
        return replace(submission, places=left)

    def has_ended(self, task: TaskId) -> bool:
        """Whether a task has ended, under this controller or before."""
        record = self._records.memory.get(task)
        return task in self.before if record is None else record.end is not None

    async def _tell(self, client: ClientId, kind: Kind, tasks: Sequence[TaskId]) -> None:
        # A few at a time: together they may be more than a client takes.
        for task in tasks:
            answer = await self._records.results(client, {"tasks": [task]})
            found = answer["results"][task]
            ours: dict[str, Any] = {"verdict": Verdict.ENGINE_LOST, "engine": None, "attempts": []}
            content = error_content("EngineError", found.get("reason", ""))
            if found["status"] == "final":
                ours, content = {**found["ours"]}, found["content"]
                if found["output"]:
                    ours["incomplete_output"] = True
            message = task, f"{kind}_reply", content, {"ipyviews": ours}, answer["buffers"]
            self._clients.reply(client, message)
            self._clients.flush()
