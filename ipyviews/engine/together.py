"""Copying with several processors: one has to wait for memory most of the time."""

from __future__ import annotations

import os
import threading
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

#: More threads hardly copy faster, and others want to compute. [count]
MOST_THREADS = 4

#: To copy less takes about as long as to start a thread. [bytes]
TOGETHER_FROM = 4 * 1024 * 1024


def threads() -> int:
    """Return how many threads of this process should copy at a time [count]."""
    here = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(MOST_THREADS, here or 1)


def do_all(actions: Sequence[Callable[[], object]], size: int) -> None:
    """Run actions in a few threads, this one among them; return when all have ended.

    After an error, or Ctrl-C, nothing is begun any more; what other threads are at goes on.

    Parameters
    ----------
    actions
        Independent of each other. Where they copy they should release the interpreter.
    size
        What they copy. [bytes]

    Raises
    ------
    Exception
        The first that an action raised.
    """
    waiting, errors = deque(actions), deque[Exception]()

    def work() -> None:
        while waiting:
            try:
                action = waiting.popleft()
            except IndexError:
                return  # Another thread was faster.
            try:
                action()
            except Exception as error:  # noqa: BLE001 - raised in the thread that asked
                errors.append(error)
                waiting.clear()

    count = min(threads(), len(actions)) - 1 if size >= TOGETHER_FROM else 0
    helpers = [
        threading.Thread(target=work, name="ipyviews-copy", daemon=True) for _ in range(count)
    ]
    try:
        for helper in helpers:
            helper.start()
        work()
        for helper in helpers:
            helper.join()
    finally:
        waiting.clear()
    if errors:
        raise errors[0]
