"""How tasks ended, for a controller that took over since: other tasks may depend on them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ipyviews.core.ends import Ended, Ends
from ipyviews.ids import TaskId

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from ipyviews.client.tasks import Task

    Fields = dict[str, Any]

#: Tasks remembered, the latest. [count]
MOST_ENDED = 20_000


class Endings:
    """The ends of the latest tasks. Used in the I/O thread."""

    def __init__(self) -> None:
        self._ends = Ends(MOST_ENDED)
        #: Whether there was another controller before this one.
        self.is_needed = False

    def __len__(self) -> int:
        return len(self._ends)

    def note(self, task: Task, ours: Fields, content: Fields) -> None:
        """Remember how a task ended, by its reply."""
        runs = ours.get("attempts")
        engine, life = runs[-1][:2] if runs else (None, 0)
        is_ok = content.get("status") == "ok"
        self._ends.add(TaskId(task.id), Ended(is_ok, engine, life))

    def fail(self, tasks: Iterable[Task]) -> None:
        """Remember that tasks end without a reply."""
        for task in tasks:
            self._ends.add(TaskId(task.id), Ended(ok=False, engine=None, incarnation=0))

    def told(self, ours: Fields) -> Fields:
        """Return what is ours in the metadata of a request, with what is known of its needs."""
        found = {
            name: [end.ok, end.engine, end.incarnation]
            for name in _dependencies(ours)
            if (end := self._ends.get(TaskId(name))) is not None
        }
        return {**ours, "ended": found} if found else ours

    def tell(
        self, msg_type: str, name: str, content: bytes, metadata: Mapping[str, Any], *more: Any
    ) -> tuple[Any, ...]:
        """Return a new request as a controller needs it that was not there from the beginning."""
        if self.is_needed:
            metadata = {**metadata, "ipyviews": self.told(metadata["ipyviews"])}
        return msg_type, name, content, metadata, *more


def _dependencies(ours: Fields) -> Iterator[str]:
    for kind in ("after", "follow"):
        needs = ours.get(kind)
        for need in needs if isinstance(needs, list) else [needs]:
            if need is not None:
                yield from need["tasks"]
