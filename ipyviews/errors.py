"""Every public error.

::

    IPyViewsError                     (also known as KernelError, IPythonError)
    ├── UsageError                    you called us wrongly (also a ValueError)
    ├── RemoteError                   your code raised on an engine; .ename .evalue .traceback
    │   ├── CompositeError            several failures (also an ExceptionGroup)
    │   └── AlreadyDisplayedError     the failure was shown while its output streamed
    ├── TaskError                     the task could not be run to an end
    │   ├── EngineError               its engine died
    │   ├── TaskAborted               cancelled, or an earlier cell failed
    │   ├── TaskTimeout               waited too long in the queue
    │   ├── TaskRejectError           (of the seeds; not raised)
    │   └── UnmetDependency           what it needs is not there on this engine
    │       └── ImpossibleDependency  what it needs can never be there
    │           ├── InvalidDependency nobody knows the task it needs
    │           └── DependencyTimeout (of the seeds; not raised, see TaskTimeout)
    ├── NoEnginesRegistered           there is no engine to run it
    ├── TooManyPending                more is unsent than the client may hold
    ├── ClusterError                  no cluster, or the connection to it is lost
    │   ├── ControllerLost            the controller died
    │   ├── VersionMismatch           client and controller do not fit together
    │   └── LauncherError             a process of the cluster could not be started or stopped
    │       ├── NotRunning            it does not run
    │       ├── ProcessStateError     it is not in the state that this needs
    │       └── UnknownStatus         its state cannot be told
    └── ProtocolError                 a peer sent what it must not

A wait that ends without a result raises the builtin `TimeoutError`.
"""

from __future__ import annotations

import sys
import traceback as tracebacks
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from ipyviews import folding

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Self

    from ipyviews.deaths import DeathReport

_NOTE = "On the engine:\n"
Results = TypeVar("Results", bound="Mapping[Any, Any] | Iterable[Any]")


class IPyViewsError(Exception):
    """Root of all errors of ipyviews."""


class UsageError(IPyViewsError, ValueError):
    """You called us wrongly; the sentence says what to do instead."""


class RemoteError(IPyViewsError):
    """Your code raised on an engine.

    Errors that results raise are also of the type that was raised there, where that is safe:
    ``except ZeroDivisionError`` catches them.

    Parameters
    ----------
    ename, evalue
        Name of the type and text of the error, as the engine told them.
    traceback
        The engine's traceback, as text or lines.
    engine_info
        ``engine_id``, ``method`` (``apply`` or ``execute``) and ``task``, as far as known.

    Examples
    --------
    >>> RemoteError("KeyError", "'a'", engine_info={"engine_id": 0, "method": "apply"})
    <RemoteError[0]:KeyError('a')>
    >>> print(_)
    [0:apply] KeyError: 'a'
    """

    def __init__(
        self,
        ename: str,
        evalue: str,
        traceback: str | Iterable[str] | None = None,
        engine_info: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(ename, evalue)
        self.describe(ename, evalue, traceback, engine_info)

    def describe(
        self,
        ename: str,
        evalue: str,
        traceback: str | Iterable[str] | None,
        engine_info: dict[str, Any] | None,
    ) -> None:
        """Set what the constructor sets, on an error that was made by its other base."""
        lines = traceback.splitlines() if isinstance(traceback, str) else traceback
        self.ename = ename
        self.evalue = evalue
        self.traceback = list(lines or ())
        self.engine_info = dict(engine_info or {})
        self.tell(self.traceback)

    def tell(self, lines: Iterable[str]) -> None:
        """Set what plain Python shows of the engine's lines, below the error's own text."""
        kept = [note for note in getattr(self, "__notes__", ()) if not note.startswith(_NOTE)]
        if text := folding.plain("\n".join(lines)):
            kept.append(_NOTE + text)
        if kept or hasattr(self, "__notes__"):
            self.__notes__ = kept

    @property
    def engine(self) -> int | None:
        """The engine's id."""
        return self.engine_info.get("engine_id")

    @property
    def task(self) -> str | None:
        """The task's id."""
        return self.engine_info.get("task")

    def __str__(self) -> str:
        return f"{folding.label_of(self)} {self.ename}: {self.evalue}"

    def __repr__(self) -> str:
        where = "" if self.engine is None else self.engine
        return f"<RemoteError[{where}]:{self.ename}({self.evalue})>"

    def render_traceback(self) -> list[str]:
        """Return the engine's traceback as lines, the first of which names the engine."""
        return [folding.label_of(self), *folding.lines_of(self)]

    def print_traceback(self, excid: int | None = None) -> None:  # noqa: ARG002 - as CompositeError
        """Print the engine's traceback."""
        sys.stdout.write("\n".join([*self.render_traceback(), ""]))

    def _render_traceback_(self) -> list[str]:
        # IPython shows this instead of the way through our client.
        return self.render_traceback()


class CompositeError(RemoteError, ExceptionGroup[Exception]):
    """Several calls or cells failed; each failure is in ``failures``.

    Shown, equal failures are one, and all together take one screen; nothing of them is lost.

    Parameters
    ----------
    message
        One sentence.
    failures
        At least one exception, or ``(ename, evalue, traceback, engine_info)``.
    total
        Of how many engines, if known. [count]

    Examples
    --------
    >>> zero = "ZeroDivisionError", "division by zero", []
    >>> infos = [{"engine_id": engine, "method": "apply"} for engine in range(64)]
    >>> print(CompositeError("one or more exceptions", [(*zero, info) for info in infos], 64))
    one or more exceptions
    [0-63:apply]ZeroDivisionError: division by zero (on 64 of 64 engines)
    """

    #: Most different failures shown. [count]
    tb_limit = 4

    def __new__(
        cls,
        message: str,
        failures: Iterable[Exception | Sequence[Any]],
        total: int | None = None,  # noqa: ARG004 - for __init__
    ) -> Self:
        """Make the group; failures that are tuples become `RemoteError`."""
        members = [
            failure if isinstance(failure, Exception) else RemoteError(*failure)
            for failure in failures
        ]
        return super().__new__(cls, message, members)

    def __init__(
        self,
        message: str,
        failures: Iterable[Exception | Sequence[Any]],  # noqa: ARG002 - taken by __new__
        total: int | None = None,
    ) -> None:
        ExceptionGroup.__init__(self, message, self.exceptions)
        self.describe("CompositeError", message, None, None)
        self.total = total
        shown = folding.share(folding.fold(self.exceptions), self.tb_limit)
        for error in self.exceptions:
            if isinstance(error, RemoteError):
                error.tell(shown.get(id(error), ()))

    @property
    def failures(self) -> list[Any]:
        """All failures, in the order of the tasks; each has its whole ``traceback``."""
        return list(self.exceptions)

    @property
    def engines(self) -> list[int]:
        """The engines that something failed on, in that order."""
        found = (getattr(error, "engine", None) for error in self.exceptions)
        return list(dict.fromkeys(engine for engine in found if engine is not None))

    @property
    def msg(self) -> str:
        """The message."""
        return self.message

    @property
    def elist(self) -> list[tuple[str, str, list[str], dict[str, Any]]]:
        """The failures as ``(ename, evalue, traceback, engine_info)``."""
        return [
            (
                folding.name_of(error),
                folding.text_of(error),
                folding.lines_of(error),
                getattr(error, "engine_info", {}),
            )
            for error in self.exceptions
        ]

    def derive(self, excs: Sequence[Any], /) -> Any:
        """Make a group of some of the failures; for ``except*``."""
        return CompositeError(self.message, excs, self.total)

    def __str__(self) -> str:
        groups = folding.fold(self.exceptions)
        return "\n".join([self.message, *folding.summarize(groups, self.tb_limit, self.total)])

    def __repr__(self) -> str:
        return f"CompositeError({len(self.exceptions)})"

    def render_traceback(self, excid: int | None = None) -> list[str]:
        """Return the engines' tracebacks as lines: equal failures once, at most one screen.

        Parameters
        ----------
        excid
            Position of the only failure wanted, whole, from 0; all if None.

        Raises
        ------
        IndexError
            There is no failure at that position.
        """
        if excid is not None:
            error = self._at(excid)
            return [f"{folding.label_of(error)}:", *folding.lines_of(error), ""]
        return folding.render(folding.fold(self.exceptions), self.tb_limit, self.total)

    def print_traceback(self, excid: int | None = None) -> None:
        """Print the engines' tracebacks; see `render_traceback`."""
        sys.stdout.write("\n".join([*self.render_traceback(excid), ""]))

    def raise_exception(self, excid: int = 0) -> NoReturn:
        """Raise the failure at a position, from 0."""
        error = self._at(excid)
        if isinstance(error, RemoteError):
            error.tell(error.traceback)
        try:
            raise error  # noqa: TRY301 - here its traceback begins
        except Exception:
            # It is not a failure of handling the group, and no frame of ours made it.
            error.__context__ = error.__traceback__ = None
            raise

    def _at(self, excid: int) -> Exception:
        try:
            return self.exceptions[excid]
        except IndexError:
            raise IndexError(f"an exception with index {excid} does not exist") from None

    def _render_traceback_(self) -> list[str]:
        return [*self.render_traceback(), str(self)]


class AlreadyDisplayedError(RemoteError):
    """The failure was shown while its output streamed; says only how many there were."""

    def __init__(self, original_error: Exception) -> None:
        Exception.__init__(self, original_error)
        name, text = folding.name_of(original_error), folding.text_of(original_error)
        self.describe(name, text, None, getattr(original_error, "engine_info", None))
        #: What was shown.
        self.original_error = original_error

    @property
    def n(self) -> int:
        """How many failures were shown."""
        return len(getattr(self.original_error, "exceptions", (self.original_error,)))

    def __str__(self) -> str:
        return f"{self.n} error{'s' if self.n != 1 else ''}"

    def __repr__(self) -> str:
        return f"<AlreadyDisplayedError: {self}>"

    def render_traceback(self) -> list[str]:
        """Return the one line there is to say."""
        return [str(self)]


class TaskError(IPyViewsError):
    """The task could not be run to an end.

    Parameters
    ----------
    message
        One sentence.
    engine, task
        Their ids, as far as known.
    """

    def __init__(
        self, message: str = "", *, engine: int | None = None, task: str | None = None
    ) -> None:
        super().__init__(message)
        self.engine = engine
        self.task = task

    @property
    def ename(self) -> str:
        """The name of the type; this and what follows as `RemoteError` has it."""
        return type(self).__name__

    @property
    def evalue(self) -> str:
        """The sentence."""
        return str(self)

    @property
    def traceback(self) -> list[str]:
        """Empty: no code of yours raised it."""
        return []

    @property
    def engine_info(self) -> dict[str, Any]:
        """``engine_id`` and ``task``, as far as known."""
        known = {"engine_id": self.engine, "task": self.task}
        return {name: value for name, value in known.items() if value is not None}


class EngineError(TaskError):
    """An engine died; the sentence names engine, task and signal or exit code."""

    #: Why each engine died that was lost with the task, the latest last.
    reports: Sequence[DeathReport] = ()

    @property
    def report(self) -> DeathReport | None:
        """Why the engine died; None if it was told to end, or that is not known (any more)."""
        return self.reports[-1] if self.reports else None


class TaskAborted(TaskError):
    """The task was cancelled, or aborted because an earlier cell failed."""


class TaskTimeout(TaskError):
    """The task waited longer in the queue than it was allowed to."""


class TaskRejectError(TaskError):
    """Part of the tree of IPython.parallel: kept for ``except`` clauses, not raised here."""


class UnmetDependency(TaskError):
    """What the task needs is not there on this engine."""


class ImpossibleDependency(UnmetDependency):
    """What the task needs can never be there."""


class DependencyTimeout(ImpossibleDependency):
    """Part of ipyparallel's tree: kept for ``except`` clauses; see `TaskTimeout`."""


class InvalidDependency(ImpossibleDependency):
    """What the task needs is not a task that anybody knows, or the task itself."""


class NoEnginesRegistered(IPyViewsError):
    """There is no engine to run the task."""

    def __init__(self, message: str = "") -> None:
        super().__init__(
            message
            or "This operation requires engines. "
            "Try client.wait_for_engines(n) to wait for engines to register."
        )


class TooManyPending(IPyViewsError):
    """More is unsent than the client may hold."""


class ClusterError(IPyViewsError):
    """No cluster, or the connection to it is lost."""


class ControllerLost(ClusterError):
    """The controller died."""


class VersionMismatch(ClusterError):
    """Client and controller do not fit together."""


class LauncherError(ClusterError):
    """A process of the cluster could not be started or stopped."""


class NotRunning(LauncherError):
    """The cluster does not run; the sentence says how to start it."""


class ProcessStateError(LauncherError):
    """A process is not in the state that this needs: started already, or ended."""


class UnknownStatus(LauncherError):
    """The state of a process cannot be told."""


class ProtocolError(IPyViewsError):
    """A peer sent what it must not; never carries the payload."""


#: Names of the seeds.
KernelError = IPyViewsError
IPythonError = IPyViewsError


def collect_exceptions(rdict_or_list: Results, method: str = "unspecified") -> Results:
    """Raise the failures among results as one error.

    Parameters
    ----------
    rdict_or_list
        Results as ``get(return_exceptions=True)`` or ``get_dict`` give them.
    method
        What ran, for people.

    Returns
    -------
    dict or list
        What was passed, when nothing in it failed.

    Raises
    ------
    CompositeError
        Also of one failure; those inside a `CompositeError` are taken out of it.
    """
    results = rdict_or_list.values() if isinstance(rdict_or_list, dict) else rdict_or_list
    failures: list[Exception] = []
    for result in results:
        if isinstance(result, CompositeError):
            failures += result.exceptions
        elif isinstance(result, RemoteError | TaskError):
            failures.append(result)
    if failures:
        raise CompositeError(f"one or more exceptions raised in: {method}", failures)
    return rdict_or_list


def wrap_exception(engine_info: dict[str, Any] | None = None) -> dict[str, Any]:
    """Describe the exception being handled, as the content of an error message.

    Raises
    ------
    UsageError
        Outside an ``except`` block.
    """
    error = sys.exception()
    if error is None:
        raise UsageError("wrap_exception() tells of the exception being handled: call it in except")
    text = "".join(tracebacks.format_exception(error))
    return {
        "status": "error",
        "ename": type(error).__name__,
        "evalue": str(error),
        "traceback": text.splitlines(),
        "engine_info": dict(engine_info or {}),
    }


def unwrap_exception(content: Mapping[str, Any]) -> RemoteError:
    """Return the error that the content of an error message tells of, without raising it."""
    return RemoteError(
        str(content["ename"]),
        str(content["evalue"]),
        content.get("traceback"),
        content.get("engine_info"),
    )
