"""What an engine has to do: the one piece of state that both its threads share.

Everything here happens under `Backlog.lock`; holding it never waits for anything else.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, field
from typing import Any

#: So many attempts are remembered, to run none of them twice.
MEMORY = 10_000


@dataclass(slots=True)
class Request:
    """One verified message on the apply channel."""

    idents: list[bytes]
    header: dict[str, Any]
    #: The ``ipyviews`` part of the metadata.
    ours: dict[str, Any]
    content: dict[str, Any]
    buffers: list[Any]

    @property
    def attempt(self) -> str:
        """The ``msg_id``."""
        return str(self.header["msg_id"])


@dataclass(slots=True)
class Backlog:
    """Calls that wait, the one that runs, and the cell that runs instead."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    waiting: deque[Request] = field(default_factory=deque)
    #: Attempt of the call that runs.
    running: str | None = None
    #: ``msg_id`` of the cell that runs.
    cell: str | None = None
    #: Cells begun and not ended; more than one when a cell runs cells.
    cells: int = 0
    _known: dict[str, None] = field(default_factory=dict)

    def add(self, request: Request) -> bool:
        """Queue a call; False if it came before."""
        with self.lock:
            if request.attempt in self._known:
                return False
            self._known[request.attempt] = None
            if len(self._known) > MEMORY:
                del self._known[next(iter(self._known))]
            self.waiting.append(request)
            return True

    def take(self) -> Request | None:
        """Start the next call, if it may start now; the caller holds the lock."""
        if not self.waiting or self.cells or self.running is not None:
            return None
        request = self.waiting.popleft()
        self.running = request.attempt
        return request

    def remove(self, attempt: str) -> Request | None:
        """Take a call out of the queue, if it waits there."""
        with self.lock:
            for request in self.waiting:
                if request.attempt == attempt:
                    self.waiting.remove(request)
                    return request
        return None

    def holds(self) -> list[str]:
        """Name the attempts queued or running."""
        with self.lock:
            running = [] if self.running is None else [self.running]
            return running + [request.attempt for request in self.waiting]
