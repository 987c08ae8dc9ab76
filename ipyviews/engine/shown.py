"""How a cell's errors are told: all of them as errors, once, for readers far away.

IPython writes some to stderr instead, beside the error or in its place: exception groups, which
Python's own printer shows; its own usage errors; and with SystemExit how to leave a terminal.
"""

from __future__ import annotations

import re
import traceback
import warnings
from typing import TYPE_CHECKING, Any, cast

from IPython.core.error import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

_KINDS = (BaseExceptionGroup, UsageError)

#: Of the same name, but IPython knows it not.
_Usage = type("UsageError", (UsageError,), {})

_FRAME = re.compile(r'File "(?P<file>.+)", (?=line \d+)')


class Shown(Exception):
    """What IPython shows in place of an error that it treats specially."""

    def __init__(self, error: BaseException, lines: list[str]) -> None:
        super().__init__(str(error))
        self._lines = lines

    def _render_traceback_(self) -> list[str]:
        return self._lines


def tell_errors(shell: Any) -> Callable[[], None]:
    """Let a shell tell of these errors as of others.

    Returns
    -------
    callable
        Undoes it. A handler that is there stays, and so does one that comes later.
    """
    kinds = (*_KINDS,)
    if not shell.custom_exceptions:
        shell.set_custom_exc(kinds, _show)
    warnings.filterwarnings("ignore", "To exit: use", UserWarning)
    filters = cast("list[Any]", warnings.filters)
    added = filters[0]

    def undo() -> None:
        if shell.custom_exceptions is kinds:
            shell.set_custom_exc((), None)
        if added in filters:
            filters.remove(added)

    return undo


def _show(
    shell: Any,
    kind: type[BaseException],
    error: BaseException,
    trace: TracebackType | None,
    tb_offset: int | None = None,
) -> None:
    if isinstance(error, UsageError):
        kind, lines = _Usage, [f"UsageError: {error}"]
    else:
        lines = shell.InteractiveTB.structured_traceback(kind, error, trace, tb_offset=tb_offset)
        lines = [*lines, *_tree(shell, error)]
    shell.showtraceback((kind, Shown(error, lines), trace), tb_offset=tb_offset)


def _tree(shell: Any, group: BaseException) -> list[str]:
    """Return the members as Python draws them, with cells named as IPython does."""

    def named(frame: re.Match[str]) -> str:
        known = shell.compile.format_code_name(frame["file"])
        return frame[0] if known is None else f"{' '.join(known)}, "

    # Without its traceback, which is shown above.
    text = "".join(traceback.format_exception(type(group), group, None, chain=False))
    _, edge, members = text.rstrip().partition("  +-+--")
    return [_FRAME.sub(named, edge + members)]
