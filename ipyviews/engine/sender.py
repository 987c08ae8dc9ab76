"""A process's own segments: filled, sent, used again, removed."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING, Any

from . import segments
from .lifecycle import Pool

if TYPE_CHECKING:
    import mmap
    from collections.abc import Callable, Iterable, Sequence

    from .lifecycle import Segment

#: From this size [bytes] on a segment stays mapped by its sender: then the next filling takes half
#: the time. Each mapping costs a descriptor, so there are not more than so many. [count]
MAPPED_FROM = 8 * 1024 * 1024
MOST_MAPPED = 32


class Sender:
    """Segments of one owner; thread-safe.

    Parameters
    ----------
    cluster, owner
        Begin the names of its segments.
    on_full
        Called once, with the reason, when a buffer could not be shared.
    """

    def __init__(
        self, cluster: str, owner: str, on_full: Callable[[str], None] = lambda _why: None
    ) -> None:
        self._prefix = segments.prefix(cluster, owner)
        self._on_full = on_full
        self._pid = os.getpid()
        self._pool = Pool()
        # Entered as it is: in a condition's `with`, which is Python, Ctrl-C may leave it locked.
        self._lock = threading.RLock()
        self._change = threading.Condition(self._lock)
        self._mapped: dict[int, mmap.mmap] = {}
        self._doomed: list[Segment] = []
        self._janitor: threading.Thread | None = None
        self._is_closed = False
        self._is_full = False

    def put(
        self,
        data: Any,
        users: int = 0,
        holders: Iterable[str] = (),
        uses: list[tuple[str, int]] | None = None,
    ) -> segments.Reference | None:
        """Copy data into a segment.

        Parameters
        ----------
        data
            Contiguous memory. It may change afterwards.
        users
            Tasks whose end must be told with `ended`. [count]
        holders
            Who maps it until they tell `released`.
        uses
            What `ended` takes is added here: Ctrl-C may keep the caller from what is returned.

        Returns
        -------
        Reference or None
            What is sent instead; None when there is no room: send the data itself.
        """
        if self._pid != os.getpid():
            return None  # A forked child: its lock may be held for ever.
        segment: Segment | None = None
        unlink: list[Segment] = []
        try:
            with self._lock:
                if self._is_closed:
                    return None
                segment, unlink = self._pool.take(memoryview(data).nbytes, segments.room())
                self._doom(unlink)
            if segment is not None:
                return self._fill(segment, data, users, holders, [] if uses is None else uses)
        except BaseException as error:
            # Ctrl-C comes anywhere, but nobody has been told of the segment.
            self._give_up(segment, unlink)
            if segment is None or not isinstance(error, OSError):
                raise
            self._tell_full(f"{error.strerror}")
            return None
        self._tell_full("it has reached its limit, half of /dev/shm or a quarter of the memory")
        return None

    def ended(self, name: str, use: int, *, holder: str = "", spoiled: bool = False) -> None:
        """One of its tasks has ended; see `Pool.ended`."""
        number, now = segments.number_of(name), time.monotonic()
        with self._lock:
            self._pool.ended(number, use, now, holder=holder, spoiled=spoiled)
            self._look_after()

    def released(self, told: Iterable[Sequence[Any]], holder: str) -> None:
        """A holder has let go of what is named: ``[name, use]``, or ``[name, use, spoiled]``."""
        now = time.monotonic()
        with self._lock:
            for name, use, *more in told:
                if name.startswith(self._prefix):
                    number, spoiled = segments.number_of(name), any(more)
                    self._pool.released(number, use, holder, now, spoiled=spoiled)
            self._look_after()

    def lost(self, holder: str) -> None:
        """A holder is gone."""
        with self._lock:
            self._pool.lost(holder, time.monotonic())
            self._look_after()

    def close(self, keep: Callable[[Segment], bool] = lambda _: False) -> None:
        """Unlink all segments but those to be kept. May be called again."""
        if self._pid != os.getpid():
            return  # A forked child: they are its parent's.
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
            self._doom(self._pool.close(keep))
            self._change.notify_all()
        if self._janitor is not None:
            self._janitor.join()
        self._unlink()

    def _fill(
        self,
        segment: Segment,
        data: Any,
        users: int,
        holders: Iterable[str],
        uses: list[tuple[str, int]],
    ) -> segments.Reference | None:
        """Write a segment and note for whom; None when it was closed meanwhile."""
        name = self._name(segment)
        if segment.use == 1:
            segments.create(name, segment.capacity)
        segments.write(name, segment.use, data, self._mapping(segment))
        with self._lock:
            is_sent = not self._is_closed
            if is_sent:
                self._pool.sent(segment, users, holders, time.monotonic())
        if not is_sent:
            segments.remove(name)
            return None
        uses.append((name, segment.use))
        return segments.Reference(name, segment.use, segments.OFFSET, memoryview(data).nbytes)

    def _give_up(self, segment: Segment | None, unlink: list[Segment]) -> None:
        """Remove a segment in whatever state, and those that should have made room for it."""
        with self._lock:
            self._doom([*unlink, *(self._pool.give_up(segment) if segment else ())])
        if self._is_closed:
            self._unlink()

    def _name(self, segment: Segment) -> str:
        return f"{self._prefix}{segment.number}"

    def _mapping(self, segment: Segment) -> mmap.mmap | None:
        # The first time writing to the file is faster, and lets other threads run.
        if segment.use == 1 or segment.capacity < MAPPED_FROM:
            return None
        known = self._mapped.get(segment.number)
        if known is None and len(self._mapped) < MOST_MAPPED:
            known = self._mapped[segment.number] = segments.map_shared(self._name(segment))
        return known

    def _tell_full(self, why: str) -> None:
        if not (self._is_full or self._is_closed):
            self._is_full = True
            self._on_full(why)

    # -- removing: in a thread, for it takes long ------------------------------------------------

    def _doom(self, unlink: list[Segment]) -> None:
        self._doomed += unlink
        self._look_after()

    def _look_after(self) -> None:
        """Have somebody there to remove segments; holds the lock."""
        if self._is_closed or not (self._doomed or self._pool.next_end()):
            return
        if self._janitor is None:
            janitor = threading.Thread(target=self._tidy, name="ipyviews-segments", daemon=True)
            # Only one that runs counts: Ctrl-C may come while it starts.
            janitor.start()
            self._janitor = janitor
        else:
            self._change.notify()

    def _tidy(self) -> None:
        while True:
            self._unlink()
            with self._lock:
                self._doomed += self._pool.expire(time.monotonic())
                end = self._pool.next_end()
                if self._is_closed or (end is None and not self._doomed):
                    self._janitor = self._janitor if self._is_closed else None
                    return
                if not self._doomed and end is not None:
                    self._change.wait(max(0.0, end - time.monotonic()))

    def _unlink(self) -> None:
        with self._lock:
            doomed, self._doomed = self._doomed, []
            mapped = [self._mapped.pop(one.number, None) for one in doomed]
        for segment, mapping in zip(doomed, mapped, strict=True):
            segments.remove(self._name(segment))
            if mapping is not None:
                mapping.close()
