"""Calls spread over named engines, each to the one that has the fewest."""

from __future__ import annotations

import heapq
from collections import Counter, deque
from typing import TYPE_CHECKING, Any

from ipyviews.client.calls import call_direct, check_targets

if TYPE_CHECKING:
    from collections.abc import Callable

    from ipyviews.client.calls import Call
    from ipyviews.client.session import Session
    from ipyviews.client.tasks import Task


class Spread:
    """Sends calls of one function to some engines.

    Parameters
    ----------
    session, options
        As for `call_direct`.
    f
        The function.
    engines
        Tells which engines are meant now.
    """

    def __init__(
        self,
        session: Session,
        f: Callable[..., Any],
        engines: Callable[[], list[int]],
        **options: Any,
    ) -> None:
        check_targets(engines())
        self._session = session
        self._function = f
        self._engines = engines
        self._options = options
        self._load: Counter[int] = Counter()
        # Tasks end in another thread; only this one counts.
        self._ended: deque[int] = deque()

    def __call__(self, calls: list[Call]) -> list[Task]:
        """Send `calls`; returns their tasks, in order."""
        while self._ended:
            self._load[self._ended.popleft()] -= 1
        chosen = self._choose(len(calls))
        tasks = call_direct(self._session, self._function, calls, chosen, **self._options)
        for engine, task in zip(chosen, tasks, strict=True):
            task.watch(lambda _, engine=engine: self._ended.append(engine))  # type: ignore[misc]
        return tasks

    def _choose(self, count: int) -> list[int]:
        loads = [
            (self._load[engine], place, engine) for place, engine in enumerate(self._engines())
        ]
        heapq.heapify(loads)
        chosen = []
        for _ in range(count):
            load, place, engine = loads[0]
            heapq.heapreplace(loads, (load + 1, place, engine))
            chosen.append(engine)
        self._load.update(chosen)
        return chosen
