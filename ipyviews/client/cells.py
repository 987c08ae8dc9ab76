"""An engine's failure, told with what is known here: this notebook's cells, and its names."""

from __future__ import annotations

import linecache
import re
import sys
from typing import TYPE_CHECKING, Any

from ipyviews.client.activation import shell

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_FRAME = re.compile(r'  File "(?P<file>.+)", line (?P<line>\d+)(?P<rest>, in .+)?')
_MISSING = re.compile(r"name '(?P<name>\w+)' is not defined")


def retell(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of a failed reply with frames and missing names as they are known here.

    A frame in a cell of this notebook is named as IPython names it, and gets its line of source
    if the engine did not have it. A missing name that is defined here is told how to be sent.

    Parameters
    ----------
    content
        ``ename``, ``evalue`` and ``traceback`` (lines).
    """
    told = dict(content)
    lines = content.get("traceback")
    if isinstance(lines, list):
        told["traceback"] = list(_frames([str(line) for line in lines]))
    missing = _MISSING.fullmatch(str(content.get("evalue", "")))
    if missing is not None and content.get("ename") == "NameError":
        name = missing["name"]
        if name in _names_here():
            told["evalue"] = f"{missing[0]} on this engine, but it is here. {_how_to_send(name)}"
            told["traceback"] = [*told.get("traceback", ()), f"'{name}': {_how_to_send(name)}"]
    return told


def _frames(lines: list[str]) -> Iterator[str]:
    for place, line in enumerate(lines):
        frame = _FRAME.fullmatch(line)
        if frame is None:
            yield line
            continue
        yield _named(frame)
        following = lines[place + 1] if place + 1 < len(lines) else ""
        source = linecache.getline(frame["file"], int(frame["line"])).strip()
        if source and not following.startswith("    "):
            yield f"    {source}"


def _named(frame: re.Match[str]) -> str:
    """Name a frame's cell, ``Cell In[3]``, if it is one of this notebook."""
    name_cell = getattr(getattr(shell(), "compile", None), "format_code_name", None)
    known = None if name_cell is None else name_cell(frame["file"])
    if known is None:
        return frame[0]
    return f"  {' '.join(known)}, line {frame['line']}{frame['rest'] or ''}"


def _names_here() -> Mapping[str, Any]:
    running = shell()
    return vars(sys.modules["__main__"]) if running is None else running.user_ns


def _how_to_send(name: str) -> str:
    return f"Send it first with view['{name}'] = {name}"
