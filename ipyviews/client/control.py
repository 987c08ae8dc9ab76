"""What clients ask of the controller. Nothing here waits: answers are futures.

`Client` waits for them where that is asked; `AsyncClient` awaits them.
"""

from __future__ import annotations

import signal
from functools import partial
from typing import TYPE_CHECKING, Any

from ipyviews.client.answers import Answer
from ipyviews.client.bounds import bounds
from ipyviews.client.calls import call_direct
from ipyviews.client.deaths import read
from ipyviews.client.results import AsyncResult
from ipyviews.client.session import WrongType
from ipyviews.client.table import EngineTable
from ipyviews.engine import verbs
from ipyviews.errors import ControllerLost, EngineError, UsageError
from ipyviews.launching.options import restart_limit

if TYPE_CHECKING:
    from ipyviews.client.session import Session, Targets
    from ipyviews.client.tasks import Task
    from ipyviews.deaths import DeathReport

#: Longest time a shutdown of engines may take [s].
SLOW_S = 120.0

#: And a restart: the controller gives up each step of it before, the set-up cells after 600 s [s].
RESTART_S = 900.0


def abort(session: Session, jobs: Any, targets: Targets) -> Answer[None]:
    """See `Client.abort`."""
    if jobs is None:
        tasks = list(session.connection.ledger.pending.values())
    else:
        tasks = [task for job in _named(jobs) for task in _tasks_of(session, job)]
    if targets is not None:
        engines = set(session.resolve(targets))
        tasks = [task for task in tasks if task.engine in engines]
    waiting = sorted(task.id for task in tasks if not task.done)
    if not waiting:
        session.connection.check()
        return _nothing(session)
    return session.connection.request("cancel", tasks=waiting).then(_none)


def clear(session: Session, targets: Targets) -> AsyncResult:
    """See `Client.clear`."""
    chosen = session.resolve(targets)
    tasks = call_direct(session, verbs.clear, [((), {})], chosen, name="clear")
    return AsyncResult(session, tasks, "clear", targets=targets)


def status(session: Session) -> Answer[dict[str, Any]]:
    """See `Client.status`."""

    def add(content: dict[str, Any]) -> dict[str, Any]:
        content["bounds"] = {"client": bounds(session), **content.get("bounds", {})}
        return content

    return session.connection.request("status", bounds=True).then(add)


def deaths(session: Session) -> Answer[list[DeathReport]]:
    """See `Client.deaths`."""
    answer = session.connection.request("status")
    return answer.then(lambda content: read(content.get("deaths", ())))


def table(session: Session) -> Answer[EngineTable]:
    """See `Client.table`."""
    answer = session.connection.request("status")
    return answer.then(lambda content: EngineTable(content["engines"]))


def interrupt(session: Session, targets: Targets) -> Answer[int]:
    """See `Client.interrupt`."""
    engines = session.resolve(targets)
    answer = session.connection.request("interrupt", engines=engines)
    return answer.then(lambda content: int(content["interrupted"]))


def send_signal(session: Session, sig: int | str, targets: Targets) -> Answer[None]:
    """See `Client.send_signal`."""
    if isinstance(sig, str):
        known = getattr(signal, sig, None)
        if not isinstance(known, signal.Signals):
            raise UsageError(f"There is no signal {sig!r}; one is 'SIGINT'.")
        sig = known
    if not 0 < sig < signal.NSIG:
        raise UsageError(f"a signal is a number or a name such as 'SIGINT', not {sig!r}.")
    engines = session.resolve(targets)
    return session.connection.request("signal", engines=engines, signal=int(sig)).then(_none)


def start(session: Session, n: int, kernel: str | None) -> Answer[list[int]]:
    """See `Client.start_engines`."""
    connection = session.connection

    def expect(content: dict[str, Any]) -> list[int]:
        ids: list[int] = list(content["engines"])
        with connection.ledger.lock:
            # The notice comes a moment later, and somebody may wait for these engines already.
            starting = {engine: {"id": engine, "state": "starting"} for engine in ids}
            connection.engines = {**starting, **connection.engines}
        return ids

    return connection.request("start", n=n, kernel=kernel).then(expect)


def restart(session: Session, targets: Targets, *, now: bool, setup: bool = True) -> Answer[None]:
    """See `Client.restart`."""
    engines = even_lost(session, targets)
    answer = session.connection.request("restart", RESTART_S, engines=engines, now=now, setup=setup)
    answer.advice = "It goes on all the same: client.table() shows which engines are back."
    return answer.then(partial(_check_back, session))


def auto_restart(session: Session, limit: Any) -> Answer[None]:
    """See `Client.auto_restart`."""
    return session.connection.request("auto_restart", limit=restart_limit(limit)).then(_none)


def _check_back(session: Session, content: dict[str, Any]) -> None:
    for info in content.get("engines", ()):
        if info.get("state") == "lost":
            engine, reason = info["id"], info.get("reason") or "it has ended"
            error = EngineError(f"Engine {engine} did not come back: {reason}", engine=engine)
            error.reports = session.connection.ledger.deaths.latest(engine)
            raise error


def shutdown(session: Session, targets: Targets, *, restart_them: bool, hub: bool) -> Answer[None]:
    """See `Client.shutdown`."""
    connection = session.connection
    if hub:
        return _until_gone(session, connection.request("shutdown", cluster=True))
    if restart_them:
        return restart(session, targets, now=False)
    engines = session.resolve(targets)
    return connection.request("shutdown", SLOW_S, engines=engines).then(_none)


def _until_gone(session: Session, answer: Answer[dict[str, Any]]) -> Answer[None]:
    gone: Answer[None] = Answer(session.connection, "shutdown")

    def end(_: object) -> None:
        error = answer.exception()
        # It may go before its answer is read: that is what was asked.
        gone.settle(None if isinstance(error, ControllerLost) else _as_error(error))

    answer.add_done_callback(end)
    return gone


def _as_error(error: BaseException | None) -> Exception | None:
    return error if isinstance(error, Exception) else None


def _none(_content: object) -> None:
    return None


def _nothing(session: Session) -> Answer[None]:
    answer: Answer[None] = Answer(session.connection)
    answer.settle(None)
    return answer


def _named(jobs: Any) -> list[Any]:
    """Return jobs as a list of ids and results."""
    if isinstance(jobs, str | AsyncResult):
        return [jobs]
    if not isinstance(jobs, list | tuple | set | frozenset):
        raise WrongType(f"a task id, a result or a list of them, not {type(jobs).__name__}")
    for job in jobs:
        if not isinstance(job, str | AsyncResult):
            raise WrongType(f"Invalid msg_id type {type(job)}: give task ids or results.")
    return list(jobs)


def _tasks_of(session: Session, job: str | AsyncResult) -> list[Task]:
    if isinstance(job, AsyncResult):
        return job.tasks
    # One that is done may be forgotten: nothing is left to stop.
    return [] if job in session.history and not session.is_pending(job) else [session.task(job)]


def even_lost(session: Session, targets: Targets) -> list[int]:
    """Name engines, also those that are gone: a restart brings them back."""
    known = session.connection.engines
    if targets is None or (isinstance(targets, str) and targets.lower() == "all"):
        return sorted(known)
    if isinstance(targets, int) and targets in known:
        return [targets]
    if isinstance(targets, list | tuple | range) and set(targets) <= set(known):
        return list(targets)
    return session.resolve(targets)
