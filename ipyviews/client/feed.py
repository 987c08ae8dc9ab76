"""The threads behind a lazy map, which take its input only as results come.

::

    input ──► puller ──► pulled ──► sender ──► engines ──► sent ──► whoever iterates
                ▲                                │
                └──── room: tasks are done ◄─────┘

Either thread may have to wait, the puller for the user's input, the sender for the connection. What
was pulled is sent at once, with what else was pulled meanwhile: fast inputs make few and large
requests, slow ones hold nothing back. Whoever iterates waits for results only, so that Ctrl-C there
breaks nothing. Every number below has one thread that writes it, so there are no locks.
"""

from __future__ import annotations

import threading
from collections import deque
from math import ceil, inf
from typing import TYPE_CHECKING

from ipyviews.client.bell import Bell
from ipyviews.client.calls import MOST_BYTES, MOST_CALLS
from ipyviews.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Literal

    from ipyviews.client.base import View
    from ipyviews.client.calls import Call
    from ipyviews.client.tasks import Task

    Outstanding = int | Literal["auto"]

    #: Sends calls, the first argument, and returns their tasks in order.
    Send = Callable[[list[Call]], list[Task]]

#: With 'auto' an engine has so much work in its queue [s], but never more tasks than this [count].
AUTO_S = 0.05
AUTO_TASKS = 250

#: While so much waits to be taken by whoever iterates, nothing more is sent [count], [bytes].
MOST_READY = 10_000
MOST_READY_BYTES = 64 * 1024 * 1024

#: Weight of one task in the average run time.
_WEIGHT = 0.1

#: How much larger than the one before a request may be: item sizes are only known afterwards.
_GROWTH = 16


class Bounds:
    """How many tasks may be unfinished.

    Parameters
    ----------
    wanted
        As `View.imap` takes it.
    count_engines
        Tells how many engines there are.

    Raises
    ------
    UsageError
        `wanted` is nothing of that.
    """

    def __init__(self, wanted: Outstanding, count_engines: Callable[[], int]) -> None:
        if wanted != "auto" and (type(wanted) is not int or wanted < 0):
            raise UsageError(
                f"max_outstanding is 'auto', a number of tasks, or 0 for no limit; not {wanted!r}"
            )
        self._wanted = wanted
        self._count_engines = count_engines
        self._typical_s = inf
        #: How many, and for how many that end it is worth to wait before more are sent. [count].
        self.most, self.enough = 0.0, 1.0
        self.refresh()

    @property
    def is_none(self) -> bool:
        """Whether there is no limit."""
        return self._wanted == 0

    def learn(self, task: Task) -> None:
        """Note how long a task ran."""
        if task.started is not None and task.completed is not None:
            took = max(1e-6, task.completed - task.started)
            known = took if self._typical_s == inf else self._typical_s
            self._typical_s = known + _WEIGHT * (took - known)

    def refresh(self) -> None:
        """Consider the engines there are, and how long tasks run."""
        engines = max(1, self._count_engines())
        if self._wanted == "auto":
            self.most = engines * min(AUTO_TASKS, max(1, ceil(AUTO_S / self._typical_s)))
        else:
            self.most = self._wanted or inf
        # Fewer and larger requests, but no engine falls idle for it.
        self.enough = 1 if self.is_none else max(1, (self.most - engines) // 2)


class Feed:
    """One lazy map under way.

    Parameters
    ----------
    view, send
        Where the tasks are noted, and how they are sent.
    calls
        What to call with, lazily.
    bounds
        How many tasks may be unfinished.
    ordered
        Whether `sent` is in the order of the calls, or of their end.
    """

    def __init__(
        self, view: View, send: Send, calls: Iterator[Call], bounds: Bounds, *, ordered: bool
    ) -> None:
        self._view = view
        self.connection = view.client.connection
        self._send = send
        self._calls: Iterator[Call] = calls
        self._bounds = bounds
        self._ordered = ordered
        self._pulled: deque[Call] = deque()
        self._ended: deque[Task] = deque()
        self._unfinished: set[str] = set()
        self._has_pulled_all = self._is_stopped = False
        # Written by the puller, the sender, and whoever iterates.
        self._n_pulled = self._n_done = self._done_bytes = 0
        self._n_sent, self._fitting = 0, 1
        self._n_taken = self._taken_bytes = 0
        self._head: Task | None = None
        self._room, self._work = Bell(), Bell()
        #: Tasks nobody has taken.
        self.sent: deque[Task] = deque()
        #: Rung when `has_next` may have changed.
        self.results = Bell()
        #: Everything was sent, or nothing more will be.
        self.is_over = False
        #: There is no next task, whatever was sent.
        self.is_cancelled = False
        #: Set when nobody takes results before `is_over`: they may be any number then.
        self.is_unattended = False
        #: What the input raised, or why nothing more could be sent.
        self.broken: BaseException | None = None

    def start(self) -> None:
        """Start the threads."""
        for run, name in ((self._pull, "input"), (self._pass_on, "send")):
            threading.Thread(target=run, name=f"ipyviews-imap-{name}", daemon=True).start()

    def stop(self) -> None:
        """Take no more input, and send no more. From any thread; may be called again."""
        self._is_stopped = True
        self._room.ring()
        self._work.ring()

    def cancel(self) -> None:
        """Stop, and cancel what was sent and is not done."""
        self.is_cancelled = True
        self.stop()
        self.results.ring()
        self._cancel_unfinished()

    def send_all(self) -> None:
        """Send all, however much of it is not taken."""
        self.is_unattended = True
        self._room.ring()

    def describe(self) -> str:
        """Tell people how far it is."""
        state = "cancelled" if self.is_cancelled else f"{len(self._unfinished)} under way"
        return f"{self._n_taken} taken, {state}"

    def next_tasks(self) -> list[Task]:
        """Return those of which one has to end before there is a next result."""
        if self._ordered:
            return [self.sent[0]] if self.sent else []
        found = map(self.connection.ledger.find, list(self._unfinished))
        return [task for task in found if task is not None]

    def wait_until_over(self) -> None:
        """Wait until everything was sent."""
        self.results.wait_for(lambda: self.is_over, None, self.connection.check)

    def _cancel_unfinished(self) -> None:
        names = list(self._unfinished)
        if names and self.connection.failure is None:
            self.connection.request("cancel", tasks=names)

    # -- the puller ---------------------------------------------------------------------------

    def _pull(self) -> None:
        try:
            while self._await_room():
                call = next(self._calls, None)
                if call is None:
                    break
                self._n_pulled += 1
                self._pulled.append(call)
                self._work.ring()
        except BaseException as error:  # noqa: BLE001 - whoever iterates gets it, whatever it is
            self.broken = error
        finally:
            # A generator is closed now, and what it refers to may go.
            self._calls = iter(())
            self._has_pulled_all = True
            self._work.ring()

    def _await_room(self) -> bool:
        """Wait until there is room for one task more; False when the map was stopped."""
        if not self._has_room():
            self._bounds.refresh()
            self._room.wait_for(self._has_room, None, self.connection.check)
        return not self._is_stopped

    def _has_room(self) -> bool:
        if self._is_stopped:
            return True
        while self._ended:
            task = self._ended.popleft()
            self._n_done += 1
            self._done_bytes += task.reply_bytes
            self._bounds.learn(task)
        if self._n_pulled - self._n_done >= self._bounds.most or self._is_ahead():
            return False
        return len(self._pulled) <= self._fitting

    def _is_ahead(self) -> bool:
        """Whether so many results wait to be taken that there should not be more."""
        if self._bounds.is_none or self.is_unattended:
            return False
        many = self._n_done - self._n_taken > MOST_READY
        return many or self._done_bytes - self._taken_bytes > MOST_READY_BYTES

    # -- the sender ---------------------------------------------------------------------------

    def _pass_on(self) -> None:
        try:
            while self._await_work():
                count = min(len(self._pulled), self._fitting)
                self._pass([self._pulled.popleft() for _ in range(count)])
        except BaseException as error:  # noqa: BLE001 - as above
            self.broken = error
            self.stop()
        finally:
            self.is_over = True
            self.results.ring()

    def _await_work(self) -> bool:
        self._work.wait_for(self._has_work, None, self.connection.check)
        return bool(self._pulled) and not self._is_stopped

    def _has_work(self) -> bool:
        return self._has_pulled_all or self._is_stopped or bool(self._pulled)

    def _pass(self, calls: list[Call]) -> None:
        has_room = self.connection.ledger.has_room
        self.connection.wait_for(lambda: has_room() or self._is_stopped)
        if self._is_stopped:
            return
        tasks = self._send(calls)
        for history in (self._view.history, self._view.client.history):
            history.extend(task.id for task in tasks)
        self._n_sent += len(tasks)
        self._unfinished.update(task.id for task in tasks)
        if self._ordered:
            self.sent.extend(tasks)
        for task in tasks:
            task.watch(self._task_ended)
        if self.is_cancelled:
            self._cancel_unfinished()
        self.results.ring()
        self._room.ring()
        each = sum(task.size_bytes for task in tasks) // len(tasks)
        fitting = MOST_BYTES // max(1, each)
        self._fitting = max(1, min(MOST_CALLS, self._fitting * _GROWTH, fitting))

    def _task_ended(self, task: Task) -> None:
        # In the I/O thread as a rule, where nothing may wait and nothing may be raised.
        self._unfinished.discard(task.id)
        self._ended.append(task)
        if not self._ordered:
            self.sent.append(task)
            self.results.ring()
        elif task is self._head:
            self.results.ring()
        if len(self._ended) >= self._bounds.enough:
            self._room.ring()

    # -- whoever iterates ---------------------------------------------------------------------

    def has_next(self) -> bool:
        """Whether `first` knows what comes next."""
        # In this order: what is over sends nothing more, but may have sent before.
        is_over = self.is_over
        if self.is_cancelled:
            return True
        if self.sent:
            self._head = head = self.sent[0]
            return head.done
        return is_over and self._n_taken == self._n_sent

    def first(self) -> Task | None:
        """Return the next task, which is finished; None at the end. Only when `has_next`."""
        return self.sent[0] if self.sent and not self.is_cancelled else None

    def take(self) -> None:
        """Count the next task as taken."""
        was_ahead = self._is_ahead()
        self._taken_bytes += self.sent.popleft().reply_bytes
        self._n_taken += 1
        if was_ahead:
            self._room.ring()
