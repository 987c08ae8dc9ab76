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


class Collector:
    """Collects garbage only at times when `is_idle`, from now on; what is there now stays.

    Between two calls of somebody who waits for each there is nothing to do either: then only what
    is new is looked through, and all once so little is new that nobody can be calling.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, is_idle: Callable[[], bool]) -> None:
        gc.collect()
        gc.freeze()
        gc.disable()
        self._loop = loop
        self._is_idle = is_idle
        self._resident = _resident()
        # When all was looked through last, and whether anything was kept since.
        self._last = loop.time()
        self._is_owed = False
        loop.call_later(LOOK_S, self.look)

    def look(self) -> None:
        """Collect, if this is a time for it, and look again later."""
        is_new, is_idle = gc.get_count()[0] > WORTH_IT, self._is_idle()
        is_due = self._loop.time() - self._last > PATIENCE_S
        if (is_due and is_new) or (self._is_owed and is_idle and not is_new):
            gc.collect()
            self._is_owed, self._last = False, self._loop.time()
        elif is_new and is_idle:
            gc.collect(1)
            self._is_owed = True
        if is_idle and _resident() > self._resident + GAIN:
            give_back()
            self._resident = _resident()
        self._loop.call_later(LOOK_S, self.look)


def _resident() -> int:
    return resident_bytes(os.getpid()) or 0
