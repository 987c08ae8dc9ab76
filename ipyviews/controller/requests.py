"""Clients' requests on the shell channel: one message in, one or more tasks for the core.

A request is checked whole before its first task is made. The frames stay here, as they came, until
the core says that the task is final; they are cut for an engine only when they are sent.
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from ipyviews.controller.performer import error_content
from ipyviews.controller.retold import Retold
from ipyviews.controller.submissions import parse_submission
from ipyviews.controller.withheld import Held, Withheld
from ipyviews.core.events import CancelRequested, EndsTold, TaskSubmitted, TaskWaits
from ipyviews.errors import IPyViewsError, ProtocolError, UsageError
from ipyviews.ids import RequestId, TaskId, parse_attempt, task_id

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Collection, Iterator, Sequence

    from ipyviews.controller.clients import Clients
    from ipyviews.controller.outputs import Flight
    from ipyviews.controller.pasts import Pasts
    from ipyviews.controller.records import Records
    from ipyviews.controller.returns import Returns
    from ipyviews.controller.setups import Setups
    from ipyviews.controller.submissions import Submission, Terms
    from ipyviews.controller.turns import Turns
    from ipyviews.core.ends import Ends
    from ipyviews.core.events import Event, Kind
    from ipyviews.ids import ClientId, EngineId
    from ipyviews.protocol.wire import Frame, Message

log = logging.getLogger(__name__)


class PendingTask(NamedTuple):
    """A task that is not final: who asked, and where its frames are."""

    client: ClientId
    submission: Submission
    #: Its place among the tasks of the request, from 0.
    place: int

    @property
    def kind(self) -> Kind:
        """Which channel it needs."""
        return self.submission.kind

    @property
    def engine(self) -> EngineId | None:
        """The engine of a direct task."""
        targets = self.submission.choice.targets
        return None if targets is None else targets[self.place]

    @property
    def engines(self) -> Collection[EngineId] | None:
        """Where it may run; None for anywhere."""
        engine = self.engine
        return self.submission.choice.allowed if engine is None else (engine,)

    def frames(self) -> tuple[Frame, Sequence[Frame]]:
        """Return content and buffers for an engine."""
        return self.submission.cut(self.place)

    def metadata(self, first: int, *, urgent: bool = False) -> dict[str, Any]:
        """Return the metadata of an ``apply_request`` for an engine.

        Parameters
        ----------
        first
            The number of its first call among those sent to that life of the engine.
        urgent
            Whether it goes before what waits there.
        """
        ours = {"client": self.client, **self.submission.ours, "first": first}
        if urgent:
            ours["urgent"] = True
        if self.submission.choice.targets is not None:
            ours["direct"] = True
        return {"ipyviews": ours}


class Store:
    """The frames of all tasks that are not final."""

    def __init__(self) -> None:
        self._tasks: dict[TaskId, PendingTask] = {}

    def __len__(self) -> int:
        return len(self._tasks)

    def __contains__(self, task: object) -> bool:
        return task in self._tasks

    def put(self, task: TaskId, pending: PendingTask) -> bool:
        """Keep a task's frames; False if they are kept already."""
        return self._tasks.setdefault(task, pending) is pending

    def get(self, task: TaskId) -> PendingTask:
        """Return what is kept of a task that is not final."""
        return self._tasks[task]

    def of(self, client: ClientId) -> list[tuple[TaskId, PendingTask]]:
        """Return the tasks of a client that are not final."""
        return [one for one in self._tasks.items() if one[1].client == client]

    def has_tasks_of(self, client: str) -> bool:
        """Whether a client has tasks that are not final."""
        return any(pending.client == client for pending in self._tasks.values())

    def take(self, task: TaskId) -> PendingTask:
        """Return what is kept of a task, which is final now, and keep it no longer."""
        return self._tasks.pop(task)


class Requests:
    """The shell channel's requests.

    Parameters
    ----------
    store
        Where frames are kept.
    clients
        Who may ask, and where refusals go.
    records
        Takes note of every request.
    turns
        Takes in requests with many tasks.
    feed
        Takes events for the core.
    counters
        Counts for the status reply.
    life
        The controller's name in this life.
    returns, pasts
        What a controller before this one had begun, and run.
    ends
        Knows how tasks ended.
    """

    def __init__(
        self,
        store: Store,
        clients: Clients,
        records: Records,
        feed: Callable[[Event, Flight | None], object],
        counters: Counter[str],
        *,
        turns: Turns,
        life: str,
        returns: Returns,
        pasts: Pasts,
        ends: Ends,
    ) -> None:
        self._life = life
        self._pasts = pasts
        self._returns = returns
        #: What had ended while its client was taken for gone.
        self.retold = Retold(records, clients)
        self._store = store
        self._clients = clients
        self._records = records
        self._turns = turns
        self._feed = feed
        self._counters = counters
        self._loop = asyncio.get_running_loop()
        #: What may have been on engines that have not told so far.
        self.withheld = Withheld(
            returns, clients, turns, lambda event: feed(event, None), self._loop.time, ends=ends
        )
        #: The cells that engines run again; set by the driver.
        self.setups: Setups

    def handle(self, client: ClientId, message: Message) -> None:
        """Turn one request into tasks, or answer what is wrong with it."""
        if message.msg_type == "waiting_request":
            self._note_wait(message)
            return
        if message.msg_type == "missing_request":
            self._turns.make_tasks(client, self._tell_missing(client, message), 1)
            return
        try:
            submission = self._check(client, message)
        except IPyViewsError as error:
            self._counters["refused"] += 1
            log.warning("refused a %s of client %s: %s", message.msg_type[:80], client, error)
            msg_type = message.msg_type[:80].removesuffix("_request") + "_reply"
            content = error_content(type(error).__name__, str(error))
            self._clients.refuse(client, msg_type, content, message.msg_id)
            self._clients.note_request(client, message.msg_id)
        else:
            steps = self._take_in(client, message, submission)
            self._turns.make_tasks(client, steps, len(submission.wanted))

    def _take_in(
        self, client: ClientId, message: Message, submission: Submission
    ) -> Iterator[None]:
        request = RequestId(message.msg_id)
        yield from self._submit(client, request, submission, message.header, message.ours)
        # Only now: a cancel may have come while it was taken in.
        if doomed := self._clients.note_request(client, request):
            self._feed(CancelRequested(self._loop.time(), client, tuple(doomed)), None)

    def _note_wait(self, message: Message) -> None:
        """Take in that a task uses a client and waits for what it asked for, or goes on."""
        try:
            content = message.read()
            attempt = parse_attempt(str(content["attempt"]))
            awaited = tuple(TaskId(str(task)) for task in content["tasks"])
        except (ProtocolError, KeyError, TypeError):
            attempt = None
        if attempt is None:
            self._counters["refused"] += 1
        else:
            self._feed(TaskWaits(self._loop.time(), attempt, awaited), None)

    def _tell_missing(self, client: ClientId, message: Message) -> Iterator[None]:
        """Say which tasks are final, or never came; in its turn, after what came before."""
        try:
            content = message.read()
            tasks = [TaskId(str(task)) for task in content["tasks"]]
        except (ProtocolError, KeyError, TypeError):
            self._counters["refused"] += 1
            return
        missing = [task for task in tasks if task not in self._store]
        if missing and content.get("life") == self._life:
            self._clients.tell_missing(client, missing)
        yield

    def submit_again(
        self, client: ClientId, request: RequestId, submission: Submission, ours: dict[str, Any]
    ) -> None:
        """Submit what an earlier request asked for, under the name of a new one."""
        self._check_name(client, request)
        header = {"msg_id": request, "msg_type": f"{submission.kind}_request", "session": client}
        steps = self._submit(client, request, submission, header, ours)
        self._turns.make_tasks(client, steps, submission.tasks)

    def restore(
        self,
        client: ClientId,
        request: RequestId,
        submission: Submission,
        header: dict[str, Any],
        ours: dict[str, Any],
    ) -> None:
        """Submit what a client that is gone had asked another controller for."""
        steps = self._submit(client, request, submission, header, ours)
        self._turns.make_tasks(client, steps, len(submission.wanted))

    def _check(self, client: ClientId, message: Message) -> Submission:
        if not self._clients.heard(client):
            raise UsageError("say hello_request first: the controller does not know this session")
        submission = parse_submission(message)
        self._check_name(client, message.msg_id, is_again=submission.places is not None)
        if submission.is_setup:
            code = str(message.read().get("code", ""))
            self.setups.check(submission.choice.targets or (), code)
        return submission

    def _check_name(self, client: ClientId, request: str, *, is_again: bool = False) -> None:
        # The name of an attempt is taken apart at its slashes; names are written down, too.
        is_plain = request.isascii() and request.isprintable() and "/" not in request
        if not request.startswith(f"{client}-") or not is_plain or len(request) > 200:
            raise UsageError("the msg_id of a request must be <session>-<number>")
        if task_id(request, 0) in self._store and not is_again:
            raise UsageError(f"there is a request {request} already")

    def _submit(
        self,
        client: ClientId,
        request: RequestId,
        submission: Submission,
        header: dict[str, Any],
        ours: dict[str, Any],
    ) -> Iterator[None]:
        if submission.places is not None:
            submission = self.retold.tell(client, request, submission)
            if not submission.wanted:
                return
        if submission.ended:
            self._feed(EndsTold(self._loop.time(), submission.ended), None)
        choice, is_again = submission.choice, submission.places is not None
        terms, alike = choice.terms(0), len(choice.needs) == 1
        self._records.submitted(client, request, submission, header, ours)
        for place in submission.wanted:
            if not self._clients.wants_work(client):
                self._records.memory.cut_short(request, place)
                return
            task, pending = task_id(request, place), PendingTask(client, submission, place)
            if not self._store.put(task, pending):
                # Its client was taken for gone.
                continue
            terms = terms if alike else choice.terms(place)
            if is_again or self._returns.has_untold or self.withheld:
                make = partial(self._make, request, task, pending, terms, is_again=is_again)
                late = partial(make, since=self._loop.time())
                if not self.withheld.keep(task, Held(pending, is_again, terms[4:], late)):
                    make()
            else:
                self._make(request, task, pending, terms)
            yield

    def _make(
        self,
        request: RequestId,
        task: TaskId,
        pending: PendingTask,
        terms: Terms,
        *,
        is_again: bool = False,
        since: float | None = None,
    ) -> None:
        found, flight, past = None, None, None
        if is_again:
            past = self._pasts.take(task)
            found, flight = self._returns.claim(task, pending, past)
        client, submission, _ = pending
        kind, now, engine = submission.kind, self._loop.time(), pending.engine
        if since is not None and (limit := terms[3]) is not None:
            # The time that it was held back counts.
            terms = (*terms[:3], limit - (now - since), *terms[4:])
        event = TaskSubmitted(now, task, client, request, kind, engine, *terms, found, past)
        self._feed(event, flight)
