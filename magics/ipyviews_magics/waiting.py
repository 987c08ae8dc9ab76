"""What a cell tells while it runs and when it ends, in words for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ipyviews import folding
from ipyviews_magics.pages import show_pages

if TYPE_CHECKING:
    from concurrent.futures import Future
    from typing import Any

    from ipyviews.client.display import Sink
    from ipyviews.client.results import AsyncResult


def show_live(result: AsyncResult, sink: Sink, *, fold: bool, and_errors: bool) -> None:
    """Show output under the running cell as it comes, also when later cells have run.

    Parameters
    ----------
    result
        Of the cell just submitted.
    sink
        Where output of the running cell goes.
    fold
        Whether equal output of several engines is shown once.
    and_errors
        Whether failures are named there at the end, for a cell that raises nothing.
    """
    result.show_output(fold, sink)

    def ended(_: Future[Any]) -> None:
        show_pages(result, sink)
        if text := failures(result):
            sink.write("stderr", text)

    if and_errors:
        result.add_done_callback(ended)


def failures(result: AsyncResult) -> str:
    """Name each different failure once, with its engines; empty when there is none."""
    found: dict[str, list[int | None]] = {}
    for task in result.tasks:
        # In the I/O thread too: a cell's reply has no pickle.
        _, error = task.outcome()
        if error is not None:
            told = f"{folding.name_of(error)}: {folding.text_of(error)}"
            found.setdefault(told, []).append(task.engine)
    return "".join(f"{what} ({name_engines(where)})\n" for what, where in found.items())


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
