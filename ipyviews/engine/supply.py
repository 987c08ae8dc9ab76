"""Fresh pages of shared memory, supplied by several processors at a time.

To have a page zeroed and, in a virtual machine, had from the host costs several times what copying
into it costs. Writing to a file does that one page after the other, behind a lock of the file;
pages of a mapping are supplied side by side.
"""

from __future__ import annotations

import errno
import functools
import mmap
import os
from typing import TYPE_CHECKING, Any

from . import together

if TYPE_CHECKING:
    from collections.abc import Callable

#: Linux's number; from 5.14 on.
_MADV_POPULATE_WRITE = 23

#: So much is supplied and filled at a time. [bytes]
_PIECE = 4 * 1024 * 1024


def fill(mapping: mmap.mmap, start: int, data: memoryview) -> None:
    """Copy data into pages of a shared mapping that are not there yet.

    Raises
    ------
    OSError
        If there is no memory for them. Just writing would kill the process.
    ValueError
        If the mapping is closed meanwhile.
    """

    def piece(place: int) -> None:
        some = data[place : place + _PIECE]
        first = (start + place) // mmap.PAGESIZE * mmap.PAGESIZE
        supply(mapping, first, start + place + some.nbytes)
        mapping[start + place : start + place + some.nbytes] = some

    places = range(0, data.nbytes, _PIECE)
    together.do_all([functools.partial(piece, place) for place in places], data.nbytes)


def supply(mapping: mmap.mmap, start: int, end: int) -> None:
    """Have the pages of a part of a mapping there to be written; other threads run meanwhile.

    Raises
    ------
    OSError
        If there is no memory for them.
    """
    import ctypes  # noqa: PLC0415 - a client imports it only for large arrays

    address = ctypes.addressof(ctypes.c_char.from_buffer(mapping)) + start
    if _madvise()(address, end - start, _MADV_POPULATE_WRITE):
        code = ctypes.get_errno()
        # That is what it says where a file system is full.
        code = errno.ENOSPC if code == errno.EFAULT else code
        raise OSError(code, os.strerror(code))


@functools.cache
def is_possible() -> bool:
    """Whether this system can do it."""
    try:
        with mmap.mmap(-1, mmap.PAGESIZE) as page:
            supply(page, 0, mmap.PAGESIZE)
    except (ImportError, OSError, AttributeError, TypeError, ValueError):
        return False
    return True


@functools.cache
def _madvise() -> Callable[[int, int, int], int]:
    import ctypes  # noqa: PLC0415

    madvise: Any = ctypes.CDLL(None, use_errno=True).madvise
    madvise.argtypes = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
    return madvise  # type: ignore[no-any-return]
