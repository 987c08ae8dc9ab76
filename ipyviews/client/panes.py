"""The part of a cell that one of several engines clears: displays that are replaced in place.

A front end can only clear a whole cell. So from its first `clear_output` on, what an engine shows
is put into the places of what it showed before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ipyviews.client.flood import tell
from ipyviews.client.outputs import fold_returns

if TYPE_CHECKING:
    from collections.abc import Callable

    from ipyviews.client.pieces import Piece

    Entry = dict[str, Any]

#: Text beyond this is cut at its beginning [characters].
TEXT_LIMIT = 20_000

#: More than so much is only counted, of text: put into one [displays].
MOST = 50

_STREAMS = ("(stdout)", "(stderr)")


class Pane:
    """What an engine shows since it last cleared.

    Parameters
    ----------
    name
        Not used for other displays.
    label
        Above everything; may be empty.
    slots
        Ids of its displays before.
    """

    def __init__(self, name: str, label: str, slots: list[str]) -> None:
        self._name = name
        self._label = label
        self._slots = slots
        #: What is in the slots, and what is to be; None for what is not known.
        self._shown: list[Entry | None] = [None] * len(slots)
        self._entries: list[Entry] = []
        #: Own id of each entry, if the engine gave it one, or the stream of text.
        self._ids: list[str | None] = []
        #: How many displays there was no room for.
        self._left_out = 0
        self._clear_next = False
        self._changed = True

    def clear(self, *, wait: bool) -> None:
        """Forget what is shown, now or when there is something else."""
        self._clear_next = wait
        if not wait:
            self._entries, self._ids, self._left_out = [], [], 0
            self._changed = True

    def add(self, piece: Piece) -> None:
        """Show something more."""
        self._changed = True
        if self._clear_next:
            self.clear(wait=False)
        if piece.is_text:
            self._add_text(piece)
        elif len(self._entries) < MOST:
            content = piece.content
            self._entries.append(_entry(content))
            self._ids.append((content.get("transient") or {}).get("display_id"))
        else:
            self._left_out += 1

    def update(self, display_id: str, content: dict[str, Any]) -> bool:
        """Replace a display of the engine's own; False if it is not here."""
        if display_id not in self._ids:
            return False
        self._entries[self._ids.index(display_id)] = _entry(content)
        self._changed = True
        return True

    def paint(self, publish: Callable[[str, dict[str, Any]], None], *, at_once: bool) -> bool:
        """Bring the front end up to date; False if nothing has changed since the last time.

        What nothing has taken the place of yet is blanked the next time, or `at_once`.
        """
        changed, self._changed = self._changed, False
        wanted = list(self._entries)
        if self._left_out:
            wanted.append(_text(tell({"displays": self._left_out}, 0)))
        if self._label and wanted:
            wanted.insert(0, _text(self._label))
        if at_once or not changed or not wanted:
            wanted += [_text("")] * (len(self._slots) - len(wanted))
        for place, entry in enumerate(wanted):
            self._put(publish, place, entry)
        return changed

    def _put(
        self, publish: Callable[[str, dict[str, Any]], None], place: int, entry: Entry
    ) -> None:
        is_new = place == len(self._slots)
        if is_new:
            self._slots.append(f"{self._name}-{place}")
            self._shown.append(None)
        if self._shown[place] != entry:
            kind = "display_data" if is_new else "update_display_data"
            publish(kind, {**entry, "transient": {"display_id": self._slots[place]}})
            self._shown[place] = entry

    def _add_text(self, piece: Piece) -> None:
        place = self._place_of_text(f"({piece.kind})")
        if place is None:
            self._left_out += 1
            return
        text = fold_returns(self._entries[place]["data"]["text/plain"] + piece.text)
        if len(text) > TEXT_LIMIT:
            text = f"…{text[-TEXT_LIMIT:]}"
        self._entries[place] = _text(text)

    def _place_of_text(self, stream: str) -> int | None:
        """Return which entry more of a stream goes to; None when there is no room for it."""
        if self._ids and self._ids[-1] == stream:
            return len(self._ids) - 1
        if len(self._entries) < MOST:
            self._entries.append(_text(""))
            self._ids.append(stream)
            return len(self._ids) - 1
        # Both streams go on in the latest text then.
        texts = [place for place, name in enumerate(self._ids) if name in _STREAMS]
        return texts[-1] if texts else None


def _text(text: str) -> Entry:
    return {"data": {"text/plain": text}, "metadata": {}}


def _entry(content: dict[str, Any]) -> Entry:
    return {"data": content.get("data") or {}, "metadata": content.get("metadata") or {}}
