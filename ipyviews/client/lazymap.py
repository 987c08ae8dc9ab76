"""The iterator that `View.imap` returns."""

from __future__ import annotations

import weakref
from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, Any, Self

from ipyviews.client import nesting
from ipyviews.client.feed import Bounds, Feed
from ipyviews.client.partition import NoSequences
from ipyviews.client.session import WrongType
from ipyviews.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from ipyviews.client.base import View
    from ipyviews.client.calls import Call
    from ipyviews.client.feed import Outstanding, Send

_END = object()


class LazyMapIterator:
    """Values of a function for items that are taken as results come; see `View.imap`.

    For ``for`` and ``async for``. When it is dropped, nothing more is sent; what was sent runs on.

    Parameters
    ----------
    view
        Where the calls run.
    send
        Sends some of the calls.
    sequences, ordered, max_outstanding, return_exceptions, chunksize
        As for `View.imap`.
    """

    def __init__(
        self,
        view: View,
        send: Send,
        sequences: Sequence[Iterable[Any]],
        *,
        ordered: bool = True,
        max_outstanding: Outstanding = "auto",
        return_exceptions: bool = False,
        chunksize: int | None = 1,
    ) -> None:
        if not sequences:
            raise NoSequences
        size = chunksize or 1
        if type(size) is not int or size < 1:
            raise UsageError(f"chunksize is a number of items, not {chunksize!r}.")
        calls = _calls(zip(*sequences, strict=False), size)
        bounds = Bounds(max_outstanding, view.__len__)
        self._may_block = bool(view.client.may_block)
        self._chunked = size > 1
        self._return_exceptions = return_exceptions
        self._values: deque[Any] = deque()
        self.feed = Feed(view, send, calls, bounds, ordered=ordered)
        self._finalizer = weakref.finalize(self, self.feed.stop)
        self.feed.start()

    def keep_sending(self) -> None:
        """Send everything, also when this iterator is dropped."""
        self._finalizer.detach()

    def cancel(self) -> None:
        """Take no more items, cancel what was sent, and end the iteration."""
        self._values.clear()
        self.feed.cancel()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.feed.describe()}>"

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        if not self._knows_next():
            if not self._may_block:
                raise WrongType("Values of an AsyncClient's imap() come by `async for`.")
            self.feed.connection.check_may_wait()
            bell, feed = self.feed.results, self.feed
            nesting.wait_for(feed.connection, bell, self._knows_next, None, feed.next_tasks)
        value = self._take()
        if value is _END:
            raise StopIteration
        return value

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        self.feed.connection.hurry()
        await self.feed.results.wait_async(self._knows_next, self.feed.connection.check)
        value = self._take()
        if value is _END:
            raise StopAsyncIteration
        return value

    def _knows_next(self) -> bool:
        return bool(self._values) or self.feed.has_next()

    def _take(self) -> Any:
        while not self._values:
            task = self.feed.first()
            if task is None:
                return self._end()
            # It may take long: an interrupted one is still the next.
            value, error = task.outcome()
            self.feed.take()
            if error is not None and not self._return_exceptions:
                raise error.with_traceback(None)
            if error is None and self._chunked:
                self._values.extend(value)
            else:
                self._values.append(value if error is None else error)
        return self._values.popleft()

    def _end(self) -> object:
        broken, self.feed.broken = self.feed.broken, None
        if broken is not None and not self.feed.is_cancelled:
            raise broken
        return _END


def _calls(items: Iterator[tuple[Any, ...]], size: int) -> Iterator[Call]:
    if size == 1:
        yield from ((arguments, {}) for arguments in items)
        return
    while True:
        chunk: list[tuple[Any, ...]] = []
        try:
            chunk.extend(islice(items, size))
        finally:
            # Also when the input fails in the middle: what came before it is not lost.
            if chunk:
                yield tuple(zip(*chunk, strict=True)), {}
        if len(chunk) < size:
            return
