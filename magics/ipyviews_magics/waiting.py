"""Waiting for a cell: its live output, a bar after a while, and a quiet end when it is stopped."""

from __future__ import annotations

import os
import sys
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from IPython.core.getipython import get_ipython
from IPython.display import display
from tqdm import tqdm

from ipyviews.client.display import current_sink

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Future
    from typing import Any

    from ipyviews.client.results import AsyncResult

#: How often the bar moves [s].
STEP_S = 0.2

#: Without a rate: engines end together more often than one after the other.
BAR = "{l_bar}{bar}| {n_fmt}/{total_fmt} engines [{elapsed}]"


def show_live(result: AsyncResult, *, and_errors: bool) -> None:
    """Show output under the running cell as it comes, also when later cells have run.

    Parameters
    ----------
    result
        Of the cell just submitted.
    and_errors
        Whether failures are named there at the end, for a cell that raises nothing.
    """
    sink = current_sink()
    stack = ExitStack()
    stack.enter_context(result.stream_output())

    def ended(_: Future[Any]) -> None:
        stack.close()
        if and_errors and (text := failures(result)):
            sink.write("stderr", text)

    result.add_done_callback(ended)


def failures(result: AsyncResult) -> str:
    """Name each different failure once, with its engines; empty when there is none."""
    found: dict[str, list[int | None]] = {}
    for task in tasks_of(result):
        if task.status != "ok":
            error = task.error or {"ename": "not run", "evalue": task.status}
            found.setdefault(f"{error['ename']}: {error['evalue']}", []).append(task.engine_id)
    return "".join(f"{what} ({name_engines(where)})\n" for what, where in found.items())


def tasks_of(result: AsyncResult) -> list[Any]:
    """Return what is known of each task of a result."""
    known = result.metadata
    return known if isinstance(known, list) else [known]


def name_engines(ids: list[Any]) -> str:
    """Name engines for people.

    Examples
    --------
    >>> name_engines([0]), name_engines([0, 1, 2])
    ('engine 0', 'engines 0, 1, 2')
    >>> name_engines(list(range(64)))
    'engines 0, 1, 2, 3, ..., 60, 61, 62, 63'
    """
    names = [str(engine) for engine in ids]
    if len(names) > 10:
        names[4:-4] = ["..."]
    return f"engine{'s' if len(names) > 1 else ''} {', '.join(names)}"


def wait_with_bar(result: AsyncResult, quiet_s: float, *, streams: bool) -> None:
    """Wait until done; after a while with a bar, where somebody can see one.

    Parameters
    ----------
    result
        Of the cell just submitted.
    quiet_s
        Time without a bar [s]; negative for no bar at all.
    streams
        Whether output is shown meanwhile.
    """
    if quiet_s < 0 or not is_bar_wanted(streams=streams):
        result.wait()
    elif not result.wait(quiet_s):
        with bar(len(result), result.elapsed) as show:
            while not result.wait(STEP_S):
                show(result.progress)
            show(result.progress)


def is_bar_wanted(*, streams: bool) -> bool:
    """Tell whether there is a place for a bar, and nobody has said no."""
    if os.environ.get("IPYVIEWS_PROGRESS") == "0" or os.environ.get("CI"):
        return False
    # On a terminal, bar and output would write over each other.
    return _in_kernel() or (sys.stderr.isatty() and not streams)


@contextmanager
def bar(total: int, elapsed_s: float) -> Iterator[Callable[[int], None]]:
    """Give a function that moves a bar: one display in a notebook, a line on a terminal."""
    if not _in_kernel():
        with tqdm(total=total, bar_format=BAR, leave=False) as line:
            yield lambda done: line.update(done - line.n) and None
        return
    started = time.monotonic() - elapsed_s

    def text(done: int) -> dict[str, str]:
        elapsed = time.monotonic() - started
        return {"text/plain": tqdm.format_meter(done, total, elapsed, ncols=80, bar_format=BAR)}

    handle = display(text(0), raw=True, display_id=True)
    yield lambda done: handle.update(text(done), raw=True)


def quiet(interrupt: KeyboardInterrupt, sentence: str) -> KeyboardInterrupt:
    """Let IPython show one line instead of the frames of our waiting."""
    line = f"KeyboardInterrupt: {sentence}"
    interrupt.args = (sentence,)
    # IPython asks the exception itself for its traceback.
    interrupt._render_traceback_ = lambda: [line]  # type: ignore[attr-defined]
    return interrupt


def _in_kernel() -> bool:
    return getattr(get_ipython(), "kernel", None) is not None
