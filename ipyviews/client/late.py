"""Output that comes after the end of its task: threads and callbacks may go on.

The kernel says to which cell or call it belongs; it is shown and kept where that one's was.
"""

from __future__ import annotations

import weakref
from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ipyviews.client.ledger import Listener
    from ipyviews.client.tasks import Task
    from ipyviews.client.waiting import Waitable

    Known = tuple[Callable[[], Task | None], list[Listener]]

#: So many ended tasks are remembered with who listens to them [count].
REMEMBERED = 2_000


class Late:
    """Ended tasks, as long as somebody keeps them, and their listeners."""

    def __init__(self) -> None:
        #: Gives the results that somebody keeps.
        self.kept: Callable[[], Iterable[Waitable]] = tuple
        self._known: OrderedDict[str, Known] = OrderedDict()
        #: Those that nobody listened to, once they have been looked for.
        self._found: OrderedDict[str, Known] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known) + len(self._found)

    def add(self, task: Task, listeners: list[Listener]) -> None:
        """Remember a task that is about to end."""
        _remember(self._known, task.id, (weakref.ref(task), listeners))

    def listen(self, task: Task, listener: Listener) -> None:
        """Add a listener to an ended task."""
        known = self._known.get(task.id)
        if known is None:
            self.add(task, [listener])
        else:
            known[1].append(listener)

    def mute(self, task: Task, listener: Listener) -> None:
        """Undo `listen`."""
        _, listeners = self._known.get(task.id, (None, []))
        if listener in listeners:
            listeners.remove(listener)

    def find(self, name: str) -> tuple[Task | None, list[Listener]]:
        """Return an ended task, if it is still kept, and its listeners."""
        known = self._known.get(name) or self._found.get(name)
        if known is None:
            # Once only: a thread may write for long.
            known = self._search(name)
            _remember(self._found, name, known)
        return known[0](), known[1]

    def _search(self, name: str) -> Known:
        kept = (task for result in self.kept() for task in result.tasks if task.id == name)
        task = next(kept, None)
        return (_nothing if task is None else weakref.ref(task)), []


def _remember(where: OrderedDict[str, Known], name: str, known: Known) -> None:
    where[name] = known
    while len(where) > REMEMBERED:
        where.popitem(last=False)


def _nothing() -> None:
    return None
