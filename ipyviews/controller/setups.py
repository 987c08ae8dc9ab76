"""What an engine does anew in each of its lives: set-up cells, and whether there is a next life."""

from __future__ import annotations

import logging
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from ipyviews.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from ipyviews.ids import EngineId

log = logging.getLogger(__name__)

#: Set-up cells of one engine [count], and of all [bytes].
MOST_CELLS = 200
MOST_BYTES = 16 * 1024 * 1024


class Setups:
    """The set-up cells that ran on engines, in the order of their latest runs."""

    def __init__(self) -> None:
        # The same text is the same cell: who runs a notebook again adds nothing.
        self._cells: dict[EngineId, dict[str, None]] = {}
        self.size = 0
        #: Called with an engine and all its cells when they have changed.
        self.keep: Callable[[EngineId, list[str]], None] = lambda _engine, _cells: None

    def restore(self, engine: EngineId, cells: Iterable[str]) -> None:
        """Note what a controller before this one has kept."""
        for code in cells:
            self._add(engine, code)

    def check(self, engines: Sequence[EngineId], code: str) -> None:
        """Refuse a cell that could not be kept.

        Raises
        ------
        UsageError
            Saying what to do.
        """
        new = [engine for engine in engines if code not in self._cells.get(engine, ())]
        is_full = any(len(self._cells.get(engine, ())) >= MOST_CELLS for engine in new)
        if is_full or self.size + len(new) * len(code) > MOST_BYTES:
            raise UsageError(
                f"there are too many set-up cells: at most {MOST_CELLS} for an engine, and "
                f"{MOST_BYTES >> 20} MiB in all; client.restart(setup=False) forgets them"
            )

    def note(self, engine: EngineId, code: str) -> None:
        """Note that a cell succeeded; the latest run of the same text counts."""
        self._add(engine, code)
        self.keep(engine, self.of(engine))

    def _add(self, engine: EngineId, code: str) -> None:
        cells = self._cells.setdefault(engine, {})
        if code in cells:
            self.size -= len(code)
            del cells[code]
        cells[code] = None
        self.size += len(code)

    def of(self, engine: EngineId) -> list[str]:
        """Return the cells of an engine."""
        return list(self._cells.get(engine, ()))

    def forget(self, engine: EngineId) -> None:
        """Forget the cells of an engine."""
        if engine in self._cells:
            self.size -= sum(map(len, self._cells.pop(engine)))
            self.keep(engine, [])


class Limit(NamedTuple):
    """How often an engine that dies is started again."""

    #: [count]
    most: int
    #: In so much time [s].
    seconds: float


class Revival:
    """Whether engines that die are started again by themselves.

    Parameters
    ----------
    limit
        For each engine; None for never.
    """

    def __init__(self, limit: Limit | None) -> None:
        self.limit = limit
        self._deaths: dict[EngineId, deque[float]] = {}

    def _allows(self, engine: EngineId, now: float) -> bool:
        if self.limit is None:
            return False
        deaths = self._deaths.setdefault(engine, deque())
        while deaths and deaths[0] <= now - self.limit.seconds:
            deaths.popleft()
        if len(deaths) >= self.limit.most:
            return False
        deaths.append(now)
        return True

    def judge(self, engine: EngineId, now: float) -> tuple[bool, str]:
        """Note a death; tell whether another life follows, and if one was to be expected, why not.

        Parameters
        ----------
        engine
            Which.
        now
            By the monotonic clock, which a controller has in common with those before it [s].
        """
        if self._allows(engine, now):
            return True, ""
        refusal = self._refusal(engine)
        if refusal:
            log.warning("%s", refusal)
        return False, refusal

    def deaths(self, engine: EngineId) -> list[float]:
        """Return when an engine died that was started again since [s]."""
        return list(self._deaths.get(engine, ()))

    def restore(self, engine: EngineId, deaths: Iterable[float]) -> None:
        """Count those under the controllers before this one too."""
        self._deaths[engine] = deque(deaths)

    def _refusal(self, engine: EngineId) -> str:
        if self.limit is None:
            return ""
        times = "once" if self.limit.most == 1 else f"{self.limit.most} times"
        return (
            f"engine {engine} is not started again by itself: it was {times} in "
            f"{self.limit.seconds:g} s; client.restart({engine}) does it"
        )

    def forgive(self, engine: EngineId) -> None:
        """Count from the beginning: somebody has looked at the engine."""
        self._deaths.pop(engine, None)
