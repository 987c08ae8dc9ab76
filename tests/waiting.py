"""Waiting in tests: poll with a deadline, never for a fixed time."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")


def steps(timeout_s: float) -> Iterator[float]:
    """Yield pauses that grow from 1 to 50 ms until the deadline has passed.

    At least one pause is yielded, so that a predicate is always tried twice.
    """
    deadline = time.monotonic() + timeout_s
    pause = 0.001
    while True:
        yield pause
        if time.monotonic() > deadline:
            return
        pause = min(pause * 1.5, 0.05)


def wait_until(predicate: Callable[[], T], timeout_s: float = 10.0, what: str = "") -> T:
    """Return the first true value of `predicate`; fail when `timeout_s` [s] have passed."""
    never = threading.Event()
    if value := predicate():
        return value
    for pause in steps(timeout_s):
        never.wait(pause)
        if value := predicate():
            return value
    raise AssertionError(f"{what or predicate} did not come true within {timeout_s} s")


async def eventually(predicate: Callable[[], T], timeout_s: float = 10.0, what: str = "") -> T:
    """Like `wait_until`, and the loop goes on meanwhile."""
    if value := predicate():
        return value
    for pause in steps(timeout_s):
        await asyncio.sleep(pause)
        if value := predicate():
            return value
    raise AssertionError(f"{what or predicate} did not come true within {timeout_s} s")
