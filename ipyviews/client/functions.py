"""Functions that run on a view when they are called."""

from __future__ import annotations

import functools
import inspect
import typing
import warnings
from typing import TYPE_CHECKING, Any

from ipyviews.client import partition
from ipyviews.client.calls import function_name
from ipyviews.client.session import WrongType
from ipyviews.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ipyviews.client.base import View

    Function = Callable[..., Any]


class UnequalLengths(UsageError, ValueError):
    """A `UsageError` that is also a ValueError."""


class RemoteFunction:
    """A function that runs on a view: calling it is `View.apply`.

    On an engine, as when it calls itself there, it is the bare function.

    Parameters
    ----------
    view
        Where it runs.
    f
        The function; also as attribute ``func``.
    block
        Instead of the view's flag; None for what that flag is at each call.
    flags
        Other flags of the view during each call.
    """

    _kind = "RemoteFunction"

    def __init__(self, view: View, f: Function, block: bool | None = None, **flags: Any) -> None:
        if not callable(f):
            raise WrongType(f"f must be callable, not {type(f).__name__}")
        self.view = view
        self.func = f
        self.block = block
        self.flags = flags
        self._look_like(f)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run it; an AsyncResult unless it blocks."""
        with self.view.temp_flags(**self._flags()):
            return self.view.apply(self.func, *args, **kwargs)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {function_name(self.func)} on {self.view!r}>"

    def __reduce__(self) -> tuple[Any, ...]:
        # `cast` returns its second argument, and is there on every engine.
        return typing.cast, (None, self.func)

    def _flags(self) -> dict[str, Any]:
        return self.flags if self.block is None else {**self.flags, "block": self.block}

    def _look_like(self, f: Function) -> None:
        functools.update_wrapper(self, f)
        self.__name__ = function_name(f)
        self.__doc__ = f"{self._kind} wrapping:\n{inspect.getdoc(f) or ''}"
        try:
            self.__signature__ = inspect.signature(f)
        except (TypeError, ValueError):
            # Some built-in functions do not tell.
            return


class ParallelFunction(RemoteFunction):
    """A function of sequences that is called with parts of them, on the engines of a view.

    Parameters
    ----------
    view, f, flags
        As for `RemoteFunction`.
    dist
        How items are dealt to the parts: ``"b"`` for blocks, ``"r"`` in turn.
    block
        Instead of the view's flag; None for what that flag is at each call.
    chunksize
        Items in one part, on a load-balanced view [count]; None for one.
    ordered
        Whether iterating over the result keeps the order of the parts.
    return_exceptions
        Errors take the place of values instead of being raised.

    Raises
    ------
    KeyError
        There is no such distribution.
    """

    _kind = "ParallelFunction"

    def __init__(  # noqa: PLR0917 - the seeds' signature
        self,
        view: View,
        f: Function,
        dist: str = "b",
        block: bool | None = None,
        chunksize: int | None = None,
        ordered: bool = True,
        return_exceptions: bool = False,
        **flags: Any,
    ) -> None:
        partition.check(dist)
        super().__init__(view, f, block, **flags)
        self.dist = dist
        self.chunksize = chunksize
        self.ordered = ordered
        self.return_exceptions = return_exceptions

    def __call__(self, *sequences: Iterable[Any]) -> Any:
        """Call the function once for each part, with the parts of all sequences.

        Returns
        -------
        AsyncMapResult or sequence
            What the calls returned, joined as `DirectView.gather` does, when it blocks; without
            any item an empty list.

        Raises
        ------
        ValueError
            The sequences differ in length.
        """
        lists = partition.sequences(sequences)
        lengths = [len(values) for values in lists]
        if len(set(lengths)) > 1:
            raise UnequalLengths(f"all sequences must have equal length, but have {lengths}")
        with self.view.temp_flags(**self._flags()):
            return self.view.map_parts(
                self.func,
                lists,
                dist=self.dist,
                chunksize=self._chunksize(),
                ordered=self.ordered,
                return_exceptions=self.return_exceptions,
            )

    def map(self, *sequences: Iterable[Any]) -> Any:
        """Call the function for each item; see `View.map`."""
        options: dict[str, Any] = {"return_exceptions": self.return_exceptions}
        chunksize = self._chunksize()
        if self.view.is_balanced:
            options |= {"chunksize": chunksize, "ordered": self.ordered}
        with self.view.temp_flags(**self._flags()):
            return self.view.map(self.func, *sequences, **options)

    def _chunksize(self) -> int | None:
        if self.chunksize and not self.view.is_balanced:
            warnings.warn("`chunksize` is ignored unless load balancing.", stacklevel=3)
            return None
        return self.chunksize


def remote(
    view: View, block: bool | None = None, **flags: Any
) -> Callable[[Function], RemoteFunction]:
    """Decorate a function to run on a view when it is called.

    Parameters
    ----------
    view
        Where it runs.
    block
        Instead of the view's flag; None for what that flag is at each call.
    flags
        Other flags of the view during each call.

    Examples
    --------
    >>> @remote(rc[:], block=True)
    ... def double(x):
    ...     return 2 * x
    >>> double(21)
    [42, 42, 42, 42]
    """
    return lambda f: RemoteFunction(view, f, block=block, **flags)


def parallel(
    view: View,
    dist: str = "b",
    block: bool | None = None,
    ordered: bool = True,
    **flags: Any,
) -> Callable[[Function], ParallelFunction]:
    """Decorate a function of sequences to be called with parts of them on a view.

    Parameters
    ----------
    view
        Where it runs.
    dist, block, ordered, flags
        As for `ParallelFunction`.

    Examples
    --------
    >>> @parallel(rc[:], block=True)
    ... def total(numbers):
    ...     return [sum(numbers)]
    >>> total(range(8))
    [1, 5, 9, 13]
    """
    return lambda f: ParallelFunction(view, f, dist=dist, block=block, ordered=ordered, **flags)
