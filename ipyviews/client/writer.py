"""Writes text, displays and values one after the other, with a label where the source changes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ipyviews.client.display import label

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ipyviews.client.display import Sink
    from ipyviews.protocol.wire import Frame


class Writer:
    """What goes to the sink; text goes out together.

    Parameters
    ----------
    sink
        Where to.
    labelled
        Whether there are labels.
    """

    def __init__(self, sink: Sink, *, labelled: bool) -> None:
        self._sink = sink
        self._labelled = labelled
        self._source: tuple[str, str] | None = None
        self._line_is_open = False
        #: Text that goes out together, and its stream.
        self._text: list[str] = []
        self._stream = "stdout"

    def text(self, where: str, stream: str, text: str) -> None:
        """Write printed text."""
        if text:
            self._label(stream, where, stream)
            self._put(stream, text)
            self._line_is_open = not text.endswith("\n")

    def display(self, where: str, content: dict[str, Any], buffers: Sequence[Frame]) -> None:
        """Show a display."""
        self._label("output", where, "stdout")
        self.flush()
        self._sink.publish("display_data", content, buffers)

    def result(self, displays: Sequence[dict[str, Any]]) -> None:
        """Show a value, which has a label of its own."""
        if self._line_is_open:
            self._put("stdout", "\n")
        self.forget()
        for content in displays:
            self._sink.publish("display_data", content)

    def forget(self) -> None:
        """Begin anew, after what was written so far has gone out."""
        self.flush()
        self._source, self._line_is_open = None, False

    def flush(self) -> None:
        """Let everything go out."""
        if self._text:
            text, self._text = "".join(self._text), []
            self._sink.write(self._stream, text)

    def _label(self, kind: str, where: str, stream: str) -> None:
        if self._source == (kind, where) and kind != "output":
            return
        gap = "\n" if self._line_is_open else ""
        self._put(stream, gap + (label(kind, where) if self._labelled else ""))
        self._source, self._line_is_open = (kind, where), False

    def _put(self, stream: str, text: str) -> None:
        if stream != self._stream:
            self.flush()
            self._stream = stream
        if text:
            self._text.append(text)
