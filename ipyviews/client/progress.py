"""How far work is, and a bar that tells it.

In a notebook the bar is one display that is updated, on a terminal a line that is redrawn; where
nobody watches there is none, and whoever asked for one gets a line at the end. No widget is
needed. ``IPYVIEWS_PROGRESS=0`` means no bar at all, as ``CI`` does; ``IPYVIEWS_PROGRESS=1`` means
one also where nobody seems to watch.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from ipyviews.client.activation import shell
from ipyviews.client.display import current_sink

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import TextIO

    from ipyviews.client.display import Sink
    from ipyviews.client.tasks import Task

#: Under this name a sink is given the bar.
NAME = "progress"

#: Width of a bar in a notebook [characters].
COLUMNS = 100

_COUNTS = "{l_bar}{bar}| {n_fmt}/{total_fmt} {unit}{postfix} "


@dataclass(frozen=True, slots=True)
class Standing:
    """Counts at one moment."""

    done: int
    total: int
    #: Of those done.
    failed: int = 0
    #: Engines with nothing left to do, and all; None if they are not known, or what is counted.
    engines: tuple[int, int] | None = None

    def describe(self) -> str:
        """Tell what the count alone does not."""
        notes = [f"{self.failed} failed"] if self.failed else []
        if self.engines is not None:
            notes.append(f"{self.engines[0]}/{self.engines[1]} engines")
        return ", ".join(notes)


class Tally:
    """Counts the ends of tasks; each look costs what has ended since the last one.

    Parameters
    ----------
    tasks
        All of them.
    finished
        Those that have ended; it grows at its end.
    sizes
        How many items each task has [count]; None if every task is one item.
    """

    def __init__(
        self, tasks: Sequence[Task], finished: Sequence[Task], sizes: Sequence[int] | None = None
    ) -> None:
        self._finished = finished
        self._sizes: dict[str, int] = {}
        if sizes is not None:
            self._sizes = {task.id: size for task, size in zip(tasks, sizes, strict=True)}
        self._total = len(tasks) if sizes is None else sum(sizes)
        self._left = Counter(task.engine for task in tasks)
        self._engines = len(self._left)
        # Of a load-balanced task no engine is known before it runs.
        self._names_engines = None not in self._left and self._engines < self._total
        self._seen = self._done = self._failed = 0

    def __call__(self) -> Standing:
        """Return the counts of now."""
        end = len(self._finished)
        for task in self._finished[self._seen : end]:
            size = self._sizes.get(task.id, 1)
            self._done += size
            self._failed += size if task.status != "ok" else 0
            self._left[task.engine] -= 1
        self._seen = end
        engines = None
        if self._names_engines:
            idle = sum(left <= 0 for left in self._left.values())
            engines = (idle, self._engines)
        return Standing(self._done, self._total, self._failed, engines)


class Surface(Protocol):
    """Where a bar is drawn."""

    @property
    def columns(self) -> int:
        """The width of a bar [characters]."""

    def show(self, text: str) -> None:
        """Draw it, in place of what was drawn before."""

    def close(self, *, keep: bool) -> None:
        """Leave what was drawn last, or take it away."""


class Painted:
    """Something of a sink that is replaced: a display of a notebook, a terminal's last line.

    Parameters
    ----------
    sink
        Of the running cell.
    """

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._shown = ""

    @property
    def columns(self) -> int:
        """What fits; on a terminal with a place left for the cursor."""
        return COLUMNS if self._sink.is_page else shutil.get_terminal_size().columns - 1

    def show(self, text: str) -> None:
        """Show it or replace it."""
        if text != self._shown:
            self._sink.paint(NAME, text)
            self._shown = text

    def close(self, *, keep: bool) -> None:
        """Leave it, or empty it: a notebook takes no output away."""
        if self._shown and not keep:
            self._sink.paint(NAME, "")


class Report:
    """Where nobody watches: what there is to tell at the end.

    Parameters
    ----------
    stream
        Takes it.
    """

    columns = COLUMNS

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._text = ""

    def show(self, text: str) -> None:
        """Remember it."""
        self._text = text

    def close(self, *, keep: bool) -> None:
        """Write it."""
        if keep and self._text:
            self._stream.write(f"{self._text}\n")


def surface(sink: Sink, *, asked: bool) -> Painted | Report | None:
    """Return where a bar goes; None for nowhere.

    Parameters
    ----------
    sink
        Of the running cell.
    asked
        Whether somebody said that he wants a bar.
    """
    wish = os.environ.get("IPYVIEWS_PROGRESS", "")
    if wish == "0" or (os.environ.get("CI") and wish != "1"):
        return None
    if sink.is_page:
        return Painted(sink) if asked or wish == "1" or is_watched() else None
    if sys.stdout.isatty():
        return Painted(sink)
    return Report(sys.stdout) if asked else None


def is_watched() -> bool:
    """Whether the cell came from somebody who could answer a question.

    A program that runs a notebook says that nobody can.
    """
    kernel = getattr(shell(), "kernel", None)
    parent = {} if kernel is None else kernel.get_parent("shell")
    return bool(parent.get("content", {}).get("allow_stdin", True))


@contextmanager
def drawn(
    place: Surface | None,
    look: Callable[[], Standing],
    name: str = "",
    *,
    unit: str = "tasks",
    began: float | None = None,
    keep: bool = True,
) -> Iterator[Callable[[], None]]:
    """Draw a bar, and give the function that draws it again.

    Parameters
    ----------
    place
        Where; None for no bar.
    look
        Returns the counts.
    name
        Stands before the bar.
    unit
        What is counted.
    began
        When the work began [s since the epoch]; now if None.
    keep
        Whether it stays at the end.
    """
    if place is None:
        yield lambda: None
        return
    start = time.time() if began is None else began

    def draw() -> None:
        place.show(line(look(), name, unit, time.time() - start, place.columns))

    draw()
    try:
        yield draw
    finally:
        if keep:
            draw()
        place.close(keep=keep)


def line(standing: Standing, name: str, unit: str, elapsed_s: float, columns: int) -> str:
    """Return a bar as one line of text.

    Examples
    --------
    >>> line(Standing(2, 4, failed=1), "", "engines", 10, 70)
    ' 50%|██████████▌          | 2/4 engines, 1 failed [00:10<00:10, 0.2/s]'
    """
    from tqdm import tqdm  # noqa: PLC0415 - costs time, needed for bars only

    # Nothing is known of the rate before something is done.
    rate = standing.done / elapsed_s if elapsed_s > 0 else 0.0
    shown = f"{rate:.0f}" if rate >= 10 else f"{rate:.2g}"
    times = f"{{elapsed}}<{{remaining}}, {shown}/s" if rate else "{elapsed}"
    told: str = tqdm.format_meter(
        standing.done,
        standing.total,
        elapsed_s,
        ncols=columns,
        prefix=name,
        unit=unit,
        bar_format=f"{_COUNTS}[{times}]",
        postfix=standing.describe(),
    )
    return told


@contextmanager
def bar(
    look: Callable[[], Standing],
    name: str,
    *,
    unit: str = "tasks",
    began: float | None = None,
    widget: bool | None = None,
) -> Iterator[Callable[[], None]]:
    """Draw a bar that somebody asked for; see `drawn`. A widget if `widget` is true."""
    if widget:
        with _widget(look, name, unit) as draw:
            yield draw
        return
    place = surface(current_sink(), asked=True)
    with drawn(place, look, name, unit=unit, began=began) as draw:
        yield draw


@contextmanager
def _widget(look: Callable[[], Standing], name: str, unit: str) -> Iterator[Callable[[], None]]:
    from tqdm.notebook import tqdm  # noqa: PLC0415

    shown: Any
    with tqdm(total=look().total, desc=name, unit=unit) as shown:

        def draw() -> None:
            now = look()
            shown.set_postfix_str(now.describe(), refresh=False)
            shown.update(now.done - shown.n)

        draw()
        yield draw
        draw()
