"""The result of a map."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from typing import TYPE_CHECKING, Any

from ipyviews.client.partition import join
from ipyviews.client.results import Arrivals, AsyncResult

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from ipyviews.client.session import Session
    from ipyviews.client.tasks import Task


class AsyncMapResult(AsyncResult):
    """The result of a map: a list of what the function returned for each item, in order.

    Iterating yields items as they come: in order, or, with ``ordered=False``, those that are
    finished first.

    Parameters
    ----------
    client, children, fname, return_exceptions
        As for `AsyncResult`.
    sizes
        How many items each task has [count]; None if every task is one item.
    ordered
        Whether iteration keeps the order of the input.
    dist
        How the items were dealt to the tasks; see `ipyviews.client.partition`.
    """

    def __init__(
        self,
        client: Session,
        children: Sequence[Task],
        fname: str = "unknown",
        *,
        sizes: Sequence[int] | None = None,
        ordered: bool = True,
        return_exceptions: bool = False,
        dist: str = "b",
    ) -> None:
        self._ordered = ordered
        self._dist = dist
        super().__init__(
            client,
            list(children),
            fname,
            return_exceptions=return_exceptions,
            chunk_sizes=sizes,
        )

    def split(self) -> tuple[AsyncResult, ...]:
        """Return one result for each task; the value of each is a list of items."""
        parts = super().split()
        for part in parts:
            part._value_in_list = self._sizes is None  # noqa: SLF001 - of the base class
        return parts

    def _awaited(self) -> Iterator[Task]:
        if self._ordered:
            yield from super()._awaited()
            return
        for count in range(len(self.tasks)):
            self._await(lambda count=count: len(self._finished) > count, None)  # type: ignore[misc]
            yield self._finished[count]

    async def _awaited_async(self) -> AsyncIterator[Task]:
        if self._ordered:
            async for task in super()._awaited_async():
                yield task
            return
        arrivals = Arrivals(self.tasks)
        for count in range(len(self.tasks)):
            while len(self._finished) <= count:
                await arrivals.next()
            yield self._finished[count]

    def _values_of(self, tasks: Iterator[Task]) -> Iterator[Any]:
        for task in tasks:
            value = self._one(task)
            if self._sizes is None:
                yield value
            else:
                yield from _items(value)

    def _reassemble(self, values: list[Any]) -> Any:
        if self._sizes is None:
            return values
        if any(isinstance(value, Exception) for value in values):
            return list(chain.from_iterable(map(_items, values)))
        return join(values, self._dist)


def _items(value: Any) -> Iterable[Any]:
    """Return the items of a part; an error, and what a function made of a part, stand alone."""
    is_part = isinstance(value, Iterable) and not isinstance(value, Exception)
    return value if is_part else [value]
