"""The standard library's future, of fewer objects.

Every object of a result is looked at again and again by the garbage collector while results are
kept. Of a burst of calls that took more time than all else, and most of the objects were parts of
a condition that nobody ever waits for: we have bells.
"""

from __future__ import annotations

import threading
from concurrent import futures
from typing import Any, cast

_Lock: Any = type(threading.RLock())


class Guard(_Lock):  # type: ignore[misc]
    """The lock of a condition that nobody waits for."""

    __slots__ = ()

    def notify_all(self) -> None:
        """Do nothing: there is nobody."""


class Pending(futures.Future[Any]):
    """A future that runs from the first; without the methods of the base class that wait."""

    def __init__(self) -> None:
        # All that the base class would set.
        self._condition = cast("threading.Condition", Guard())
        self._state = "RUNNING"
        self._result = None
        self._exception = None
        self._waiters = []
        self._done_callbacks: list[Any] = []
