"""What a running call publishes with ``publish_data``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ipyviews.protocol.payload import unpack_result

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ipyviews.protocol.wire import Frame

#: Messages kept [count]; of more names than that the oldest are forgotten.
MOST = 1000


class Published:
    """Messages of published values, until somebody looks: unpickling runs user code."""

    __slots__ = ("_messages",)

    def __init__(self) -> None:
        self._messages: list[_Message] = []

    def add(self, keys: Iterable[Any], frame: Frame) -> None:
        """Take a message; those it outdates are forgotten, so that a loop may publish for ever."""
        new = _Message(frozenset(map(str, keys)), frame)
        kept = [m for m in self._messages if not m.keys <= new.keys] + [new]
        self._messages = kept[-MOST:]

    def values(self) -> dict[str, Any]:
        """Return the newest value of each name; what cannot be unpickled here is its error."""
        found: dict[str, Any] = {}
        for message in list(self._messages):
            found |= message.values()
        return found


class _Message:
    __slots__ = ("_frame", "_values", "keys")

    def __init__(self, keys: frozenset[str], frame: Frame) -> None:
        self.keys = keys
        self._frame = frame
        self._values: dict[str, Any] | None = None

    def values(self) -> dict[str, Any]:
        if self._values is None:
            try:
                self._values = dict(unpack_result([self._frame]))
            except Exception as error:  # noqa: BLE001 - whatever a class of the user raises
                self._values = dict.fromkeys(self.keys, error)
        return self._values
