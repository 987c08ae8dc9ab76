"""Python's collector of cyclic garbage in a controller: never while somebody waits.

With the records of ten thousands of tasks a full collection takes some tenths of a second, during
which no message is passed on (seen: single calls of 1.5 s beside a map). What we make is freed by
its reference counts; cycles are few, and found when there is nothing to do.
"""

from __future__ import annotations

import gc
import os
from typing import TYPE_CHECKING

from ipyviews.launching.memory import give_back, resident_bytes

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

#: Never idle for so long [s], a controller collects all the same.
PATIENCE_S = 300.0

#: New objects that make it worth while. [count]
WORTH_IT = 5000

#: How often to see whether there is nothing to do [s].
LOOK_S = 5.0

#: Memory that the process has gained, beyond which what is free of it is given back. [bytes]
GAIN = 16 * 1024 * 1024


def collect_when_idle(loop: asyncio.AbstractEventLoop, is_idle: Callable[[], bool]) -> None:
    """Collect garbage only at times when `is_idle`, from now on; what is there now stays."""
    gc.collect()
    gc.freeze()
    gc.disable()
    loop.call_later(LOOK_S, _look, loop, is_idle, loop.time(), _resident())


def _resident() -> int:
    return resident_bytes(os.getpid()) or 0


def _look(
    loop: asyncio.AbstractEventLoop, is_idle: Callable[[], bool], last: float, resident: int
) -> None:
    is_due = loop.time() - last > PATIENCE_S
    if gc.get_count()[0] > WORTH_IT and (is_due or is_idle()):
        gc.collect()
        last = loop.time()
    if _resident() > resident + GAIN and is_idle():
        give_back()
        resident = _resident()
    loop.call_later(LOOK_S, _look, loop, is_idle, last, resident)
