"""What is behind tasks that were queued again after a run, for a controller after this one.

Written down only when a task is queued again, which is rare, and dropped with its reply.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from ipyviews.core.effects import Past, Run
from ipyviews.ids import TaskId

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ipyviews.store.journal import Journal

log = logging.getLogger(__name__)

#: Kind of these notes.
PAST = "past"

#: Tasks of which this is kept; beyond it that of the oldest is forgotten. [count]
MOST_PASTS = 10_000


class Pasts:
    """The runs that tasks without a reply have behind them.

    Parameters
    ----------
    journal
        Where they are written; None keeps them for nobody.
    """

    def __init__(self, journal: Journal | None) -> None:
        self._journal = journal
        #: By task; None for one that this controller has told the core of.
        self._pasts: dict[TaskId, Past | None] = {}

    def restore(self) -> None:
        """Read what controllers before this one have written."""
        for name, told in self._journal.read(PAST).items() if self._journal else ():
            try:
                self._pasts[TaskId(name)] = _past(told)
            except (TypeError, ValueError, LookupError):
                log.warning("what is behind task %s cannot be read: %.200r", name, told)

    def requeued(self, task: TaskId, past: Past) -> None:
        """Write down, soon, what is behind a task."""
        if self._journal is None:
            return
        self._pasts[task] = None
        self._journal.put(PAST, task, _told(past))
        if len(self._pasts) > MOST_PASTS:
            self.ended(next(iter(self._pasts)))

    def take(self, task: TaskId) -> Past | None:
        """Return what is behind a task that its client sends again."""
        past = self._pasts.get(task)
        if past is not None:
            self._pasts[task] = None
        return past

    def ended(self, task: TaskId) -> None:
        """Forget a task that has its reply."""
        if task in self._pasts and self._journal is not None:
            del self._pasts[task]
            self._journal.drop(PAST, task)


def _past(told: Mapping[str, Any]) -> Past:
    runs = tuple(Run(*run) for run in told["runs"])
    return Past(runs, int(told["retries"]), int(told["reruns"]), int(told["sent"]))


def _told(past: Past) -> dict[str, Any]:
    runs, retries, reruns, sent = past
    return {"runs": runs, "retries": retries, "reruns": reruns, "sent": sent}
