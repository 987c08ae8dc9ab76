"""Queues: in order, and any task can be taken out of the middle at once."""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, Generic, TypeVar

from ipyviews.core.events import Kind

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ipyviews.core.clients import Client
    from ipyviews.core.engines import Engine
    from ipyviews.core.tasks import Task
    from ipyviews.ids import RequestId

Key = TypeVar("Key", int, tuple[float, int])


class Queue(Generic[Key]):
    """Tasks in the order of a key of their own.

    Taking one out leaves its key in the heap, to be skipped later; the heap is rebuilt when more
    than half of it is such keys. So every operation is O(log n), amortised.
    """

    __slots__ = ("_heap", "_tasks")

    def __init__(self) -> None:
        self._heap: list[Key] = []
        self._tasks: dict[Key, Task] = {}

    def __len__(self) -> int:
        return len(self._tasks)

    def __iter__(self) -> Iterator[Task]:
        return iter([self._tasks[key] for key in sorted(self._tasks)])

    def push(self, key: Key, task: Task) -> None:
        """Add a task under a key that is not in use."""
        self._tasks[key] = task
        heappush(self._heap, key)

    def first(self) -> Task:
        """Look at the task with the least key; there must be one."""
        heap, tasks = self._heap, self._tasks
        while heap[0] not in tasks:
            heappop(heap)
        return tasks[heap[0]]

    def waiting(self) -> Iterable[Task]:
        """All of them, as they came: not by their keys."""
        return self._tasks.values()

    def remove(self, key: Key) -> None:
        """Take the task with this key out."""
        del self._tasks[key]
        if len(self._heap) > 2 * len(self._tasks) + 8:
            self._heap = list(self._tasks)
            heapify(self._heap)


class Lane(Queue[int]):
    """The tasks of one client in one home, in the order of submission."""

    __slots__ = ("_cells",)

    def __init__(self) -> None:
        super().__init__()
        # By request, so that a failing cell finds the rest of its own without a search.
        self._cells: dict[RequestId, dict[int, Task]] = {}

    def put(self, task: Task) -> None:
        """Add a task."""
        self._tasks[task.order] = task
        heappush(self._heap, task.order)
        if task.kind is Kind.EXECUTE:
            self._cells.setdefault(task.submission, {})[task.order] = task

    def take(self, task: Task) -> None:
        """Take a task out."""
        self.remove(task.order)
        if task.kind is Kind.EXECUTE:
            cells = self._cells[task.submission]
            del cells[task.order]
            if not cells:
                del self._cells[task.submission]

    def cells(self, submission: RequestId) -> list[Task]:
        """List the queued cells of one request."""
        return list(self._cells.get(submission, {}).values())


class Home:
    """Where tasks queue: an engine (its direct tasks) or a pool (load-balanced ones).

    A lane exists as long as it has tasks; its client knows it too. A bare `Home` is nowhere, for
    tasks that are refused: closed, and without an engine.
    """

    __slots__ = ("lanes",)

    def __init__(self) -> None:
        self.lanes: dict[Client, Lane] = {}

    @property
    def is_open(self) -> bool:
        """Whether its tasks are ready, not waiting for an engine to come up."""
        return False

    def free_engine(self) -> Engine | None:
        """Find the engine with room that its next task should go to."""
        return None

    def put(self, task: Task) -> None:
        """Queue a task."""
        client = task.client
        lane = self.lanes.get(client)
        if lane is None:
            lane = self.lanes[client] = client.lanes[self] = Lane()
        lane.put(task)
        task.queued = True
        client.queued += 1

    def take(self, task: Task) -> None:
        """Take a task out of the queue."""
        client = task.client
        lane = self.lanes[client]
        lane.take(task)
        task.queued = False
        client.queued -= 1
        if not lane:
            del self.lanes[client], client.lanes[self]

    def first(self, lane: Lane, engine: Engine) -> Task | None:
        """Find the task of a lane that is next in turn on an engine."""
        del engine
        return lane.first()

    @property
    def queued(self) -> list[Task]:
        """All queued tasks, client by client."""
        return [task for lane in self.lanes.values() for task in lane]

    def has_work(self) -> bool:
        """Whether a task of a client that reads is queued."""
        return any(not client.stalled for client in self.lanes)
