"""A process's own segments: filled, sent, used again, removed."""

from __future__ import annotations

import contextlib
import functools
import os
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from . import segments, supply, together
from .lifecycle import Pool

if TYPE_CHECKING:
    import mmap
    from collections.abc import Callable, Iterable, Sequence

    from .lifecycle import Segment

    #: Name and number of the filling of a segment.
    Use = tuple[str, int]

#: From this size [bytes] on a segment is mapped by its sender: then its pages are supplied by
#: several processors, and the next filling is one copy at the speed of memory. Each costs a
#: descriptor, so there are not more than so many. [count]
MAPPED_FROM = 8 * 1024 * 1024
MOST_MAPPED = 32

FULL = "it has reached its limit, half of /dev/shm or a quarter of the memory"


@dataclass(slots=True, eq=False)
class Filling:
    """A buffer on its way into a segment."""

    data: Any
    uses: list[Use]
    segment: Segment | None = None
    #: What the thread that wrote it met.
    error: Exception | None = None
    #: Nobody waits for it any more; whoever comes later, its thread or the others, removes it.
    is_given_up: bool = False

    @property
    def size(self) -> int:
        """Its size [bytes]."""
        return memoryview(self.data).nbytes


class Sender:
    """Segments of one owner; thread-safe.

    Parameters
    ----------
    cluster, owner
        Begin the names of its segments.
    on_full
        Called once, with the reason, when a buffer could not be shared.
    is_alone
        Whether other processors are likely to be idle while it fills segments.
    """

    def __init__(
        self,
        cluster: str,
        owner: str,
        on_full: Callable[[str], None] = lambda _why: None,
        *,
        is_alone: bool = False,
    ) -> None:
        self._is_alone = is_alone
        self._prefix = segments.prefix(cluster, owner)
        self._on_full = on_full
        self._pid = os.getpid()
        self._pool = Pool()
        # Entered as it is: in a condition's `with`, which is Python, Ctrl-C may leave it locked.
        self._lock = threading.RLock()
        self._change = threading.Condition(self._lock)
        self._mapped: dict[int, mmap.mmap] = {}
        self._doomed: list[Segment] = []
        # What is being filled, in all threads.
        self._under_way: list[Filling] = []
        self._janitor: threading.Thread | None = None
        self._is_closed = False
        self._is_full = False

    def put(
        self,
        data: Any,
        users: int = 0,
        holders: Iterable[str] = (),
        uses: list[Use] | None = None,
    ) -> segments.Reference | None:
        """Copy data into a segment; see `put_all`."""
        [reference] = self.put_all([(data, [] if uses is None else uses)], users, holders)
        return reference

    def put_all(
        self, buffers: Sequence[tuple[Any, list[Use]]], users: int = 0, holders: Iterable[str] = ()
    ) -> list[segments.Reference | None]:
        """Copy data into segments, several at a time.

        Parameters
        ----------
        buffers
            Contiguous memory, which may change afterwards; and where what `ended` takes is added:
            Ctrl-C may keep the caller from what is returned.
        users
            Tasks of each whose end must be told with `ended`. [count]
        holders
            Who maps them until they tell `released`.

        Returns
        -------
        list of Reference or None
            What is sent instead; None when there is no room: send the data itself.
        """
        found: list[segments.Reference | None] = []
        while len(found) < len(buffers):
            if self._pid != os.getpid():
                return [None] * len(buffers)  # A forked child: its lock may be held for ever.
            some = buffers[len(found) : len(found) + together.threads()]
            found += self._put_some([Filling(*one) for one in some], users, tuple(holders))
        return found

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

    def _put_some(
        self, fillings: list[Filling], users: int, holders: tuple[str, ...]
    ) -> list[segments.Reference | None]:
        doomed: list[Segment] = []
        try:
            with self._lock:
                self._under_way += fillings
            self._take(fillings, doomed)
            together.do_all(
                [
                    functools.partial(self._fill, one, one.segment, len(fillings))
                    for one in fillings
                    if one.segment is not None
                ],
                sum(one.size for one in fillings),
            )
            return [self._sent(one, users, holders) for one in fillings]
        except BaseException:
            # Ctrl-C comes anywhere, but nobody has been told of the segments.
            self._give_up(fillings, doomed)
            raise
        finally:
            with self._lock:
                self._under_way = [one for one in self._under_way if one not in fillings]

    def _take(self, fillings: list[Filling], doomed: list[Segment]) -> None:
        """Find segments to fill, and note in `doomed` those that have to make room."""
        room = segments.room()
        for one in fillings:
            with self._lock:
                if self._is_closed:
                    return
                one.segment, unlink = self._pool.take(one.size, room)
                doomed += unlink
                self._doom(unlink)
            room += sum(gone.capacity for gone in unlink)
            if one.segment is None:
                self._tell_full(FULL)
            elif one.segment.use == 1:
                room -= one.size

    def _fill(self, one: Filling, segment: Segment, at_a_time: int) -> None:
        """Write a segment; in any thread."""
        try:
            segments.write(
                self._name(segment),
                segment.use,
                one.data,
                self._mapping(segment),
                side_by_side=self._is_alone and at_a_time == 1,
            )
        except Exception as error:  # noqa: BLE001 - for the thread that asked
            # Its frames would keep the data.
            one.error = error.with_traceback(None)
        finally:
            if one.is_given_up or one.error is not None:
                self._remove(segment)

    def _sent(
        self, one: Filling, users: int, holders: tuple[str, ...]
    ) -> segments.Reference | None:
        """Note for whom a segment was written; None when it was not, or closed meanwhile."""
        segment = one.segment
        if segment is None:
            return None
        if one.error is not None:
            self._give_up([one])
            if self._is_closed:
                return None  # Perhaps in the midst of it, with the mapping.
            if not isinstance(one.error, OSError):
                raise one.error
            self._tell_full(f"{one.error.strerror}")
            return None
        name = self._name(segment)
        with self._lock:
            is_sent = not self._is_closed
            if is_sent:
                self._pool.sent(segment, users, holders, time.monotonic())
        if not is_sent:
            self._remove(segment)
            return None
        one.uses.append((name, segment.use))
        return segments.Reference(name, segment.use, segments.OFFSET, one.size)

    def _give_up(self, fillings: list[Filling], doomed: Sequence[Segment] = ()) -> None:
        """Remove segments in whatever state, and those that should have made room for them."""
        for one in fillings:
            one.is_given_up = True
        with self._lock:
            given_up = [one.segment for one in fillings if one.segment is not None]
            others = [one.segment for one in self._under_way if one not in fillings]
            self._doom([*doomed, *self._pool.give_up(given_up), *self._pool.forsaken(others)])
        if self._is_closed:
            self._unlink()

    def _name(self, segment: Segment) -> str:
        return f"{self._prefix}{segment.number}"

    def _mapping(self, segment: Segment) -> mmap.mmap | None:
        """Return one's own mapping of a segment, of a new one if that pays."""
        with self._lock:
            is_small = segment.capacity < MAPPED_FROM or len(self._mapped) >= MOST_MAPPED
            if segment.use > 1 or is_small or not supply.is_possible():
                return self._mapped.get(segment.number)
            # Without it the segment is written as a file.
            with contextlib.suppress(OSError):
                made = segments.make_mapped(self._name(segment), segment.capacity)
                self._mapped[segment.number] = made
                return made
            return None

    def _remove(self, segment: Segment) -> None:
        with self._lock:
            mapping = self._mapped.pop(segment.number, None)
        segments.remove(self._name(segment))
        if mapping is not None:
            # One that a thread is just having supplied with pages ends with that.
            with contextlib.suppress(BufferError):
                mapping.close()

    def _tell_full(self, why: str) -> None:
        if not (self._is_full or self._is_closed):
            self._is_full = True
            self._on_full(why)

    # -- a thread that removes segments ----------------------------------------------------------

    def _doom(self, unlink: list[Segment]) -> None:
        self._doomed += unlink
        self._look_after()

    def _look_after(self) -> None:
        """Have somebody there for idle segments and those to be removed; holds the lock."""
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
                if end is not None and not self._doomed:
                    self._change.wait(max(0.0, end - time.monotonic()))

    def _unlink(self) -> None:
        with self._lock:
            doomed, self._doomed = self._doomed, []
            for one in doomed:
                self._pool.leaving.pop(one.number, None)
        for segment in doomed:
            self._remove(segment)
