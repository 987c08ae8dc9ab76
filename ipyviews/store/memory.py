"""Records in memory, within bounds: the oldest go first, and what went is counted."""

from __future__ import annotations

from collections import Counter, OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from ipyviews.ids import RequestId
from ipyviews.store.records import End, Origin, Output, Record, weigh

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ipyviews.ids import EngineId, TaskId
    from ipyviews.protocol.wire import Frame

#: Buffers below this size [bytes] are copied, so that a small one does not hold a large frame.
COPY_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is kept of tasks that are final."""

    #: Records. [count]
    records: int = 20_000
    #: Contents and output of records, about [bytes].
    size: int = 64 * 1024 * 1024
    #: Age of a record [s].
    age_s: float = 7 * 24 * 3600.0
    #: Buffers of calls and of results [bytes].
    buffers: int = 512 * 1024 * 1024


class _Ended(NamedTuple):
    origin: Origin
    position: int
    end: End
    output: Output | None
    #: What it weighs, about [bytes].
    size: int


class _Kept(NamedTuple):
    buffers: Sequence[Frame]
    size: int
    #: The request, when these are its buffers.
    origin: Origin | None


class Memory:
    """The records of one controller.

    Parameters
    ----------
    limits
        How much is kept.
    counters
        Counts what was dropped: ``records_dropped``, ``results_dropped``, ``output_not_recorded``.
    """

    def __init__(self, limits: Limits, counters: Counter[str]) -> None:
        self.limits = limits
        self._counters = counters
        self._requests = 0
        #: Requests with tasks that are not final.
        self._open: dict[RequestId, Origin] = {}
        #: Output of tasks that are not final.
        self._outputs: dict[TaskId, Output] = {}
        # Ordered ones, because the first key of a dict whose head was deleted is a long search.
        #: Tasks that are final, in the order of their ends.
        self._ended: OrderedDict[TaskId, _Ended] = OrderedDict()
        #: Results by task, and requests' buffers by request, oldest first.
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._resubmitted: dict[TaskId, TaskId] = {}
        self._size = self._written = self._buffers = 0
        #: Tasks that engines have replied to, by engine; not bounded by the records. [count]
        self.completed: Counter[EngineId] = Counter()

    def __len__(self) -> int:
        return len(self._ended)

    # -- noting ----------------------------------------------------------------------------------

    def submitted(self, origin: Origin) -> None:
        """Note a request whose tasks are about to be made."""
        self._requests += 1
        origin.order = self._requests
        self._open[origin.request] = origin

    def cut_short(self, request: RequestId, tasks: int) -> None:
        """Note that only the first `tasks` tasks of a request were made."""
        origin = self._open[request]
        # Some of the others may be done: by a controller before this one.
        origin.left -= origin.done[tasks:].count(0)
        origin.tasks = tasks
        if not origin.left:
            self._close(origin, keep=False)

    def written(self, task: TaskId, msg_type: str, content: Frame) -> None:
        """Note a message of a task's output."""
        output = self._outputs.get(task)
        if output is None and self._pending(task) is not None:
            output = self._outputs[task] = Output()
        if output is None or self._written > self.limits.size:
            self._counters["output_not_recorded"] += 1
            return
        before = output.size
        if not output.add(msg_type, content):
            self._counters["output_not_recorded"] += 1
        self._written += output.size - before

    def ended(self, task: TaskId, end: End, *, keep: bool) -> None:
        """Note the reply of a task.

        Parameters
        ----------
        task, end
            Which, and how it ended.
        keep
            Whether the buffers of its request are kept too, to run it again.
        """
        found = self._pending(task)
        if found is None:
            return
        origin, position = found
        output = self._outputs.pop(task, None) if self._outputs else None
        if output is not None:
            self._written -= output.size
        if task in self._ended:
            self._drop(task)
        size = weigh(origin, end, output)
        self._ended[task] = _Ended(origin, position, end, output, size)
        self._size += size
        if end.ours["verdict"] == "replied":
            self.completed[end.ours["engine"]] += 1
        origin.kept += 1
        origin.left -= 1
        origin.done[position] = True
        if not origin.left:
            self._close(origin, keep=keep)
        while len(self._ended) > self.limits.records or self._size > self.limits.size:
            self._counters["records_dropped"] += 1
            self._dropped(*self._ended.popitem(last=False))

    def keep(self, task: TaskId, buffers: Sequence[Frame]) -> None:
        """Keep what an engine returned for a task."""
        if task in self._ended:
            self._keep(task, buffers, None)

    def resubmitted(self, task: TaskId, again: TaskId) -> None:
        """Note that a task was submitted again, under another name."""
        self._resubmitted[task] = again

    def sweep(self, now: float) -> None:
        """Drop what is too old; `now` in seconds since the epoch."""
        while self._ended:
            task, oldest = next(iter(self._ended.items()))
            if oldest.end.received >= now - self.limits.age_s:
                return
            self._counters["records_dropped"] += 1
            self._drop(task)

    def release(self, task: TaskId) -> None:
        """Let go of what an engine returned for a task."""
        if (kept := self._kept.pop(task, None)) is not None:
            self._buffers -= kept.size

    def purge(self, tasks: Iterable[TaskId]) -> int:
        """Drop the records of tasks that are final; return how many those were."""
        known = [task for task in tasks if task in self._ended]
        for task in known:
            self._drop(task)
        return len(known)

    # -- telling ---------------------------------------------------------------------------------

    def get(self, task: TaskId) -> Record | None:
        """Return the record of a task; None when there is none, or none any more."""
        known = self._ended.get(task)
        again = self._resubmitted.get(task)
        if known is not None:
            kept = self._kept.get(task)
            buffers = None if kept is None else kept.buffers
            return Record(
                task, known.position, known.origin, known.end, known.output, buffers, again
            )
        found = self._pending(task)
        if found is None:
            return None
        return Record(task, found[1], found[0], None, self._outputs.get(task), None, again)

    def tasks(self, names: Iterable[TaskId] | None = None) -> list[TaskId]:
        """Name the tasks with a record, all or some, in the order of their submission."""
        if names is not None:
            records = [record for name in set(names) if (record := self.get(name)) is not None]
            records.sort(key=lambda record: (record.origin.order, record.index))
            return [record.task for record in records]
        found = [(e.origin.order, e.position, task) for task, e in self._ended.items()]
        for origin in self._open.values():
            found += [
                (origin.order, index, task)
                for index, task in enumerate(origin.each())
                if not origin.done[index]
            ]
        return [task for _, _, task in sorted(found)]

    def final(self) -> list[TaskId]:
        """Name all recorded tasks that are final, in the order of their ends."""
        return list(self._ended)

    def bounds(self) -> dict[str, tuple[int, int, int]]:
        """Tell what is kept, what may be, and what was dropped."""
        counters, limits = self._counters, self.limits
        return {
            "records": (len(self._ended), limits.records, counters["records_dropped"]),
            "record_bytes": (self._size, limits.size, counters["records_dropped"]),
            "running_output_bytes": (
                self._written,
                limits.size,
                counters["output_not_recorded"],
            ),
            "result_bytes": (self._buffers, limits.buffers, counters["results_dropped"]),
        }

    # -- inside ----------------------------------------------------------------------------------

    def _pending(self, task: TaskId) -> tuple[Origin, int] | None:
        """Return the request of a task that is not final, and its place there."""
        request, _, number = task.rpartition(".")
        origin = self._open.get(RequestId(request))
        if origin is None or not number.isdecimal():
            return None
        position = int(number)
        if position >= origin.tasks or origin.done[position]:
            return None
        return origin, position

    def _close(self, origin: Origin, *, keep: bool) -> None:
        del self._open[origin.request]
        if origin.source is None or not origin.source.buffers:
            return
        if keep:
            self._keep(origin.request, origin.source.buffers, origin)
        else:
            origin.source = None

    def _keep(self, name: str, buffers: Sequence[Frame], origin: Origin | None) -> None:
        size = sum(map(_size, buffers))
        frames: Sequence[Frame] = ()
        if origin is None:
            frames = [bytes(one) if _size(one) < COPY_BYTES else one for one in buffers]
        self._kept[name] = _Kept(frames, size, origin)
        self._buffers += size
        while self._buffers > self.limits.buffers:
            self._counters["results_dropped"] += 1
            self._let_go(next(iter(self._kept)))

    def _let_go(self, name: str) -> None:
        kept = self._kept.pop(name)
        self._buffers -= kept.size
        if kept.origin is not None:
            kept.origin.source = None

    def _drop(self, task: TaskId) -> None:
        self._dropped(task, self._ended.pop(task))

    def _dropped(self, task: TaskId, known: _Ended) -> None:
        origin = known.origin
        self._size -= known.size
        if self._resubmitted:
            self._resubmitted.pop(task, None)
        if task in self._kept:
            self._let_go(task)
        origin.kept -= 1
        if not origin.kept and origin.request in self._kept:
            self._let_go(origin.request)


def _size(frame: Frame) -> int:
    return frame.nbytes if isinstance(frame, memoryview) else len(frame)
