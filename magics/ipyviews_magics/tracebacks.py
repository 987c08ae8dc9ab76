"""Errors, shown without the way through our code.

IPython leaves exception groups to Python's own printer, which knows nothing of engines: a stand-in
that is no group is asked for its traceback instead. Of our other errors, and of an interrupt while
our code waits, the user sees his own frames.
"""

from __future__ import annotations

import sysconfig
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import ipyviews
from ipyviews.errors import CompositeError, IPyViewsError

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

#: Where our code is, and what it calls to wait.
_OURS = (str(Path(ipyviews.__file__).parent), str(Path(__file__).parent))
_LIBRARY = sysconfig.get_path("stdlib")


class StandIn(Exception):
    """What IPython shows for a `CompositeError`."""

    def __init__(self, error: CompositeError) -> None:
        super().__init__(str(error))
        self._error = error

    def _render_traceback_(self) -> list[str]:
        return self._error.render_traceback()


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
    shown = StandIn(error) if isinstance(error, CompositeError) else error
    shell.showtraceback((kind, shown, _without_ours(trace)), tb_offset=tb_offset)


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
