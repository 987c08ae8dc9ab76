"""Which answers of engines have reached their clients: those an engine keeps no longer.

Should this controller die, what an engine has answered and no client has read is asked for again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from ipyviews.controller.links import Link

    #: The number of a message, or the name of a cell.
    Which = int | str

#: Engines are told together of what arrived in so long [s].
TELL_S = 0.2


class Receipts:
    """Messages with answers, by engine and number.

    Parameters
    ----------
    loop
        Its timers.
    tell
        Tells an engine the numbers of messages that it need not keep, and the names of cells.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, tell: Callable[[Link, list[Which]], None]
    ) -> None:
        self._loop = loop
        self._tell = tell
        #: How many answers of a message no client has read. [count]
        self._unread: dict[Link, dict[int, int]] = {}
        self._read: dict[Link, list[Which]] = {}
        self._timer: asyncio.TimerHandle | None = None

    def arrived(self, link: Link, number: int, answers: int) -> None:
        """Note a message with so many answers."""
        if answers:
            self._unread.setdefault(link, {})[number] = answers
        else:
            self._done(link, number)

    def received(self, link: Link, number: Which, answers: int = 1) -> None:
        """Note that answers of a message have reached their client, or that nobody wants them."""
        if isinstance(number, str):
            self._done(link, number)
            return
        unread = self._unread.get(link)
        if unread is None or number not in unread:
            return
        unread[number] -= answers
        if not unread[number]:
            del unread[number]
            self._done(link, number)

    def close(self) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._timer.cancel()

    def _done(self, link: Link, number: Which) -> None:
        self._read.setdefault(link, []).append(number)
        if self._timer is None:
            self._timer = self._loop.call_later(TELL_S, self._tell_all)

    def _tell_all(self) -> None:
        self._timer = None
        told, self._read = self._read, {}
        for link, numbers in told.items():
            if link.ended is None and link.can_apply:
                self._tell(link, numbers)
            elif link.ended is not None:
                self._unread.pop(link, None)
