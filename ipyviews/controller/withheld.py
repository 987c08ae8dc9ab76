"""Tasks that wait until it can be known whether they have run.

After the death of a controller its clients send again what has no reply. An engine that computes
without ever letting go, or is stopped, has not told yet what it had of that: what it may have had
is held back until it has told, or is lost. Others need not wait, but for what comes behind: what
depends on such a task, and what the same client asks of the same engine.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, NamedTuple

from ipyviews.core.events import CancelRequested, ClientLeft

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from ipyviews.controller.clients import Clients
    from ipyviews.controller.requests import PendingTask
    from ipyviews.controller.returns import Returns
    from ipyviews.controller.turns import Turns
    from ipyviews.core.ends import Ends
    from ipyviews.core.events import Dependency, Event
    from ipyviews.ids import ClientId, EngineId, TaskId


class Held(NamedTuple):
    """A task that the core does not know so far."""

    pending: PendingTask
    #: Whether it was sent before.
    is_again: bool
    #: What it waits for, and where it has to run.
    needs: tuple[Dependency | None, ...]
    #: Tells the core of it.
    submit: Callable[[], None]


class Withheld:
    """All such tasks.

    Parameters
    ----------
    returns
        Knows which engines have not told.
    clients
        Who is there.
    turns
        Makes the tasks in the end.
    feed
        Takes events for the core.
    clock
        Returns the time of events [s].
    ends
        Knows how tasks ended.
    """

    def __init__(
        self,
        returns: Returns,
        clients: Clients,
        turns: Turns,
        feed: Callable[[Event], object],
        clock: Callable[[], float],
        *,
        ends: Ends,
    ) -> None:
        self._returns = returns
        self._clients = clients
        self._turns = turns
        self._feed = feed
        self._clock = clock
        self._ends = ends
        self._held: dict[TaskId, Held] = {}
        self._lanes: Counter[tuple[ClientId, EngineId | None]] = Counter()
        #: Those that the core does not know so far, and whether they were cancelled meanwhile.
        self._cancelled: dict[TaskId, bool] = {}
        returns.on_told = self._release

    def __bool__(self) -> bool:
        return bool(self._held)

    def keep(self, task: TaskId, one: Held) -> bool:
        """Hold a task back; False if it need not be."""
        if not self._has_to_wait(task, one):
            return False
        self._held[task] = one
        self._lanes[one.pending.client, one.pending.engine] += 1
        self._cancelled.setdefault(task, False)
        return True

    def cancel(self, client: ClientId, tasks: Iterable[TaskId]) -> int:
        """Note that a client wants its tasks stopped; returns how many are here."""
        ours = [task for task in tasks if task in self._cancelled and task.startswith(f"{client}-")]
        self._cancelled.update(dict.fromkeys(ours, True))
        return len(ours)

    def _has_to_wait(self, task: TaskId, one: Held) -> bool:
        pending = one.pending
        if one.is_again and self._returns.may_be_told(task, pending):
            return True
        if self._follows_untold(one):
            return True
        if not self._held:
            return False
        if pending.engine is not None and self._lanes[pending.client, pending.engine]:
            return True
        return any(name in self._held for need in one.needs if need for name in need.tasks)

    def _follows_untold(self, one: Held) -> bool:
        """Whether it follows what ran on an engine that may live, and is not there so far."""
        follow = one.needs[1]
        if follow is None or not self._returns.has_untold:
            return False
        ends = map(self._ends.get, follow.tasks)
        return any(end is not None and self._returns.is_untold(end.engine) for end in ends)

    def _release(self) -> None:
        """Go on with those of which all is known by now, in the order in which they came."""
        held, self._held = self._held, {}
        self._lanes.clear()
        free: dict[ClientId, list[TaskId]] = defaultdict(list)
        for task, one in held.items():
            if not self.keep(task, one):
                free[one.pending.client].append(task)
        for client, tasks in free.items():
            steps = self._submit(client, {task: held[task] for task in tasks})
            self._turns.make_tasks(client, steps, len(tasks))

    def _submit(self, client: ClientId, tasks: dict[TaskId, Held]) -> Iterator[None]:
        for task, one in tasks.items():
            one.submit()
            is_gone = not self._clients.wants_work(client)
            if self._cancelled.pop(task) or is_gone:
                self._feed(CancelRequested(self._clock(), client, (task,)))
            if is_gone:
                self._feed(ClientLeft(self._clock(), client, drop=True))
            yield
