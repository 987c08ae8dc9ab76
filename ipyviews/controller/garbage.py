"""Python's collector of cyclic garbage in a controller: never while somebody waits.

With the records of ten thousands of tasks a full collection takes some tenths of a second, during
which no message is passed on (seen: single calls of 1.5 s beside a map). What we make is freed by
its reference counts; cycles are few, and found when there is nothing to do.
"""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

#: New objects until the young ones are looked at: about a millisecond each time. [count]
YOUNG = 5000

#: Such looks until those that stayed are looked at once more. [count]
MIDDLE = 5

#: Full collections of Python's own accord: never. [count]
OLD = 1_000_000_000

#: How often to see whether there is nothing to do [s].
LOOK_S = 10.0


def collect_when_idle(loop: asyncio.AbstractEventLoop, is_idle: Callable[[], bool]) -> None:
    """Collect all garbage only at times when `is_idle`, from now on; what is there now stays."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, MIDDLE, OLD)
    loop.call_later(LOOK_S, _look, loop, is_idle, 0)


def _look(loop: asyncio.AbstractEventLoop, is_idle: Callable[[], bool], seen: int) -> None:
    looks = gc.get_stats()[1]["collections"]
    if looks != seen and is_idle():
        gc.collect()
        seen = gc.get_stats()[1]["collections"]
    loop.call_later(LOOK_S, _look, loop, is_idle, seen)
