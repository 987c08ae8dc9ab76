"""How much memory a process of this host has, and may have."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

#: Lines of ``/proc/<pid>/limits``: of either one a process is told that there is no memory.
_LIMITS = ("Max address space", "Max data size")

#: What glibc has for it; other C libraries keep little of what is freed.
_TRIM = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None


def give_back() -> None:
    """Give memory that was freed in this process back to the system.

    After many large messages glibc keeps up to 64 MiB of it, for it takes them for what is usual.
    """
    if _TRIM is not None:
        _TRIM(0)


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
