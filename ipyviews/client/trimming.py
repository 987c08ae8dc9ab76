"""Giving memory back to the system after large arguments and results.

glibc keeps what is freed of them: after 1,000 calls with 1 MB each up to 80 MiB, for good.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ipyviews.launching.memory import give_back

if TYPE_CHECKING:
    from collections.abc import Callable

#: So much has to come and go before it is worth while [bytes] ...
WORTH_IT = 32 * 1024 * 1024

#: ... then the end of it is waited for [s], and what was dropped a while later is given back too.
QUIET_S = 1.0
AGAIN_S = (5.0, 30.0)


class Trimmer:
    """Counts what comes and goes. Only the I/O thread uses it.

    Parameters
    ----------
    later
        Calls something after a time [s].
    """

    def __init__(self, later: Callable[[float, Callable[[], object]], object]) -> None:
        self._later = later
        self._moved = 0
        self._seen = 0
        self._is_due = False

    def moved(self, size: int) -> None:
        """Note that a task with so many bytes of arguments and result has ended."""
        self._moved += size
        if self._moved >= WORTH_IT and not self._is_due:
            self._is_due = True
            self._wait()

    def _wait(self) -> None:
        self._seen = self._moved
        self._later(QUIET_S, self._look)

    def _look(self) -> None:
        if self._moved != self._seen:
            self._wait()
            return
        self._is_due = False
        self._moved = 0
        give_back()
        for seconds in AGAIN_S:
            self._later(seconds, give_back)
