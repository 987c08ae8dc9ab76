"""Stopping a cell on its engines, when its user interrupts the wait for it."""

from __future__ import annotations

import signal
import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from IPython.core.getipython import get_ipython

from ipyviews import folding
from ipyviews.errors import TaskAborted
from ipyviews_magics.waiting import name_engines

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import FrameType

    from ipyviews.client.results import AsyncResult
    from ipyviews.client.tasks import Task
    from ipyviews.client.views import View

#: After this time the user is told what goes on despite the interrupt [s].
HINT_S = 1.0

#: How long an interrupted cell is waited for [s].
STOPPING_S = 10.0

#: Most different errors told of engines that had failed before the interrupt [count].
TOLD = 4


@contextmanager
def held() -> Iterator[None]:
    """Let an interrupt wait until the end of the block; a second one does not wait.

    Between sending a cell and waiting for it nobody would know what to stop.
    """
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield
        return
    pressed = False

    def note(signum: int, frame: FrameType | None) -> None:
        nonlocal pressed
        if pressed:
            before(signum, frame)
        pressed = True

    signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if pressed:
        raise KeyboardInterrupt


@contextmanager
def heard() -> Iterator[None]:
    """Let an interrupt reach the waiting also in a cell with ``await``.

    There ipykernel only tells its loop, which goes on when the cell does.
    """
    before = signal.getsignal(signal.SIGINT)
    is_of_loop = str(getattr(before, "__module__", "")).partition(".")[0] == "ipykernel"
    if threading.current_thread() is not threading.main_thread() or not is_of_loop:
        yield
        return
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def stop(
    view: View, result: AsyncResult, stop_signal: int, interrupt: KeyboardInterrupt
) -> KeyboardInterrupt:
    """Stop a cell on its engines; they answer with errors, which are not shown.

    A second interrupt restarts the engines that go on, but only after the user was told so: who
    presses twice at once does not want to lose variables.

    Parameters
    ----------
    view
        Ran the cell.
    result
        Of the cell.
    stop_signal
        Sent to the engines; SIGINT only where this cell runs.
    interrupt
        Of the wait here.

    Returns
    -------
    KeyboardInterrupt
        What to raise: it says in one line what became of the cell, and in a line each how it had
        failed elsewhere before.
    """
    stopped = [task for task in result.tasks if not task.done]
    _ask_to_stop(view, result, stop_signal)
    try:
        if not _ends_within(result, HINT_S):
            if going := _running(result):
                text = f"{name_engines(going)}: not stopped yet; interrupt again to restart\n"
                sys.stderr.write(text)
                sys.stderr.flush()
            result.wait(STOPPING_S - HINT_S)
        sentence = _how_it_ended(result, stopped)
    except KeyboardInterrupt:
        sentence = _restart(view, result) or _how_it_ended(result, stopped)
    return quiet(interrupt, sentence, _own_failures(result))


def leave(result: AsyncResult, interrupt: KeyboardInterrupt) -> KeyboardInterrupt:
    """Say in one line that only the waiting for a cell was interrupted; return what to raise."""
    left = _running(result)
    where = f" on {name_engines(left)}" if left else ""
    sentence = (
        f"the cell still runs{where}; %pxresult waits for it, cancel() of its result stops it"
    )
    return quiet(interrupt, sentence)


def quiet(
    interrupt: KeyboardInterrupt, sentence: str, more: Iterable[str] = ()
) -> KeyboardInterrupt:
    """Let IPython show one line, and perhaps more, instead of the frames of our waiting."""
    interrupt.args = (sentence,)
    shell = get_ipython()
    lines = [f"KeyboardInterrupt: {sentence}"]
    if shell is not None:
        # In the colours of the user.
        lines = shell.InteractiveTB.get_exception_only(KeyboardInterrupt, interrupt)
    # IPython asks the exception itself for its traceback.
    interrupt._render_traceback_ = lambda: [*map(str.rstrip, lines), *more]  # type: ignore[attr-defined]
    return interrupt


def _ask_to_stop(view: View, result: AsyncResult, stop_signal: int) -> None:
    running = _running(result)
    if stop_signal == signal.SIGINT or not running:
        result.cancel()
        return
    for part in result.split():
        if not any(map(_has_begun, part.tasks)):
            part.cancel()
    view.client.send_signal(stop_signal, running)


def _ends_within(result: AsyncResult, limit_s: float) -> bool:
    """Wait; further interrupts are the same one, of an impatient user."""
    deadline = time.monotonic() + limit_s
    while not result.done() and (left := deadline - time.monotonic()) > 0:
        try:
            result.wait(left)
        except KeyboardInterrupt:
            continue
    return result.done()


def _how_it_ended(result: AsyncResult, stopped: list[Task]) -> str:
    if left := _running(result):
        return (
            f"{name_engines(left)} did not stop within {STOPPING_S:g} s; "
            f"%ipyviews restart {','.join(map(str, left))} ends what runs there"
        )
    if not result.done():
        return "asked to stop; the cluster has not answered yet"
    begun = [task.engine for task in stopped if _has_begun(task)]
    never = [task.engine for task in stopped if not _has_begun(task)]
    if not begun:
        return "stopped before it ran" if never else "all engines had ended"
    also = f"; not yet begun on {name_engines(never)}" if never else ""
    return f"stopped on {name_engines(begun)}{also}"


def _has_begun(task: Task) -> bool:
    """Whether its engine has told that it runs the cell; before, others' work may run there."""
    return task.output is not None and task.output.execute_input is not None


def _running(result: AsyncResult) -> list[int]:
    tasks = [task for task in result.tasks if not task.done and _has_begun(task)]
    return [task.engine for task in tasks if task.engine is not None]


def _own_failures(result: AsyncResult) -> list[str]:
    """Tell of engines where the cell had failed by itself."""
    found = [task.outcome()[1] for task in result.tasks if task.done]
    errors = [
        error
        for error in found
        if error is not None
        and not isinstance(error, TaskAborted)
        and folding.name_of(error) != "KeyboardInterrupt"
    ]
    return folding.summarize(folding.fold(errors), TOLD, None)


def _restart(view: View, result: AsyncResult) -> str:
    """Restart the engines on which a cell runs that no interrupt stops; say so."""
    left = _running(result)
    if not left:
        return ""
    view.client.restart(left, now=True)
    return f"restarted {name_engines(left)}, without the variables that were there"
