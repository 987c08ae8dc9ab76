"""What a task wrote: iopub messages folded into one record. Pure.

A record is bounded: text beyond `TEXT_LIMIT` and displays beyond `DISPLAY_LIMIT` are dropped and
counted, and the text says so.
"""

from __future__ import annotations

from typing import Any

from ipyviews.client.published import Published

#: Largest text kept per task and stream [characters].
TEXT_LIMIT = 16_000_000

#: Displays kept per task [count], [bytes].
DISPLAY_LIMIT = 10_000
DISPLAY_BYTES = 256 * 1024 * 1024

#: Text is compacted when at least this much has come since the last time [characters].
_COMPACT_STEP = 65_536

#: Messages that a record takes.
OUTPUT_TYPES = frozenset(
    {
        "stream",
        "display_data",
        "update_display_data",
        "execute_result",
        "error",
        "execute_input",
        "clear_output",
        "output_folded",
    }
)


def fold_returns(text: str) -> str:
    r"""Drop what a carriage return overwrites, as a progress bar does.

    Examples
    --------
    >>> fold_returns("10 %\r100 %\nend\r\n")
    '100 %\nend\r\n'
    """
    if "\r" not in text:
        return text
    return "\n".join(_last_writing(line) if "\r" in line else line for line in text.split("\n"))


def _last_writing(line: str) -> str:
    # Returns at the end stay: what they overwrite depends on what comes next.
    written = line.rstrip("\r")
    return written.rpartition("\r")[2] + line[len(written) :]


class Text:
    """One stream's text: appending is cheap, reading folds."""

    __slots__ = ("_fresh", "_parts", "_size", "dropped")

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._size = 0
        self._fresh = 0
        #: Characters beyond the limit.
        self.dropped = 0

    def add(self, text: str) -> None:
        """Append; beyond the limit, count only."""
        room = TEXT_LIMIT - self._size
        if len(text) > room:
            self.dropped += len(text) - room
            text = text[:room]
        if not text:
            return
        self._parts.append(text)
        self._size += len(text)
        self._fresh += len(text)
        # In proportion to what is kept, so that the sum of all compactions stays linear.
        if self._fresh > _COMPACT_STEP + self._size // 2:
            self._compact()

    def _compact(self) -> str:
        text = self._parts[0] if len(self._parts) == 1 else fold_returns("".join(self._parts))
        self._parts, self._size, self._fresh = [text], len(text), 0
        return text

    @property
    def size(self) -> int:
        """What is kept. [characters]."""
        return self._size

    def clear(self) -> None:
        """Forget all."""
        self._parts, self._size, self._fresh, self.dropped = [], 0, 0, 0

    def __str__(self) -> str:
        if not self._parts:
            return ""
        text = fold_returns(self._compact())
        if self.dropped:
            text += f"\n[{self.dropped} more characters were not kept]\n"
        return text


class Output:
    """All output of one task, in the order it came."""

    __slots__ = (
        "_clear_next",
        "_display_size",
        "_stderr",
        "_stdout",
        "error",
        "execute_input",
        "execute_result",
        "folded_bytes",
        "folded_messages",
        "outputs",
        "published",
    )

    def __init__(self) -> None:
        self._stdout = Text()
        self._stderr = Text()
        self._clear_next = False
        self._display_size = 0
        #: Rich displays: ``{"data": …, "metadata": …, "transient": …}``.
        self.outputs: list[dict[str, Any]] = []
        self.execute_input: str | None = None
        #: Content of the ``execute_result`` message.
        self.execute_result: dict[str, Any] | None = None
        #: ``{"ename": …, "evalue": …, "traceback": […]}``.
        self.error: dict[str, Any] | None = None
        #: What it published with ``publish_data``.
        self.published = Published()
        #: Output that never reached us because too much was waiting, or that was not kept.
        self.folded_messages = 0
        self.folded_bytes = 0

    @property
    def stdout(self) -> str:
        """Everything printed, with overwritten parts of lines left out."""
        return str(self._stdout)

    @property
    def stderr(self) -> str:
        """Everything written to the error stream."""
        return str(self._stderr)

    @property
    def size(self) -> int:
        """What is kept of it, about. [characters]."""
        return self._stdout.size + self._stderr.size + self._display_size

    @property
    def dropped(self) -> int:
        """Text that was not kept. [characters]."""
        return self._stdout.dropped + self._stderr.dropped

    def add(self, msg_type: str, content: dict[str, Any]) -> None:
        """Fold one iopub message; types we do not know are ignored."""
        if msg_type == "clear_output":
            self._clear_next = True
            if not content.get("wait"):
                self._clear()
            return
        if self._clear_next and msg_type in ("stream", "display_data", "execute_result"):
            self._clear()
        self._fold(msg_type, content)

    def _fold(self, msg_type: str, content: dict[str, Any]) -> None:
        if msg_type == "stream":
            stream = self._stderr if content.get("name") == "stderr" else self._stdout
            stream.add(str(content.get("text", "")))
        elif msg_type == "display_data":
            self._display(content)
        elif msg_type == "update_display_data":
            self._update(content)
        elif msg_type == "execute_result":
            self.execute_result = content
        elif msg_type == "error":
            self.error = content
        elif msg_type == "execute_input":
            self.execute_input = str(content.get("code", ""))
        elif msg_type == "output_folded":
            self.folded_messages += int(content.get("messages", 0))
            self.folded_bytes += int(content.get("bytes", 0))

    def _display(self, content: dict[str, Any]) -> None:
        size = self._display_size + _weigh(content)
        if len(self.outputs) < DISPLAY_LIMIT and size <= DISPLAY_BYTES:
            self.outputs.append(content)
            self._display_size = size
        else:
            self.folded_messages += 1

    def _update(self, content: dict[str, Any]) -> None:
        wanted = _display_id(content)
        for shown in self.outputs:
            if wanted is not None and _display_id(shown) == wanted:
                shown["data"] = content.get("data", {})
                shown["metadata"] = content.get("metadata", {})

    def _clear(self) -> None:
        self._clear_next = False
        self._stdout.clear()
        self._stderr.clear()
        self.outputs.clear()
        self._display_size = 0


def _weigh(content: dict[str, Any]) -> int:
    """Return about how large a display is. [bytes]."""
    data = content.get("data")
    forms = data.values() if isinstance(data, dict) else ()
    return sum(len(form) for form in forms if isinstance(form, str))


def _display_id(content: dict[str, Any]) -> str | None:
    transient = content.get("transient")
    return transient.get("display_id") if isinstance(transient, dict) else None
