"""A cell here: where in it a magic stands, and ``%%px --local``, which runs it here as well."""

from __future__ import annotations

import inspect
import re
from typing import TYPE_CHECKING

from ipyviews.client.places import Place
from ipyviews_magics.tracebacks import interrupts_unshown

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell


def place_of_call(shell: InteractiveShell, above: int = 0) -> Place | None:
    """Tell where the code of a magic stands in the running cell.

    Parameters
    ----------
    shell
        Runs the cell.
    above
        Lines of the magic's own above its code, less those that its user did not type [count].

    Returns
    -------
    Place or None
        None if no cell called the magic.
    """
    frame = inspect.currentframe()
    while frame is not None and frame.f_globals is not shell.user_global_ns:
        frame = frame.f_back
    if frame is None:
        return None
    # The shell counts on at a time that depends on its version; the name of the code is right.
    known = shell.compile.format_code_name(frame.f_code.co_filename)
    number = re.fullmatch(r"In\[(\d+)\]", known[1]) if known else None
    return Place(int(number[1]), frame.f_lineno - 1 + above) if number else None


def run_here(shell: InteractiveShell, cell: str) -> Exception | None:
    """Run a cell in this shell, which shows its error.

    Returns
    -------
    Exception or None
        The error that was shown.

    Raises
    ------
    KeyboardInterrupt
        It was interrupted, which is not shown yet: the engines have to be stopped, too.
    """
    with interrupts_unshown():
        ran = shell.run_cell(cell)
    error = ran.error_before_exec or ran.error_in_exec
    if isinstance(error, KeyboardInterrupt):
        raise KeyboardInterrupt
    return error if isinstance(error, Exception) else None
