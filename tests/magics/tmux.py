"""IPython in a real terminal, typed into and looked at through tmux."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from tests.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path

IPYTHON = [
    sys.executable,
    "-m",
    "IPython",
    "--no-banner",
    "--no-confirm-exit",
    "--HistoryManager.enabled=False",
]


class Terminal:
    """A window of 100 columns with a prompt of IPython.

    Parameters
    ----------
    folder
        For the socket of a tmux server of its own.
    """

    def __init__(self, folder: Path) -> None:
        # Nobody's configuration, and UTF-8 whatever the locale says.
        self._tmux = ["tmux", "-u", "-f", "/dev/null", "-S", str(folder / "tmux")]
        self._do("new-session", "-d", "-x", "100", "-y", "50", *IPYTHON)
        self.until("In [1]:")

    def _do(self, *arguments: str, text: str | None = None) -> str:
        command = [*self._tmux, *arguments]
        ran = subprocess.run(command, input=text, capture_output=True, text=True, check=True)
        return ran.stdout

    @property
    def screen(self) -> str:
        """Everything since the start, lines longer than the window joined."""
        return self._do("capture-pane", "-p", "-J", "-S", "-")

    @property
    def prompts(self) -> int:
        """How often IPython asked for input."""
        return self.screen.count("In [")

    def press(self, *keys: str) -> None:
        self._do("send-keys", *keys)

    def type(self, text: str) -> None:
        self._do("send-keys", "-l", text)

    def start(self, cell: str) -> None:
        """Paste a cell and let it run."""
        self._do("load-buffer", "-", text=cell)
        # As bracketed text, which the editor takes as it is: it indents what is typed.
        self._do("paste-buffer", "-p")
        self.until(cell.splitlines()[-1].strip())
        # A cell magic waits for an empty line at a plain Enter.
        self.press("Escape", "Enter")

    def run(self, cell: str) -> str:
        """Run a cell to the next prompt, and return what came in between."""
        prompts = self.prompts
        self.start(cell)
        wait_until(lambda: self.prompts > prompts, 30, f"the end of {cell!r}")
        return self.after(f"In [{prompts}]:")

    def after(self, mark: str) -> str:
        return self.screen.rpartition(mark)[2].rpartition("\nIn [")[0]

    def until(self, text: str) -> None:
        wait_until(lambda: text in self.screen, 30, f"{text!r} on the screen")

    def close(self) -> None:
        self._do("kill-server")
