"""How cells ended, by the name of their request.

A kernel's reply to a controller that has died is lost. The next controller is told from here.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

#: So many are remembered [count]; of larger replies only how they ended [bytes]; of older ones
#: only the names [count].
MOST_CELLS = 100
MOST_BYTES = 64 * 1024
MOST_NAMES = 10_000


class Cells:
    """The last cells of a kernel."""

    def __init__(self) -> None:
        #: The one that was begun and has no reply.
        self.running: str | None = None
        self._replies: OrderedDict[str, dict[str, Any]] = OrderedDict()
        #: Those that ended and whose replies were dropped before they had arrived.
        self._gone: OrderedDict[str, None] = OrderedDict()
        #: Whether of some not even the name is remembered.
        self.overflowed = False

    def sent(self, msg_type: Any, content: Any, parent: Any) -> None:
        """Take note of a message that the kernel sends; from any thread."""
        if msg_type not in ("status", "execute_reply") or not isinstance(parent, dict):
            return
        header: Mapping[str, Any] = parent.get("header") or parent
        if header.get("msg_type") != "execute_request" or header.get("subshell_id"):
            return
        name = str(header.get("msg_id"))
        if msg_type == "execute_reply":
            self._replies[name] = _small(content)
            if len(self._replies) > MOST_CELLS:
                self._gone[self._replies.popitem(last=False)[0]] = None
            if len(self._gone) > MOST_NAMES:
                self._gone.popitem(last=False)
                self.overflowed = True
            self.running = None
        elif content.get("execution_state") == "busy":
            self.running = name

    def forget(self, names: Iterable[str]) -> None:
        """Let go of replies that have arrived."""
        for name in names:
            self._replies.pop(name, None)
            self._gone.pop(name, None)

    def gone(self) -> list[str]:
        """Name the older ones that nobody has acknowledged."""
        return list(self._gone)

    def replies(self) -> dict[str, dict[str, Any]]:
        """Return the replies that are remembered."""
        return dict(self._replies)


def _small(content: Any) -> dict[str, Any]:
    try:
        size = len(json.dumps(content))
    except (TypeError, ValueError):
        # The kernel's own session knows more types than JSON has.
        size = MOST_BYTES + 1
    if size <= MOST_BYTES:
        return dict(content)
    kept = {"status", "execution_count", "ename"}
    cut = {key: value for key, value in content.items() if key in kept}
    return {"evalue": "", "traceback": [], "user_expressions": {}, "payload": []} | cut
