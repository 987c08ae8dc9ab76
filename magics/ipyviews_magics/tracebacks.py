"""Errors of several engines, shown folded.

IPython leaves exception groups to Python's own printer, which knows nothing of engines and shows
the way through our client. A stand-in that is no group is asked for its traceback instead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ipyviews.errors import CompositeError

if TYPE_CHECKING:
    from types import TracebackType

    from IPython.core.interactiveshell import InteractiveShell


class StandIn(Exception):
    """What IPython shows for a `CompositeError`."""

    def __init__(self, error: CompositeError) -> None:
        super().__init__(str(error))
        self._error = error

    def _render_traceback_(self) -> list[str]:
        return self._error.render_traceback()


def show_folded(shell: InteractiveShell) -> None:
    """Let a shell show a `CompositeError` as it shows other errors of engines.

    A shell has one handler for special errors: one that is there stays.
    """
    if not shell.custom_exceptions:
        shell.set_custom_exc((CompositeError,), _show)


def _show(
    shell: InteractiveShell,
    kind: type[CompositeError],
    error: CompositeError,
    trace: TracebackType,
    tb_offset: int | None = None,
) -> None:
    shell.showtraceback((kind, StandIn(error), trace), tb_offset=tb_offset)
