"""What views return: results that may not be there yet."""

from __future__ import annotations

import time
from concurrent import futures
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ipyviews.client import display
from ipyviews.client.tasks import METADATA_KEYS
from ipyviews.client.waiting import Waitable, limit_s

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ipyviews.client.tasks import Metadata, Task


class AsyncResult(Waitable):
    """The result of a call or cell on one engine or several.

    A `concurrent.futures.Future` that can also be awaited. Made by views. A result of one task
    (a view of one engine, a load-balanced call) is a bare value; of several, a list in the order
    of the targets.

    Parameters
    ----------
    client
        The client that submitted it.
    children
        One task, for a bare value; or several, for a list.
    fname
        What ran, for people.
    targets
        The engines meant, for people.
    return_exceptions
        Errors take the place of values instead of being raised.
    """

    def wait(self, timeout: float | None = -1, return_when: str | None = None) -> Any:
        """Wait until done, or for `timeout` [s]; None or a negative number waits on.

        Returns
        -------
        bool, or (set of done, set of pending)
            Whether it is done; with `return_when`, a constant of `concurrent.futures`, the
            results of the single tasks.
        """
        if return_when is None:
            return super().wait(timeout)
        self._connection.check_may_wait()
        return futures.wait(self.split(), limit_s(timeout), return_when)

    def get_dict(self, timeout: float | None = -1) -> dict[int, Any]:
        """Return the results by engine id.

        Raises
        ------
        ValueError
            If two tasks ran on the same engine.
        """
        results = self.get(timeout)
        values = [results] if self._single else results
        found: dict[int, Any] = {}
        for task, value in zip(self.tasks, values, strict=True):
            engine = -1 if task.engine is None else task.engine
            if engine in found:
                count = sum(other.engine == engine for other in self.tasks)
                raise ValueError(f"Cannot build dict, {count} jobs ran on engine #{engine}")
            found[engine] = value
        return found

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
        """Wait with a progress bar until done or for `timeout` [s]."""
        limit = limit_s(timeout)
        deadline = None if limit is None else time.monotonic() + limit
        enough = return_when == futures.FIRST_COMPLETED
        with display.progress_bar(len(self), self._fname, widget=widget) as bar:
            while not self.done() and not (enough and self.progress):
                left = interval if deadline is None else min(interval, deadline - time.monotonic())
                if left <= 0:
                    break
                self._await_done(left)
                bar.update(self.progress - bar.n)
            bar.update(self.progress - bar.n)

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
        """Each run, ``[engine, incarnation, started, ended, outcome]``; of several, a list each."""
        runs = [task.attempts for task in self.tasks]
        return runs[0] if self._single else runs

    @property
    def metadata(self) -> Metadata | list[Metadata]:
        """What is known of the task, or a list for several; also before it is done."""
        known = [task.metadata() for task in self.tasks]
        return known[0] if self._single else known

    def __len__(self) -> int:
        return len(self.tasks)

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
            raise TypeError("AsyncResults with a single result are not iterable.")
        return self._each(self.tasks)

    def __repr__(self) -> str:
        state = "pending"
        if self.done():
            state = "failed" if self._has_failed() else "finished"
        return f"<{type(self).__name__}({self._fname}): {state}>"

    # -- time ---------------------------------------------------------------------------------

    @property
    def progress(self) -> int:
        """How many have ended. [count]."""
        return len(self._finished)

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

    def display_outputs(self, groupby: str = "type", result_only: bool = False) -> None:
        """Show what the tasks wrote, labelled by engine.

        Parameters
        ----------
        groupby
            ``"type"``: all printed text, then displays, then values; ``"engine"``: engine by
            engine; ``"order"``: as type, but the first display of each engine, then the second, …
        result_only
            Values only.

        Raises
        ------
        TimeoutError
            It is not ready.
        ValueError
            Another `groupby`.
        """
        self._require_ready()
        display.show(self.tasks, groupby, labelled=not self._single, result_only=result_only)

    @contextmanager
    def stream_output(self) -> Iterator[None]:
        """Show output as it comes, until the end of the block; first what has come already."""
        live = display.LiveDisplay(clears=len(self.tasks) == 1)
        ledger = self._connection.ledger
        with ledger.lock:
            for task in self.tasks:
                live.replay(task)
            ledger.listen(self.tasks, live)
        try:
            yield
        finally:
            ledger.mute(self.tasks, live)

    # -- inside -------------------------------------------------------------------------------

    def _require_ready(self) -> None:
        if not self.done():
            raise TimeoutError("result not ready")

    def _field(self, key: str) -> Any:
        known = [task.metadata()[key] for task in self.tasks]
        return known[0] if self._single else known

    def _each(self, tasks: Sequence[Task]) -> Iterator[Any]:
        for task in tasks:
            if not task.done:
                self._await(lambda task=task: task.done, None)  # type: ignore[misc]
            yield self._one(task)

    def _one(self, task: Task) -> Any:
        value, error = task.outcome()
        if error is None:
            return value
        if self._return_exceptions:
            return error
        raise self._composite([task])
