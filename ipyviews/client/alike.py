"""Equal output of several engines, shown once. Pure.

While output comes: a line waits for at most `HOLD_S` for the same line of the other engines. When
all have written it, it is shown once; else it is shown with those that wrote the same meanwhile.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from ipyviews.folding import ranges

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Sequence

    from ipyviews.client.pieces import Part, Piece

    #: Engines, and what they show alike.
    Group = tuple[list[Part], list[Piece]]

T = TypeVar("T")

#: How long a line waits for the others [s].
HOLD_S = 0.1

#: More pieces than this do not wait [count].
HOLD_PIECES = 20_000


def alike(parts: Sequence[Part], now: float, *, at_once: bool) -> list[Group]:
    """Take from the parts what can be shown now.

    Parameters
    ----------
    parts
        All engines of a cell, in the order of their names.
    now
        The time [s].
    at_once
        Whether nothing may wait any longer.
    """
    there = [part for part in parts if part.pieces or not part.ended]
    groups: list[Group] = [(there, _common(there))]
    held = [part for part in parts if part.pieces]
    if at_once or any(now - p.since >= HOLD_S or len(p.pieces) > HOLD_PIECES for p in held):
        for members in group(held, lambda part: tuple(piece.looks for piece in part.pieces)):
            groups.append((members, list(members[0].pieces)))
            for part in members:
                part.pieces.clear()
    return [group for group in groups if group[1]]


def group(things: Iterable[T], key: Callable[[T], Hashable]) -> list[list[T]]:
    """Put things with equal keys together, in the order of the first of each."""
    found: dict[Hashable, list[T]] = {}
    for thing in things:
        found.setdefault(key(thing), []).append(thing)
    return list(found.values())


def name(engines: Iterable[int | None]) -> str:
    """Name engines in a label: ``0``, ``0-3,7``."""
    known = sorted(engine for engine in engines if engine is not None)
    return ranges(known) or "None"


def _common(parts: Sequence[Part]) -> list[Piece]:
    """Take the pieces with which all go on alike."""
    waiting = [part.pieces for part in parts]
    found: list[Piece] = []
    while waiting and all(waiting):
        first = waiting[0][0]
        looks = first.looks
        if any(pieces[0].looks != looks for pieces in waiting[1:]):
            break
        found.append(first)
        for pieces in waiting:
            pieces.popleft()
    return found
