"""The engines of a cluster as a table, for people."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

COLUMNS = ("engine", "host", "pid", "state", "running", "queued", "memory")


class EngineTable:
    """One row for each engine, shown as text or, in a notebook, as a table.

    Parameters
    ----------
    engines
        What the controller tells of them; see ``status_request`` in docs/protocol.md.

    Examples
    --------
    >>> EngineTable([{"id": 0, "host": "here", "pid": 71, "state": "live", "running": 1,
    ...               "queued": 0, "memory": 52_428_800}])
    engine  host  pid  state  running  queued    memory
         0  here   71  live         1       0  50.0 MiB
    """

    def __init__(self, engines: Sequence[dict[str, Any]]) -> None:
        #: Dicts of `COLUMNS`; ``memory`` in bytes, None where it is not known.
        self.rows = [
            {**{name: info.get(name) for name in COLUMNS}, "engine": info["id"]} for info in engines
        ]

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, place: int) -> dict[str, Any]:
        return self.rows[place]

    def __repr__(self) -> str:
        lines = [COLUMNS, *(tuple(map(_cell, COLUMNS, row.values())) for row in self._ordered())]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        return "\n".join(_line(line, widths) for line in lines)

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{name}</th>" for name in COLUMNS)
        body = "".join(
            f"<tr>{''.join(map(_html, COLUMNS, row.values()))}</tr>" for row in self._ordered()
        )
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"

    def _ordered(self) -> list[dict[str, Any]]:
        return [{name: row[name] for name in COLUMNS} for row in self.rows]


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    texts = [
        cell.ljust(width) if name in ("host", "state") else cell.rjust(width)
        for name, cell, width in zip(COLUMNS, cells, widths, strict=True)
    ]
    return "  ".join(texts).rstrip()


def _html(name: str, value: Any) -> str:
    return f"<td>{escape(_cell(name, value))}</td>"


def _cell(name: str, value: Any) -> str:
    if value is None:
        return "-"
    return f"{value / 2**20:.1f} MiB" if name == "memory" else str(value)
