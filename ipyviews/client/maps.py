"""The result of a map."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ipyviews.client.partition import join
from ipyviews.client.results import AsyncResult

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

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
        self._sizes = None if sizes is None else list(sizes)
        self._ordered = ordered
        self._dist = dist
        self._places = {task.id: i for i, task in enumerate(children)} if sizes else {}
        super().__init__(client, list(children), fname, return_exceptions=return_exceptions)

    def __len__(self) -> int:
        return len(self.tasks) if self._sizes is None else sum(self._sizes)

    @property
    def progress(self) -> int:
        """How many items are done. [count]."""
        if self._sizes is None:
            return len(self._finished)
        return sum(self._sizes[self._places[task.id]] for task in list(self._finished))

    def __iter__(self) -> Iterator[Any]:
        pieces = self._each(self.tasks) if self._ordered else self._as_finished()
        if self._sizes is None:
            yield from pieces
            return
        for piece in pieces:
            if isinstance(piece, Exception):
                yield piece
            else:
                yield from piece

    def _as_finished(self) -> Iterator[Any]:
        for count in range(len(self.tasks)):
            self._await(lambda count=count: len(self._finished) > count, None)  # type: ignore[misc]
            yield self._one(self._finished[count])

    def _reassemble(self, values: list[Any]) -> Any:
        if self._sizes is None:
            return values
        if any(isinstance(value, Exception) for value in values):
            flat: list[Any] = []
            for value in values:
                flat += [value] if isinstance(value, Exception) else list(value)
            return flat
        return join(values, self._dist)
