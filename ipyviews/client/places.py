"""Where the code of a cell on an engine is in this notebook.

Engines count their cells on their own. A traceback is to name the cell that its reader sees, with
the line numbers that it has there: front ends make links of them.
"""

from __future__ import annotations

import re
import threading
from typing import TYPE_CHECKING, Any, NamedTuple

from ipyviews import folding

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

#: Most cells remembered, each once for every engine [count].
LIMIT = 100_000

_COLOUR = r"\x1b\[[0-9;]*m"

#: IPython's name of a frame in a cell.
_HEAD = re.compile(
    rf"(?P<name>Cell(?:{_COLOUR}| )+In\[)(?P<count>\d+)(?P<to>\](?:{_COLOUR})*, line )(?P<line>\d+)"
)

#: A line of source: its number ends at the seventh column.
_SOURCE = re.compile(r"(?=.{7}(?: |$))[-> ]*\d+(?: |$)")
_NUMBER = re.compile(rf"(?P<before>(?:{_COLOUR}|[-> ])*)(?P<line>\d+)")


class Place(NamedTuple):
    """A cell of this notebook, and where in it the code is."""

    #: Its number.
    cell: int
    #: Its lines above the code [count].
    above: int


_lock = threading.Lock()
_places: dict[str, Place] = {}
_runs: dict[tuple[str, Any, Any], str] = {}


def put(tasks: Iterable[str], place: Place) -> None:
    """Note from where the cell of these tasks was sent."""
    with _lock:
        for task in tasks:
            _remember(_places, task, place)


def ran(task: str, engine: int | None, count: Any) -> None:
    """Note under which number an engine ran the cell of a task."""
    with _lock:
        _remember(_runs, (_client_of(task), engine, count), task)


def count() -> int:
    """Return how many places and runs are remembered. [count]."""
    return len(_places) + len(_runs)


def rename(lines: Iterable[str], task: str, engine: int | None) -> list[str]:
    r"""Return a traceback with cells and line numbers as they are here.

    Parameters
    ----------
    lines
        As the engine sent them; each may have several.
    task, engine
        What failed, and where. Cells that this client did not send keep their numbers.

    Examples
    --------
    >>> put(["c-1.0"], Place(cell=7, above=1))
    >>> ran("c-1.0", 0, 3)
    >>> print(*rename(["Cell In[3], line 9", "----> 9 1/0"], "c-1.0", 0), sep="\n")
    Cell In[7], line 10
    ---> 10 1/0
    """
    return [
        "\n".join(part) for part in _renamed((line.split("\n") for line in lines), task, engine)
    ]


def _renamed(parts: Iterable[list[str]], task: str, engine: int | None) -> Iterator[list[str]]:
    above = 0
    for part in parts:
        told = []
        for line in part:
            head = _HEAD.search(line)
            place = None if head is None else _find(task, engine, int(head["count"]))
            if head is not None and place is not None:
                told.append(_rename_head(line, head, place))
            else:
                told.append(_shift(line, above) if above else line)
            if head is not None:
                # Syntax errors, which are indented, show their source without numbers.
                is_frame = folding.plain(line).startswith("Cell")
                above = place.above if place is not None and is_frame else 0
            elif not line:
                above = 0
        yield told


def _rename_head(line: str, head: re.Match[str], place: Place) -> str:
    named = f"{head['name']}{place.cell}{head['to']}{int(head['line']) + place.above}"
    return line[: head.start()] + named + line[head.end() :]


def _shift(line: str, above: int) -> str:
    if _SOURCE.match(folding.plain(line)) is None:
        return line
    number = _NUMBER.match(line)
    if number is None:
        return line
    here = str(int(number["line"]) + above)
    # Room for more digits is taken from the arrow, or from the space.
    longer = len(here) - len(number["line"])
    before = re.sub("[- ]", "", number["before"], count=longer) if longer else number["before"]
    return f"{before}{here}{line[number.end() :]}"


def _find(task: str, engine: int | None, count: int) -> Place | None:
    with _lock:
        return _places.get(_runs.get((_client_of(task), engine, count), ""))


def _client_of(task: str) -> str:
    return task.rpartition("-")[0]


def _remember(known: dict[Any, Any], key: Any, value: Any) -> None:
    # A repeated key goes to the end again, so the oldest is first.
    known.pop(key, None)
    known[key] = value
    if len(known) > LIMIT:
        del known[next(iter(known))]
