"""Answers of the controller that may not be there yet."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, TypeVar, cast

from ipyviews.errors import ClusterError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from ipyviews.client.connection import Connection

T = TypeVar("T")
U = TypeVar("U")

#: How long an answer may take that needs no work [s].
QUICK_S = 60.0


class ClientClosed(ClusterError, RuntimeError, OSError):
    """A `ClusterError` that is also what closed sockets raise in the seeds."""


class NoAnswer(ClusterError, TimeoutError):
    """A `ClusterError` that is also a TimeoutError."""


class Answer(Future[T]):
    """What the controller answers to a request: a future that can also be awaited.

    It ends with the answer, or with the reason why there will be none.

    Parameters
    ----------
    connection
        Whose request.
    what
        The name of the request, for people.
    limit_s
        How long `result` waits if nothing else is said [s]; None for no limit.
    """

    def __init__(
        self, connection: Connection, what: str = "", limit_s: float | None = QUICK_S
    ) -> None:
        super().__init__()
        self._connection = connection
        self.what = what
        self.limit_s = limit_s
        #: A sentence for who has waited so long in vain.
        self.advice = ""
        # Readable without the lock of the base class; see `ipyviews.client.bell`.
        self._outcome: tuple[T | None, Exception | None] | None = None
        # Marked as running: an asyncio waiter that is cancelled must not cancel it for the others.
        self.set_running_or_notify_cancel()

    def settle(self, answer: T | Exception) -> None:
        """Give the answer, or the error that is it."""
        if isinstance(answer, Exception):
            self._outcome = (None, answer)
            self.set_exception(answer)
        else:
            self._outcome = (answer, None)
            self.set_result(answer)
        self._connection.ledger.bell.ring()

    def done(self) -> bool:
        """Whether it is there, or will never be."""
        return self._outcome is not None

    def then(self, change: Callable[[T], U]) -> Answer[U]:
        """Return an answer that is this one's, changed; `change` runs in the I/O thread."""
        changed: Answer[U] = Answer(self._connection, self.what, self.limit_s)
        changed.advice = self.advice

        def pass_on(_: Future[T]) -> None:
            try:
                changed.settle(change(self.result()))
            except Exception as error:  # noqa: BLE001 - handed to whoever waits
                changed.settle(error)

        self.add_done_callback(pass_on)
        return changed

    def wait(self, timeout_s: float | None) -> bool:
        """Wait for the answer; False after `timeout_s` [s].

        Raises
        ------
        ClusterError
            Nobody is left who could give it.
        UsageError
            In a callback of a result, which must not wait.
        """
        if self.done():
            return True
        connection = self._connection
        connection.check_may_wait()
        look = connection.check_thread
        return connection.ledger.bell.wait_for(self.done, timeout_s, look)

    def result(self, timeout: float | None = None) -> T:
        """Return the answer.

        Parameters
        ----------
        timeout
            Longest wait [s]; None for what suits the request.

        Raises
        ------
        TimeoutError
            It has not come in time.
        """
        value, error = self._settled(timeout)
        if error is not None:
            raise error
        return cast("T", value)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Return the reason why there is no answer, or None; waits as `result`."""
        return self._settled(timeout)[1]

    def _settled(self, timeout: float | None) -> tuple[T | None, Exception | None]:
        limit = self.limit_s if timeout is None else timeout
        if not self.wait(limit) or self._outcome is None:
            raise TimeoutError(self.late(limit))
        return self._outcome

    def late(self, limit_s: float | None) -> str:
        """Say that it has not come."""
        late = f"The controller did not answer {self.what!r} within {limit_s or 0:g} s."
        return f"{late} {self.advice}".rstrip()

    def __await__(self) -> Generator[Any, None, T]:
        return self._awaited().__await__()

    async def _awaited(self) -> T:
        future = asyncio.wrap_future(self)
        await asyncio.wait({future}, timeout=self.limit_s)
        if not future.done():
            future.cancel()
            raise TimeoutError(self.late(self.limit_s))
        return future.result()


class Watches:
    """Who waits for what a change of the engines may bring. Only the I/O thread uses it."""

    def __init__(self) -> None:
        self._watched: list[tuple[Callable[[], bool], Answer[None]]] = []

    def add(self, look: Callable[[], bool], answer: Answer[None]) -> None:
        """Settle `answer` as soon as `look` is true or raises."""
        self._watched.append((look, answer))
        self.look()

    def look(self) -> None:
        """Look at everything again."""
        for look, answer in list(self._watched):
            try:
                is_over, why = look(), None
            except Exception as error:  # noqa: BLE001 - handed to whoever waits
                is_over, why = True, error
            if is_over:
                self._end(answer, why)

    def give_up(self, answer: Answer[None], late: Callable[[], str]) -> None:
        """Settle an answer with a `TimeoutError`, if it is not settled."""
        if not answer.done():
            self._end(answer, TimeoutError(late()))

    def leave(self) -> list[Answer[None]]:
        """Return all who wait and forget them."""
        waiting, self._watched = self._watched, []
        return [answer for _, answer in waiting]

    def _end(self, answer: Answer[None], why: Exception | None) -> None:
        self._watched = [entry for entry in self._watched if entry[1] is not answer]
        answer.settle(why)
