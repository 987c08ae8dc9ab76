"""What all views share: flags, calling, waiting, looking back."""

from __future__ import annotations

from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from traitlets import Any as AnyTrait
from traitlets import Bool, HasTraits, Unicode

from ipyviews.client import activation, control
from ipyviews.client.calls import function_name
from ipyviews.client.results import AsyncResult
from ipyviews.client.session import HISTORY, WrongType
from ipyviews.client.stopping import stoppable
from ipyviews.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ipyviews.client.calls import Call
    from ipyviews.client.session import Session
    from ipyviews.client.tasks import Task

R = TypeVar("R", bound=AsyncResult)


class View(HasTraits):
    """Engines to call; made by a client.

    Parameters
    ----------
    client
        Whose engines.
    flags
        Initial values of the flags.
    """

    #: Which engines: an int, a list, or ``"all"`` (None for load-balanced views).
    targets = AnyTrait()
    #: Whether calls wait for their result.
    block = Bool(False)
    #: Accepted for compatibility; what is sent must not change before the result is there.
    track = Bool(False)
    #: Free text kept with each task.
    label = Unicode(None, allow_none=True)

    _flags: tuple[str, ...] = ("targets", "block", "track", "label")

    def __init__(self, client: Session, **flags: Any) -> None:
        super().__init__()
        self._session = client
        #: Ids of the tasks of this view, oldest first.
        self.history: deque[str] = deque(maxlen=HISTORY)
        self.block = client.block
        self.set_flags(**flags)

    # -- flags --------------------------------------------------------------------------------

    def set_flags(self, **flags: Any) -> View:
        """Set flags and return the view.

        Raises
        ------
        KeyError
            There is no such flag.
        """
        for name in flags:
            if name not in self._flags:
                raise KeyError(f"Invalid name: {name!r}")
        for name, value in flags.items():
            setattr(self, name, value)
        return self

    @contextmanager
    def temp_flags(self, **flags: Any) -> Iterator[View]:
        """Set flags until the end of the block."""
        before = {name: getattr(self, name) for name in self._flags}
        try:
            yield self.set_flags(**flags)
        finally:
            self.set_flags(**before)

    @property
    def client(self) -> Any:
        """The client this view was made by."""
        return self._session

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

    def activate(self, suffix: str = "") -> None:
        """Make ``%px<suffix>`` and ``%%px<suffix>`` run on this view."""
        activation.activate(self, suffix)

    # -- looking back -------------------------------------------------------------------------

    @property
    def outstanding(self) -> set[str]:
        """Ids of this view's tasks that have no result."""
        pending = self._session.connection.ledger.pending
        return {task for task in self.history if task in pending}

    def wait(self, jobs: Any = None, timeout: float | None = -1) -> bool:
        """Wait for results of this view, or for `jobs`; see `Client.wait`."""
        chosen = sorted(self.outstanding) if jobs is None else jobs
        return control.wait(self._session, chosen, timeout)

    def abort(self, jobs: Any = None) -> None:
        """Stop the tasks of this view that are not done, or `jobs`; see `Client.abort`."""
        control.cancel(self._session, sorted(self.outstanding) if jobs is None else jobs)

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

    def _call(self, f: Callable[..., Any], args: Any, kwargs: Any) -> AsyncResult:
        tasks, single = self._submit(f, [(args, kwargs)])
        return self._keep(tasks, function_name(f), single=single)

    def _submit(self, f: Callable[..., Any], calls: Sequence[Call]) -> tuple[list[Task], bool]:
        raise NotImplementedError

    def _keep(self, tasks: list[Task], name: str, *, single: bool) -> AsyncResult:
        children: Task | list[Task] = tasks[0] if single else tasks
        return self._note(AsyncResult(self._session, children, name, targets=self.targets))

    def _note(self, result: R) -> R:
        self.history.extend(task.id for task in result.tasks)
        self._session.remember(result)
        return result

    def _finish(self, result: Any, block: bool | None) -> Any:
        if not (self.block if block is None else block):
            return result
        self._await(result)
        return result.get()

    def _await(self, result: AsyncResult) -> None:
        """Wait for a blocking call."""
        if not self._session.may_block:
            raise UsageError(
                "A view of an AsyncClient does not block: use apply_async() or map_async() and "
                "await the result."
            )
        result.wait()


def _refuse_block(name: str, options: dict[str, Any]) -> None:
    if "block" in options:
        raise WrongType(f"{name} doesn't take a `block` keyword argument.")
