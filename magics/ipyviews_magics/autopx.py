"""``%autopx``: every cell is rewritten into a ``%%px`` cell before IPython runs it.

It uses IPython's list of input transformers, so no method of the shell is replaced. Cells that
begin with one of our own magics stay as they are, and so do those that front ends run for
themselves; ``%%local`` marks one that runs here.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from IPython.core.error import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from IPython.core.interactiveshell import InteractiveShell

LOCAL = "%%local"

#: The magic that speaks of the cluster.
CLUSTER = "ipyviews"

#: What leaves IPython, and is meant for this one.
LEAVING = frozenset({"exit", "quit", "exit()", "quit()"})


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
        #: Lines that the latest cell has more than its user typed [count].
        self.added = 0

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
        self.added = 0
        if self._paused or self._is_hidden():
            return lines
        code = (at for at, line in enumerate(lines) if not _is_idle(line))
        first = next(code, None)
        if first is None or self._stays(lines[first].strip()):
            return lines
        if lines[first].strip() == LOCAL:
            return [*lines[:first], *lines[first + 1 :]]
        self.added = 1
        return [f"%%px{self._suffix}\n", *lines]

    def _stays(self, line: str) -> bool:
        """Whether a cell that begins so is not meant for the engines."""
        if line in LEAVING:
            return True
        name = line.split(maxsplit=1)[0].lstrip("%")
        return line.startswith("%") and (name == CLUSTER or self._is_ours(name))

    def _is_hidden(self) -> bool:
        """Whether a front end runs this cell for itself: to list variables, to complete."""
        kernel = getattr(self._shell, "kernel", None)
        asked = {} if kernel is None else kernel.get_parent("shell").get("content", {})
        return bool(asked.get("silent")) or not asked.get("store_history", True)


def _is_idle(line: str) -> bool:
    """Whether nothing is to be run in a line."""
    return not line.strip() or line.lstrip().startswith("#")
