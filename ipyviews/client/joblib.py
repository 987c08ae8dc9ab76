"""A view as a backend of joblib, which is an optional extra."""

from __future__ import annotations

import operator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from joblib.parallel import (
    AutoBatchingMixin,
    ParallelBackendBase,
    SequentialBackend,
    register_parallel_backend,
)

from ipyviews.errors import NoEnginesRegistered

if TYPE_CHECKING:
    from collections.abc import Callable

    from ipyviews.client.base import View

    Done = Callable[[Future[Any]], object]


def register_view(name: str, find_view: Callable[[], View], *, make_default: bool = False) -> None:
    """Register a backend that runs on a view.

    Parameters
    ----------
    name
        For ``Parallel(backend=name)`` and ``parallel_config(backend=name)``.
    find_view
        Returns the view when it is first needed.
    make_default
        Whether joblib uses it when no backend is named.
    """
    register_parallel_backend(name, partial(ViewBackend, find_view), make_default=make_default)


class ViewBackend(AutoBatchingMixin, ParallelBackendBase):  # type: ignore[misc] # it has no types
    """Runs joblib's batches as calls of a view.

    Nested parallel calls run one after the other, in the engine where they are made.

    Parameters
    ----------
    find_view
        Returns the view.
    options
        As joblib passes them.
    """

    supports_retrieve_callback = True
    supports_sharedmem = False
    uses_threads = False
    #: All engines, unless told otherwise.
    default_n_jobs = -1

    def __init__(self, find_view: Callable[[], View], **options: Any) -> None:
        super().__init__(**options)
        self._find_view = find_view
        self._pending: set[Future[Any]] = set()
        self._thread: ThreadPoolExecutor | None = None

    @cached_property
    def view(self) -> View:
        """Where the calls run."""
        return self._find_view()

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """Return the number of engines, however many jobs were asked for. [count].

        Raises
        ------
        NoEnginesRegistered
            There is none: joblib would return nothing at all.
        """
        del n_jobs
        if not len(self.view):
            raise NoEnginesRegistered
        return len(self.view)

    def start_call(self) -> None:
        """Begin a parallel call."""
        # joblib's callbacks read results and send more, which no I/O thread may do.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ipyviews-joblib")

    def stop_call(self) -> None:
        """End a parallel call."""
        if self._thread is not None:
            self._thread.shutdown(wait=False)

    def submit(self, func: Callable[[], Any], callback: Done | None = None) -> Future[Any]:
        """Run a batch; its error, also one of sending it, is the future's."""
        future: Future[Any]
        try:
            future = self.view.apply_async(operator.call, func)
        except Exception as error:  # noqa: BLE001 - here joblib would wait for ever
            future = Future()
            future.set_exception(error)
        self._pending.add(future)
        future.add_done_callback(partial(self._ended, callback))
        return future

    #: The name in joblib before 1.5.
    apply_async = submit

    def retrieve_result_callback(self, out: Future[Any]) -> Any:
        """Return a batch's results."""
        return out.result()

    def abort_everything(self, ensure_ready: bool = True) -> None:
        """Cancel what is not done."""
        del ensure_ready
        pending, self._pending = self._pending, set()
        connection = self.view.client.connection
        tasks = [name for future in pending for name in getattr(future, "msg_ids", ())]
        if tasks and connection.failure is None:
            connection.request("cancel", tasks=tasks)

    def get_nested_backend(self) -> tuple[Any, None]:
        """Return what parallel calls inside a batch use."""
        return SequentialBackend(nesting_level=(self.nesting_level or 0) + 1), None

    def _ended(self, callback: Done | None, future: Future[Any]) -> None:
        self._pending.discard(future)
        if callback is not None and self._thread is not None:
            # After the end of the call nobody wants to know any more.
            with suppress(RuntimeError):
                self._thread.submit(callback, future)
