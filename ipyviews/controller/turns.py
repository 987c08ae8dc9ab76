"""Long work in slices, so that whoever asks for little is not behind who asks for much.

A request with many calls, or a bundle of many replies, is taken in a slice at a time. Between two
slices the loop looks at all sockets, and whose messages wait take turns. What one sender asks for
is done in its order.
"""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from math import inf
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Hashable, Iterator

    #: Work that may be interrupted wherever it yields.
    Steps = Iterator[None]
    #: Work by sender; who comes next is first.
    Line = OrderedDict[Hashable, deque[Steps]]

#: So many steps are done before the turns of others. [count]
FEW = 4

#: Longest slice [s], the last step aside; and while nobody else asks for anything: then looking at
#: the sockets costs more than it gives.
SLICE_S = 0.0002
ALONE_S = 0.001

#: Between slices processors are left to others for so long [s] ...
REST_S = 0.001

#: ... until so long after somebody else asked for little [s].
POLITE_S = 0.02


class Turns:
    """Everybody's unfinished work.

    Parameters
    ----------
    loop
        Looks at sockets between slices.
    quietly
        Runs a function without sending what it causes.
    send
        Sends what was caused.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        quietly: Callable[[Callable[[], None]], None],
        send: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._quietly = quietly
        self._send = send
        # Two lines, each with its slice: were replies only some among many senders, an engine would
        # wait long for the end of its bundle.
        self._ending: Line = OrderedDict()
        self._making: Line = OrderedDict()
        self._next: asyncio.Handle | None = None
        #: Who asked for much last, and when somebody else asked for little.
        self._flooding: Hashable = None
        self._disturbed = -inf

    def end_tasks(self, sender: Hashable, steps: Steps) -> None:
        """Do some work, now if there is no other, else in turns."""
        longest_s = 0.0 if self._ending else self._slice_s
        self._take(self._ending, sender, steps, longest_s)

    def make_tasks(self, sender: Hashable, steps: Steps, size: int) -> None:
        """Do some work of `size` steps: at once if it is little, else in turns."""
        longest_s = 0.0 if self._ending or self._making else self._slice_s
        if size > FEW:
            self._flooding = sender
        elif sender != self._flooding:
            self._disturbed = self._loop.time()
        self._take(self._making, sender, steps, inf if size <= FEW else longest_s)

    def is_ending(self, sender: Hashable) -> bool:
        """Whether replies of this sender are still to be taken in."""
        return sender in self._ending

    def finish(self, sender: Hashable) -> None:
        """Do all of a sender's work now."""
        for line in (self._ending, self._making):
            while line.get(sender):
                self._slice(line, sender, inf)

    def close(self) -> None:
        """Stop; what is not done is not done any more."""
        self._ending.clear()
        self._making.clear()
        if self._next is not None:
            self._next.cancel()

    @property
    def _is_disturbed(self) -> bool:
        return self._loop.time() - self._disturbed < POLITE_S

    @property
    def _slice_s(self) -> float:
        return SLICE_S if self._is_disturbed else ALONE_S

    def _take(self, line: Line, sender: Hashable, steps: Steps, longest_s: float) -> None:
        is_first = sender not in line
        line.setdefault(sender, deque()).append(steps)
        if is_first and longest_s:
            self._slice(line, sender, longest_s)
        self._go_on()

    def _go_on(self) -> None:
        if self._next is not None or not (self._ending or self._making):
            return
        if self._is_disturbed:
            self._next = self._loop.call_later(REST_S, self._turn)
        else:
            self._next = self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        self._next = None
        try:
            for line in (self._ending, self._making):
                sender = next(iter(line), None)
                if sender is not None:
                    line.move_to_end(sender)
                    self._slice(line, sender, self._slice_s)
        finally:
            self._go_on()

    def _slice(self, line: Line, sender: Hashable, longest_s: float) -> None:
        """Go on with the first of a sender's work; what it calls may come back here."""
        waiting = line[sender]
        steps, is_done = waiting.popleft(), True

        def work() -> None:
            nonlocal is_done
            end = time.monotonic() + longest_s
            for _ in steps:
                if time.monotonic() > end:
                    is_done = False
                    return

        try:
            self._quietly(work)
        finally:
            if not is_done:
                waiting.appendleft(steps)
            else:
                if not waiting and line.get(sender) is waiting:
                    del line[sender]
                self._send()
