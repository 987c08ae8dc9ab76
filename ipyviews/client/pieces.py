r"""What one engine writes in a cell, cut into pieces that can be shown. Pure.

Printed text is passed on line by line. A line that is being overwritten (``\r``, as progress bars
do) is a *row*: what is shown of it is its newest state only.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ipyviews.client.outputs import fold_returns

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ipyviews.protocol.wire import Frame

#: The beginning of a line waits so long for its rest or for what overwrites it [s].
PARTIAL_S = 0.15


@dataclass(frozen=True, slots=True)
class Piece:
    """Something that is shown at once."""

    #: ``stdout``, ``stderr``, ``output`` for a display, ``result`` for a value.
    kind: str
    text: str = ""
    #: Of the message, for displays and values.
    content: dict[str, Any] = field(default_factory=dict)
    buffers: Sequence[Frame] = ()

    @property
    def is_text(self) -> bool:
        """Whether it was printed."""
        return self.kind in ("stdout", "stderr")

    @property
    def looks(self) -> tuple[str, str]:
        """What makes two pieces look alike."""
        if self.is_text:
            return self.kind, self.text
        return self.kind, repr((self.content.get("data"), self.content.get("metadata")))


@dataclass(slots=True)
class Row:
    """A line that is overwritten."""

    text: str
    is_open: bool = True

    @property
    def shown(self) -> str:
        """What is seen of it."""
        return self.text.strip("\r")


class Part:
    """The pieces of one task that wait to be shown, in order, and its rows.

    Parameters
    ----------
    engine
        Where it runs; None while that is not known.
    keeps_rows
        Whether rows that have ended stay where they are until something comes below them; else
        they become lines at once.
    by_line
        Whether each line is a piece of its own.
    """

    def __init__(self, engine: int | None, *, keeps_rows: bool, by_line: bool) -> None:
        self.engine = engine
        self.pieces: deque[Piece] = deque()
        #: When the oldest of them came [s].
        self.since = 0.0
        #: By stream.
        self.rows: dict[str, Row] = {}
        self.ended = False
        self._keeps_rows = keeps_rows
        self._by_line = by_line
        #: Something has come below the place of the rows.
        self._went_on = False
        #: Beginnings of lines by stream, and when the first of them came [s].
        self._begun: dict[str, str] = {}
        self._begun_at = 0.0

    @property
    def is_waiting(self) -> bool:
        """Whether there is something to show, now or a little later."""
        return bool(self.pieces or self._begun)

    def write(self, stream: str, text: str, now: float) -> None:
        """Take printed text."""
        for other in [name for name in self._begun if name != stream]:
            # What another stream has begun was there first.
            self._push(Piece(other, self._begun.pop(other)), now)
        lines, newline, rest = (self._begun.pop(stream, "") + text).rpartition("\n")
        if newline:
            self._lines(stream, lines + newline, now)
        if rest:
            self._begin(stream, rest, now)

    def add(self, piece: Piece, now: float) -> None:
        """Take something that is not text."""
        self.release(now, at_once=True)
        self._go_on(now)
        self._push(piece, now)

    def release(self, now: float, *, at_once: bool) -> None:
        """Let beginnings of lines be shown, those that have waited long enough or all."""
        if at_once or now - self._begun_at >= PARTIAL_S:
            begun, self._begun = self._begun, {}
            for stream, text in begun.items():
                self._push(Piece(stream, text), now)
        if self.ended and not self._rows_stay:
            for stream in list(self.rows):
                self._end_row(stream, "", now)

    def end(self, now: float) -> None:
        """Take note that nothing more is expected."""
        self.ended = True
        self.release(now, at_once=True)

    def clear(self) -> None:
        """Forget what waits."""
        self.pieces.clear()
        self.rows.clear()
        self._begun.clear()
        self._went_on = False

    @property
    def _rows_stay(self) -> bool:
        return self._keeps_rows and not self._went_on

    def _go_on(self, now: float) -> None:
        """Make lines of rows that have ended: what comes now belongs below them."""
        for stream in [name for name, row in self.rows.items() if not row.is_open]:
            self._went_on = True
            self._push(Piece(stream, f"{self.rows.pop(stream).shown}\n"), now)

    def _lines(self, stream: str, text: str, now: float) -> None:
        row = self.rows.get(stream)
        if row is not None and row.is_open:
            first, _, text = text.partition("\n")
            self._end_row(stream, first, now)
        if not text:
            return
        self._go_on(now)
        text = fold_returns(text)
        for line in text[:-1].split("\n") if self._by_line else [text[:-1]]:
            self._push(Piece(stream, f"{line}\n"), now)

    def _begin(self, stream: str, text: str, now: float) -> None:
        row = self.rows.get(stream)
        if row is not None and row.is_open:
            row.text = fold_returns(row.text + text)
            return
        self._go_on(now)
        if "\r" in text:
            self.rows[stream] = Row(fold_returns(text))
        else:
            self._begun_at = now if not self._begun else self._begun_at
            self._begun[stream] = text

    def _end_row(self, stream: str, rest: str, now: float) -> None:
        row = self.rows[stream]
        row.text, row.is_open = fold_returns(row.text + rest), False
        if self._rows_stay and row.shown.strip():
            return
        del self.rows[stream]
        if row.shown.strip():
            self._push(Piece(stream, f"{row.shown}\n"), now)

    def _push(self, piece: Piece, now: float) -> None:
        if not self.pieces:
            self.since = now
        self.pieces.append(piece)
