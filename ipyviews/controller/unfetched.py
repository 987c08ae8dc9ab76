"""Results of a detached cluster, until their clients have said goodbye.

A client that is killed may not have read what it was sent, or not have come to use it. Whoever
comes next fetches it from the records.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from ipyviews.engine.frames import size_bytes
from ipyviews.engine.segments import Reference
from ipyviews.ids import client_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ipyviews.ids import ClientId, TaskId
    from ipyviews.protocol.wire import Frame

#: Of results that clients have read so much is kept, the latest [bytes].
MOST_READ = 32 * 1024 * 1024

#: What a result weighs besides its buffers, about [bytes].
RESULT_BYTES = 500


class Unfetched:
    """Results by client. What no client has read is always kept: it is bounded by their credit."""

    def __init__(self, most_read: int = MOST_READ) -> None:
        self._most_read = most_read
        self._results: dict[ClientId, dict[TaskId, Sequence[Frame]]] = {}
        self._read: OrderedDict[TaskId, tuple[ClientId, int]] = OrderedDict()
        self._read_bytes = 0

    def add(self, client: ClientId, task: TaskId, buffers: Sequence[Frame]) -> None:
        """Keep what a client is being sent."""
        self._results.setdefault(client, {})[task] = buffers

    def get(self, task: TaskId) -> Sequence[Frame]:
        """Return a result, for somebody else; empty if it is not here."""
        return self._results.get(client_of(task), {}).get(task, ())

    def read(self, client: ClientId, task: TaskId) -> None:
        """Note that a client has read it; what is in shared memory may be gone from now on."""
        buffers = self._results.get(client, {}).get(task)
        if buffers is None:
            return
        if any(Reference.read(buffer) for buffer in buffers[1:]):
            del self._results[client][task]
            return
        size = RESULT_BYTES + sum(map(size_bytes, buffers))
        self._read[task] = (client, size)
        self._read_bytes += size
        while self._read_bytes > self._most_read:
            oldest = next(iter(self._read))
            self._forget(oldest, *self._read[oldest])

    def bounds(self) -> tuple[int, int, int]:
        """Tell how much is kept of what clients have read, and may be."""
        return self._read_bytes, self._most_read, 0

    def take(self, client: ClientId) -> dict[TaskId, Sequence[Frame]]:
        """Take out everything of a client that is gone."""
        found = self._results.pop(client, {})
        for task in found:
            if (known := self._read.pop(task, None)) is not None:
                self._read_bytes -= known[1]
        return found

    def _forget(self, task: TaskId, client: ClientId, size: int) -> None:
        del self._read[task]
        self._read_bytes -= size
        del self._results[client][task]
