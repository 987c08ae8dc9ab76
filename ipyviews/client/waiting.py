"""Waiting for tasks, from any thread or with await."""

from __future__ import annotations

import asyncio
import threading
from concurrent import futures
from typing import TYPE_CHECKING, Any

from ipyviews.client.bell import Bell
from ipyviews.client.tasks import Task
from ipyviews.errors import CompositeError, IPyViewsError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from ipyviews.client.connection import Connection
    from ipyviews.client.session import Session

_ONLY_THE_WAITING = (
    "Only the waiting was interrupted: the engines go on, and this result still comes; "
    "cancel() stops it."
)


class Waitable(futures.Future[Any]):
    """Waits for tasks and collects their values; what `AsyncResult` is built on."""

    def __init__(
        self,
        client: Session,
        children: Task | Sequence[Task],
        fname: str = "unknown",
        *,
        targets: Any = None,
        return_exceptions: bool = False,
    ) -> None:
        super().__init__()
        self._client = client
        self._single = isinstance(children, Task)
        #: The tasks it waits for, in the order of the values.
        self.tasks = [children] if isinstance(children, Task) else list(children)
        self._fname = fname
        self._targets = targets
        self._return_exceptions = return_exceptions
        self._value: tuple[Any] | None = None
        self._error: Exception | None = None
        self._lock = threading.Lock()
        self._bell = Bell()
        self._is_done = False
        self._finished: list[Task] = []
        self.set_running_or_notify_cancel()
        for task in self.tasks:
            task.watch(self._task_done)
        if not self.tasks:
            self._end()

    # -- waiting ------------------------------------------------------------------------------

    def done(self) -> bool:
        """Whether every task has ended."""
        # Without the lock of the base class, for the reason told in `ipyviews.client.bell`.
        return self._is_done

    def ready(self) -> bool:
        """Whether every task has ended."""
        return self.done()

    def successful(self) -> bool:
        """Whether no task failed.

        Raises
        ------
        RuntimeError
            Before it is done.
        """
        if not self.done():
            raise RuntimeError("Cannot check successful() if not done.")
        return self._failure() is None

    def wait(self, timeout: float | None = -1) -> Any:
        """Wait until done, or for `timeout` [s]; None or a negative number waits on."""
        return self._await_done(limit_s(timeout))

    def wait_for_output(self, timeout: float | None = -1) -> bool:
        """Wait until all output has arrived; it always precedes the results."""
        return self._await_done(limit_s(timeout))

    def get(
        self,
        timeout: float | None = None,
        return_exceptions: bool | None = None,
        return_when: str | None = None,
    ) -> Any:
        """Return the result.

        Parameters
        ----------
        timeout
            Longest wait [s]; None or a negative number waits on.
        return_exceptions
            Errors take the place of values instead of being raised.
        return_when
            ``FIRST_EXCEPTION`` of `concurrent.futures`: raise as soon as one task has failed.

        Raises
        ------
        TimeoutError
            It is not ready.
        RemoteError
            The one task failed.
        CompositeError
            Some of several tasks failed.
        KeyboardInterrupt
            The waiting was interrupted, not the work.
        """
        limit = limit_s(timeout)
        try:
            if return_when == futures.FIRST_EXCEPTION:
                ready = self._await(lambda: self._left() == 0 or self._has_failed(), limit)
            else:
                ready = self._await_done(limit)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(_ONLY_THE_WAITING) from None
        if not ready:
            raise TimeoutError("Result not ready.")
        if self._left() and return_when:
            raise self._composite([task for task in self.tasks if task.done])
        keep = self._return_exceptions if return_exceptions is None else return_exceptions
        return self._all_values() if keep else self._good_values()

    @property
    def r(self) -> Any:
        """The result; waits for it."""
        return self.get()

    def result(self, timeout: float | None = None) -> Any:
        """Return the result; as `get`."""
        return self.get(timeout)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Return the error that `get` would raise, or None."""
        if not self._await_done(limit_s(timeout)):
            raise TimeoutError("Result not ready.")
        return None if self._return_exceptions else self._failure()

    def add_done_callback(self, fn: Callable[[futures.Future[Any]], object]) -> None:
        """Call `fn` with this result in the client's I/O thread when it is done."""
        if getattr(fn, "__module__", None) == "asyncio.tasks":
            raise UsageError(
                "asyncio.wait() cannot take this result: give it asyncio.wrap_future(ar)."
            )
        super().add_done_callback(fn)

    def __await__(self) -> Generator[Any, None, Any]:
        return asyncio.wrap_future(self).__await__()

    # -- stopping -----------------------------------------------------------------------------

    def cancel(self) -> bool:
        """Stop it: queued tasks are dropped, running ones interrupted. Does not wait.

        Returns
        -------
        bool
            False if it is done already. The result becomes a `TaskAborted` or, from an
            interrupted task, an error that is a KeyboardInterrupt's.
        """
        waiting = [task.id for task in self.tasks if not task.done]
        if waiting:
            self._connection.request("cancel", tasks=waiting)
        return bool(waiting)

    def abort(self) -> None:
        """Stop it, and wait until the controller has taken note.

        Raises
        ------
        RuntimeError
            It is done already.
        """
        waiting = [task.id for task in self.tasks if not task.done]
        if not waiting:
            raise RuntimeError("Can't abort, I am already done!")
        self._connection.ask("cancel", tasks=waiting)

    # -- inside -------------------------------------------------------------------------------

    @property
    def _connection(self) -> Connection:
        return self._client.connection

    def _task_done(self, task: Task) -> None:
        with self._lock:
            self._finished.append(task)
            is_last = len(self._finished) == len(self.tasks)
        if is_last:
            self._end()
        self._bell.ring()

    def _end(self) -> None:
        self._is_done = True
        # The state is for those who only look at it; the value is decoded when asked for.
        if self._has_failed() and not self._return_exceptions:
            self.set_exception(IPyViewsError(f"{self._fname} failed"))
        else:
            self.set_result(None)

    def _left(self) -> int:
        return len(self.tasks) - len(self._finished)

    def _has_failed(self) -> bool:
        return any(task.status != "ok" for task in self._finished)

    def _await_done(self, timeout_s: float | None) -> bool:
        return self._await(self.done, timeout_s)

    def _await(self, predicate: Callable[[], bool], timeout_s: float | None) -> bool:
        if predicate():
            return True
        if timeout_s == 0:
            return False
        self._connection.check_may_wait()
        return self._bell.wait_for(predicate, timeout_s, self._connection.check_thread)

    def _failure(self) -> Exception | None:
        if self._error is None and self._has_failed():
            self._error = self._composite(self.tasks)
        return self._error

    def _composite(self, tasks: Sequence[Task]) -> Exception:
        found = [error for _, error in (task.outcome() for task in tasks) if error is not None]
        # Whatever ended all tasks at once, a lost controller, is one failure, not many.
        if self._single or (all(error is found[0] for error in found[1:]) and len(found) > 1):
            return found[0]
        engines = {task.engine for task in self.tasks}
        total = len(engines) if len(engines) == len(self.tasks) else None
        return CompositeError(f"one or more exceptions raised in: {self._fname}", found, total)

    def _good_values(self) -> Any:
        if self._value is None:
            outcomes = [task.outcome() for task in self.tasks]
            if any(error is not None for _, error in outcomes):
                self._error = self._error or self._composite(self.tasks)
                raise self._error.with_traceback(None)
            self._value = (self._reassemble([value for value, _ in outcomes]),)
        return self._value[0]

    def _all_values(self) -> Any:
        outcomes = [task.outcome() for task in self.tasks]
        return self._reassemble([value if error is None else error for value, error in outcomes])

    def _reassemble(self, values: list[Any]) -> Any:
        return values[0] if self._single else values


def limit_s(timeout: float | None) -> float | None:
    """Return a time-out of the seeds (None or negative: no limit) as seconds or None."""
    return None if timeout is None or timeout < 0 else timeout
