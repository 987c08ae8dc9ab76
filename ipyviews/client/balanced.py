"""A view whose calls run on whichever engine is free."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from traitlets import CFloat, Integer

from ipyviews.client.base import View
from ipyviews.client.calls import call_balanced, function_name, run_balanced
from ipyviews.client.maps import AsyncMapResult
from ipyviews.client.partition import chunks
from ipyviews.client.stopping import stoppable
from ipyviews.engine import verbs
from ipyviews.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from ipyviews.client.calls import Call
    from ipyviews.client.results import AsyncResult
    from ipyviews.client.tasks import Task


class LoadBalancedView(View):
    """Each call runs on one engine that the scheduler chooses; results are bare values."""

    #: Longest time in the queue [s]; 0 for no limit.
    timeout = CFloat(0.0, min=0.0)
    #: How often a call that raised is run again. [count]
    retries = Integer(0, min=0)

    _flags = (*View._flags, "timeout", "retries")  # noqa: SLF001 - its own base class

    @stoppable
    def execute(
        self,
        code: str,
        silent: bool = True,
        block: bool | None = None,
        label: str | None = None,
    ) -> AsyncResult:
        """Run code, as a cell, on one engine that the scheduler chooses.

        See `DirectView.execute`.
        """
        tasks = run_balanced(
            self._session,
            code,
            self._allowed(),
            silent=silent,
            label=label or self.label,
            flags=self._limits(),
        )
        result = self._keep(tasks, "execute", single=True)
        self._finish(result, block)
        return result

    def run(
        self, filename: str, block: bool | None = None, label: str | None = None
    ) -> AsyncResult:
        """Run a file of this machine on one engine; see `execute`."""
        code = Path(filename).read_text(encoding="utf-8") + "\n"
        return self.execute(code, block=block, label=label)

    @stoppable
    def map(
        self,
        f: Callable[..., Any],
        *sequences: Iterable[Any],
        block: bool | None = None,
        chunksize: int | None = 1,
        ordered: bool = True,
        return_exceptions: bool = False,
        label: str | None = None,
    ) -> Any:
        """Call `f` for each item, wherever there is room. See `View.map`.

        Parameters
        ----------
        f, sequences, block, return_exceptions, label
            As for every view. Iterators are consumed as fast as results come, once 100,000 calls
            or 64 MiB wait.
        chunksize
            Items in one task [count]; None or 0 means 1.
        ordered
            Whether iterating over the result keeps the order of the items.
        """
        if not sequences:
            raise UsageError("map needs at least one sequence besides the function.")
        counts: list[int] | None = [] if chunksize and chunksize > 1 else None
        items = zip(*sequences, strict=False)
        tasks = call_balanced(
            self._session,
            f if counts is None or not callable(f) else partial(verbs.map_items, f),
            _items(items) if counts is None else _chunks(items, chunksize or 1, counts),
            self._allowed(),
            name=function_name(f),
            label=label or self.label,
            flags=self._limits(),
        )
        if not tasks:
            return []
        result = AsyncMapResult(
            self._session,
            tasks,
            function_name(f),
            sizes=counts,
            ordered=ordered,
            return_exceptions=return_exceptions,
        )
        return self._finish(self._note(result), block)

    def _submit(self, f: Callable[..., Any], calls: Sequence[Call]) -> tuple[list[Task], bool]:
        tasks = call_balanced(
            self._session,
            f,
            calls,
            self._allowed(),
            name=function_name(f),
            label=self.label,
            flags=self._limits(),
        )
        return tasks, True

    def _allowed(self) -> list[int] | None:
        return None if self.targets is None else self._session.resolve(self.targets)

    def _limits(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        if self.retries:
            found["retries"] = self.retries
        if self.timeout:
            found["timeout"] = self.timeout
        return found


def _items(items: Iterable[tuple[Any, ...]]) -> Iterator[Call]:
    return ((arguments, {}) for arguments in items)


def _chunks(items: Iterable[tuple[Any, ...]], size: int, counts: list[int]) -> Iterator[Call]:
    for chunk in chunks(items, size):
        counts.append(len(chunk))
        yield tuple(zip(*chunk, strict=True)), {}
