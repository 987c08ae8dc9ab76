"""Help in code that runs on engines: what they would show in a pager for ``name?``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ipyviews.folding import ranges

if TYPE_CHECKING:
    from collections.abc import Callable

    from IPython.core.interactiveshell import InteractiveShell

    from ipyviews.client.display import Sink
    from ipyviews.client.results import AsyncResult

_ASKING = re.compile(r"(?P<magic>[ \t]*%(?P<name>\w+)[ \t]+)(?P<what>[%\w.*\[\]]+)(?P<marks>\?\??)")

#: Of a function that a cell has defined; every kernel has a folder of its own for them.
_CELL_FILE = re.compile(r"ipykernel_\d+")


def show_pages(result: AsyncResult, sink: Sink) -> None:
    """Show the pages of a cell that has ended: equal ones once, with the engines they are of."""
    found: dict[str, tuple[str, list[int]]] = {}
    for task in result.tasks:
        for page in dict.fromkeys(task.pages):
            _, engines = found.setdefault(_CELL_FILE.sub("", page), (page, []))
            engines += [] if task.engine is None else [task.engine]
    for page, engines in found.values():
        text = f"[help:{ranges(sorted(engines))}]\n{page.rstrip()}"
        content = {"data": {"text/plain": text}, "metadata": {}, "transient": {}}
        sink.publish("display_data", content)


class HelpOnEngines:
    """Sends ``%px name?`` to the engines; IPython would take the mark for its own.

    An input transformer for cells of one line. In all others a cell magic comes first.

    Parameters
    ----------
    is_ours
        Says of a line magic's name (``px_even``) whether it runs code on engines.
    """

    def __init__(self, is_ours: Callable[[str], bool]) -> None:
        self._is_ours = is_ours

    def __call__(self, lines: list[str]) -> list[str]:
        """Put the marks before the name, where only the engines heed them."""
        asking = _ASKING.fullmatch("".join(lines).rstrip())
        if asking is None or not self._is_ours(asking["name"]):
            return lines
        return [f"{asking['magic']}{asking['marks']}{asking['what']}\n"]


def install(shell: InteractiveShell, is_ours: Callable[[str], bool]) -> None:
    """Rewrite such lines in a shell; may be called again."""
    transformers = shell.input_transformers_cleanup
    if not any(isinstance(one, HelpOnEngines) for one in transformers):
        transformers.append(HelpOnEngines(is_ours))
