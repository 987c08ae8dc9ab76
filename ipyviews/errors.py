"""Every public error.

::

    IPyViewsError                     (also known as KernelError, IPythonError)
    ├── UsageError                    you called us wrongly (also a ValueError)
    ├── RemoteError                   your code raised on an engine; .ename .evalue .traceback
    ├── CompositeError                several failures (also an ExceptionGroup)
    ├── AlreadyDisplayedError         the failure was shown while its output streamed
    ├── TaskError                     the task could not be run to an end
    │   ├── EngineError               its engine died
    │   ├── TaskAborted               cancelled, or an earlier cell failed
    │   ├── TaskTimeout               waited too long in the queue
    │   └── UnmetDependency
    │       └── ImpossibleDependency
    ├── NoEnginesRegistered           there is no engine to run it
    ├── TooManyPending                more is unsent than the client may hold
    ├── ClusterError                  no cluster, or the connection to it is lost
    │   ├── ControllerLost            the controller died
    │   └── VersionMismatch           client and controller do not fit together
    └── ProtocolError                 a peer sent what it must not

A wait that ends without a result raises the builtin `TimeoutError`.
"""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Self

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


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
        if self.traceback:
            # Outside IPython this is where people see the engine's lines.
            text = _COLOURS.sub("", "\n".join(self.traceback))
            self.add_note(f"On the engine:\n{text}")

    @property
    def engine(self) -> int | None:
        """The engine's id."""
        return self.engine_info.get("engine_id")

    @property
    def task(self) -> str | None:
        """The task's id."""
        return self.engine_info.get("task")

    def __str__(self) -> str:
        return f"{_label(self)} {self.ename}: {self.evalue}"

    def __repr__(self) -> str:
        where = "" if self.engine is None else self.engine
        return f"<RemoteError[{where}]:{self.ename}({self.evalue})>"

    def render_traceback(self) -> list[str]:
        """Return the engine's traceback as lines, the first of which names the engine."""
        return [_label(self), *_lines(self)]

    def print_traceback(self, excid: int | None = None) -> None:  # noqa: ARG002 - as CompositeError
        """Print the engine's traceback."""
        sys.stdout.write("\n".join([*self.render_traceback(), ""]))

    def _render_traceback_(self) -> list[str]:
        # IPython shows this instead of the way through our client.
        return self.render_traceback()


class CompositeError(IPyViewsError, ExceptionGroup[Exception]):
    """Several calls or cells failed; each failure is in ``exceptions``.

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
        super().__init__(message, self.exceptions)
        self.total = total

    @property
    def msg(self) -> str:
        """The message."""
        return self.message

    @property
    def elist(self) -> list[tuple[str, str, list[str], dict[str, Any]]]:
        """The failures as ``(ename, evalue, traceback, engine_info)``."""
        return [
            (_name(error), _text(error), _lines(error), getattr(error, "engine_info", {}))
            for error in self.exceptions
        ]

    def derive(self, excs: Sequence[Any], /) -> Any:
        """Make a group of some of the failures; for ``except*``."""
        return CompositeError(self.message, excs, self.total)

    def __str__(self) -> str:
        groups = _fold(self.exceptions)
        lines = [self.message]
        lines += [
            f"{group.label}{_name(group.first)}: {_text(group.first)}{group.often(self.total)}"
            for group in groups[: self.tb_limit]
        ]
        if hidden := sum(len(group.members) for group in groups[self.tb_limit :]):
            lines.append(f".... {hidden} more exceptions ...")
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"CompositeError({len(self.exceptions)})"

    def render_traceback(self, excid: int | None = None) -> list[str]:
        """Return the engines' tracebacks as lines, equal failures once.

        Parameters
        ----------
        excid
            Position of the only failure wanted, from 0; all if None.

        Raises
        ------
        IndexError
            There is no failure at that position.
        """
        if excid is not None:
            error = self._at(excid)
            return [f"{_label(error)}:", *_lines(error), ""]
        groups = _fold(self.exceptions)
        lines: list[str] = []
        for group in groups[: self.tb_limit]:
            lines += [f"{group.label}:{group.often(self.total)}", *_lines(group.first), ""]
        if hidden := sum(len(group.members) for group in groups[self.tb_limit :]):
            lines.append(f"... {hidden} more exceptions ...")
        return lines

    def print_traceback(self, excid: int | None = None) -> None:
        """Print the engines' tracebacks; see `render_traceback`."""
        sys.stdout.write("\n".join([*self.render_traceback(excid), ""]))

    def raise_exception(self, excid: int = 0) -> NoReturn:
        """Raise the failure at a position, from 0."""
        raise self._at(excid)

    def _at(self, excid: int) -> Exception:
        try:
            return self.exceptions[excid]
        except IndexError:
            raise IndexError(f"an exception with index {excid} does not exist") from None

    def _render_traceback_(self) -> list[str]:
        return [*self.render_traceback(), str(self)]


class AlreadyDisplayedError(IPyViewsError):
    """The failure was shown while its output streamed; says only how many there were."""

    def __init__(self, original_error: Exception) -> None:
        super().__init__(original_error)
        #: What was shown.
        self.original_error = original_error

    @property
    def n(self) -> int:
        """How many failures were shown."""
        return len(getattr(self.original_error, "exceptions", (self.original_error,)))

    def __str__(self) -> str:
        return f"{self.n} error{'s' if self.n != 1 else ''}"

    def _render_traceback_(self) -> list[str]:
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


class EngineError(TaskError):
    """An engine died; the sentence names engine, task and signal or exit code."""


class TaskAborted(TaskError):
    """The task was cancelled, or aborted because an earlier cell failed."""


class TaskTimeout(TaskError):
    """The task waited longer in the queue than it was allowed to."""


class UnmetDependency(TaskError):
    """What the task needs is not there on this engine."""


class ImpossibleDependency(UnmetDependency):
    """What the task needs can never be there."""


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


class ProtocolError(IPyViewsError):
    """A peer sent what it must not; never carries the payload."""


#: Names of the seeds.
KernelError = IPyViewsError
IPythonError = IPyViewsError


class _Group(NamedTuple):
    """Failures that are told as one."""

    members: list[Exception]

    @property
    def first(self) -> Exception:
        return self.members[0]

    @property
    def engines(self) -> list[int]:
        found = (getattr(error, "engine", None) for error in self.members)
        return sorted({engine for engine in found if engine is not None})

    @property
    def label(self) -> str:
        if len(self.members) == 1 or not self.engines:
            return _label(self.first)
        return f"[{_ranges(self.engines)}{_method(self.first)}]"

    def often(self, total: int | None) -> str:
        """Say how many they are; nothing for one."""
        times, engines = len(self.members), len(self.engines)
        if times == 1:
            return ""
        repeated = "" if times == engines else f"{times} times"
        of = "" if total is None else f" of {total}"
        where = f"on {engines}{of} engine{'s' if (total or engines) != 1 else ''}"
        return f" ({', '.join(filter(None, (repeated, where if engines else '')))})"


def _fold(errors: Iterable[Exception]) -> list[_Group]:
    """Put equal failures together, in the order of their first."""
    groups: dict[tuple[str, str, str], _Group] = {}
    for error in errors:
        key = (_name(error), _text(error), _method(error))
        groups.setdefault(key, _Group([])).members.append(error)
    return list(groups.values())


def _ranges(numbers: list[int]) -> str:
    """Write sorted numbers short: ``0-2,7``."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and runs[-1][-1] == number - 1:
            runs[-1] = [runs[-1][0], number]
        else:
            runs.append([number])
    return ",".join("-".join(map(str, run)) for run in runs)


def _label(error: Exception) -> str:
    engine = getattr(error, "engine", None)
    return "[Engine Exception]" if engine is None else f"[{engine}{_method(error)}]"


def _method(error: Exception) -> str:
    method = getattr(error, "engine_info", {}).get("method")
    return f":{method}" if method else ""


def _name(error: Exception) -> str:
    return error.ename if isinstance(error, RemoteError) else type(error).__name__


def _text(error: Exception) -> str:
    return error.evalue if isinstance(error, RemoteError) else str(error)


def _lines(error: Exception) -> list[str]:
    """Return the engine's traceback, or the error itself if there is none."""
    lines = error.traceback if isinstance(error, RemoteError) else []
    return lines or [f"{_name(error)}: {_text(error)}"]
