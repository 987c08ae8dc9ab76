"""The bar of a cell that takes long, beside the output that streams meanwhile."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from ipyviews.client.display import current_sink
from ipyviews.client.progress import NAME, drawn, surface

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ipyviews.client.display import Sink
    from ipyviews.client.results import AsyncResult
    from ipyviews.protocol.wire import Frame

#: How often the bar moves [s].
STEP_S = 0.2


class Beside:
    """A sink with a place for a bar, which never comes into a line.

    Parameters
    ----------
    sink
        Takes everything; that of the running cell if None.
    """

    def __init__(self, sink: Sink | None = None) -> None:
        self._sink = sink or current_sink()
        #: Whether what was shown can be replaced.
        self.is_page = self._sink.is_page
        # Output comes in the client's thread, the bar in that of the cell.
        self._lock = threading.Lock()
        self._line_is_open = False
        #: What a terminal has in its last lines, by name.
        self._painted: dict[str, str] = {}

    def write(self, stream: str, text: str) -> None:
        """Write text to ``stdout`` or ``stderr``."""
        with self._lock:
            self._sink.write(stream, text)
            if text:
                self._line_is_open = not text.endswith("\n")

    def publish(
        self, msg_type: str, content: dict[str, Any], buffers: Sequence[Frame] = ()
    ) -> None:
        """Show, update or clear displays."""
        with self._lock:
            self._sink.publish(msg_type, content, buffers)
            if msg_type != "update_display_data":
                self._line_is_open = False
            if msg_type == "clear_output":
                self._painted.clear()

    def paint(self, name: str, text: str) -> None:
        """Show a text, instead of the one of that name before; the bar when no line is open."""
        with self._lock:
            has_place = self.is_page and name in self._painted
            if name != NAME or has_place or not self._line_is_open:
                self._paint(name, text)

    def _paint(self, name: str, text: str) -> None:
        self._painted[name] = text
        if not self.is_page:
            # There is one place for all, at the end.
            text = "\n".join(filter(None, self._painted.values()))
        self._sink.paint(name, text)


def wait_with_bar(result: AsyncResult, quiet_s: float, sink: Beside) -> None:
    """Wait until done; after a while with a bar, where somebody can see one.

    Parameters
    ----------
    result
        Of the cell just submitted.
    quiet_s
        Time without a bar [s]; negative for no bar at all.
    sink
        Takes the cell's output.
    """
    place = surface(sink, asked=False)
    if quiet_s < 0 or place is None:
        result.wait()
    elif not result.wait(quiet_s):
        unit = "engine" if len(result) == 1 else "engines"
        began = min(task.submitted for task in result.tasks)
        with drawn(place, result.tally(), unit=unit, began=began, keep=False) as draw:
            while not result.wait(STEP_S):
                draw()
