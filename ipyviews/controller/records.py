"""What is remembered of tasks, and what clients ask about it on the control channel.

Noted in three places, each cheap: a request that came, a message of output, a reply. Payloads are
kept only when the cluster was asked to, or while the client they were for is away.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from ipyviews.controller.submissions import Submission, alone
from ipyviews.controller.telling import Pause, packable, result_of, stored_result
from ipyviews.controller.unfetched import Unfetched
from ipyviews.core.engines import Engine
from ipyviews.core.tasks import TaskState
from ipyviews.engine.frames import size_bytes
from ipyviews.errors import UsageError
from ipyviews.ids import EngineId, RequestId, TaskId, task_id
from ipyviews.protocol.wire import pack
from ipyviews.store.memory import Limits, Memory
from ipyviews.store.query import BUFFERS, Query, parse_keys
from ipyviews.store.records import End, Origin

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Collection, Container, Iterable, Mapping, Sequence

    from ipyviews.controller.clients import Clients
    from ipyviews.core.tasks import Task
    from ipyviews.ids import ClientId
    from ipyviews.protocol.wire import Frame
    from ipyviews.store.records import Record
    from ipyviews.store.sqlite import HistoryFile

    Fields = dict[str, Any]
    Resubmit = Callable[[ClientId, RequestId, Submission, Fields], None]

#: Longest time a question for results waits for one of them [s].
HOLD_S = 30.0

#: One answer has at most about this much JSON, and this much in buffers [bytes].
MOST_TEXT = 32 * 1024 * 1024
MOST_BUFFERS = 256 * 1024 * 1024

#: Output that is recorded; not what programs tell each other.
RECORDED = frozenset(
    {
        "stream",
        "display_data",
        "update_display_data",
        "execute_result",
        "execute_input",
        "error",
        "clear_output",
    }
)

#: What a result weighs in an answer besides its buffers, about; more than it does [bytes].
TOLD_BYTES = 16 * 1024

#: How often records that are too old are looked for [s].
SWEEP_S = 60.0


class Records:
    """The records of a controller.

    Parameters
    ----------
    clients
        Who may be away.
    counters
        Counts what was dropped, for the status reply.
    keep
        Whether payloads are kept after delivery.
    keep_undelivered
        Whether results are kept whose client is away when they come.
    limits
        How much is kept.
    file
        Where records go too; closed with these.
    for_absent
        Whether the file is for what nobody was there to take only, to outlive this controller.
    """

    def __init__(
        self,
        clients: Clients,
        counters: Counter[str],
        *,
        keep: bool = False,
        keep_undelivered: bool = False,
        limits: Limits | None = None,
        file: HistoryFile | None = None,
        for_absent: bool = False,
    ) -> None:
        self.memory = Memory(limits or Limits(), counters)
        #: Runs a recorded task again: set by the driver.
        self.submit_again: Resubmit
        #: Returns buffers with what they refer to: what is kept must outlive its sender.
        self.whole: Callable[[Sequence[Frame]], Sequence[Frame]] = lambda buffers: buffers
        #: Called with each task that has ended.
        self.on_end: Callable[[TaskId], None] = lambda _task: None
        self._clients = clients
        self._file = file
        self._keep = keep
        self._for_absent = for_absent
        #: What clients may come back for, where they may.
        self.unfetched = Unfetched() if keep_undelivered and not keep else None
        #: Who has asked for results of tasks that are not final.
        self._wanted: dict[TaskId, set[ClientId]] = {}
        #: Kept results that are let go once these clients have them; without names, anybody.
        self._unclaimed: dict[TaskId, set[ClientId]] = {}
        self._waiting: dict[TaskId, list[asyncio.Future[None]]] = {}
        self._loop = asyncio.get_running_loop()
        self._sweeper = self._loop.call_later(SWEEP_S, self._sweep)

    async def close(self) -> None:
        """Stop looking for old records, and write what is not written yet."""
        self._sweeper.cancel()
        if self._file is not None:
            await asyncio.to_thread(self._file.close)

    def bounds(self) -> dict[str, tuple[int, int, int]]:
        """Tell what is kept, what may be, and what was dropped; by name."""
        found = {**self.memory.bounds(), **(self._file.bounds() if self._file else {})}
        if self.unfetched is not None:
            found["unfetched_bytes"] = self.unfetched.bounds()
        return found

    # -- noting ----------------------------------------------------------------------------------

    def submitted(
        self,
        client: ClientId,
        request: RequestId,
        submission: Submission,
        header: Mapping[str, Any],
        ours: Mapping[str, Any],
    ) -> None:
        """Note a request whose tasks are about to be made."""
        origin = Origin(
            client,
            request,
            time.time(),
            dict(header),
            {"ipyviews": dict(ours)},
            str(submission.kind),
            is_direct=submission.choice.targets is not None,
            tasks=submission.tasks,
            left=len(submission.wanted),
            content=bytes(submission.content),
            source=submission,
        )
        if submission.places is not None:
            # The others had their reply from a controller before this one.
            wanted = set(submission.places)
            origin.done[:] = bytes(place not in wanted for place in range(submission.tasks))
        self.memory.submitted(origin)

    def written(self, task: TaskId, msg_type: str, content: Frame) -> None:
        """Note a message of a task's output, if it is one for people."""
        if msg_type in RECORDED:
            self.memory.written(task, msg_type, content)

    def ended(
        self,
        client: ClientId,
        task: TaskId,
        ours: Fields,
        content: Frame | Fields,
        buffers: Sequence[Frame],
    ) -> None:
        """Note the reply of a task, which was just sent to its client."""
        if not isinstance(content, dict):
            content = bytes(content)
        elif content.get("traceback"):
            # Packed it is smaller, and its size is known.
            content = pack(content)
        self.memory.ended(task, End(time.time(), ours, content), keep=self._keep)
        wanted = self._wanted.pop(task, None) if self._wanted else None
        is_absent = client not in self._clients
        if self._keep:
            self.memory.keep(task, buffers)
        elif wanted or (is_absent and self.unfetched is not None):
            self._keep_unclaimed(task, buffers, wanted or set())
        elif self.unfetched is not None:
            self.unfetched.add(client, task, buffers)
        if is_absent or not self._for_absent:
            self._write(task)
        self.on_end(task)
        for waiting in self._waiting.pop(task, ()):
            if not waiting.done():
                waiting.set_result(None)

    def gone(self, client: ClientId, *, orderly: bool) -> None:
        """Keep what a client was sent, unless it has said goodbye."""
        if self.unfetched is None:
            return
        left = self.unfetched.take(client)
        for task, buffers in () if orderly else left.items():
            self._keep_unclaimed(task, buffers, set())
            if self._for_absent:
                self._write(task)

    def when_written(self, action: Callable[[], None]) -> None:
        """Do something once what nobody was there to take is in the file; at once without one."""
        if self._file is None or not self._for_absent:
            action()
            return
        self._file.then(partial(_call_in, self._loop, action))

    async def written_down(self) -> frozenset[str]:
        """Name the tasks that the file has a record of."""
        if self._file is None:
            return frozenset()
        names: list[str] = await asyncio.wrap_future(self._file.history())
        return frozenset(names)

    def _keep_unclaimed(
        self, task: TaskId, buffers: Sequence[Frame], wanted: set[ClientId]
    ) -> None:
        self.memory.keep(task, self.whole(buffers))
        self._unclaimed[task] = wanted

    def _write(self, task: TaskId) -> None:
        if self._file is not None and (record := self.memory.get(task)) is not None:
            self._file.write(record)

    def _sweep(self) -> None:
        self.memory.sweep(time.time())
        known = set(self.memory.final())
        self._unclaimed = {t: clients for t, clients in self._unclaimed.items() if t in known}
        self._sweeper = self._loop.call_later(SWEEP_S, self._sweep)

    # -- asking ----------------------------------------------------------------------------------

    async def history(self, _client: ClientId, _content: Fields) -> Fields:
        """Name all tasks there are records of."""
        here = self.memory.tasks()
        if self._file is None:
            return {"history": here}
        known = set(here)
        stored = await asyncio.wrap_future(self._file.history())
        return {"history": [name for name in stored if name not in known] + here}

    async def query(self, _client: ClientId, content: Fields) -> Fields:
        """Find records."""
        query = Query(content.get("query") or {})
        keys = parse_keys(content.get("keys"))
        names = query.names()
        tasks = self.memory.tasks(None if names is None else map(TaskId, names))
        found: list[Fields] = []
        if self._file is not None:
            found = await asyncio.wrap_future(self._file.find(query, keys, set(tasks)))
        buffers: list[Frame] = []
        packed = [pack(packable(one, buffers)) for one in found]
        size = sum(map(len, packed))
        pause = Pause(self._loop)
        for task in tasks:
            await pause.when_due()
            record = self.memory.get(task)
            if record is not None and query.matches(record.get):
                packed.append(pack(packable(self._told(record, keys), buffers)))
                size += len(packed[-1])
            if size > MOST_TEXT:
                raise UsageError(
                    f"more than {len(packed)} records match, too many for one answer: ask for "
                    "fewer of them, or for some keys only (db_query(query, keys))"
                )
        return {"packed": b'"records":[%s]' % b",".join(packed), "buffers": buffers}

    def _told(self, record: Record, keys: Sequence[str]) -> Fields:
        told = record.as_dict(keys)
        if told.get("buffers"):
            told["buffers"] = self._read(told["buffers"])
        return told

    async def results(self, client: ClientId, content: Fields) -> Fields:
        """Tell results, or only which there are; may wait for the first of them."""
        tasks = _names(content)
        stored = await self.stored(tasks)
        status = self._status(tasks, stored)
        if content.get("status_only") is True:
            return status
        if content.get("hold") is True:
            for task in status["pending"]:
                self._wanted.setdefault(task, set()).add(client)
            if len(status["pending"]) == len(tasks):
                await self._first_of(tasks)
        return await self._tell(client, tasks, stored)

    async def stored(
        self, tasks: Iterable[TaskId], buffers: Collection[str] = BUFFERS
    ) -> dict[str, Fields]:
        """Return what the file has of tasks that are not known here, with such buffers."""
        missing = [task for task in tasks if self.memory.get(task) is None]
        if self._file is None or not missing:
            return {}
        return await asyncio.wrap_future(self._file.get(missing, buffers))

    def _status(self, tasks: Iterable[TaskId], stored: Container[str] = ()) -> Fields:
        found: dict[str, list[TaskId]] = {"pending": [], "completed": [], "unknown": []}
        for task in tasks:
            record = self.memory.get(task)
            state = "pending" if record and not record.end else "completed"
            found[state if record or task in stored else "unknown"].append(task)
        return dict(found)

    async def _first_of(self, tasks: Sequence[TaskId]) -> None:
        """Wait until one of them is final, but not for ever: the client asks again."""
        first: asyncio.Future[None] = self._loop.create_future()
        for task in tasks:
            self._waiting.setdefault(task, []).append(first)
        try:
            await asyncio.wait([first], timeout=HOLD_S)
        finally:
            for task in tasks:
                self._stop_waiting(task, first)

    def _stop_waiting(self, task: TaskId, future: asyncio.Future[None]) -> None:
        waiting = self._waiting.get(task)
        if waiting is not None and future in waiting:
            waiting.remove(future)
            if not waiting:
                del self._waiting[task]

    async def _tell(
        self, client: ClientId, tasks: Sequence[TaskId], stored: Mapping[str, Fields]
    ) -> Fields:
        results: Fields = {}
        buffers: list[Frame] = []
        size = 0
        pause = Pause(self._loop)
        for task in tasks:
            await pause.when_due()
            # The client asks again for those it did not get.
            found = self._result(task, stored) if size < MOST_BUFFERS else None
            if found is not None and found["status"] == "final":
                frames = found["buffers"]
                buffers += frames
                size += TOLD_BYTES + sum(map(size_bytes, frames))
                found["buffers"] = len(frames)
            results[task] = found
        told = [task for task in tasks if task in self._unclaimed and results[task]]
        if told:
            self._loop.call_soon(self._claimed, client, told)
        return {"results": results, "buffers": buffers}

    def _result(self, task: TaskId, stored: Mapping[str, Fields]) -> Fields | None:
        record = self.memory.get(task)
        if record is None:
            if task not in stored:
                return {"status": "unknown", "reason": self._unknown(task)}
            told = stored_result(stored[task])
        elif record.end is None:
            return None
        else:
            told = result_of(record)
        if not told["buffers"] and self.unfetched is not None:
            told["buffers"] = list(self.whole(self.unfetched.get(task)))
        has_value = told["kind"] == "apply" and told["content"].get("status") == "ok"
        if has_value and not told["buffers"]:
            return {"status": "gone", "reason": self._gone()}
        return told

    def _claimed(self, client: ClientId, tasks: Iterable[TaskId]) -> None:
        """Let go of results that a client has been sent, if it was there to take them."""
        for task in tasks if client in self._clients else ():
            waiting = self._unclaimed.get(task, set())
            waiting.discard(client)
            if not waiting:
                self._unclaimed.pop(task, None)
                self.memory.release(task)

    def queues(self, tasks: Iterable[Task], engines: Iterable[int], *, verbose: bool) -> Fields:
        """Tell what waits and runs, by engine: direct tasks and balanced ones, and what is done."""
        queues: dict[int, Fields] = {
            engine: {"queue": [], "tasks": [], "completed": []} for engine in sorted(engines)
        }
        unassigned: list[TaskId] = []
        engine: int
        for task in tasks:
            if isinstance(task.home, Engine):
                engine, name = task.home.id, "queue"
            elif task.state is TaskState.RUNNING and task.attempt is not None:
                engine, name = task.attempt.engine, "tasks"
            else:
                unassigned.append(task.id)
                continue
            if engine in queues:
                queues[engine][name].append(task.id)
        if not verbose:
            counts = [
                (one, {name: len(found) for name, found in of.items()})
                for one, of in queues.items()
            ]
            for engine, count in counts:
                count["completed"] = self.memory.completed[EngineId(engine)]
            return {"queues": counts, "unassigned": len(unassigned)}
        for done in self.memory.final():
            if (ran_on := self._engine(done)) in queues:
                queues[ran_on]["completed"].append(done)
        return {"queues": list(queues.items()), "unassigned": unassigned}

    # -- changing --------------------------------------------------------------------------------

    async def purge(self, _client: ClientId, content: Fields) -> Fields:
        """Drop records of tasks that are final; none if one that is named is not."""
        everything = content.get("tasks") == "all"
        named = [] if everything else _names(content)
        if pending := self._status(named)["pending"]:
            return {"purged": 0, "pending": pending}
        engines = content.get("engines") or []
        if not isinstance(engines, list) or not all(type(engine) is int for engine in engines):
            raise UsageError("purge_request: `engines` must be a list of engine ids")
        chosen = {
            task for task in self.memory.final() if everything or self._engine(task) in engines
        }
        here = self.memory.purge(chosen.union(named))
        if self._file is None:
            return {"purged": here, "pending": []}
        names = None if everything else chosen.union(named)
        stored = self._file.purge(names, [f"e{engine}" for engine in engines])
        return {"purged": max(here, await asyncio.wrap_future(stored)), "pending": []}

    def _engine(self, task: TaskId) -> int | None:
        record = self.memory.get(task)
        return None if record is None else record.engine

    def resubmit(self, client: ClientId, content: Fields) -> Fields:
        """Run recorded tasks again, each as a new request; none if one cannot be."""
        wanted = content.get("requests")
        if not isinstance(wanted, dict) or not all(isinstance(x, str) for x in wanted.values()):
            raise UsageError("resubmit_request: `requests` must be task ids by new request id")
        tasks = {RequestId(new): TaskId(old) for new, old in wanted.items()}
        records = {task: self.memory.get(task) for task in tasks.values()}
        refused = {task: why for task, one in records.items() if (why := self._refusal(task, one))}
        if not refused:
            for request, task in tasks.items():
                self._again(client, request, records[task])
                self.memory.resubmitted(task, task_id(request, 0))
        return {"refused": refused}

    def _refusal(self, task: TaskId, record: Record | None) -> str:
        if record is None:
            return self._unknown(task)
        return self._gone() if record.origin.source is None else ""

    def _again(self, client: ClientId, request: RequestId, record: Record | None) -> None:
        source = record.origin.source if record else None
        if record is None or not isinstance(source, Submission):
            return
        submission = source.alone(record.index)
        # Segments come back when the first task ends: its client knows nothing of this one.
        submission = replace(submission, buffers=self._read(submission.buffers))
        if record.end is not None:
            # It ran, or never could: what it waited for may be forgotten.
            submission = submission.without_dependencies()
        ours = alone(record.origin.ours, record.index, waits=record.end is None)
        self.submit_again(client, request, submission, ours)

    def _read(self, buffers: Sequence[Frame]) -> Sequence[Frame]:
        """Return the buffers of a request with copies of what they refer to."""
        return [*buffers[:1], *self.whole(buffers[1:])]

    def _unknown(self, task: TaskId) -> str:
        limit = self.memory.limits.records
        return (
            f"there is no record of task {task}: it never was, was purged, or has made room "
            f"for newer ones (at most {limit} are kept)"
        )

    def _gone(self) -> str:
        # Without the task's name: many of these are shown as one.
        if self._keep:
            limit = self.memory.limits.buffers >> 20
            return (
                "the task is done and what it was sent and returned has made room for newer ones "
                f"(at most {limit} MiB are kept)"
            )
        return (
            "the task is done and what it was sent and returned left the controller with the "
            "reply: to ask for it later, start the cluster with Cluster(keep_results=True)"
        )


def _names(content: Fields) -> list[TaskId]:
    tasks = content.get("tasks")
    if not isinstance(tasks, list) or not all(isinstance(task, str) for task in tasks):
        raise UsageError("`tasks` must be a list of task ids")
    return [TaskId(task) for task in dict.fromkeys(tasks)]


def _call_in(loop: asyncio.AbstractEventLoop, action: Callable[[], None]) -> None:
    loop.call_soon_threadsafe(action)
