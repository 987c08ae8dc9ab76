"""Waiting for tasks, from any thread or with await."""

from __future__ import annotations

import asyncio
import warnings
from concurrent import futures
from typing import TYPE_CHECKING, Any

from ipyviews.client import nesting
from ipyviews.client.bell import Bell
from ipyviews.client.pending import Pending
from ipyviews.client.tasks import Task
from ipyviews.errors import (
    ClusterError,
    CompositeError,
    IPyViewsError,
    RemoteError,
    UsageError,
)
from ipyviews.protocol.payload import StaysHere

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from ipyviews.client.connection import Connection
    from ipyviews.client.session import Session

_ONLY_THE_WAITING = (
    "Only the waiting was interrupted: the engines go on, and this result still comes; "
    "cancel() stops it."
)


class Waitable(StaysHere, Pending):
    """Waits for tasks and collects their values; what `AsyncResult` is built on."""

    _remedy = "Send its value, get()"

    #: Rung at the end of each task, and of the last one; made when somebody waits.
    _bells: tuple[Bell, Bell] | None = None

    def __init__(  # noqa: PLR0917 - as `AsyncResult`
        self,
        client: Session,
        children: Task | str | Sequence[Task | str],
        fname: str = "unknown",
        targets: Any = None,
        owner: bool = False,
        return_exceptions: bool = False,
    ) -> None:
        super().__init__()
        self._client = client
        self._single = isinstance(children, (Task, str))
        named = [children] if isinstance(children, (Task, str)) else children
        #: The tasks it waits for, in the order of the values.
        self.tasks = [one if isinstance(one, Task) else client.task(one) for one in named]
        #: Of use in ipyparallel, whose clients keep results; here the values are the result's own.
        self.owner = owner
        self._fname = fname
        self._targets = targets
        self._return_exceptions = return_exceptions
        self._value_in_list = False
        self._value: tuple[Any] | None = None
        self._error: Exception | None = None
        self._is_done = False
        self._finished: list[Task] = []
        watcher = self._task_done
        for task in self.tasks:
            task.watch(watcher)
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

    @property
    def sent(self) -> bool:
        """Whether what was passed may be changed now: it has been sent, or never will be."""
        latest = self._connection.ledger.sent
        return all(task.done or task.request <= latest for task in self.tasks)

    def wait_for_send(self, timeout: float | None = -1) -> None:
        """Wait until what was passed to the call may be changed.

        Raises
        ------
        TimeoutError
            It was not sent within `timeout` [s].
        """
        if not (self.sent or self._connection.wait_for(lambda: self.sent, limit_s(timeout))):
            raise TimeoutError("Still waiting to be sent")

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
            A constant of `concurrent.futures`: with ``FIRST_EXCEPTION`` it raises as soon as one
            task has failed; with ``FIRST_COMPLETED`` it warns, and waits for all.

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
        if return_when == futures.FIRST_COMPLETED:
            warnings.warn("get() cannot return a part: it waits for all tasks.", stacklevel=2)
            return_when = None
        try:
            ready = self._await_enough(return_when or futures.ALL_COMPLETED, limit_s(timeout))
        except KeyboardInterrupt:
            raise KeyboardInterrupt(_ONLY_THE_WAITING) from None
        if not ready:
            raise TimeoutError("Result not ready.")
        keep = self._return_exceptions if return_exceptions is None else return_exceptions
        if keep:
            return self._all_values()
        if (error := self._failure()) is not None:
            try:
                raise error  # noqa: TRY301 - here its traceback begins
            except Exception:
                # So that the traceback has no frame of ours.
                error.__traceback__ = None
                raise
        return self._good_values()

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
        # Not at once: what else is about to call, as in a `gather`, does so first.
        asyncio.get_running_loop().call_soon(self._connection.hurry)
        with self._connection.nesting.waiting() as update:
            update(self.tasks)
            return (yield from asyncio.wrap_future(self).__await__())

    # -- stopping -----------------------------------------------------------------------------

    def cancel(self) -> bool:
        """Stop it: queued tasks are dropped, running ones interrupted. Does not wait.

        Returns
        -------
        bool
            False if it is done already. The result becomes a `TaskAborted`.
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
        with self._condition:
            self._finished.append(task)
            is_last = len(self._finished) == len(self.tasks)
        try:
            if is_last:
                self._end()
        finally:
            # Also when a callback leaves with SystemExit.
            self._ring(is_last=is_last)

    def _ring(self, *, is_last: bool) -> None:
        if self._bells is not None:
            self._bells[0].ring()
            if is_last:
                self._bells[1].ring()

    def _end(self) -> None:
        self._is_done = True
        # The state is for those who only look at it; the value is decoded when asked for.
        if self._has_failed() and not self._return_exceptions:
            self.set_exception(IPyViewsError(f"{self._fname} failed"))
        else:
            self.set_result(None)

    def _has_failed(self) -> bool:
        if self._single:
            return self._is_done and self.tasks[0].status != "ok"
        return any(task.status != "ok" for task in self._finished)

    def _await_done(self, timeout_s: float | None) -> bool:
        # Woken by each task, it would compete with the thread that takes their replies in.
        return self._await(self.done, timeout_s, at_last=True)

    def _await_enough(self, return_when: str, timeout_s: float | None) -> bool:
        """Wait for what a constant of `concurrent.futures` says."""
        if return_when == futures.ALL_COMPLETED:
            return self._await_done(timeout_s)
        if return_when == futures.FIRST_EXCEPTION:
            return self._await(lambda: self.done() or self._has_failed(), timeout_s)
        if return_when == futures.FIRST_COMPLETED:
            return self._await(lambda: self.done() or bool(self._finished), timeout_s)
        raise UsageError(
            "return_when must be ALL_COMPLETED, FIRST_COMPLETED or FIRST_EXCEPTION, not "
            f"{return_when!r}."
        )

    def _await(
        self, predicate: Callable[[], bool], timeout_s: float | None, *, at_last: bool = False
    ) -> bool:
        if predicate():
            return True
        if timeout_s == 0:
            return False
        self._connection.check_may_wait()
        with self._condition:
            bells = self._bells = self._bells or (Bell(), Bell())
        connection, bell = self._connection, bells[at_last]
        return nesting.wait_for(connection, bell, predicate, timeout_s, lambda: self.tasks)

    def _failure(self) -> Exception | None:
        """Return the error of the tasks that have ended by now."""
        if (
            self._value is None
            and self._error is None
            and (self._has_failed() or self._cannot_be_read())
        ):
            ended = [task for task in self.tasks if task.done]
            error = self._composite(ended)
            if len(ended) < len(self.tasks):
                return error
            self._error = error
        return self._error

    def _cannot_be_read(self) -> bool:
        """Whether something arrived that cannot be unpickled here."""
        if not self._is_done:
            return False
        if self._single:
            return self.tasks[0].outcome()[1] is not None
        return any(task.outcome()[1] is not None for task in self.tasks)

    def _composite(self, tasks: Sequence[Task]) -> Exception:
        found = [error for _, error in (task.outcome() for task in tasks) if error is not None]
        # What ended all tasks at once, a lost controller, is one failure, not many.
        first = found[0]
        if self._single and isinstance(first, RemoteError):
            first.tell(first.traceback)
        is_one = len(found) > 1 or isinstance(first, ClusterError)
        if self._single or (is_one and all(error is first for error in found)):
            return first
        engines = {task.engine for task in self.tasks}
        total = len(engines) if len(engines) == len(self.tasks) else None
        return CompositeError(f"one or more exceptions raised in: {self._fname}", found, total)

    def _good_values(self) -> Any:
        if self._value is None:
            self._value = (self._all_values(),)
        return self._value[0]

    def _all_values(self) -> Any:
        return self._reassemble([_value_or_error(task) for task in self.tasks])

    def _reassemble(self, values: list[Any]) -> Any:
        if not self._single:
            return values
        return values if self._value_in_list else values[0]


def _value_or_error(task: Task) -> Any:
    value, error = task.outcome()
    return value if error is None else error


def limit_s(timeout: float | None) -> float | None:
    """Return a time-out of the seeds (None or negative: no limit) as seconds or None."""
    return None if timeout is None or timeout < 0 else timeout
