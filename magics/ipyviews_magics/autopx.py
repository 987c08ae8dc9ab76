"""``%autopx``: every cell is rewritten into a ``%%px`` cell before IPython runs it.

It uses IPython's list of input transformers, so no method of the shell is replaced. Cells that
begin with one of our own magics stay as they are, and ``%%local`` marks one that runs here.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from IPython.core.error import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from IPython.core.interactiveshell import InteractiveShell

LOCAL = "%%local"


class AutoPx:
    """The one rewriter of a shell; at most one suffix is on at a time.

    Parameters
    ----------
    shell
        Where cells come from.
    is_ours
        Says of a magic's name (``px_even``) whether it belongs to us.
    """

    #: IPython asks transformers without side effects whether a line is complete: a rewritten one
    #: would need a blank line more, as cell magics do.
    has_side_effects = True

    def __init__(self, shell: InteractiveShell, is_ours: Callable[[str], bool]) -> None:
        self._shell = shell
        self._is_ours = is_ours
        self._suffix: str | None = None
        self._paused = False

    def toggle(self, suffix: str) -> str:
        """Switch the rewriting for `suffix` on or off and say which.

        Raises
        ------
        UsageError
            When another suffix is on.
        """
        name = f"%autopx{suffix}"
        transformers = self._shell.input_transformers_cleanup
        if self._suffix == suffix:
            transformers.remove(self)
            self._suffix = None
            return f"{name} disabled"
        if self._suffix is not None:
            raise UsageError(f"%autopx{self._suffix} is on; turn it off before you use {name}.")
        self._suffix = suffix
        transformers.append(self)
        return f"{name} enabled"

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Let cells that a magic runs here itself stay here."""
        before, self._paused = self._paused, True
        try:
            yield
        finally:
            self._paused = before

    def __call__(self, lines: list[str]) -> list[str]:
        """Rewrite the lines of one cell."""
        if self._paused or not "".join(lines).strip():
            return lines
        first = lines[0].strip()
        if first == LOCAL:
            return lines[1:]
        if first.startswith("%") and self._is_ours(first.split()[0].lstrip("%")):
            return lines
        return [f"%%px{self._suffix}\n", *lines]
