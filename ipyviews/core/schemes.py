"""How an engine is chosen among those with room.

=============== ==================================================================================
``leastload``   the one with the fewest tasks; among equals the one that has idled longest
``lru``         the one whose last turn was longest ago
``plainrandom`` any
``twobin``      of two drawn at random, the one whose last turn was longest ago
``weighted``    of two drawn at random, engines with fewer tasks more likely, the less loaded
``pure``        as ``lru``, for clusters without dependencies, retries, targets and timeouts
=============== ==================================================================================

Engines that have run nothing yet come first where turns count. A scheme decides only where a task
goes when several engines have room: one that falls idle always takes what waits. Only ``weighted``
costs more with more tasks in flight on an engine; none costs more with more engines.
"""

from __future__ import annotations

from collections import OrderedDict
from itertools import chain, count, islice
from typing import TYPE_CHECKING, Protocol

from ipyviews.core.engines import LoadIndex

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ipyviews.core.engines import Engine
    from ipyviews.ids import EngineId

#: The scheme of a cluster that names none.
DEFAULT = "leastload"


class Chance(Protocol):
    """A `random.Random`, which the core takes from outside."""

    def randrange(self, stop: int, /) -> int:
        """Draw a whole number from 0, below `stop`."""

    def random(self) -> float:
        """Draw a number from 0.0, below 1.0."""


class Index(Protocol):
    """Engines with room."""

    def put(self, engine: Engine) -> None:
        """Enter an engine, or note that its load changed."""

    def discard(self, engine: Engine) -> None:
        """Take an engine out, if it is in."""

    def first(self) -> Engine | None:
        """Choose an engine, if there is one."""

    def engines(self) -> Iterator[Engine]:
        """Go through them, better choices first as far as the scheme has any."""

    def loads(self) -> dict[EngineId, int]:
        """List what is in the index, with the tasks each engine runs."""


class LastUsed:
    """Engines in line: who was given something goes to the end, who never was to the head."""

    def __init__(self) -> None:
        self._fresh: OrderedDict[EngineId, Engine] = OrderedDict()
        self._line: OrderedDict[EngineId, Engine] = OrderedDict()
        self._loads: dict[EngineId, int] = {}

    def put(self, engine: Engine) -> None:
        """Enter an engine, or note that its load changed."""
        load, old = len(engine.running), self._loads.get(engine.id)
        self._loads[engine.id] = load
        if engine.is_fresh:
            self._fresh[engine.id] = engine
        elif old is None or load > old:
            self._fresh.pop(engine.id, None)
            self._line[engine.id] = engine
            self._line.move_to_end(engine.id)

    def discard(self, engine: Engine) -> None:
        """Take an engine out, if it is in."""
        if self._loads.pop(engine.id, None) is not None:
            self._fresh.pop(engine.id, None)
            self._line.pop(engine.id, None)

    def first(self) -> Engine | None:
        """Choose the one whose last turn was longest ago."""
        return next(self.engines(), None)

    def engines(self) -> Iterator[Engine]:
        """Go through them, the first choice first."""
        return chain(self._fresh.values(), self._line.values())

    def loads(self) -> dict[EngineId, int]:
        """List what is in the index."""
        return dict(self._loads)


class Bag:
    """Engines to draw from in constant time."""

    def __init__(self) -> None:
        self._engines: list[Engine] = []
        self._places: dict[EngineId, int] = {}

    def __len__(self) -> int:
        return len(self._engines)

    def add(self, engine: Engine) -> None:
        """Put one in, if it is not in."""
        if self._places.setdefault(engine.id, len(self._engines)) == len(self._engines):
            self._engines.append(engine)

    def remove(self, engine: Engine) -> None:
        """Take one out that is in; the last one takes its place."""
        place, last = self._places.pop(engine.id), self._engines.pop()
        if last.id != engine.id:
            self._engines[place] = last
            self._places[last.id] = place

    def draw(self, chance: Chance) -> Engine:
        """Look at any one; there must be one."""
        return self._engines[chance.randrange(len(self._engines))]

    def draw_all(self, chance: Chance) -> Iterator[Engine]:
        """Go through all of them from any one on."""
        first = chance.randrange(len(self._engines)) if self._engines else 0
        return chain(islice(self._engines, first, None), islice(self._engines, first))


class Random:
    """Engines in a bag."""

    def __init__(self, chance: Chance) -> None:
        self._chance = chance
        self._bag = Bag()
        self._loads: dict[EngineId, int] = {}

    def put(self, engine: Engine) -> None:
        """Enter an engine, or note that its load changed."""
        self._loads[engine.id] = len(engine.running)
        self._bag.add(engine)

    def discard(self, engine: Engine) -> None:
        """Take an engine out, if it is in."""
        if self._loads.pop(engine.id, None) is not None:
            self._bag.remove(engine)

    def first(self) -> Engine | None:
        """Draw any engine."""
        return self._bag.draw(self._chance) if self._loads else None

    def engines(self) -> Iterator[Engine]:
        """Go through them from any one on."""
        return self._bag.draw_all(self._chance)

    def loads(self) -> dict[EngineId, int]:
        """List what is in the index."""
        return dict(self._loads)


class TwoBin(Random):
    """Engines in a bag, with their last turns."""

    def __init__(self, chance: Chance) -> None:
        super().__init__(chance)
        self._turn = count(1)
        self._turns: dict[EngineId, int] = {}

    def put(self, engine: Engine) -> None:
        """Enter an engine, or note that its load changed."""
        old = self._loads.get(engine.id)
        if old is None or len(engine.running) > old:
            self._turns[engine.id] = 0 if engine.is_fresh else next(self._turn)
        super().put(engine)

    def discard(self, engine: Engine) -> None:
        """Take an engine out, if it is in."""
        self._turns.pop(engine.id, None)
        super().discard(engine)

    def first(self) -> Engine | None:
        """Draw two, and take the one whose last turn was longer ago."""
        if not self._loads:
            return None
        drawn = self._bag.draw(self._chance), self._bag.draw(self._chance)
        return min(drawn, key=lambda engine: self._turns[engine.id])


class Weighted:
    """Engines in a bag for each load; one with n tasks is drawn with a weight of 1 / (n + 1)."""

    def __init__(self, chance: Chance) -> None:
        self._chance = chance
        self._bags: dict[int, Bag] = {}
        self._loads: dict[EngineId, int] = {}

    def put(self, engine: Engine) -> None:
        """Enter an engine, or note that its load changed."""
        load = len(engine.running)
        if self._loads.get(engine.id) != load:
            self.discard(engine)
            self._loads[engine.id] = load
            self._bags.setdefault(load, Bag()).add(engine)

    def discard(self, engine: Engine) -> None:
        """Take an engine out, if it is in."""
        load = self._loads.pop(engine.id, None)
        if load is not None:
            self._bags[load].remove(engine)
            if not self._bags[load]:
                del self._bags[load]

    def first(self) -> Engine | None:
        """Draw two, and take the less loaded."""
        if not self._loads:
            return None
        return min(self._draw(), self._draw(), key=lambda engine: self._loads[engine.id])

    def engines(self) -> Iterator[Engine]:
        """Go through them, the less loaded first."""
        bags = (self._bags[load] for load in sorted(self._bags))
        return chain.from_iterable(bag.draw_all(self._chance) for bag in bags)

    def loads(self) -> dict[EngineId, int]:
        """List what is in the index."""
        return dict(self._loads)

    def _draw(self) -> Engine:
        weights = [(len(bag) / (load + 1), bag) for load, bag in self._bags.items()]
        left = self._chance.random() * sum(weight for weight, _ in weights)
        for weight, bag in weights:
            left -= weight
            if left < 0.0:
                return bag.draw(self._chance)
        # Rounding may leave a rest.
        return weights[-1][1].draw(self._chance)


#: Schemes that draw.
_DRAWING: dict[str, Callable[[Chance], Index]] = {
    "plainrandom": Random,
    "twobin": TwoBin,
    "weighted": Weighted,
}

#: All of them, by name.
SCHEMES = (DEFAULT, "lru", *_DRAWING, "pure")


def make_index(scheme: str, chance: Chance | None = None) -> Index:
    """Make the index of a pool.

    Parameters
    ----------
    scheme
        One of `SCHEMES`.
    chance
        For the schemes that draw.
    """
    if scheme in ("lru", "pure"):
        return LastUsed()
    if scheme == DEFAULT:
        return LoadIndex()
    if chance is None:
        raise ValueError(f"the scheme {scheme!r} needs chance")
    return _DRAWING[scheme](chance)
