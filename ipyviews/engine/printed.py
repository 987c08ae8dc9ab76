"""What calls and cells have written, until their clients have their replies.

Output is published, so what nobody listens to is lost. A controller that takes over from one that
died is told what its engine has written for unfinished business, and the client drops what it had.
"""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

#: Of each call or cell so much is kept, the latest; and of all together [bytes].
MOST_BYTES = 1024 * 1024
MOST_TOGETHER = 32 * 1024 * 1024

#: So many names are remembered of what is forgotten. [count]
MOST_NAMES = 10_000

#: What a message weighs besides its text, about [bytes].
MESSAGE_BYTES = 300

#: Not output, or not for people.
OTHERS = frozenset({"status", "execute_reply", "comm_open", "comm_msg", "comm_close"})


@dataclass(slots=True)
class Output:
    """What one call or cell has written: type, content, metadata, date, buffers and weight."""

    messages: list[tuple[str, Any, Any, str, Sequence[Any], int]] = field(default_factory=list)
    size: int = 0
    is_whole: bool = True

    def trim(self, most: int) -> None:
        """Drop the oldest beyond so many bytes."""
        while self.size > most and self.messages:
            self.size -= self.messages.pop(0)[-1]
            self.is_whole = False


class Printed:
    """Output by attempt; used from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._outputs: dict[str, Output] = {}
        self._size = 0
        # What their threads write later is nobody's to ask for.
        self._forgotten: OrderedDict[str, None] = OrderedDict()

    def sent(self, message: Any, buffers: Sequence[Any]) -> None:
        """Keep a message that the kernel has published."""
        if not isinstance(message, dict):
            return
        header, parent = message["header"], message.get("parent_header") or {}
        name = str(parent.get("msg_id", ""))
        if header["msg_type"] in OTHERS or name.count("/") != 2:
            return
        content, weight = message["content"], _weigh(message["content"], buffers)
        date = header["date"]
        told = date if isinstance(date, str) else date.isoformat().replace("+00:00", "Z")
        copies = [bytes(buffer) for buffer in buffers]
        entry = (header["msg_type"], content, message.get("metadata") or {}, told, copies, weight)
        with self._lock:
            if name in self._forgotten:
                return
            output = self._outputs.setdefault(name, Output())
            before = output.size
            output.messages.append(entry)
            output.size += weight
            output.trim(MOST_BYTES)
            self._size += output.size - before
            self._make_room()

    def forget(self, names: Iterable[str]) -> None:
        """Let go of what calls and cells have written."""
        with self._lock:
            for name in names:
                if (output := self._outputs.pop(name, None)) is not None:
                    self._size -= output.size
                    self._forgotten[name] = None
                    if len(self._forgotten) > MOST_NAMES:
                        self._forgotten.popitem(last=False)

    def bounds(self) -> dict[str, int]:
        """Tell how much is kept and may be [bytes]; what is dropped is the oldest of each."""
        with self._lock:
            return {"now": self._size, "most": MOST_TOGETHER, "dropped": 0}

    def told(self) -> list[tuple[dict[str, Any], list[Any]]]:
        """Return contents and buffers of the messages that tell all this."""
        with self._lock:
            return [_tell(name, output) for name, output in self._outputs.items()]

    def _make_room(self) -> None:
        for output in list(self._outputs.values()) if self._size > MOST_TOGETHER else ():
            before = output.size
            output.trim(0)
            self._size -= before - output.size
            if self._size <= MOST_TOGETHER:
                return


def _tell(name: str, output: Output) -> tuple[dict[str, Any], list[Any]]:
    messages: list[Any] = []
    frames: list[Any] = []
    is_whole = output.is_whole
    for kind, content, metadata, date, buffers, _ in output.messages:
        try:
            json.dumps([content, metadata])
        except (TypeError, ValueError):
            # The kernel's own session knows more types than JSON has.
            is_whole = False
            continue
        messages.append([kind, content, metadata, date, len(buffers)])
        frames += buffers
    return {"attempt": name, "messages": messages, "whole": is_whole}, frames


def _weigh(content: Any, buffers: Sequence[Any]) -> int:
    # Libraries publish messages of their own, in any form.
    fields = content if isinstance(content, dict) else {}
    data = fields.get("data")
    texts = [fields.get("text"), *(data.values() if isinstance(data, dict) else [data])]
    lengths = [len(text) for text in texts if isinstance(text, str | bytes)]
    return MESSAGE_BYTES + sum(lengths) + sum(memoryview(one).nbytes for one in buffers)
