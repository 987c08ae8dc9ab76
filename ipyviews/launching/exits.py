"""What the end of a process says: one sentence, and whether the process brought it on itself."""

from __future__ import annotations

import signal
import sys
from dataclasses import dataclass
from pathlib import Path

#: What is kept of a process's last words. [bytes]
TAIL_SIZE = 8192

_WORDS = {
    signal.SIGSEGV: "segmentation fault",
    signal.SIGBUS: "bus error",
    signal.SIGABRT: "aborted",
    signal.SIGFPE: "arithmetic error",
    signal.SIGILL: "illegal instruction",
}


@dataclass(frozen=True)
class ExitReport:
    """How a process ended."""

    pid: int
    #: Exit code, or minus the number of the signal that killed it.
    returncode: int
    #: For people: "killed by SIGKILL", "exit code 3".
    sentence: str
    #: True when its own code did it (an exit, a crash, too much memory), so that running the same
    #: code elsewhere would kill another engine.
    self_inflicted: bool
    #: The last it wrote to stdout and stderr outside of cells, at most `TAIL_SIZE` bytes.
    tail: str = ""
    #: Largest resident memory [KB], None if unknown.
    peak_memory_kb: int | None = None


def report_exit(
    pid: int,
    returncode: int,
    *,
    tail: bytes = b"",
    peak_memory_kb: int | None = None,
    out_of_memory: bool = False,
) -> ExitReport:
    """Put the end of a process into words.

    Examples
    --------
    >>> report_exit(1, -9).sentence, report_exit(1, -9).self_inflicted
    ('killed by SIGKILL', False)
    >>> report_exit(1, 3).sentence, report_exit(1, 3).self_inflicted
    ('exit code 3', True)
    """
    text = tail[-TAIL_SIZE:].decode("utf-8", "replace").strip()
    sentence, own = _verdict(returncode, out_of_memory)
    return ExitReport(pid, returncode, sentence, own, text, peak_memory_kb)


def _verdict(returncode: int, out_of_memory: bool) -> tuple[str, bool]:
    if returncode >= 0:
        return f"exit code {returncode}", True
    try:
        which = signal.Signals(-returncode)
    except ValueError:
        return f"killed by signal {-returncode}", False
    if which is signal.SIGKILL and out_of_memory:
        return "out of memory, killed by SIGKILL", True
    if which in _WORDS:
        return f"{_WORDS[which]} ({which.name})", True
    return f"killed by {which.name}", False


class OutOfMemoryWatch:
    """Notices that the kernel (Linux's) killed something here for want of memory."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root
        self._seen = self._count()

    def is_evident(self) -> bool:
        """Tell whether there was such a kill since the last time this was asked."""
        seen, self._seen = self._seen, self._count()
        return self._seen > seen

    def _count(self) -> int:
        if sys.platform != "linux":
            return 0
        for file in (self._own_group() / "memory.events", self._root / "proc/vmstat"):
            try:
                lines = file.read_text().splitlines()
            except OSError:
                continue
            counts = dict(line.split() for line in lines if len(line.split()) == 2)
            if "oom_kill" in counts:
                return int(counts["oom_kill"])
        return 0

    def _own_group(self) -> Path:
        groups = self._root / "sys/fs/cgroup"
        try:
            lines = (self._root / "proc/self/cgroup").read_text().splitlines()
        except OSError:
            return groups
        own = [line.removeprefix("0::/") for line in lines if line.startswith("0::/")]
        return groups / own[0] if own else groups
