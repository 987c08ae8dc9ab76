"""A view as a `concurrent.futures.Executor`."""

from __future__ import annotations

import warnings
from concurrent.futures import Executor
from typing import TYPE_CHECKING, Any

from ipyviews.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ipyviews.client.base import View
    from ipyviews.client.feed import Feed
    from ipyviews.client.lazymap import LazyMapIterator
    from ipyviews.client.results import AsyncResult


class ViewExecutor(Executor):
    """The interface of PEP 3148 to a view; `View.executor` makes it.

    Its futures are results, for `concurrent.futures.wait` and ``as_completed`` too. Shutting it
    down leaves the engines alone, and it can be used again afterwards, for it belongs to the view.

    Parameters
    ----------
    view
        Where the calls run.

    Examples
    --------
    >>> with rc.load_balanced_view().executor as executor:
    ...     list(executor.map(pow, range(5), [2] * 5))
    [0, 1, 4, 9, 16]
    """

    def __init__(self, view: View) -> None:
        self.view = view
        self._max_workers = len(view)
        self._feeds: set[Feed] = set()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> AsyncResult:
        """Call ``fn(*args, **kwargs)``; as `View.apply_async`."""
        return self.view.apply_async(fn, *args, **kwargs)

    def map(
        self,
        fn: Callable[..., Any],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        **options: Any,
    ) -> LazyMapIterator:
        """Call `fn` for each item; as `View.imap`, and every item is sent in any case.

        Parameters
        ----------
        fn, iterables, options
            As for `View.imap`.
        timeout
            Not used, and a warning says so.
        """
        if timeout is not None:
            warnings.warn(
                "executor.map() does not use its timeout: wait with view.map_async(…).get(timeout)",
                stacklevel=2,
            )
        self._feeds = {feed for feed in self._feeds if not feed.is_over}
        values = self.view.imap(fn, *iterables, **options)
        values.keep_sending()
        self._feeds.add(values.feed)
        return values

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Wait until everything is sent and done; the engines stay.

        Parameters
        ----------
        wait
            Whether to wait at all.
        cancel_futures
            Whether what is not done is cancelled instead.

        Raises
        ------
        UsageError
            `wait` with an AsyncClient, which never blocks.
        """
        if wait and not self.view.client.may_block:
            raise UsageError(
                "The executor of an AsyncClient does not wait: await the results, and then call "
                "executor.shutdown(wait=False)."
            )
        feeds, self._feeds = self._feeds, set()
        for feed in feeds:
            if cancel_futures:
                feed.cancel()
            else:
                feed.send_all()
        if cancel_futures and (unfinished := sorted(self.view.outstanding)):
            self.view.client.connection.request("cancel", tasks=unfinished)
        if wait:
            for feed in feeds:
                feed.wait_until_over()
            self.view.wait()
