"""How much memory a process of this host has, and may have."""

from __future__ import annotations

import os
from pathlib import Path

#: Lines of ``/proc/<pid>/limits``: of either one a process is told that there is no memory.
_LIMITS = ("Max address space", "Max data size")


def resident_bytes(pid: int | None) -> int | None:
    """Return what a process holds in memory [bytes]; None where that cannot be told."""
    try:
        pages = Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]
    except OSError:
        # It has ended, or this is not Linux.
        return None
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def limit_bytes(pid: int) -> int | None:
    """Return what a process, also one that was not waited for, is limited to [bytes], if it is."""
    try:
        lines = Path(f"/proc/{pid}/limits").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    soft = [
        line.removeprefix(name).split()[0] for line in lines for name in _LIMITS if name in line
    ]
    return min((int(limit) for limit in soft if limit.isdigit()), default=None)
