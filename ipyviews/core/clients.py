"""Clients take turns, by the engine-seconds they have used."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ipyviews.core.events import Kind

if TYPE_CHECKING:
    from ipyviews.core.queues import Home, Lane
    from ipyviews.core.tasks import Task
    from ipyviews.ids import ClientId, TaskId

#: One run counts for at most this much, so that an endless cell does not shut its client out later.
LONGEST_BILL_S = 60.0

#: And for at least this much: an engine is busy with a call also before and after it runs.
SHORTEST_BILL_S = 0.0001

#: Weight of the newest run in a client's mean.
NEWEST = 1 / 8

#: Calls of a new client are thought to take so long [s] that none goes behind another, until they
#: prove shorter ...
UNKNOWN_S = 0.02

#: ... and one that took longer than this [s] counts as this: what comes after may be short again.
LONG_S = 0.05


@dataclass(eq=False, slots=True)
class Client:
    """One client's share of the engines."""

    id: ClientId
    #: How long its runs take; what the next one is charged in advance. [s]
    mean_s: float
    #: How long its calls take, rather too long than too short: how many may be sent ahead. [s]
    call_s: float = UNKNOWN_S
    #: Engine-seconds used, those of running tasks estimated; the least is served first. [s]
    used_s: float = 0.0
    #: When it was served last, counted in dispatches; decides between equals.
    served: int = 0
    #: It does not read: nothing is started for it.
    stalled: bool = False
    #: It left for good: nothing of it is run again.
    gone: bool = False
    #: It left, and its work goes on: forgotten once that is done.
    left: bool = False
    #: Tasks in its lanes, and on engines. [count]
    queued: int = 0
    running: int = 0
    lanes: dict[Home, Lane] = field(default_factory=dict)
    #: Tasks that wait for others to end.
    held: dict[TaskId, Task] = field(default_factory=dict)


class Clients:
    """All clients, and whose turn it is.

    A run is charged when it is dispatched, by the client's mean, and corrected when it ends;
    charged only at the end, a client would get all engines before it paid for the first.
    """

    def __init__(self) -> None:
        self.by_id: dict[ClientId, Client] = {}
        self._dispatches = 0
        self._last_mean_s = 0.0

    def get(self, name: ClientId) -> Client:
        """Find a client, or welcome a new one."""
        client = self.by_id.get(name)
        if client is None:
            client = self.by_id[name] = Client(name, self._last_mean_s)
        client.left = False
        return client

    def forget_if_done(self, client: Client) -> None:
        """Forget a client that left, unless something of it is not done."""
        if client.left and not (client.queued or client.running or client.held):
            self.by_id.pop(client.id, None)

    def enter(self, client: Client) -> None:
        """Let a client with nothing to start begin to compete.

        It starts level with the least served of those that compete, one task ahead: it gets the
        next turn, but no credit for the time it asked for nothing. When none competes, all start
        level.
        """
        competing = [
            rival.used_s - rival.mean_s
            for rival in self.by_id.values()
            if rival.queued and not rival.stalled and rival is not client
        ]
        level = min(competing) if competing else max(rival.used_s for rival in self.by_id.values())
        client.used_s = max(client.used_s, level)

    def charge(self, task: Task) -> None:
        """Count a run that starts."""
        client = task.client
        self._dispatches += 1
        client.served = self._dispatches
        client.running += 1
        task.charge = client.mean_s
        client.used_s += task.charge

    def settle(self, task: Task, seconds: float) -> None:
        """Count a run that ended after `seconds`."""
        client = task.client
        billed = min(max(seconds, SHORTEST_BILL_S), LONGEST_BILL_S)
        client.running -= 1
        client.used_s += billed - task.charge
        client.mean_s += (billed - client.mean_s) * NEWEST
        self._last_mean_s = client.mean_s
        if task.kind is Kind.APPLY:
            client.call_s += (min(seconds, LONG_S) - client.call_s) * NEWEST

    def refund(self, task: Task) -> None:
        """Count a run that did not take place."""
        task.client.running -= 1
        task.client.used_s -= task.charge
