"""Errors, shown without the way through our code.

IPython leaves exception groups to Python's own printer, which knows nothing of engines: a stand-in
that is no group is asked for its traceback instead. Of our other errors, and of an interrupt while
our code waits, the user sees his own frames.
"""

from __future__ import annotations

import sysconfig
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import IPython

import ipyviews
from ipyviews import folding
from ipyviews.errors import IPyViewsError, RemoteError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from IPython.core.interactiveshell import InteractiveShell

#: Where our code is, and what it calls to wait.
_OURS = (str(Path(ipyviews.__file__).parent), str(Path(__file__).parent))
_LIBRARY = sysconfig.get_path("stdlib")
_IPYTHON = str(Path(IPython.__file__).parent)


#: Whether somebody else tells of an interrupt.
_unshown: ContextVar[bool] = ContextVar("_unshown", default=False)


@contextmanager
def interrupts_unshown() -> Iterator[None]:
    """Leave it to the caller to tell of an interrupt of what runs in the block."""
    before = _unshown.set(True)
    try:
        yield
    finally:
        _unshown.reset(before)


class StandIn(Exception):
    """What IPython shows for an error, and keeps as `sys.last_value`: all else is the error's."""

    def __init__(self, error: BaseException, lines: list[str]) -> None:
        super().__init__(str(error))
        self.error = error
        self._lines = lines

    def __getattr__(self, name: str) -> Any:
        return getattr(self.error, name)

    def _render_traceback_(self) -> list[str]:
        return self._lines


def show_folded(shell: InteractiveShell) -> None:
    """Let a shell show errors of engines and of this package for their readers.

    A shell has one handler for special errors: one that is there stays.
    """
    if not shell.custom_exceptions:
        shell.set_custom_exc((IPyViewsError, KeyboardInterrupt), _show)


def _show(
    shell: InteractiveShell,
    kind: type[BaseException],
    error: BaseException,
    trace: TracebackType | None,
    tb_offset: int | None = None,
) -> None:
    if isinstance(error, KeyboardInterrupt) and _unshown.get():
        return
    trace = _without_ours(trace)
    shown: BaseException = error
    if isinstance(error, RemoteError):
        lines = error.render_traceback()
        # Engines colour with their own setting, for they know nothing of this one.
        is_plain = shell.colors.lower() == "nocolor"
        shown = StandIn(error, list(map(folding.plain, lines)) if is_plain else lines)
    elif _is_magic(trace) and not hasattr(error, "_render_traceback_"):
        lines = shell.InteractiveTB.get_exception_only(kind, error)
        shown = StandIn(error, [line.rstrip() for line in lines])
    shell.showtraceback((kind, shown, trace), tb_offset=tb_offset)


def _is_magic(trace: TracebackType | None) -> bool:
    """Whether what is left ends in IPython: the user's line is one that it wrote for a magic."""
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and trace.tb_frame.f_code.co_filename.startswith(_IPYTHON)


def _without_ours(trace: TracebackType | None) -> TracebackType | None:
    """Cut a traceback where it enters our code, unless it comes out into the user's again."""
    steps = []
    while trace is not None:
        steps.append(trace)
        trace = trace.tb_next
    files = [step.tb_frame.f_code.co_filename for step in steps]
    entry = next((at for at, file in enumerate(files) if file.startswith(_OURS)), len(files))
    if not all(file.startswith((*_OURS, _LIBRARY)) for file in files[entry:]):
        entry = len(files)
    shown: TracebackType | None = None
    for step in reversed(steps[:entry]):
        shown = TracebackType(shown, step.tb_frame, step.tb_lasti, step.tb_lineno)
    return shown
