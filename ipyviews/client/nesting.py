"""A client inside a call on an engine of its own cluster.

While such a call waits for calls of its own, its engine can do nothing else: the controller is
told, so that it sends the engine's other work elsewhere, and ends what could never end.
"""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from ipyviews import engine
from ipyviews.engine.binding import bind_kernel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from ipyviews.client.bell import Bell
    from ipyviews.client.connection import Connection
    from ipyviews.client.tasks import Task

#: Shorter waits are not worth telling [s].
SHORT_S = 0.02

#: How often it is looked at what is waited for, and told if that has changed [s].
AGAIN_S = 1.0

#: At most so many of the tasks are told [count]; those of one map share their fate.
MOST_TOLD = 1000


class Nesting:
    """What the call that this process runs waits for, by one connection.

    Parameters
    ----------
    tell
        Sends the attempt that waits, and the tasks it waits for; none when it goes on.
    """

    def __init__(self, tell: Callable[[str, list[str]], None]) -> None:
        self._tell = tell
        self._waits: dict[object, list[str]] = {}
        self._attempt = ""

    @contextmanager
    def waiting(self) -> Iterator[Callable[[Iterable[Task]], None]]:
        """Give a function that tells what is waited for in the block."""
        attempt, mine = running_attempt(), object()

        def update(tasks: Iterable[Task]) -> None:
            left = list(islice((task.id for task in tasks if not task.done), MOST_TOLD))
            if attempt is not None and left != self._waits.get(mine, []):
                self._waits[mine], self._attempt = left, attempt
                self._tell(attempt, self._all())

        try:
            yield update
        finally:
            if attempt is not None and self._waits.pop(mine, []):
                self._tell(attempt, self._all())

    def again(self) -> None:
        """Tell another controller what is waited for."""
        if self._waits:
            self._tell(self._attempt, self._all())

    def _all(self) -> list[str]:
        return list(dict.fromkeys(task for tasks in self._waits.values() for task in tasks))


def own_cluster() -> Path | None:
    """Find the connection file of the cluster that this process is an engine of."""
    if engine.extension_here() is None:
        return None
    file = Path(bind_kernel()).with_name("cluster.json")
    return file if file.exists() else None


def running_attempt() -> str | None:
    """Name the call or cell that this process runs, if it is an engine and this its main thread."""
    extension = engine.extension_here()
    if extension is None or threading.current_thread() is not threading.main_thread():
        return None
    return extension.running


def wait_for(
    connection: Connection,
    bell: Bell,
    predicate: Callable[[], bool],
    timeout_s: float | None,
    tasks: Callable[[], Iterable[Task]],
) -> bool:
    """Wait at a bell, and tell the controller for which tasks if this is a call on an engine.

    Parameters
    ----------
    connection, bell, predicate, timeout_s
        See `Bell.wait_for`; the wait ends with an error when the connection's thread does.
    tasks
        Gives those without which `predicate` cannot come true.
    """
    if running_attempt() is None:
        return bell.wait_for(predicate, timeout_s, connection.check_thread)
    until = None if timeout_s is None else time.monotonic() + timeout_s

    def wait(limit_s: float) -> bool:
        left = limit_s if until is None else min(limit_s, until - time.monotonic())
        return bell.wait_for(predicate, left, connection.check_thread)

    if wait(SHORT_S):
        return True
    with connection.nesting.waiting() as update:
        while until is None or time.monotonic() < until:
            update(tasks())
            if wait(AGAIN_S):
                return True
    return False
