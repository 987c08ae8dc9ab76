"""What the end of a process says: one sentence, and whether the process brought it on itself."""

from __future__ import annotations

import re
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: What is kept of a process's last words: a crash tells where all its threads were. [bytes]
TAIL_SIZE = 32 * 1024

#: What is kept of the last words of all together, by the agent: less than fits into a line of its
#: socket, where a character takes up to six bytes. [characters]
MOST_WORDS = 1024 * 1024

_WORDS = {
    signal.SIGSEGV: "segmentation fault",
    signal.SIGBUS: "bus error",
    signal.SIGABRT: "aborted",
    signal.SIGFPE: "arithmetic error",
    signal.SIGILL: "illegal instruction",
    signal.SIGXCPU: "limit of processor time",
}

#: How programs say that they got no memory.
_NO_MEMORY = re.compile("MemoryError|bad_alloc|annot allocate memory|out of memory", re.IGNORECASE)

#: How `faulthandler` begins, and how it goes on for each thread; the current one is the last or
#: the first. What comes after the frames is a list of extension modules.
_CRASH = re.compile(r"Fatal Python error: |^(Current thread|Thread) 0x", re.MULTILINE)
_CURRENT = re.compile(
    r"^Current thread 0x[^\n]*\n(?:\s+<[^\n]*>\n)?\s+File (?P<file>[^\n]*), line (?P<line>\d+) in "
    r"(?P<name>[^\n]+)",
    re.MULTILINE,
)
_MODULES = re.compile(r"^Extension modules: [^\n]*\n?", re.MULTILINE)


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
    #: In a word or two; see `ipyviews.deaths.DeathReport`.
    verdict: str = "killed"
    #: What its memory was limited to [bytes]; None without a limit.
    memory_limit: int | None = None


def report_exit(
    pid: int,
    returncode: int,
    *,
    tail: bytes = b"",
    peak_memory_kb: int | None = None,
    out_of_memory: bool = False,
    memory_limit: int | None = None,
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
    verdict, sentence, own = _verdict(returncode, out_of_memory)
    if own and returncode and memory_limit and _was_short(text, peak_memory_kb, memory_limit):
        verdict = "memory limit"
        sentence = f"memory limit of {memory_limit >> 20} MiB reached, {sentence}"
    return ExitReport(pid, returncode, sentence, own, text, peak_memory_kb, verdict, memory_limit)


def keep_exit(exits: dict[str, dict[str, Any]], told: dict[str, Any]) -> None:
    """Note the exit of a kernel; beyond `MOST_WORDS` the oldest lose their last words."""
    exits.pop(told["kernel"], None)
    exits[told["kernel"]] = told
    room = MOST_WORDS
    for one in reversed(exits.values()):
        room -= len(one["tail"])
        if room < 0:
            one["tail"] = ""


def _was_short(text: str, peak_memory_kb: int | None, memory_limit: int) -> bool:
    """Tell whether a process with a limit ended because it got no more memory."""
    is_near = (peak_memory_kb or 0) * 1024 > 0.9 * memory_limit
    return is_near or _NO_MEMORY.search(text) is not None


def _verdict(returncode: int, out_of_memory: bool) -> tuple[str, str, bool]:
    if returncode >= 0:
        return "exit", f"exit code {returncode}", True
    try:
        which = signal.Signals(-returncode)
    except ValueError:
        return "killed", f"killed by signal {-returncode}", False
    if which is signal.SIGKILL and out_of_memory:
        return "out of memory", "out of memory, killed by SIGKILL", True
    if which in _WORDS:
        return _WORDS[which], f"{_WORDS[which]} ({which.name})", True
    if which is signal.SIGTERM:
        return "terminated", "terminated by SIGTERM", False
    return "killed", f"killed by {which.name}", False


def split_trace(tail: str) -> tuple[str, str]:
    """Separate what a process wrote from what `faulthandler` did when it crashed.

    Returns
    -------
    words, trace : str
        Either may be empty.
    """
    crash = _CRASH.search(tail)
    if crash is None:
        return tail, ""
    trace = _MODULES.sub("", tail[crash.start() :])
    return tail[: crash.start()].rstrip(), trace.strip()


def crash_place(trace: str) -> str:
    """Name the innermost frame of the thread that crashed; empty if that is not told."""
    found = _CURRENT.search(trace)
    return "" if found is None else f"{found['name']}, {found['file']} line {found['line']}"


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
        # Inside a container the group's own path is often the host's, and the group the root.
        groups = self._root / "sys/fs/cgroup"
        files = [self._own_group("") / "memory.events", groups / "memory.events"]
        files.append(self._own_group("memory") / "memory.oom_control")
        for file in (*files, groups / "memory/memory.oom_control", self._root / "proc/vmstat"):
            try:
                lines = file.read_text().splitlines()
            except OSError:
                continue
            counts = dict(line.split() for line in lines if len(line.split()) == 2)
            if "oom_kill" in counts:
                return int(counts["oom_kill"])
        return 0

    def _own_group(self, controller: str) -> Path:
        """Return this process's control group, of one controller where each has its own tree."""
        groups = self._root / "sys/fs/cgroup" / controller
        try:
            lines = (self._root / "proc/self/cgroup").read_text().splitlines()
        except OSError:
            return groups
        for line in lines:
            _, controllers, path = line.split(":", 2)
            if controller in controllers.split(","):
                return groups / path.removeprefix("/")
        return groups
