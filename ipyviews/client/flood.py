"""Too much output for a page: the first of each engine is shown, the rest counted. Pure."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

#: What a cell shows in full, shared out among its engines [lines], [characters], [displays].
LINES = 2_000
CHARACTERS = 400_000
DISPLAYS = 200

#: The least that each engine may show, of the same.
LEAST = (50, 10_000, 10)

#: Of the rest, the last lines of all engines together, and the width of one [characters].
TAIL_LINES = 40
TAIL_WIDTH = 200


@dataclass(slots=True)
class Shown:
    """What one engine has shown in a cell, and what not."""

    tail: deque[tuple[str, str]]
    lines: int = 0
    characters: int = 0
    displays: int = 0
    hidden: dict[str, int] = field(default_factory=dict)
    #: Streams whose last line goes on.
    open: set[str] = field(default_factory=set)


class Flood:
    """Admits what a page can take.

    Parameters
    ----------
    engines
        How many share the cell.
    """

    def __init__(self, engines: int) -> None:
        allowed = (LINES, CHARACTERS, DISPLAYS)
        self._lines, self._characters, self._displays = (
            max(least, most // max(1, engines)) for least, most in zip(LEAST, allowed, strict=True)
        )
        self._tail = max(1, min(10, TAIL_LINES // max(1, engines)))
        self._shown: dict[Hashable, Shown] = {}

    def admit(self, engines: Sequence[Hashable], stream: str, text: str) -> str:
        """Return what may be shown of a text that all these engines wrote; count the rest."""
        shown = text
        for engine in engines:
            shown = self._admit(self._of(engine), stream, text)
        return shown

    def admits_display(self, engines: Sequence[Hashable]) -> bool:
        """Tell whether a display of all these engines may be shown; else count it."""
        for engine in engines:
            shown = self._of(engine)
            shown.displays += 1
            if shown.displays > self._displays:
                shown.hidden["displays"] = shown.hidden.get("displays", 0) + 1
        return self._of(engines[0]).displays <= self._displays

    def has_room(self, engine: Hashable) -> bool:
        """Whether an engine may show one more display."""
        return self._of(engine).displays < self._displays

    def clear(self, engine: Hashable) -> None:
        """Begin again for an engine that has cleared what it showed."""
        self._shown.pop(engine, None)

    def last_lines(self, engine: Hashable) -> list[tuple[str, str]]:
        """Return the last of what is not shown of an engine: stream and line."""
        shown = self._shown.get(engine)
        return list(shown.tail) if shown else []

    def summary(self, not_kept: int) -> str:
        """Tell how much is not shown and where it is; empty if there is nothing.

        Parameters
        ----------
        not_kept
            What the results have dropped, too [characters].
        """
        total: dict[str, int] = {}
        for shown in self._shown.values():
            for what, count in shown.hidden.items():
                total[what] = total.get(what, 0) + count
        return tell(total, not_kept)

    def _of(self, engine: Hashable) -> Shown:
        found = self._shown.get(engine)
        if found is None:
            found = self._shown[engine] = Shown(deque(maxlen=self._tail))
        return found

    def _admit(self, shown: Shown, stream: str, text: str) -> str:
        goes_on = stream in shown.open
        lines = _count(text) - goes_on
        (shown.open.discard if text.endswith("\n") else shown.open.add)(stream)
        if not shown.hidden and self._has_room(shown, lines, len(text)):
            shown.lines += lines
            shown.characters += len(text)
            return text
        first = "" if shown.hidden else self._first(shown, text)
        if rest := text[len(first) :]:
            self._hide(shown, stream, rest, goes_on=goes_on and not first)
        return first

    def _hide(self, shown: Shown, stream: str, text: str, *, goes_on: bool) -> None:
        shown.hidden[stream] = shown.hidden.get(stream, 0) + _count(text) - goes_on
        last = text.removesuffix("\n").rsplit("\n", self._tail)[-self._tail :]
        if goes_on and _count(text) <= self._tail and shown.tail and shown.tail[-1][0] == stream:
            last[0] = shown.tail.pop()[1] + last[0]
        shown.tail.extend((stream, line[:TAIL_WIDTH]) for line in last)

    def _has_room(self, shown: Shown, lines: int, characters: int) -> bool:
        return (
            shown.lines + lines <= self._lines and shown.characters + characters <= self._characters
        )

    def _first(self, shown: Shown, text: str) -> str:
        """Return the lines for which there is room."""
        end = 0
        while (found := text.find("\n", end) + 1) and self._has_room(shown, 1, found - end):
            shown.lines += 1
            shown.characters += found - end
            end = found
        return text[:end]


def _count(text: str) -> int:
    return text.count("\n") + (not text.endswith("\n"))


def tell(hidden: dict[str, int], not_kept: int) -> str:
    """Write what is not shown and where all of it is.

    Examples
    --------
    >>> tell({"stdout": 2_100_000}, 0)
    '… 2,100,000 more lines: `ar.stdout` has all of them'
    """
    lines = hidden.get("stdout", 0) + hidden.get("stderr", 0)
    displays = hidden.get("displays", 0)
    counts = [f"{lines:,} more lines"] if lines else []
    counts += [f"{displays:,} more displays"] if displays else []
    if not counts:
        return ""
    names = {"stdout": "stdout", "stderr": "stderr", "displays": "outputs"}
    where = [f"`ar.{names[what]}`" for what in names if hidden.get(what)]
    verb = "has" if len(where) == 1 else "have"
    kept = f"all but {not_kept:,} characters" if not_kept else "all of them"
    return f"… {' and '.join(counts)}: {' and '.join(where)} {verb} {kept}"


def shorten(text: str, engines: int, stream: str) -> str:
    """Return the first and the last lines of a text that is too long for its part of a page."""
    flood = Flood(engines)
    first = flood.admit([0], stream, text)
    if first == text:
        return text
    last = "".join(f"{line}\n" for _, line in flood.last_lines(0))
    return f"{first}{flood.summary(0)}\n{last}"
