"""What clients ask of the controller. Every function waits, but never without an end.

`Client` calls them; `AsyncClient` runs them in a thread.
"""

from __future__ import annotations

import signal
import time
from concurrent import futures
from typing import TYPE_CHECKING, Any

from ipyviews.client.results import AsyncResult
from ipyviews.client.session import UnknownResult, WrongType
from ipyviews.client.waiting import limit_s
from ipyviews.errors import ControllerLost, EngineError, UsageError

if TYPE_CHECKING:
    from ipyviews.client.session import Session, Targets

#: Longest time a restart or a shutdown of engines may take [s].
SLOW_S = 120.0


def wait(session: Session, jobs: Any, timeout: float | None) -> bool:
    """See `Client.wait`."""
    waiting = find_jobs(session, sorted(session.outstanding) if jobs is None else jobs)
    limit = limit_s(timeout)
    deadline = None if limit is None else time.monotonic() + limit
    for job in waiting:
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        if isinstance(job, AsyncResult):
            job.wait(left)
        else:
            futures.wait([job], left)
    return all(job.done() for job in waiting)


def wait_for_engines(session: Session, n: int | None, timeout: float | None) -> None:
    """See `Client.wait_for_engines`."""
    connection = session.connection
    wanted = connection.wanted if n is None else n

    def is_settled() -> bool:
        return len(session.ids) >= wanted or bool(_why_never(session, wanted))

    if not connection.wait_for(is_settled, limit_s(timeout)):
        raise TimeoutError(
            f"{wanted} engines not ready in {timeout} seconds. Currently ready: {len(session)}"
        )
    if len(session.ids) < wanted:
        raise EngineError(_why_never(session, wanted))


def cancel(session: Session, jobs: Any) -> None:
    """See `Client.abort`."""
    if jobs is None:
        tasks = sorted(session.outstanding)
    else:
        found = find_jobs(session, jobs)
        tasks = [one for job in found for one in getattr(job, "msg_ids", ())]
    if tasks:
        session.connection.ask("cancel", tasks=tasks)


def status(session: Session) -> dict[str, Any]:
    """See `Client.status`."""
    return session.connection.ask("status")


def queue_status(session: Session, targets: Targets) -> dict[Any, Any]:
    """See `Client.queue_status`."""
    chosen = set(session.resolve(targets))
    done = session.done_by_engine()
    found: dict[Any, Any] = {
        info["id"]: {
            "queue": info.get("queued", 0),
            "completed": done.get(info["id"], 0),
            "tasks": info.get("running", 0),
        }
        for info in status(session)["engines"]
        if info["id"] in chosen
    }
    if isinstance(targets, int):
        return dict(found.get(targets, {}))
    pending = list(session.connection.ledger.pending.values())
    return {**found, "unassigned": sum(task.engine is None for task in pending)}


def interrupt(session: Session, targets: Targets) -> int:
    """See `Client.interrupt`."""
    engines = session.resolve(targets)
    return int(session.connection.ask("interrupt", engines=engines)["interrupted"])


def send_signal(session: Session, sig: int | str, targets: Targets) -> None:
    """See `Client.send_signal`."""
    if isinstance(sig, str):
        known = getattr(signal, sig, None)
        if not isinstance(known, signal.Signals):
            raise UsageError(f"There is no signal {sig!r}; one is 'SIGINT'.")
        sig = known
    session.connection.ask("signal", engines=session.resolve(targets), signal=int(sig))


def start(session: Session, n: int, kernel: str | None) -> list[int]:
    """See `Client.start_engines`."""
    connection = session.connection
    ids: list[int] = list(connection.ask("start", n=n, kernel=kernel)["engines"])
    with connection.ledger.lock:
        # The notice comes a moment later, and somebody may wait for these engines already.
        starting = {engine: {"id": engine, "state": "starting"} for engine in ids}
        connection.engines = {**starting, **connection.engines}
    return ids


def restart(session: Session, targets: Targets, *, now: bool) -> None:
    """See `Client.restart`."""
    engines = _even_lost(session, targets)
    session.connection.ask("restart", SLOW_S, engines=engines, now=now)


def shutdown(session: Session, targets: Targets, *, restart_them: bool, hub: bool) -> None:
    """See `Client.shutdown`."""
    if hub:
        try:
            session.connection.ask("shutdown", cluster=True)
        except ControllerLost:
            # It went before its answer was read: that is what was asked.
            return
    elif restart_them:
        restart(session, targets, now=False)
    else:
        session.connection.ask("shutdown", SLOW_S, engines=session.resolve(targets))


def find_jobs(session: Session, jobs: Any) -> list[futures.Future[Any]]:
    """Return the futures that `jobs` names; see `Client.wait`."""
    if isinstance(jobs, int | str | futures.Future):
        jobs = [jobs]
    if not isinstance(jobs, list | tuple | set | frozenset):
        raise WrongType(f"a result, an id or a list of them, not {type(jobs).__name__}")
    return [job if isinstance(job, futures.Future) else find_result(session, job) for job in jobs]


def find_result(session: Session, job: Any) -> AsyncResult:
    """Return the result that `job` names; see `Client.get_result`."""
    if isinstance(job, list | tuple):
        return AsyncResult.join(*(find_result(session, one) for one in job))
    if isinstance(job, str):
        task = session.task(job)
        return AsyncResult(session, task, task.function)
    found = session.call(-1 if job is None else job) if job is None or type(job) is int else job
    if not isinstance(found, AsyncResult):
        raise UnknownResult(f"{job!r} names no result: give a number, an id or a result.")
    return found


def _why_never(session: Session, wanted: int) -> str:
    """Return why there will not be `wanted` engines; empty while there may be."""
    infos = list(session.connection.engines.values())
    coming = sum(info.get("state") in ("live", "starting") for info in infos)
    reasons = [f"Engine {one} did not start: {why}" for one, why in session.connection.failed]
    reasons += [
        f"Engine {info['id']} is gone: {info['reason']}"
        for info in infos
        if info.get("state") == "lost" and info.get("reason")
    ]
    return "\n".join(dict.fromkeys(reasons)) if coming < wanted else ""


def _even_lost(session: Session, targets: Targets) -> list[int]:
    """Name engines, also those that are gone: a restart brings them back."""
    known = session.connection.engines
    if targets is None or (isinstance(targets, str) and targets.lower() == "all"):
        return sorted(known)
    if isinstance(targets, int) and targets in known:
        return [targets]
    if isinstance(targets, list | tuple) and set(targets) <= set(known):
        return list(targets)
    return session.resolve(targets)
