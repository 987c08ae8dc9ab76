"""Many failures on one screen: equal ones told once, long ones cut. Pure text.

An error is asked for ``engine``, ``engine_info``, ``ename``, ``evalue`` and ``traceback``, and does
without those it lacks.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

#: What several failures take together, a list of them included [lines], [characters].
SCREEN_LINES = 40
SCREEN_WIDTH = 240

#: The same where Python itself shows the group, with two lines for each member [lines].
PLAIN_LINES = 20

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_NO_COLOUR = "\x1b[0m"


class Group(NamedTuple):
    """Failures that are told as one."""

    members: list[Exception]
    #: The position of the first, from 0.
    at: int

    @property
    def first(self) -> Exception:
        """The one that is shown."""
        return self.members[0]

    @property
    def engines(self) -> list[int]:
        """Where they happened, ascending."""
        found = (getattr(error, "engine", None) for error in self.members)
        return sorted({engine for engine in found if engine is not None})

    @property
    def label(self) -> str:
        """The engines in brackets, ``[0-3,7:apply]``."""
        if len(self.members) == 1 or not self.engines:
            return label_of(self.first)
        return f"[{ranges(self.engines)}{_method(self.first)}]"

    def often(self, total: int | None) -> str:
        """Say how many they are, of `total` engines if that is known; nothing for one."""
        times, engines = len(self.members), len(self.engines)
        if times == 1:
            return ""
        repeated = "" if times == engines else f"{times} times"
        of = "" if total is None else f" of {total}"
        where = f"on {engines}{of} engine{'s' if (total or engines) != 1 else ''}"
        return f" ({', '.join(filter(None, (repeated, where if engines else '')))})"


def fold(errors: Iterable[Exception]) -> list[Group]:
    """Put equal failures together, in the order of their first."""
    groups: dict[tuple[str, str, str], Group] = {}
    for place, error in enumerate(errors):
        key = (name_of(error), text_of(error), _method(error))
        groups.setdefault(key, Group([], place)).members.append(error)
    return list(groups.values())


def summarize(groups: Sequence[Group], most: int, total: int | None) -> list[str]:
    """Return a line for each of the first groups, and one that counts the rest."""
    lines: list[str] = []
    for group in groups[:most]:
        told = f"{name_of(group.first)}: {_one_line(text_of(group.first))}"
        lines.append(f"{group.label}{told}{group.often(total)}")
    if hidden := _count(groups[most:]):
        lines.append(f".... {hidden} more exceptions ...")
    return lines


def render(groups: Sequence[Group], most: int, total: int | None) -> list[str]:
    """Return the tracebacks of the first groups, cut so that they fit on a screen."""
    shown = groups[:most]
    room = SCREEN_LINES // max(1, len(shown)) - 3
    lines: list[str] = []
    for group in shown:
        lines += [f"{group.label}:{group.often(total)}", *_cut(group, room), ""]
    if hidden := _count(groups[most:]):
        lines.append(f"... {hidden} more exceptions ...")
    return lines


def label_of(error: Exception) -> str:
    """Name where an error happened, ``[0:apply]``."""
    engine = getattr(error, "engine", None)
    return "[Engine Exception]" if engine is None else f"[{engine}{_method(error)}]"


def name_of(error: Exception) -> str:
    """Return the name of an error's type, as the engine told it."""
    return str(getattr(error, "ename", type(error).__name__))


def text_of(error: Exception) -> str:
    """Return an error's text, as the engine told it."""
    return str(getattr(error, "evalue", error))


def lines_of(error: Exception) -> list[str]:
    """Return the engine's traceback, or the error itself if there is none."""
    traceback: list[str] = getattr(error, "traceback", [])
    return traceback or [f"{name_of(error)}: {text_of(error)}"]


def share(groups: Sequence[Group], most: int) -> dict[int, list[str]]:
    """Return which lines plain Python shows of which errors, by their `id`, cut to fit."""
    room = PLAIN_LINES // max(1, min(most, len(groups)))
    with_lines = [group for group in groups[:most] if getattr(group.first, "traceback", [])]
    return {id(group.first): _cut(group, room) for group in with_lines}


def plain(text: str) -> str:
    """Take the colours out of a text."""
    return _COLOURS.sub("", text)


def _cut(group: Group, room: int) -> list[str]:
    """Return at most `room` lines of a traceback: where it begins, and more of where it ends."""
    lines = [_narrow(line) for line in "\n".join(lines_of(group.first)).split("\n")]
    # Whoever sets `tb_limit` higher wants to see more than a screen.
    room = max(3, room)
    if len(lines) <= room:
        return lines
    head = room // 4
    left_out = len(lines) - room + 1
    gap = f"... {left_out} lines; all are in error.failures[{group.at}].traceback ..."
    return [*lines[:head], gap, *lines[len(lines) - (room - head - 1) :]]


def _narrow(line: str) -> str:
    if len(plain(line)) <= SCREEN_WIDTH:
        return line
    end, hidden = SCREEN_WIDTH, 0
    # Colours take no room.
    for colour in _COLOURS.finditer(line):
        if colour.start() - hidden > SCREEN_WIDTH:
            break
        hidden += len(colour[0])
        end = SCREEN_WIDTH + hidden
    return f"{line[:end]}…{_NO_COLOUR if hidden else ''}"


def _one_line(text: str) -> str:
    first, *more = text.split("\n")
    return f"{first} …" if more and len(first) <= SCREEN_WIDTH else _narrow(first)


def _count(groups: Iterable[Group]) -> int:
    return sum(len(group.members) for group in groups)


def ranges(numbers: list[int]) -> str:
    """Write sorted numbers short: ``0-2,7``."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and runs[-1][-1] == number - 1:
            runs[-1] = [runs[-1][0], number]
        else:
            runs.append([number])
    return ",".join("-".join(map(str, run)) for run in runs)


def _method(error: Exception) -> str:
    method = getattr(error, "engine_info", {}).get("method")
    return f":{method}" if method else ""
