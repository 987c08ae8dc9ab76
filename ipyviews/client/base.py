"""What all views share: flags, and calling."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

from traitlets import Bool, Unicode

from ipyviews.client import activation
from ipyviews.client.calls import function_name
from ipyviews.client.executor import ViewExecutor
from ipyviews.client.functions import ParallelFunction, RemoteFunction
from ipyviews.client.lazymap import LazyMapIterator
from ipyviews.client.local import LocalModule
from ipyviews.client.lookback import LooksBack
from ipyviews.client.maps import AsyncMapResult
from ipyviews.client.results import AsyncResult
from ipyviews.client.serialize import default_pickling
from ipyviews.client.session import WrongType
from ipyviews.client.stopping import stoppable
from ipyviews.engine import verbs
from ipyviews.errors import UsageError
from ipyviews.protocol.payload import check_method

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from ipyviews.client.calls import Call
    from ipyviews.client.feed import Outstanding, Send
    from ipyviews.client.session import Session
    from ipyviews.client.tasks import Task
    from ipyviews.engine.pickling import Method


class NotAView(UsageError, AssertionError):
    """A `UsageError` that is also an AssertionError."""


class View(LooksBack):
    """Engines to call; made by a client, as one of its subclasses.

    Parameters
    ----------
    client
        Whose engines.
    flags
        Initial values of the flags.

    Raises
    ------
    UsageError
        When it is made itself; also an AssertionError.
    """

    #: Whether results tell when their data has been sent; see `AsyncResult.wait_for_send`.
    track = Bool(False)
    #: Free text kept with each task.
    label = Unicode(None, allow_none=True)

    #: Whether a scheduler chooses the engines.
    is_balanced = False

    _flags: tuple[str, ...] = ("targets", "block", "track", "label")

    def __init__(self, client: Session, **flags: Any) -> None:
        if type(self) is View:
            raise NotAView("View is only the base of views: a client makes them, e.g. client[:].")
        super().__init__(client)
        self._pickling = default_pickling()
        self._executor: ViewExecutor | None = None
        self.set_flags(**flags)

    # -- flags --------------------------------------------------------------------------------

    def set_flags(self, **flags: Any) -> Self:
        """Set flags and return the view.

        Raises
        ------
        KeyError
            There is no such flag.
        """
        for name in flags:
            if name not in self._flags:
                raise KeyError(f"Invalid name: {name!r}")
        before = {name: getattr(self, name) for name in flags}
        try:
            for name, value in flags.items():
                setattr(self, name, value)
        except BaseException:
            for name, value in before.items():
                setattr(self, name, value)
            raise
        return self

    @contextmanager
    def temp_flags(self, **flags: Any) -> Iterator[Self]:
        """Set flags until the end of the block; then all flags are as before."""
        before = {name: getattr(self, name) for name in self._flags}
        try:
            yield self.set_flags(**flags)
        finally:
            # Only those that differ: setting one checks it, and most blocks are of one call.
            changed = [name for name, value in before.items() if getattr(self, name) is not value]
            self.set_flags(**{name: before[name] for name in changed})

    # -- calling ------------------------------------------------------------------------------

    @stoppable
    def apply(self, f: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Call ``f(*args, **kwargs)`` on the engines.

        Returns
        -------
        AsyncResult or object
            The result itself if the view blocks.

        Raises
        ------
        UsageError
            It cannot be sent: the sentence names what, and why.
        NoEnginesRegistered
            There is no engine.
        RemoteError, CompositeError
            It failed on one engine, or on some of several.
        """
        return self._finish(self._call(f, args, kwargs), self.block)

    @stoppable
    def apply_async(self, f: Callable[..., Any], /, *args: Any, **kwargs: Any) -> AsyncResult:
        """Call ``f(*args, **kwargs)`` on the engines; returns at once."""
        result: AsyncResult = self._finish(self._call(f, args, kwargs), block=False)
        return result

    @stoppable
    def apply_sync(self, f: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Call ``f(*args, **kwargs)`` on the engines and wait for the result."""
        return self._finish(self._call(f, args, kwargs), block=True)

    def map(self, f: Callable[..., Any], *sequences: Any, **options: Any) -> Any:
        """Call `f` for each item of the sequences (up to the shortest one's end).

        Parameters
        ----------
        f
            The function.
        sequences
            At least one; iterators are consumed.
        options
            ``block``, ``return_exceptions``, ``label``; load-balanced: ``chunksize``, ``ordered``.

        Returns
        -------
        AsyncMapResult or list
            The list if the view blocks; without any item always an empty list.
        """
        raise NotImplementedError

    def map_async(self, f: Callable[..., Any], *sequences: Any, **options: Any) -> Any:
        """As `map`; returns at once."""
        _refuse_block("map_async", options)
        return self.map(f, *sequences, block=False, **options)

    def map_sync(self, f: Callable[..., Any], *sequences: Any, **options: Any) -> Any:
        """As `map`, and wait for the list."""
        _refuse_block("map_sync", options)
        return self.map(f, *sequences, block=True, **options)

    def imap(
        self,
        f: Callable[..., Any],
        *sequences: Iterable[Any],
        ordered: bool = True,
        max_outstanding: Outstanding = "auto",
        return_exceptions: bool = False,
        chunksize: int | None = 1,
        label: str | None = None,
    ) -> LazyMapIterator:
        """Call `f` for each item, taking items only as results come; iterate over the values.

        Parameters
        ----------
        f
            The function.
        sequences
            At least one, of any length: also generators that never end. They are read in a thread
            of their own, which an iterator that was dropped does not keep.
        ordered
            Whether values come in the order of the items, or as they are done.
        max_outstanding
            How many tasks may be unfinished [count]; ``"auto"`` for as many as there are engines,
            and more of them while tasks are short; 0 for no limit.
        return_exceptions
            Errors take the place of values instead of being raised.
        chunksize
            Items in one task [count]; None or 0 means 1.
        label
            Instead of this view's flag.

        Returns
        -------
        LazyMapIterator
            Also for ``async for``. A task's error is raised where its value would be, and the next
            value comes after it. So does what an input raises: as itself, after the last value.
        """
        send = self._sender(f, label or self.label, chunked=(chunksize or 1) != 1)
        return LazyMapIterator(
            self,
            send,
            sequences,
            ordered=ordered,
            max_outstanding=max_outstanding,
            return_exceptions=return_exceptions,
            chunksize=chunksize,
        )

    def remote(
        self, block: bool | None = None, **flags: Any
    ) -> Callable[[Callable[..., Any]], RemoteFunction]:
        """Decorate a function to run on this view when it is called; see `ipyviews.remote`."""
        return lambda f: RemoteFunction(self, f, block=block, **flags)

    def parallel(
        self, dist: str = "b", block: bool | None = None, **flags: Any
    ) -> Callable[[Callable[..., Any]], ParallelFunction]:
        """Decorate a function to run on parts of its arguments; see `ipyviews.parallel`."""
        block = self.block if block is None else block
        return lambda f: ParallelFunction(self, f, dist=dist, block=block, **flags)

    @property
    def executor(self) -> ViewExecutor:
        """The view as a `concurrent.futures.Executor`."""
        if self._executor is None:
            self._executor = ViewExecutor(self)
        return self._executor

    def activate(self, suffix: str = "") -> None:
        """Make ``%px<suffix>`` and ``%%px<suffix>`` run on this view."""
        activation.activate(self, suffix)

    # -- how functions travel -------------------------------------------------------------------

    def use_cloudpickle(self) -> Any:
        """Send what this view sends by cloudpickle: functions bring the globals they use.

        Returns
        -------
        AsyncResult or None
            Of a call that sees whether the engines can receive it; None when the view blocks.
        """
        return self._use("cloudpickle")

    def use_dill(self) -> Any:
        """Send what this view sends by dill, which the engines need too; see `use_cloudpickle`.

        Raises
        ------
        UsageError
            dill is not installed here.
        ModuleNotFoundError
            When blocking: nor on an engine.
        """
        return self._use("dill")

    def use_pickle(self) -> Any:
        """Send as at first: functions of the notebook run with the names of the engine.

        See `use_cloudpickle`.
        """
        return self._use("pickle")

    def use_local(self, *modules: Any) -> View:
        """Send the newest source of modules that are being edited here, and return the view.

        Parameters
        ----------
        modules
            Modules or their names; of a package all that lies below it travels.
        """
        known = {module.root: module for module in self._pickling.local}
        known |= {module.root: module for module in map(LocalModule, modules)}
        self._pickling = replace(self._pickling, local=tuple(known.values()))
        return self

    def __len__(self) -> int:
        targets = self.targets
        if isinstance(targets, list | tuple):
            return len(targets)
        return 1 if isinstance(targets, int) else len(self._session)

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        text = str(self.targets)
        if len(text) > 16:
            text = text[:12] + "...]"
        return f"<{type(self).__name__} {text}>"

    # -- inside -------------------------------------------------------------------------------

    @stoppable
    def map_parts(
        self,
        f: Callable[..., Any],
        lists: Sequence[Any],
        *,
        dist: str,
        chunksize: int | None,
        ordered: bool,
        return_exceptions: bool,
    ) -> Any:
        """Call `f` once for each part of sequences of one length; see `ParallelFunction`."""
        tasks = self._send_parts(f, lists, dist, chunksize)
        if not tasks:
            return []
        result = AsyncMapResult(
            self._session,
            tasks,
            function_name(f),
            sizes=[1] * len(tasks),
            ordered=ordered,
            return_exceptions=return_exceptions,
            dist=dist,
        )
        return self._finish(self._note(result), None)

    def _call(self, f: Callable[..., Any], args: Any, kwargs: Any) -> AsyncResult:
        tasks, single = self._submit(f, [(args, kwargs)])
        return self._keep(tasks, function_name(f), single=single)

    def _submit(self, f: Callable[..., Any], calls: Sequence[Call]) -> tuple[list[Task], bool]:
        raise NotImplementedError

    def _send_parts(
        self, f: Callable[..., Any], lists: Sequence[Any], dist: str, chunksize: int | None
    ) -> list[Task]:
        raise NotImplementedError

    def _sender(self, f: Callable[..., Any], label: str | None, *, chunked: bool) -> Send:
        """Return what sends calls of `f`, some at a time, as the flags are now."""
        raise NotImplementedError

    def _use(self, by: Method) -> Any:
        check_method(by)
        self._pickling = replace(self._pickling, by=by)
        return self.apply(verbs.need, "dill" if by == "dill" else "pickle")

    def _keep(self, tasks: list[Task], name: str, *, single: bool) -> AsyncResult:
        children: Task | list[Task] = tasks[0] if single else tasks
        return self._note(AsyncResult(self._session, children, name, targets=self.targets))


def _refuse_block(name: str, options: dict[str, Any]) -> None:
    if "block" in options:
        raise WrongType(f"{name} doesn't take a `block` keyword argument.")
