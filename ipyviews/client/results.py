"""What views return: results that may not be there yet."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from concurrent import futures
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from ipyviews.client import display, live
from ipyviews.client.metadata import METADATA_KEYS
from ipyviews.client.progress import Tally, bar
from ipyviews.client.waiting import Waitable, limit_s

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence

    from ipyviews.client.metadata import Metadata
    from ipyviews.client.session import Session
    from ipyviews.client.tasks import Task

_NOT_ITERABLE = "AsyncResults with a single result are not iterable."


class AsyncResult(Waitable):
    """The result of a call or cell on one engine or several.

    A `concurrent.futures.Future` that can also be awaited and iterated, with ``for`` and
    ``async for``. Made by views. A result of one task (a view of one engine, a load-balanced call)
    is a bare value; of several, a list in the order of the targets. What is known of the tasks is
    in attributes named as the keys of `metadata`: of one task bare, of several a list.

    Parameters
    ----------
    client
        The client that submitted it.
    children
        One task or id of one, for a bare value; or several, for a list.
    fname
        What ran, for people.
    targets
        The engines meant, for people.
    owner
        Accepted for compatibility: the values are always the result's own.
    return_exceptions
        Errors take the place of values instead of being raised.
    chunk_sizes
        How many items each task has [count]; None if every task is one item.

    Examples
    --------
    >>> async def main(rc):
    ...     result = rc[:].apply_async(pow, 2, 5)
    ...     async for value in result:
    ...         print(value)
    ...     return await result
    """

    def __init__(  # noqa: PLR0917 - the signature of the seeds
        self,
        client: Session,
        children: Task | str | Sequence[Task | str],
        fname: str = "unknown",
        targets: Any = None,
        owner: bool = False,
        return_exceptions: bool = False,
        chunk_sizes: Sequence[int] | None = None,
    ) -> None:
        self._sizes = None if chunk_sizes is None else list(chunk_sizes)
        super().__init__(client, children, fname, targets, owner, return_exceptions)

    def wait(self, timeout: float | None = -1, return_when: str | None = None) -> Any:
        """Wait until done, or for `timeout` [s]; None or a negative number waits on.

        Returns
        -------
        bool, or (set of done, set of pending)
            Whether it is done; with `return_when`, a constant of `concurrent.futures`, the
            results of the single tasks.
        """
        if return_when is None:
            return self._await_done(limit_s(timeout))
        self._await_enough(return_when, limit_s(timeout))
        parts = set(self.split())
        done = {part for part in parts if part.done()}
        return done, parts - done

    def get_dict(self, timeout: float | None = -1) -> dict[int, Any]:
        """Return the results by engine id.

        Raises
        ------
        ValueError
            If two tasks ran on the same engine.
        """
        self.get(timeout)
        engines = [-1 if task.engine is None else task.engine for task in self.tasks]
        for engine, count in Counter(engines).items():
            if count > 1:
                raise ValueError(f"Cannot build dict, {count} jobs ran on engine #{engine}")
        return {engine: self._one(task) for engine, task in zip(engines, self.tasks, strict=True)}

    @property
    def result_dict(self) -> dict[int, Any]:
        """The results by engine id; waits for them."""
        return self.get_dict()

    def wait_interactive(
        self,
        interval: float = 0.1,
        timeout: float | None = -1,
        widget: bool | None = None,
        return_when: str = futures.ALL_COMPLETED,
    ) -> None:
        """Wait with a progress bar until done or for `timeout` [s].

        Parameters
        ----------
        interval
            Time between two looks [s].
        timeout
            Longest wait [s]; None or a negative number waits on. Its end raises nothing.
        widget
            Whether the bar is a widget of tqdm, which needs ipywidgets; else it is plain text,
            updated in place.
        return_when
            A constant of `concurrent.futures`: what ends the wait.
        """
        limit = limit_s(timeout)
        deadline = None if limit is None else time.monotonic() + limit
        began = time.time() - self.elapsed
        with bar(self.tally(), self._fname, began=began, widget=widget) as draw:
            left = interval
            while left > 0 and not self._await_enough(return_when, left):
                draw()
                left = interval if deadline is None else min(interval, deadline - time.monotonic())

    # -- parts --------------------------------------------------------------------------------

    def split(self) -> tuple[AsyncResult, ...]:
        """Return one result for each task."""
        if self._single:
            return (self,)
        keep = self._return_exceptions
        return tuple(
            AsyncResult(self._client, task, self._fname, return_exceptions=keep)
            for task in self.tasks
        )

    @classmethod
    def join(cls, *results: AsyncResult) -> AsyncResult:
        """Make one result of several."""
        if not results:
            raise ValueError("Must be given at least one AsyncResult to join.")
        first = results[0]
        if len(results) == 1:
            return first
        tasks = [task for result in results for task in result.tasks]
        keep = first._return_exceptions  # noqa: SLF001 - of the same class
        return AsyncResult(first._client, tasks, first._fname, return_exceptions=keep)  # noqa: SLF001

    @property
    def msg_ids(self) -> list[str]:
        """The ids of the tasks."""
        return [task.id for task in self.tasks]

    @property
    def attempts(self) -> list[Any]:
        """Each run, ``[engine, incarnation, started, ended, outcome]``; of several, a list each.

        Times are seconds since the epoch; a task that was run again has several runs.
        """
        runs = [list(task.attempts) for task in self.tasks]
        return runs[0] if self._single else runs

    @property
    def metadata(self) -> Metadata | list[Metadata]:
        """What is known of the task, or a list for several; also before it is done."""
        known = [task.metadata() for task in self.tasks]
        return known[0] if self._single else known

    def __len__(self) -> int:
        return len(self.tasks) if self._sizes is None else sum(self._sizes)

    def __bool__(self) -> bool:
        return True

    def __getitem__(self, key: int | slice | str) -> Any:
        if isinstance(key, str):
            return self._field(key)
        if not isinstance(key, int | slice):
            raise TypeError(f"Invalid key type {type(key)!r}, must be 'int','slice', or 'str'")
        if not self.done():
            raise TimeoutError("Result not ready.")
        values = self.get()
        return ([values] if self._single else values)[key]

    def __getattr__(self, name: str) -> Any:
        if name not in METADATA_KEYS:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return self._field(name)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *METADATA_KEYS})

    def __iter__(self) -> Iterator[Any]:
        if self._single:
            raise TypeError(_NOT_ITERABLE)
        return self._values_of(self._awaited())

    def __aiter__(self) -> AsyncIterator[Any]:
        if self._single:
            raise TypeError(_NOT_ITERABLE)
        return self._async_values()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}({self._fname}): {self._state_now()}>"

    def _repr_mimebundle_(self, **_wanted: object) -> dict[str, str]:
        return {"text/plain": repr(self), "text/html": self._repr_html_()}

    def _repr_html_(self) -> str:
        return display.summary(
            f"{type(self).__name__}({self._fname})",
            self._state_now(),
            f"{self.progress} of {len(self)}, {self.elapsed:.3g} s",
            {
                "failed": [task.engine for task in self.tasks if task.status not in ("ok", None)],
                "unfinished": [task.engine for task in self.tasks if not task.done],
            },
        )

    # -- time ---------------------------------------------------------------------------------

    @property
    def progress(self) -> int:
        """How many have ended, of ``len(self)``. [count]."""
        if self._sizes is None:
            return len(self._finished)
        sizes = {task.id: size for task, size in zip(self.tasks, self._sizes, strict=True)}
        return sum(sizes[task.id] for task in list(self._finished))

    def tally(self) -> Tally:
        """Return what counts the ended, failed and all items, cheaply again and again."""
        return Tally(self.tasks, self._finished, self._sizes)

    @property
    def elapsed(self) -> float:
        """Seconds since the first was submitted; `wall_time` once it is done."""
        if self.done() and self.tasks:
            return self.wall_time
        return time.time() - min((task.submitted for task in self.tasks), default=time.time())

    @property
    def serial_time(self) -> float:
        """Sum of the run times of all tasks [s]."""
        self._require_ready()
        return sum(
            task.completed - task.started
            for task in self.tasks
            if task.completed is not None and task.started is not None
        )

    @property
    def wall_time(self) -> float:
        """Seconds from the first submission to the last arrival."""
        self._require_ready()
        submitted = min((task.submitted for task in self.tasks), default=0.0)
        return max((task.received or submitted for task in self.tasks), default=0.0) - submitted

    def timedelta(
        self,
        start: datetime | Sequence[datetime],
        end: datetime | Sequence[datetime],
        start_key: Callable[[Sequence[datetime]], datetime] = min,
        end_key: Callable[[Sequence[datetime]], datetime] = max,
    ) -> float:
        """Return the seconds between two times, or between the ends of two lists of them."""
        first = start if isinstance(start, datetime) else start_key(start)
        last = end if isinstance(end, datetime) else end_key(end)
        return (last - first).total_seconds()

    # -- showing ------------------------------------------------------------------------------

    def display_outputs(
        self,
        groupby: str = "type",
        result_only: bool = False,
        *,
        labelled: bool | None = None,
        fold: bool = False,
    ) -> None:
        """Show what the tasks wrote, labelled by engine.

        Parameters
        ----------
        groupby
            ``"type"``: all printed text, then displays, then values; ``"engine"``: engine by
            engine; ``"order"``: as type, but the first display of each engine, then the second, …
        result_only
            Values only.
        labelled
            Whether text says which engine wrote it; if None, that of several tasks does.
        fold
            Whether equal output of several engines is shown once, ``[stdout:0-3]``.

        Raises
        ------
        TimeoutError
            It is not ready.
        ValueError
            Another `groupby`.
        """
        self._require_ready()
        labelled = not self._single if labelled is None else labelled
        display.show(self.tasks, groupby, labelled=labelled, result_only=result_only, fold=fold)

    @contextmanager
    def stream_output(self, fold: bool = False, sink: display.Sink | None = None) -> Iterator[None]:
        """Show output as it comes, until the end of the block; first what has come already.

        Parameters
        ----------
        fold
            Whether equal output of several engines is shown once, ``[stdout:0-3]``; for that a
            line waits a tenth of a second.
        sink
            Where to; under the running cell, or to the terminal, if None.
        """
        shown = live.follow(self._connection, self.tasks, fold=fold, sink=sink)
        try:
            yield
        finally:
            self._connection.ledger.mute(self.tasks, shown)
            shown.flush()

    def show_output(self, fold: bool = False, sink: display.Sink | None = None) -> None:
        """Show output under the running cell from now on, also when later cells have run.

        What threads and callbacks write after the end is shown there, too, where their kernel
        says that it belongs to this.

        Parameters
        ----------
        fold, sink
            As in `stream_output`.
        """
        live.follow(self._connection, self.tasks, fold=fold, sink=sink)

    # -- inside -------------------------------------------------------------------------------

    def _require_ready(self) -> None:
        if not self.done():
            raise TimeoutError("result not ready")

    def _field(self, key: str) -> Any:
        known = [task.metadata()[key] for task in self.tasks]
        return known[0] if self._single else known

    def _state_now(self) -> str:
        if not self.done():
            return "pending"
        return "failed" if self._has_failed() else "finished"

    def _awaited(self) -> Iterator[Task]:
        """Give the tasks as they are wanted, each when it is done."""
        for task in self.tasks:
            self._await(partial(getattr, task, "done"), None)
            yield task

    async def _awaited_async(self) -> AsyncIterator[Task]:
        arrivals = Arrivals(self.tasks)
        for task in self.tasks:
            while not task.done:
                await arrivals.next()
            yield task

    def _values_of(self, tasks: Iterator[Task]) -> Iterator[Any]:
        return (self._one(task) for task in tasks)

    async def _async_values(self) -> AsyncIterator[Any]:
        async for task in self._awaited_async():
            for value in self._values_of(iter((task,))):
                yield value

    def _one(self, task: Task) -> Any:
        value, error = task.outcome()
        if error is None:
            return value
        if self._return_exceptions:
            return error
        raise self._composite([task])


class Arrivals:
    """What wakes a coroutine at each end of a task; those that have ended already count too."""

    def __init__(self, tasks: Sequence[Task]) -> None:
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[None] = asyncio.Queue()
        for task in tasks:
            task.watch(self._arrived)

    async def next(self) -> None:
        """Wait until one more has ended."""
        await self._queue.get()

    def _arrived(self, _task: Task) -> None:
        # The loop may be closed by now: then nobody waits.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._queue.put_nowait, None)
