r"""Showing output as it comes.

In a notebook it goes under the cell that asked for it, also when later cells have run meanwhile;
on a terminal it is plain text. Each change of source gets a label::

    [stdout:0]
    a line of engine 0
    [output:1]
    a display of engine 1
    Out[1:3]: 42

What comes within a twentieth of a second is shown together, engine by engine. A line that is being
overwritten (``\r``: progress bars) is shown in one display that has such a line of each engine. Of
a flood a page shows the first lines of each engine, then one display that counts the rest and has
its last lines; a terminal shows everything. What an engine clears (`clear_output`) is replaced in
place; of a single engine the cell is cleared; a terminal takes nothing back.
"""

from __future__ import annotations

import logging
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any

from ipyviews.client import alike
from ipyviews.client.display import current_sink, own_display, result_displays
from ipyviews.client.flood import Flood
from ipyviews.client.panes import Pane
from ipyviews.client.pieces import Part, Piece
from ipyviews.client.writer import Writer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ipyviews.client.alike import Group
    from ipyviews.client.connection import Connection
    from ipyviews.client.display import Sink
    from ipyviews.client.tasks import Task
    from ipyviews.protocol.wire import Frame

    Later = Callable[[float, Callable[[], object]], object]

log = logging.getLogger(__name__)

#: Output is shown at once if there was none for so long, else so often [s].
TICK_S = 0.05

#: What is not shown is told only after so long, for it comes below what is [s].
REST_S = 1.0

#: Messages that bring something more to show.
_NEW = ("stream", "display_data", "execute_result", "output_folded")

_WIDGET = "application/vnd.jupyter.widget-view+json"


class Shown(Part):
    """One engine's part of a cell, and what is on the page of it."""

    def __init__(self, task: Task, *, keeps_rows: bool, by_line: bool) -> None:
        super().__init__(task.engine, keeps_rows=keeps_rows, by_line=by_line)
        self.name = task.id
        # The text it has written may be large.
        self.task = weakref.ref(task)
        #: Ids of the displays that can be replaced.
        self.slots: list[str] = []
        self.pane: Pane | None = None
        #: It is cleared when something else comes.
        self.clears_next = False
        #: The cell is to be cleared before anything else is shown, and whether that can wait.
        self.cleared: bool | None = None

    @property
    def not_kept(self) -> int:
        """How much text its result has dropped [characters]."""
        task = self.task()
        return task.output.dropped if task is not None and task.output is not None else 0


class LiveDisplay:
    """Shows messages of output as they come. A listener of `Ledger.listen`.

    Parameters
    ----------
    tasks
        All that belong together; others are added when they write.
    sink
        Where to; the running cell or the terminal if None.
    labelled
        Whether each change of source gets a label.
    fold
        Whether equal output of several engines is shown once; see `ipyviews.client.alike`.
    later
        Calls a function after a time [s], in whatever thread; without it everything is shown at
        once.
    clock
        Returns the time [s].
    """

    def __init__(
        self,
        tasks: Sequence[Task] = (),
        sink: Sink | None = None,
        *,
        labelled: bool = True,
        fold: bool = False,
        later: Later | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sink = sink or current_sink()
        self._fold = fold and len(tasks) > 1
        self._later = later
        self._clock = clock
        self._labelled = labelled
        self._lock = threading.Lock()
        self._is_ticking = False
        self._writer = Writer(self._sink, labelled=labelled)
        self._flood = Flood(len(tasks))
        #: The newest of what replaces displays, by the id on the page.
        self._updates: dict[str, tuple[dict[str, Any], Sequence[Frame]]] = {}
        self._painted: dict[str, str] = {}
        #: When there was too much first, and whether that is still to be told.
        self._flooded_at: float | None = None
        self._withholds = False
        self._parts = {task.id: self._new_part(task) for task in tasks}
        self._is_single = len(tasks) == 1

    def __call__(  # noqa: PLR0917 - what a message has
        self,
        task: Task,
        msg_type: str,
        content: dict[str, Any],
        metadata: dict[str, Any],
        buffers: Sequence[Frame],
        date: str | None,
    ) -> None:
        """Show one message."""
        del metadata, date
        with self._lock:
            part = self._part(task)
            if self._take(part, msg_type, content, buffers):
                self._show_soon(at_once=self._is_urgent(part, msg_type))

    def replay(self, task: Task) -> None:
        """Show what a task has written so far."""
        written = task.output
        with self._lock:
            part, now = self._part(task), self._clock()
            if written is not None:
                part.write("stdout", written.stdout, now)
                part.write("stderr", written.stderr, now)
                for content in written.outputs:
                    part.add(Piece("output", content=content), now)
                if written.execute_result is not None:
                    part.add(Piece("result", content=written.execute_result), now)
            if task.done:
                part.end(now)
            self._show_soon(at_once=not self._fold)

    def ended(self, task: Task) -> None:
        """Take note that a task is about to end; with the last one everything is shown."""
        with self._lock:
            self._part(task).end(self._clock())
            if all(part.ended for part in self._parts.values()):
                self._show(at_once=True)

    def flush(self) -> None:
        """Show all there is."""
        with self._lock:
            self._show(at_once=True)

    # -- taking ---------------------------------------------------------------------------------

    def _new_part(self, task: Task) -> Shown:
        return Shown(task, keeps_rows=self._sink.is_page, by_line=self._fold)

    def _part(self, task: Task) -> Shown:
        part = self._parts.get(task.id)
        if part is None:
            part = self._parts[task.id] = self._new_part(task)
        # Of a load-balanced task the engine is known by its output first.
        part.engine = task.engine
        return part

    def _take(
        self, part: Shown, msg_type: str, content: dict[str, Any], buffers: Sequence[Frame]
    ) -> bool:
        """Keep what is to be shown; False if it is nothing to show."""
        now = self._clock()
        if part.clears_next and msg_type in _NEW:
            self._clear(part, waits=True)
        if msg_type == "stream":
            part.write(str(content.get("name")), str(content.get("text", "")), now)
        elif msg_type == "display_data":
            part.add(Piece("output", content=content, buffers=buffers), now)
            if _WIDGET in (content.get("data") or {}) or _display_id(content):
                # It may be updated or closed at any moment.
                part.since = float("-inf")
        elif msg_type == "update_display_data":
            self._update(part, content, buffers)
        elif msg_type == "execute_result":
            part.add(Piece("result", content=content), now)
        elif msg_type == "clear_output":
            # Until something else comes, what waits may turn out to be the last.
            part.clears_next = bool(content.get("wait"))
            if not part.clears_next:
                self._clear(part, waits=False)
        elif msg_type == "output_folded":
            count, size = content.get("messages"), content.get("bytes")
            part.write("stderr", f"{count} messages ({size} bytes) were left out.\n", now)
        else:
            return False
        return True

    def _update(self, part: Shown, content: dict[str, Any], buffers: Sequence[Frame]) -> None:
        own = _display_id(content)
        if part.pane is not None:
            # What is updated may have come just now.
            self._fill(part.pane, part)
        if part.pane is None or own is None or not part.pane.update(own, content):
            shown = own_display(part.engine, content)
            self._updates[str(_display_id(shown))] = shown, buffers

    @staticmethod
    def _fill(pane: Pane, part: Part) -> None:
        while part.pieces:
            pane.add(part.pieces.popleft())

    def _clear(self, part: Shown, *, waits: bool) -> None:
        part.clears_next = False
        if not self._sink.is_page:
            part.rows.clear()
            return
        # What waits was shown for a moment, as it were.
        part.clear()
        self._flood.clear(part)
        if self._is_single:
            part.cleared = waits
            return
        if part.pane is None:
            title = f"[output:{part.engine}]" if self._labelled else ""
            part.pane = Pane(f"ipyviews-{part.name}-pane", title, part.slots)
        part.pane.clear(wait=waits)

    def _is_urgent(self, part: Shown, msg_type: str) -> bool:
        """Tell whether to show it now: displays may be updated or closed at any moment."""
        shows = msg_type in ("display_data", "execute_result")
        return shows and not self._fold and part.pane is None and self._flood.has_room(part)

    # -- showing --------------------------------------------------------------------------------

    def _show_soon(self, *, at_once: bool) -> None:
        if self._later is None:
            self._show(at_once=True)
            return
        if at_once or not self._is_ticking:
            self._show(at_once=False)
        if not self._is_ticking:
            self._is_ticking = True
            self._later(TICK_S, self._tick)

    def _tick(self) -> None:
        with self._lock:
            self._is_ticking = False
            try:
                self._is_ticking = self._show(at_once=False)
            except Exception:
                # In the I/O thread, which must go on.
                log.exception("showing output failed")
            if self._is_ticking and self._later is not None:
                self._later(TICK_S, self._tick)

    def _show(self, *, at_once: bool) -> bool:
        """Bring the page up to date; True if there was or is something to show."""
        now = self._clock()
        parts = sorted(self._parts.values(), key=lambda p: -1 if p.engine is None else p.engine)
        for part in parts:
            part.release(now, at_once=at_once or part.ended)
            self._clear_cell(part)
        shown = False
        for members, pieces in self._groups(parts, now, at_once=at_once):
            shown = True
            for piece in pieces:
                self._show_piece(members, piece)
        self._writer.flush()
        shown |= self._show_updates(parts, at_once=at_once)
        shown |= self._paint("rows", self._rows(parts))
        shown |= self._paint("rest", self._rest(parts, now, at_once=at_once))
        return shown or self._withholds or any(part.is_waiting for part in parts)

    def _groups(self, parts: Sequence[Shown], now: float, *, at_once: bool) -> list[Group]:
        groups: list[Group] = []
        folded = [part for part in parts if self._fold and part.pane is None]
        for part in parts:
            if part.pane is not None:
                self._fill(part.pane, part)
            elif part.pieces and not self._fold:
                groups.append(([part], list(part.pieces)))
                part.pieces.clear()
        return groups + (alike.alike(folded, now, at_once=at_once) if folded else [])

    def _clear_cell(self, part: Shown) -> None:
        if part.cleared is None:
            return
        if part.cleared and not (part.pieces or part.rows):
            return
        self._sink.publish("clear_output", {"wait": part.cleared or bool(part.pieces)})
        self._writer.forget()
        self._painted.clear()
        self._flooded_at, self._withholds = None, False
        part.cleared = None

    def _show_piece(self, members: Sequence[Part], piece: Piece) -> None:
        where = alike.name(part.engine for part in members)
        first = members[0]
        assert isinstance(first, Shown)  # noqa: S101 - all parts here are
        if piece.is_text:
            text = piece.text
            if self._sink.is_page:
                text = self._flood.admit(members, piece.kind, text)
            self._writer.text(where, piece.kind, text)
        elif piece.kind == "result":
            self._writer.result(result_displays(where, _common_count(members, piece)))
        elif not self._sink.is_page or self._flood.admits_display(members):
            self._writer.display(where, self._replaceable(first, piece.content), piece.buffers)

    def _replaceable(self, part: Shown, content: dict[str, Any]) -> dict[str, Any]:
        """Give a display an id if it has none, so that its engine can clear it."""
        shown = own_display(part.engine, content)
        if self._is_single or not self._sink.is_page:
            return shown
        slot = _display_id(shown) or f"ipyviews-{part.name}-{len(part.slots)}"
        part.slots.append(slot)
        return {**shown, "transient": {**shown["transient"], "display_id": slot}}

    def _show_updates(self, parts: Sequence[Shown], *, at_once: bool) -> bool:
        updates, self._updates = self._updates, {}
        for content, buffers in updates.values():
            self._sink.publish("update_display_data", content, buffers)
        shown = bool(updates)
        for part in parts:
            if part.pane is not None:
                shown |= part.pane.paint(self._sink.publish, at_once=at_once)
        return shown

    def _rows(self, parts: Sequence[Shown]) -> str:
        found = [
            (stream, row.shown, part.engine)
            for part in parts
            for stream, row in part.rows.items()
            if row.shown.strip()
        ]
        groups = alike.group(found, lambda row: row[:2] if self._fold else row)
        lines = []
        for rows in groups:
            stream, text, _ = rows[0]
            lines.append(f"{self._short_label(stream, [row[2] for row in rows])}{text}")
        return "\n".join(lines)

    def _rest(self, parts: Sequence[Shown], now: float, *, at_once: bool) -> str:
        summary = self._flood.summary(sum(part.not_kept for part in parts))
        if not summary:
            return ""
        self._flooded_at = self._flooded_at or now
        is_new = not self._painted.get("rest") and now - self._flooded_at < REST_S
        self._withholds = is_new and not at_once
        if self._withholds:
            return ""
        last = [
            f"{self._short_label(stream, [part.engine])}{line}"
            for part in parts
            for stream, line in self._flood.last_lines(part)
        ]
        return "\n".join([summary, *last])

    def _short_label(self, stream: str, engines: list[int | None]) -> str:
        return f"[{stream}:{alike.name(engines)}] " if self._labelled else ""

    def _paint(self, name: str, text: str) -> bool:
        if self._painted.get(name, "") == text:
            return False
        self._painted[name] = text
        self._sink.paint(name, text)
        return True


def follow(
    connection: Connection, tasks: Sequence[Task], *, fold: bool = False, sink: Sink | None = None
) -> LiveDisplay:
    """Show what tasks have written, and from now on what they write, also after their end.

    Parameters
    ----------
    connection
        Of the client that submitted them.
    tasks, fold, sink
        See `LiveDisplay`.
    """
    live = LiveDisplay(tasks, sink, fold=fold, later=connection.later)
    with connection.ledger.lock:
        for task in tasks:
            live.replay(task)
        connection.ledger.listen(tasks, live)
    if all(task.done for task in tasks):
        # Nobody tells of their end any more.
        live.flush()
    return live


def _display_id(content: dict[str, Any]) -> str | None:
    found = (content.get("transient") or {}).get("display_id")
    return None if found is None else str(found)


def _common_count(members: Sequence[Part], piece: Piece) -> dict[str, Any]:
    """Return a value's content; several engines may have counted their cells differently."""
    return piece.content if len(members) == 1 else {**piece.content, "execution_count": None}
