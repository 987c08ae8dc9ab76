"""The life of the segments of shared memory that one process sends. No I/O, no clock, no thread.

::

              ┌──────────────────────── take ────────────────────────┐
              ▼                                                      │
    take ► FILLING ── sent ──► SENT ── ended, released ──► POOLED ───┤
              │                                              │ idle, spoiled, no room
              └────────────── give_up ──────────────────► UNLINKED

A segment is written while it is FILLING only: a private mapping sees later writes on the pages it
has not touched. So it comes back when every task it was sent with has ended (*users*) and everybody
who told that it maps it (*holders*) has told that it does not any more. These two may overtake each
other: a holder's count may be below zero for a moment. Where somebody may map it who will never
tell, because it died, is a forked child, or its task was given up, it is *spoiled*: unlinking is
always safe, for mappings stay, writing is not.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

#: How long a segment waits to be used again [s], and one that is spoiled: a message that names it
#: may be on its way to somebody who reads it for a client that has left.
IDLE_S = 10.0
SPOILED_S = 3.0

#: A pooled segment is used for what needs at least this part of it.
LEAST_FILL = 0.5


class State(Enum):
    """Where a segment is in its life."""

    FILLING = "filling"
    SENT = "sent"
    POOLED = "pooled"
    UNLINKED = "unlinked"


@dataclass(slots=True, eq=False)
class Segment:
    """One file. `use` counts how often it was filled: older references mean nothing."""

    number: int
    #: Bytes of data that fit.
    capacity: int
    use: int = 1
    state: State = State.FILLING
    #: Tasks that have not ended. [count]
    users: int = 0
    #: How often each holder maps it. [count]
    holders: dict[str, int] = field(default_factory=dict)
    is_spoiled: bool = False
    #: Since when it is in the pool, by the caller's clock [s].
    since: float = 0.0

    @property
    def is_free(self) -> bool:
        """Whether nobody needs its content any more."""
        return not self.users and (self.is_spoiled or not any(self.holders.values()))


class Pool:
    """All segments of a sender. What methods return is to be unlinked."""

    def __init__(self) -> None:
        self.segments: dict[int, Segment] = {}
        #: Those that are not unlinked so far; whoever does that takes them out.
        self.leaving: dict[int, Segment] = {}
        self._made = 0

    def take(self, size: int, room: int) -> tuple[Segment | None, list[Segment]]:
        """Find a segment to be filled.

        Parameters
        ----------
        size
            What it has to hold. [bytes]
        room
            What a new one may take. [bytes]

        Returns
        -------
        segment : Segment or None
            A used one if `use` is above 1, else to be made; None when there is no room.
        unlink : list of Segment
            Pooled ones that have to make room.
        """
        fitting = [one for one in self.idle() if one.capacity * LEAST_FILL <= size <= one.capacity]
        if fitting:
            segment = min(fitting, key=lambda one: one.capacity)
            segment.state, segment.use = State.FILLING, segment.use + 1
            return segment, []
        gone: list[Segment] = []
        pooled = [one for one in self.segments.values() if one.state is State.POOLED]
        for one in sorted(pooled, key=lambda one: one.since):
            if room >= size:
                break
            room += one.capacity
            gone.append(one)
        unlink = self._unlink(gone)
        if room < size:
            return None, unlink
        self._made += 1
        segment = self.segments[self._made] = Segment(self._made, size)
        return segment, unlink

    def idle(self) -> list[Segment]:
        """Return those that wait to be filled again."""
        pooled = (one for one in self.segments.values() if one.state is State.POOLED)
        return [one for one in pooled if not one.is_spoiled]

    def give_up(self, segments: list[Segment]) -> list[Segment]:
        """Drop segments that could not be filled."""
        return self._unlink(segments)

    def forsaken(self, fillings: list[Segment | None]) -> list[Segment]:
        """Drop segments that were taken by somebody whom Ctrl-C kept from getting them.

        Parameters
        ----------
        fillings
            Those that are being filled.
        """
        filling = [one for one in self.segments.values() if one.state is State.FILLING]
        lost = [one for one in filling if one not in fillings]
        gone = [one for one in self.segments.values() if one.state is State.UNLINKED]
        self._unlink([*lost, *gone])
        return list(self.leaving.values())

    def sent(self, segment: Segment, users: int, holders: Iterable[str], now: float) -> None:
        """Note that it is filled and for whom."""
        segment.state, segment.users = State.SENT, users
        segment.holders = dict.fromkeys(holders, 1)
        self._settle(segment, now)

    def ended(
        self, number: int, use: int, now: float, *, holder: str = "", spoiled: bool = False
    ) -> None:
        """Note that one of its tasks has ended; `holder` goes on mapping it."""
        segment = self._find(number, use)
        if segment is not None and segment.users:
            segment.users -= 1
            segment.is_spoiled |= spoiled
            if holder:
                _count(segment.holders, holder, 1)
            self._settle(segment, now)

    def released(
        self, number: int, use: int, holder: str, now: float, *, spoiled: bool = False
    ) -> None:
        """Note that a holder has let go of one mapping; `spoiled` if a forked child has not."""
        segment = self._find(number, use)
        if segment is not None:
            segment.is_spoiled |= spoiled
            _count(segment.holders, holder, -1)
            self._settle(segment, now)

    def lost(self, holder: str, now: float) -> None:
        """Note that a holder will not tell anything any more."""
        for segment in self.segments.values():
            if segment.state is State.SENT and segment.holders.pop(holder, None) is not None:
                segment.is_spoiled = True
                self._settle(segment, now)

    def expire(self, now: float) -> list[Segment]:
        """Drop those that nobody has used again."""
        pooled = [one for one in self.segments.values() if one.state is State.POOLED]
        return self._unlink([one for one in pooled if _end(one) <= now])

    def next_end(self) -> float | None:
        """Return when `expire` has something to drop; None if nothing is in the pool."""
        ends = [_end(one) for one in self.segments.values() if one.state is State.POOLED]
        return min(ends, default=None)

    def close(self, keep: Callable[[Segment], bool]) -> list[Segment]:
        """Drop all but those to be kept."""
        return self._unlink([one for one in self.segments.values() if not keep(one)])

    def _find(self, number: int, use: int) -> Segment | None:
        segment = self.segments.get(number)
        is_it = segment is not None and segment.state is State.SENT and segment.use == use
        return segment if is_it else None

    def _settle(self, segment: Segment, now: float) -> None:
        if segment.is_free:
            segment.state, segment.since = State.POOLED, now
            segment.holders.clear()

    def _unlink(self, segments: list[Segment]) -> list[Segment]:
        for segment in segments:
            segment.state = State.UNLINKED
            # Nowhere is it in neither: Ctrl-C may keep the caller from what is returned.
            self.leaving[segment.number] = segment
            self.segments.pop(segment.number, None)
        return segments


def _count(holders: dict[str, int], holder: str, step: int) -> None:
    count = holders.get(holder, 0) + step
    if count:
        holders[holder] = count
    else:
        holders.pop(holder, None)


def _end(segment: Segment) -> float:
    return segment.since + (SPOILED_S if segment.is_spoiled else IDLE_S)
