"""An interrupt stops the attempt it names, and nothing else.

The I/O thread checks under the backlog's lock that the attempt runs, then signals the main thread.
The handler raises only when the interrupted frame lies inside that attempt's user code; elsewhere
(between tasks, in our own code, in IPython's) the interrupt stays outstanding and the signal is
repeated until the attempt is hit or over. Whoever ends an attempt waits until signals on their way
have arrived, so none reaches the next one.
"""

from __future__ import annotations

import importlib
import os
import re
import signal
import sys
import threading
import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Collection
    from types import CodeType, FrameType

    from .backlog import Backlog

#: Time between signals while an interrupt is outstanding [s].
REPEAT_S = 0.01

#: A signal arrives at once, or the user's code has taken SIGINT for itself [s].
ARRIVAL_S = 0.05

#: Not one alone: a signal that comes just before a system call does not interrupt the call.
UNSEEN_LIMIT = 50


# Asked before each call: what `signal` adds, an enum for handlers that have no Python form, takes
# longer than a small call.
_getsignal: Callable[[int], Any] = getattr(
    importlib.import_module("_signal"), "getsignal", signal.getsignal
)


class Interrupts:
    """Interrupts of one engine.

    Parameters
    ----------
    backlog
        What runs.
    call_soon
        Runs a function on the kernel's loop, from any thread.
    task_code
        Code objects between whose frames and ours there is only a task's code.
    cell_code
        The same for cells.
    """

    def __init__(
        self,
        backlog: Backlog,
        call_soon: Callable[[Callable[[], None]], None],
        task_code: frozenset[CodeType],
        cell_code: CodeType,
    ) -> None:
        self._backlog = backlog
        self._call_soon = call_soon
        self._task_code = task_code
        self._cell_code = cell_code
        #: Attempt that is to be hit.
        self.target: str | None = None
        #: The asyncio task of an async task.
        self.awaiting: asyncio.Task[Any] | None = None
        #: It is suspended: the main thread does something else.
        self._suspended = False
        #: The attempt whose asyncio task we cancelled.
        self.cancelled: str | None = None
        #: Tells the I/O thread to call `repeat`.
        self.poke: Callable[[], None] = lambda: None
        # What the handler raised last, and to whom.
        self._raised: tuple[KeyboardInterrupt, str] | None = None
        # Signals of ours, counted by the thread that sends and the thread that gets them: any other
        # SIGINT is somebody else's, meant for whatever runs.
        self._sent = self._seen = 0
        self._sent_at = -1.0
        # Cells that were to be interrupted before they began.
        self._doomed: deque[str] = deque(maxlen=100)
        self._before_cell: Any = None
        self._main = threading.main_thread().ident
        # Bound once: signal.getsignal is compared with them.
        self._task_handler = self._during_task
        self._cell_handler = self._during_cell
        self._unraisable = sys.unraisablehook
        self._unraisable_handler = sys.unraisablehook = self._try_again

    # In the I/O thread.

    def request(self, attempt: str, kind: str) -> bool:
        """Interrupt a running task (`kind` ``apply``) or cell (``execute``); False if not running.

        A cell that has not begun will be interrupted when it does.
        """
        with self._backlog.lock:
            running = self._backlog.cell if kind == "execute" else self._backlog.running
            if running != attempt:
                if kind == "execute":
                    self._doomed.append(attempt)
                return False
            self.target = attempt
            self._signal()
            return True

    @property
    def outstanding(self) -> bool:
        """Whether `repeat` has something to do."""
        return self.target is not None

    def repeat(self) -> None:
        """Signal again if the last one did not hit."""
        with self._backlog.lock:
            if self.target not in (self._backlog.cell, self._backlog.running):
                self.target = None
            elif self.target is not None:
                self._signal()

    def _signal(self) -> None:
        is_in_code = self.target == self._backlog.cell or not self._suspended
        if is_in_code and self._sent - self._seen < UNSEEN_LIMIT and self._main is not None:
            self._sent += 1
            self._sent_at = time.monotonic()
            signal.pthread_kill(self._main, signal.SIGINT)
        elif is_in_code and _is_deaf() and os.getpgrp() == os.getpid():
            # In os.system, which ends with the command that it waits for.
            os.killpg(os.getpgrp(), signal.SIGINT)
        # Wakes a loop that waits: only then does a cell or task suspended in it notice.
        self._call_soon(self._cancel_waiting)

    # In the main thread.

    def install(self) -> None:
        """Take SIGINT while no cell has it."""
        if _getsignal(signal.SIGINT) is not self._task_handler:
            signal.signal(signal.SIGINT, self._task_handler)

    def uninstall(self) -> None:
        """Ignore SIGINT between cells again, as ipykernel does."""
        if sys.unraisablehook is self._unraisable_handler:
            sys.unraisablehook = self._unraisable
        if signal.getsignal(signal.SIGINT) is self._task_handler:
            signal.signal(signal.SIGINT, signal.SIG_IGN)

    def begin_cell(self, msg_id: str) -> None:
        """Open the window of a cell."""
        backlog = self._backlog
        with backlog.lock:
            backlog.cells += 1
            if backlog.cells > 1:
                return
            backlog.cell = msg_id
            if msg_id in self._doomed:
                self.target = msg_id
        self._before_cell = signal.getsignal(signal.SIGINT)
        signal.signal(signal.SIGINT, self._cell_handler)
        if self.target == msg_id:
            self.poke()

    def end_cell(self) -> bool:
        """Close the window of a cell; False if none was open or one still is."""
        backlog = self._backlog
        with backlog.lock:
            if backlog.cells == 0:
                return False
            backlog.cells -= 1
            if backlog.cells:
                return False
            self._close(backlog.cell)
            backlog.cell = None
        self._await_signals()
        if signal.getsignal(signal.SIGINT) is self._cell_handler:
            signal.signal(signal.SIGINT, self._before_cell)
        return True

    def end_task(self) -> None:
        """Close the window of the running task."""
        with self._backlog.lock:
            self._close(self._backlog.running)
            self._backlog.running = None
            self._suspended = False
        self.awaiting = None
        self._await_signals()

    def step(self, advance: Callable[[Any], Any], value: Any) -> Any:
        """Run one step of an async task: only within one can a signal reach its code."""
        with self._backlog.lock:
            self._suspended = False
        try:
            return advance(value)
        finally:
            self.suspend()

    def suspend(self) -> None:
        """Note that the async task lets go of the main thread."""
        with self._backlog.lock:
            self._suspended = True
        self._await_signals()

    def _close(self, attempt: str | None) -> None:
        if self.target == attempt:
            self.target = None
        self._raised = None

    def _raise(self, attempt: str) -> None:
        if self.target == attempt:
            self.target = None
        error = KeyboardInterrupt()
        self._raised = error, attempt
        raise error

    def _try_again(self, unraisable: sys.UnraisableHookArgs) -> None:
        """Try again when it was raised where nothing can be: a finaliser, a callback of the gc."""
        if self._raised is None or unraisable.exc_value is not self._raised[0]:
            self._unraisable(unraisable)
        else:
            self.target = self._raised[1]
            self.poke()

    def _await_signals(self) -> None:
        deadline = time.monotonic() + ARRIVAL_S
        while self._seen != self._sent and time.monotonic() < deadline:
            time.sleep(0)
        self._seen = self._sent

    def _is_ours(self) -> bool:
        # Two signals may arrive as one, or the second after both were counted.
        ours = self._seen != self._sent or time.monotonic() - self._sent_at < ARRIVAL_S
        self._seen = self._sent
        return ours

    def _during_task(self, signum: int, frame: FrameType | None) -> None:
        del signum
        ours, running = self._is_ours(), self._backlog.running
        if running is None or (ours and self.target != running):
            return
        self._hit_task(frame, running)
        if not ours and self.awaiting is not None:
            self.target = running
            self._call_soon(self._cancel_waiting)

    def _hit_task(self, frame: FrameType | None, running: str) -> None:
        if _above(frame, self._task_code) is not None:
            self._raise(running)

    def _during_cell(self, signum: int, frame: FrameType | None) -> None:
        if not self._is_ours():
            if callable(self._before_cell):
                self._before_cell(signum, frame)
            return
        if self.target is None:
            return
        if self.target == self._backlog.running:
            self._hit_task(frame, self.target)
        elif self.target == self._backlog.cell:
            self._hit_cell(signum, frame, self.target)

    def _hit_cell(self, signum: int, frame: FrameType | None, cell: str) -> None:
        inner = _above(frame, {self._cell_code})
        if inner is not None and inner is not frame:
            self._raise(cell)
        if inner is None and self._before_cell is not signal.default_int_handler:
            # An async cell is suspended: ipykernel's handler cancels it.
            self.target = None
            self._before_cell(signum, frame)

    def _cancel_waiting(self) -> None:
        if self.awaiting is not None and self.target == self._backlog.running is not None:
            self.cancelled, self.target = self.target, None
            self.awaiting.cancel()


def _is_deaf() -> bool:
    """Whether this process ignores SIGINT, as far as the system tells."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        return False
    ignored = re.search(r"^SigIgn:\s*(\w+)", status, re.MULTILINE)
    return ignored is not None and bool(int(ignored[1], 16) >> (signal.SIGINT - 1) & 1)


def _above(frame: FrameType | None, codes: Collection[CodeType]) -> FrameType | None:
    """Find the frame of one of `codes` that called `frame`; what is raised here reaches it."""
    while frame is not None and frame.f_code not in codes:
        if frame.f_code is Interrupts._try_again.__code__:  # noqa: SLF001 - our own
            return None
        frame = frame.f_back
    return frame
