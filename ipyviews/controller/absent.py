"""Work that clients of a detached cluster left behind, so that it outlives this controller too.

While a client is there, it keeps what it has asked for and sends it again. When it is gone, its
requests are written down until all their tasks have ended.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from ipyviews.controller.submissions import named, parse_submission
from ipyviews.core.ends import Ended
from ipyviews.ids import ClientId, RequestId, TaskId, task_id
from ipyviews.protocol.wire import Message

if TYPE_CHECKING:
    from collections.abc import Collection

    from ipyviews.controller.records import Records
    from ipyviews.controller.requests import Requests, Store
    from ipyviews.controller.submissions import Submission
    from ipyviews.core.ends import Ends
    from ipyviews.protocol.wire import Frame
    from ipyviews.store.journal import Journal

log = logging.getLogger(__name__)

#: Kind of notes.
REQUEST = "request"


class Absent:
    """Requests of clients that are gone.

    Parameters
    ----------
    journal
        Where they are written down.
    store, records
        Have their tasks, and how they were asked for.
    ends
        Knows how tasks ended.
    """

    def __init__(self, journal: Journal, store: Store, records: Records, ends: Ends) -> None:
        self._journal = journal
        self._ends = ends
        self._store = store
        self._records = records
        #: How many of their tasks have not ended. [count]
        self._left: dict[str, int] = {}

    def gone(self, client: ClientId) -> None:
        """Write down what a client has asked for that has not ended."""
        places: dict[str, list[int]] = defaultdict(list)
        for task, pending in self._store.of(client):
            places[task.rpartition(".")[0]].append(pending.place)
        for request, found in places.items():
            self._write(client, request, found)

    def ended(self, task: TaskId) -> None:
        """Note that a task has ended."""
        request = task.rpartition(".")[0]
        if request in self._left:
            self._left[request] -= 1
            if not self._left[request]:
                del self._left[request]
                # Never before its results are written: else both could be lost.
                self._records.when_written(partial(self._journal.drop, REQUEST, request))

    async def restore(self, requests: Requests, done: Collection[str]) -> None:
        """Go on with what is written down, but for tasks that are done."""
        for request, note in self._journal.read(REQUEST).items():
            try:
                await self._restore(requests, RequestId(request), note, done)
            except Exception:
                # One that cannot be read must not keep the others from being done.
                log.exception("request %s of a client that is gone is lost", request)
                self._left.pop(request, None)
                self._journal.drop(REQUEST, request)

    async def _restore(
        self, requests: Requests, request: RequestId, note: dict[str, Any], done: Collection[str]
    ) -> None:
        ours = note["ours"]
        places = [one for one in ours["again"] if task_id(request, one) not in done]
        if not places:
            self._journal.drop(REQUEST, request)
            return
        content, *buffers = self._journal.frames(REQUEST, request)
        ours["again"] = places
        header, metadata = note["header"], {"ipyviews": ours}
        message = Message(header, {}, metadata, content, list(buffers), [])
        submission = await self._with_ends(parse_submission(message), done)
        self._left[request] = len(places)
        requests.restore(ClientId(note["client"]), request, submission, header, ours)

    async def _with_ends(self, submission: Submission, done: Collection[str]) -> Submission:
        """Add how it ended what had not when the client left."""
        needed = named(map(submission.choice.needs_of, submission.wanted))
        known = {task for task, _ in submission.ended}
        asked = sorted(needed.difference(known).intersection(done))
        stored = await self._records.stored(asked, buffers=())
        told = tuple((TaskId(task), _end(one)) for task, one in stored.items())
        return replace(submission, ended=submission.ended + told)

    def _write(self, client: ClientId, request: str, places: list[int]) -> None:
        record = self._records.memory.get(task_id(request, places[0]))
        pending = self._store.get(task_id(request, places[0]))
        if record is None:
            return
        ours: dict[str, Any] = {**record.origin.ours, "again": places}
        needed = named(map(pending.submission.choice.needs_of, places))
        ended = {name: list(end) for name in needed if (end := self._ends.get(name)) is not None}
        if ended:
            ours["ended"] = ended
        self._left[request] = len(places)
        value = {"client": client, "header": record.origin.header, "ours": ours}
        self._journal.put(REQUEST, request, value, partial(self._frames, pending.submission))

    def _frames(self, submission: Submission) -> list[Frame]:
        """Copy what is in shared memory, whose owner is gone; not in the loop, it may be much."""
        buffers = submission.buffers
        return [submission.content, *buffers[:1], *self._records.whole(buffers[1:])]


def _end(record: dict[str, Any]) -> Ended:
    runs = record["result_metadata"]["ipyviews"]["attempts"]
    engine, life, *_ = (runs or [(None, 0)])[-1]
    return Ended(record["result_content"].get("status") == "ok", engine, life)
