"""How much memory a process of this host has."""

from __future__ import annotations

import os
from pathlib import Path


def resident_bytes(pid: int | None) -> int | None:
    """Return what a process holds in memory [bytes]; None where that cannot be told."""
    try:
        pages = Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]
    except OSError:
        # It has ended, or this is not Linux.
        return None
    return int(pages) * os.sysconf("SC_PAGE_SIZE")
