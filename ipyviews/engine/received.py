"""What a process maps of others' segments, and telling when it lets go of it."""

from __future__ import annotations

import os
import threading
import weakref
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from . import segments

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    #: Name and use of a segment; the third says that it must not be filled again.
    Told = tuple[str, int] | tuple[str, int, bool]

#: Counts twice for each fork of this process: before it, and after.
_forks = 0


def _forking() -> None:
    global _forks  # noqa: PLW0603 - it counts for all receivers of the process
    _forks += 1


# A child inherits all mappings, even one that a thread makes just then, and tells nobody.
os.register_at_fork(before=_forking, after_in_parent=_forking)


@dataclass(slots=True, eq=False)
class Mapping:
    """One mapping of a segment."""

    reference: segments.Reference
    #: Who is to be told, in the words of who made it.
    owner: Any
    #: Forks of the process before it was made. [count]
    forks: int
    #: Its last view is gone.
    is_gone: bool = False
    #: The owner knows whether it is mapped, and waits to be told if so.
    is_settled: bool = False
    is_held: bool = False
    #: It is gone, but a forked child may have it for ever.
    is_inherited: bool = False

    @property
    def use(self) -> tuple[str, int]:
        """How the owner knows it."""
        return self.reference.name, self.reference.use

    @property
    def told(self) -> Told:
        """What the owner is told when it is gone."""
        return (*self.use, True) if self.is_inherited else self.use


class Receiver:
    """All mappings of a process.

    Parameters
    ----------
    on_release
        Called when there is something to tell; in any thread, even in the middle of a lock's
        holder: it must take no lock.
    """

    def __init__(self, on_release: Callable[[], None]) -> None:
        self._on_release = on_release
        self._pid = os.getpid()
        # Changed where garbage is collected, so by single steps only.
        self._living: set[Mapping] = set()
        # Guards the settling; never taken where garbage is collected.
        self._lock = threading.Lock()
        self._gone: deque[Mapping] = deque()

    def open(self, frame: Any, cluster: str, owner: Any) -> tuple[Any, Mapping | None]:
        """Return what a frame refers to, and the mapping; any other frame as it is.

        With too many mappings it is a copy, and no mapping.

        Raises
        ------
        SegmentGone
            If what it refers to is not there.
        """
        reference = segments.Reference.read(frame)
        if reference is None:
            return frame, None
        if len(self._living) < segments.MOST_MAPPINGS:
            forks = _forks
            try:
                memory = segments.map_private(reference, cluster)
            except OSError:
                return segments.copy(reference, cluster), None
            mapping = Mapping(reference, owner, forks)
            self._living.add(mapping)
            weakref.finalize(memory, self._collected, mapping).atexit = False
            start = reference.offset
            return memoryview(memory)[start : start + reference.size], mapping
        return segments.copy(reference, cluster), None

    def settle(self, mappings: Iterable[Mapping]) -> list[tuple[str, int]]:
        """Return those that still exist, here or in a child: `released` tells of them later."""
        with self._lock:
            for mapping in mappings:
                mapping.is_settled = True
                mapping.is_held = not mapping.is_gone or mapping.is_inherited
            return [mapping.use for mapping in mappings if mapping.is_held]

    def released(self, owner: Any = None) -> list[Mapping]:
        """Take out those held ones that are gone; only those of an owner if one is given."""
        if not self._gone:
            return []
        with self._lock:
            gone = [self._gone.popleft() for _ in range(len(self._gone))]
            is_due = [one.is_settled and owner in (None, one.owner) for one in gone]
            self._gone.extend(one for one, due in zip(gone, is_due, strict=True) if not due)
        return [one for one, due in zip(gone, is_due, strict=True) if due and one.is_held]

    @property
    def has_news(self) -> bool:
        """Whether `released` may have something."""
        return bool(self._gone)

    def _collected(self, mapping: Mapping) -> None:
        # Anywhere and at any time: nothing here may wait or take a lock.
        if os.getpid() != self._pid:
            return  # A forked child has a mapping of its own.
        self._living.discard(mapping)
        mapping.is_inherited = mapping.forks != _forks
        mapping.is_gone = True
        self._gone.append(mapping)
        if mapping.is_settled:
            self._on_release()
