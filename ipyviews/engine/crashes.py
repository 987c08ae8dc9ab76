"""Where a kernel's threads were when it crashed: a file that outlives its process.

A kernel that was forked tells that on its stderr, which the agent reads. Of others ipykernel has
taken the stderr, and nobody reads any more what it gets as it dies.
"""

from __future__ import annotations

import faulthandler
import os
from contextlib import suppress
from typing import IO

#: Referred to while it is used, and by nothing else. [at most one]
_open: list[IO[str]] = []


def path_of(connection_file: str) -> str:
    """Name the file of the kernel with this connection file."""
    return f"{connection_file}.crash"


def watch(connection_file: str) -> None:
    """Have crashes told, unless they are already."""
    if faulthandler.is_enabled() and not _open:
        return
    stop()
    path = path_of(connection_file)
    with suppress(OSError):
        with suppress(FileNotFoundError):
            os.unlink(path)  # noqa: PTH108 - an earlier life's
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        file = os.fdopen(descriptor, "w")
        faulthandler.enable(file)
        _open.append(file)


def stop() -> None:
    """Undo `watch`."""
    if _open:
        faulthandler.disable()
        _open.pop().close()


def read(connection_file: str) -> str:
    """Return what there is in the file of a kernel that has died, and remove it."""
    path = path_of(connection_file)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:
        return ""
    with os.fdopen(descriptor, encoding="utf-8", errors="replace") as file:
        text = file.read(1 << 16)
    with suppress(FileNotFoundError):
        os.unlink(path)  # noqa: PTH108 - as above
    return text
