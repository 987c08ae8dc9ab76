"""A view whose calls run on whichever engine is free."""

from __future__ import annotations

import warnings
from functools import partial
from math import ceil, inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

from traitlets import Any as AnyTrait
from traitlets import Integer, validate

from ipyviews.client.base import View
from ipyviews.client.calls import (
    call_balanced,
    check_any_engine,
    check_callable,
    function_name,
    run_balanced,
)
from ipyviews.client.dependencies import as_dependency, dependent
from ipyviews.client.maps import AsyncMapResult
from ipyviews.client.partition import NoSequences, chunks, cut
from ipyviews.client.session import WrongType
from ipyviews.client.stopping import stoppable
from ipyviews.engine import verbs
from ipyviews.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from ipyviews.client.calls import Call
    from ipyviews.client.feed import Send
    from ipyviews.client.results import AsyncResult
    from ipyviews.client.tasks import Task


class NotPure(UsageError, RuntimeError):
    """A `UsageError` that is also a RuntimeError."""


class LoadBalancedView(View):
    """Each call runs on one engine that the scheduler chooses; results are bare values.

    Flags besides those of every view: ``after``, ``follow``, ``timeout``, ``retries``,
    ``reruns``. They count for the calls made while they are set, best with `temp_flags`.

    Examples
    --------
    >>> first = lv.apply_async(abs, -1)
    >>> with lv.temp_flags(after=first, follow=first, timeout=60):
    ...     second = lv.apply_async(abs, -2)
    >>> second.get(), second.engine_id == first.engine_id
    (2, True)
    """

    #: Tasks that have to end before: ids, results, collections of both, a `Dependency`, its dict.
    after = AnyTrait(None)
    #: As `after`, and the call runs on an engine where one of them ran; with ``all=True`` they
    #: all must have run on the same one.
    follow = AnyTrait(None)
    #: Longest time until a call starts, dependencies included [s]; 0 and None for no limit.
    timeout = AnyTrait(0.0)
    #: How often a call that raised is run again, there or elsewhere. [count]
    retries = Integer(0, min=0)
    #: How often a call is run again whose engine died while it ran. Not after its own exit, crash
    #: or lack of memory. [count]
    reruns = Integer(1, min=0)

    is_balanced = True

    _flags = (*View._flags, "follow", "after", "timeout", "retries", "reruns")  # noqa: SLF001

    @validate("after", "follow")
    def _check_dependency(self, proposal: Any) -> Any:
        as_dependency(proposal.value)
        return proposal.value

    @validate("timeout")
    def _check_timeout(self, proposal: Any) -> float | None:
        return check_timeout(proposal.value)

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
            raise NoSequences
        counts: list[int] | None = [] if chunksize and chunksize > 1 else None
        items = zip(*sequences, strict=False)
        send = self._balance(f, label or self.label, chunked=counts is not None)
        tasks = send(_items(items) if counts is None else _chunks(items, chunksize or 1, counts))
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

    def register_joblib_backend(
        self, name: str = "ipyparallel", make_default: bool = False
    ) -> None:
        """Let joblib run on this view; see `ipyviews.register_joblib_backend`."""
        # joblib is an optional extra.
        from ipyviews.client import joblib  # noqa: PLC0415

        joblib.register_view(name, lambda: self, make_default=make_default)

    def _submit(self, f: Callable[..., Any], calls: Sequence[Call]) -> tuple[list[Task], bool]:
        return self._balance(f, self.label)(calls), True

    def _sender(self, f: Callable[..., Any], label: str | None, *, chunked: bool) -> Send:
        send = self._balance(f, label, chunked=chunked)
        return lambda calls: send(calls, first=len(calls))

    def _send_parts(
        self, f: Callable[..., Any], lists: Sequence[Any], dist: str, chunksize: int | None
    ) -> list[Task]:
        parts = ceil(len(lists[0]) / (chunksize or 1))
        return self._balance(f, self.label)(cut(lists, parts, dist)) if parts else []

    def _balance(
        self, f: Callable[..., Any], label: str | None, *, chunked: bool = False
    ) -> Callable[..., list[Task]]:
        """Return what sends calls of `f` as the flags are now."""
        check_callable(f)
        allowed = self._allowed()
        check_any_engine(self._session, allowed)
        return partial(
            call_balanced,
            self._session,
            partial(verbs.map_items, f) if chunked else f,
            allowed=allowed,
            name=function_name(f),
            label=label,
            flags=self._limits(f),
            how=self._pickling,
        )

    def _allowed(self) -> list[int] | None:
        return None if self.targets is None else self._session.resolve(self.targets)

    def _limits(self, f: Any = None) -> dict[str, Any]:
        """Return the flags for calls of `f`, as docs/protocol.md has them."""
        found: dict[str, Any] = {}
        for name in ("after", "follow"):
            if needs := as_dependency(getattr(self, name)):
                found[name] = needs.as_message()
        for name in ("retries", "timeout"):
            if value := getattr(self, name):
                found[name] = value
        if self._session.scheme == "pure":
            self._check_pure(found, f)
        if self.reruns != 1:
            found["reruns"] = self.reruns
        return found

    def _check_pure(self, limits: dict[str, Any], f: Any) -> None:
        asked = [*limits, *(["targets"] if self.targets is not None else [])]
        if asked:
            raise NotPure(
                f"The scheme of this cluster is 'pure', which knows no {', '.join(asked)}: leave "
                "the flags as they are, or start a cluster with another scheme."
            )
        if isinstance(f, dependent):
            warnings.warn(
                f"The scheme of this cluster is 'pure': what {f.__name__} depends on is not looked "
                "for on other engines.",
                RuntimeWarning,
                stacklevel=8,
            )


def check_timeout(value: Any) -> float | None:
    """Return a limit in seconds.

    Raises
    ------
    TypeError, ValueError
        It is no number, or negative.
    """
    if value is None:
        return None
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        raise WrongType(
            f"Invalid type for timeout: {type(value)}; give seconds, or None for no limit"
        ) from None
    if not seconds >= 0.0:
        raise UsageError(f"Invalid timeout: {value}; give seconds from 0, or None for no limit")
    return seconds if seconds < inf else None


def _items(items: Iterable[tuple[Any, ...]]) -> Iterator[Call]:
    return ((arguments, {}) for arguments in items)


def _chunks(items: Iterable[tuple[Any, ...]], size: int, counts: list[int]) -> Iterator[Call]:
    for chunk in chunks(items, size):
        counts.append(len(chunk))
        yield tuple(zip(*chunk, strict=True)), {}
