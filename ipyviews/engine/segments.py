"""Segments of shared memory: files in ``/dev/shm``, and the references that travel instead.

A segment is ``ipv-<cluster>-<owner>-<number>`` (0600): a page that begins with how often it was
filled, then the data. Whoever creates it owns it; whoever ends a cluster removes what is left.
Receivers map it privately, so arrays are writable and nobody else sees the write.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import mmap
import os
import re
import stat
import struct
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from . import supply

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

FOLDER = Path("/dev/shm")  # noqa: S108 - it is what this is about

#: Buffers from this size [bytes] on are shared: below, sending them costs less than the file.
SHARE_FROM = 1024 * 1024

#: Where the data begins. [bytes]
OFFSET = 4096

#: Begins every reference. Real buffers are no shorter than `pickling.OUT_OF_BAND_LIMIT`.
_MAGIC = b"ipv-segment\0"
_LONGEST = 512

#: Begins every segment; then comes the number of its use.
_HEADER = struct.Struct("<8sQ")
_MARK = b"ipv-shm\0"

_NAME = re.compile(r"ipv-[\w.-]{1,64}-[\w.]{1,64}-[0-9]{1,12}", re.ASCII)

#: So much is written at a time, so that Ctrl-C is noticed and other threads run. [bytes]
_PIECE = 16 * 1024 * 1024

#: Linux enters the pages around one that is read into the page table as well. [bytes]
_AROUND = 64 * 1024

#: Mappings that one process may hold as receiver [count]: each costs a descriptor before 3.13.
MOST_MAPPINGS = 10_000 if sys.version_info >= (3, 13) else 200


class SegmentGone(LookupError):
    """What a reference names is not there, or not what it was."""


@dataclass(frozen=True, slots=True)
class Reference:
    """What is sent in the place of a buffer."""

    name: str
    #: Which filling of the segment is meant.
    use: int
    offset: int
    size: int

    def pack(self) -> bytes:
        """Return the frame."""
        return _MAGIC + json.dumps(asdict(self), separators=(",", ":")).encode()

    @classmethod
    def read(cls, frame: Any) -> Self | None:
        """Return the reference that a frame is; None for any other frame.

        Raises
        ------
        SegmentGone
            If it is none that this version makes.
        """
        if memoryview(frame).nbytes > _LONGEST or bytes(frame[: len(_MAGIC)]) != _MAGIC:
            return None
        try:
            found = cls(**json.loads(bytes(frame)[len(_MAGIC) :]))
            numbers = found.use, found.offset, found.size
            if _NAME.fullmatch(found.name) and all(type(n) is int and n > 0 for n in numbers):
                return found
        except (ValueError, TypeError):
            pass
        raise SegmentGone("a reference to shared memory is malformed")


def owner_of(name: str) -> str:
    """Return who made the segment of that name."""
    return name.rsplit("-", 2)[1]


def number_of(name: str) -> int:
    """Return its number among those of its owner."""
    return int(name.rpartition("-")[2])


def prefix(cluster: str, owner: str = "") -> str:
    """Return how the names of segments begin: all of a cluster, or those of one owner."""
    return f"ipv-{cluster}-{owner}-" if owner else f"ipv-{cluster}-"


@functools.cache
def place() -> str:
    """Name the ``/dev/shm`` of this process and user: equal where segments can be shared.

    The device number tells one mount from another, the boot one machine from another. Empty where
    there is none.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii")
        status = FOLDER.stat()
    except OSError:
        return ""
    if not os.access(FOLDER, os.W_OK | os.X_OK):
        return ""
    told = f"{boot}|{status.st_dev}|{status.st_ino}|{os.geteuid()}"
    return hashlib.sha256(told.encode()).hexdigest()[:16]


def room() -> int:
    """Return what new segments may take [bytes]: half of ``/dev/shm``, a quarter of the limit.

    Everybody's files count, so all senders of a host together stay below it.
    """
    try:
        status = os.statvfs(FOLDER)
    except OSError:
        return 0
    used = (status.f_blocks - status.f_bfree) * status.f_frsize
    return min(status.f_blocks * status.f_frsize // 2, _memory_limit() // 4) - used


@functools.cache
def _memory_limit() -> int:
    """Return the limit of this process's control group [bytes]; a very large one without."""
    limits = [sys.maxsize]
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text("utf-8").splitlines():
            _, controllers, path = line.split(":", 2)
            if not controllers:
                limits += _limits(Path("/sys/fs/cgroup"), path, "memory.max")
            elif "memory" in controllers.split(","):
                limits += _limits(Path("/sys/fs/cgroup/memory"), path, "memory.limit_in_bytes")
    return min(limits)


def _limits(root: Path, path: str, name: str) -> Iterator[int]:
    # Inside a container the path is often the host's, and the limit in the root.
    for folder in (root / path.lstrip("/"), root):
        with contextlib.suppress(OSError, ValueError):
            yield int((folder / name).read_text("ascii"))


def write(
    name: str, use: int, data: Any, mapping: mmap.mmap | None = None, *, side_by_side: bool = False
) -> None:
    """Fill a segment that nobody else maps; without a mapping, a new one is made.

    Parameters
    ----------
    name, use
        Which, and how often it was filled with this time. [count]
    data
        Contiguous memory.
    mapping
        Its owner's, if there is one.
    side_by_side
        Whether several processors supply the pages of a new one; see `supply`.

    Raises
    ------
    OSError
        If there is not enough memory, or no such folder.
    """
    view = memoryview(data).cast("B")
    is_new = use == 1 and mapping is None
    how = os.O_CREAT | os.O_EXCL if is_new else os.O_NOFOLLOW
    fd = os.open(FOLDER / name, how | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        os.pwrite(fd, _HEADER.pack(_MARK, use), 0)
        if mapping is not None and use > 1:
            _to_pages(mapping, view)
        elif mapping is not None and side_by_side:
            supply.fill(mapping, OFFSET, view)
        else:
            _to_file(fd, view, mapping)
    finally:
        os.close(fd)


def _to_pages(mapping: mmap.mmap, view: memoryview) -> None:
    for start in range(0, view.nbytes, _PIECE):
        piece = view[start : start + _PIECE]
        mapping[OFFSET + start : OFFSET + start + piece.nbytes] = piece


def _to_file(fd: int, view: memoryview, mapping: mmap.mmap | None) -> None:
    """Write to a file, and enter the pages into the page table of a mapping for the next time."""
    start = 0
    while start < view.nbytes:
        place = OFFSET + start
        # Without memory this is an error; writing to a page that is not there kills.
        start += os.pwrite(fd, view[start : start + _PIECE], place)
        if mapping is not None:
            mapping[place : OFFSET + start : _AROUND]


def make_mapped(name: str, size: int) -> mmap.mmap:
    """Make a segment for so much data, and map it: its pages stay where they are for next time.

    Raises
    ------
    OSError
        If there are too many mappings or descriptors, or no such folder.
    """
    path = FOLDER / name
    fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        os.ftruncate(fd, OFFSET + size)
        return mmap.mmap(fd, OFFSET + size)
    except BaseException:
        path.unlink()
        raise
    finally:
        os.close(fd)


def map_private(reference: Reference, cluster: str) -> mmap.mmap:
    """Map what a reference of this cluster names; the data begins at its offset.

    Raises
    ------
    SegmentGone
        If it is not there, not this user's, or filled anew.
    OSError
        If there are too many mappings or descriptors.
    """
    fd = _open(reference, cluster)
    try:
        more: dict[str, Any] = {"trackfd": False} if sys.version_info >= (3, 13) else {}
        size, protection = reference.offset + reference.size, mmap.PROT_READ | mmap.PROT_WRITE
        return mmap.mmap(fd, size, flags=mmap.MAP_PRIVATE, prot=protection, **more)
    finally:
        os.close(fd)


def copy(reference: Reference, cluster: str) -> bytearray:
    """Copy what a reference names.

    Raises
    ------
    SegmentGone
        As `map_private`.
    """
    data = bytearray(reference.size)
    view, start = memoryview(data), 0
    fd = _open(reference, cluster)
    try:
        while start < reference.size:
            got = os.preadv(fd, [view[start : start + _PIECE]], reference.offset + start)
            if not got:
                raise SegmentGone(f"the segment {reference.name} is shorter than it was")
            start += got
        # Its owner may have begun to fill it anew: the use is written first.
        if problem := _problem(fd, reference):
            raise SegmentGone(f"the data in shared memory is gone: {reference.name} {problem}")
    finally:
        os.close(fd)
    return data


def _open(reference: Reference, cluster: str) -> int:
    name = reference.name
    if not name.startswith(prefix(cluster)):
        raise SegmentGone(f"{name} is no segment of this cluster")
    try:
        fd = os.open(FOLDER / name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except (FileNotFoundError, PermissionError) as error:
        raise SegmentGone(
            f"the data in shared memory is gone: {name}, {error.strerror}; has its sender ended?"
        ) from None
    problem = _problem(fd, reference)
    if problem:
        os.close(fd)
        raise SegmentGone(f"the data in shared memory is gone: {name} {problem}")
    return fd


def _problem(fd: int, reference: Reference) -> str:
    """Say why an open file is not the segment that was meant; empty if it is."""
    status, start = os.fstat(fd), reference.offset
    if status.st_uid != os.geteuid() or status.st_mode & 0o077 or not stat.S_ISREG(status.st_mode):
        return "was made by another user"
    if start < _HEADER.size or status.st_size < start + reference.size:
        return "is smaller"
    if os.pread(fd, _HEADER.size, 0) != _HEADER.pack(_MARK, reference.use):
        return "holds other data now"
    return ""


def whole(buffers: Sequence[Any], cluster: str) -> list[Any]:
    """Return buffers with what they refer to in the place of references; gone ones stay."""
    found = []
    for buffer in buffers:
        with contextlib.suppress(SegmentGone):
            reference = Reference.read(buffer)
            found.append(buffer if reference is None else copy(reference, cluster))
            continue
        found.append(buffer)
    return found


def remove(name: str) -> None:
    """Unlink a segment; mappings of it stay. Takes 0.2 s for a gigabyte."""
    with contextlib.suppress(OSError):
        (FOLDER / name).unlink()


def names(cluster: str, owner: str = "") -> list[str]:
    """List the segments of a cluster, or of one owner in it."""
    start = prefix(cluster, owner)
    try:
        return [path.name for path in FOLDER.iterdir() if path.name.startswith(start)]
    except OSError:
        return []


def sweep(cluster: str, owner: str = "") -> None:
    """Unlink all segments of a cluster, or of one owner in it."""
    for name in names(cluster, owner):
        remove(name)
