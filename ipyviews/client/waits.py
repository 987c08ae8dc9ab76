"""Waiting for results, futures and engines: the blocking way and the awaited one."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ipyviews.client import activation, nesting, progress, records
from ipyviews.client.history import UnknownResult
from ipyviews.client.results import AsyncResult
from ipyviews.client.session import WrongType
from ipyviews.client.waiting import limit_s
from ipyviews.errors import EngineError

if TYPE_CHECKING:
    from ipyviews.client.answers import Answer
    from ipyviews.client.session import Session
    from ipyviews.client.tasks import Task

#: How often a bar of engines is drawn [s].
DRAW_S = 0.1


class Jobs:
    """What a wait is for.

    Parameters
    ----------
    session
        Whose tasks.
    jobs
        See `Client.wait`.
    """

    def __init__(self, session: Session, jobs: Any) -> None:
        self._session = session
        #: Tasks that nobody may hold a result of.
        self.tasks: list[Task] = []
        #: Results, and futures of others.
        self.futures: list[Any] = []
        if jobs is None:
            session.connection.check()
            self.tasks = list(session.connection.ledger.pending.values())
            return
        if isinstance(jobs, int | str) or _is_future(jobs):
            jobs = [jobs]
        if not isinstance(jobs, Iterable):
            raise WrongType(f"a result, an id or a list of them, not {type(jobs).__name__}")
        for job in jobs:
            self._add(job)

    def _add(self, job: Any) -> None:
        if _is_future(job):
            self.futures.append(job)
            return
        if isinstance(job, str):
            with suppress(UnknownResult):
                self.tasks.append(self._session.task(job))
                return
        if not isinstance(job, int | str):
            raise WrongType(f"a result, an id or a list of them, not {type(job).__name__}")
        self.futures.append(records.get_result(self._session, job))

    def own(self) -> list[Task]:
        """Return all tasks of this session among them."""
        ours = [job for job in self.futures if isinstance(job, AsyncResult)]
        return [*self.tasks, *(task for job in ours for task in job.tasks)]

    def are_done(self) -> bool:
        """Whether all are done."""
        return all(job.done() for job in self.futures) and all(task.done for task in self.tasks)

    def wait(self, timeout: float | None) -> bool:
        """Wait for all of them; False after `timeout` [s]."""
        until = None if timeout is None else time.monotonic() + timeout
        return self._wait_for_tasks(timeout) and all(
            _wait_for(job, _left(until)) for job in self.futures
        )

    def _wait_for_tasks(self, timeout: float | None) -> bool:
        waiting = [task for task in self.tasks if not task.done]

        def all_ended() -> bool:
            while waiting and waiting[-1].done:
                waiting.pop()
            return not waiting

        connection = self._session.connection
        if waiting:
            connection.check_may_wait()
        bell = connection.ledger.bell
        return nesting.wait_for(connection, bell, all_ended, timeout, lambda: waiting)

    async def awaited(self, limit: float | None) -> bool:
        """Wait for all of them in a loop; False after `limit` [s]."""
        waiting = [job for job in self.futures if not job.done()]
        if not all(task.done for task in self.tasks):
            waiting.append(AsyncResult(self._session, self.tasks))
        ends = [asyncio.ensure_future(_ended(job)) for job in waiting]
        try:
            if ends:
                await asyncio.wait(ends, timeout=limit)
        finally:
            for end in ends:
                end.cancel()
        return self.are_done()


def wait(session: Session, jobs: Any, timeout: float | None) -> bool:
    """See `Client.wait`."""
    return Jobs(session, jobs).wait(limit_s(timeout))


def wait_interactive(session: Session, jobs: Any, interval: float, timeout: float | None) -> None:
    """See `Client.wait_interactive`."""
    chosen = Jobs(session, jobs)
    limit = limit_s(timeout)
    until = None if limit is None else time.monotonic() + limit
    if tasks := chosen.own():
        AsyncResult(session, tasks, "jobs").wait_interactive(interval, limit)
    chosen.wait(_left(until))


async def awaited_interactive(
    session: Session, jobs: Any, interval: float, limit: float | None
) -> None:
    """See `AsyncClient.wait_interactive`."""
    chosen = Jobs(session, jobs)
    until = None if limit is None else time.monotonic() + limit
    tasks = chosen.own()
    if not tasks:
        await chosen.awaited(limit)
        return
    result = AsyncResult(session, tasks, "jobs")
    with progress.bar(result.tally(), "jobs", began=time.time() - result.elapsed) as draw:
        while not chosen.are_done() and (until is None or time.monotonic() < until):
            left = _left(until)
            await chosen.awaited(interval if left is None else min(interval, left))
            draw()
        if chosen.are_done():
            # What counts for the bar may be a moment behind.
            result.wait(interval)
            draw()


def engines_ready(session: Session, n: int | None, timeout: float | None) -> Answer[None]:
    """Return an answer that ends when `n` engines can be used; see `Client.wait_for_engines`."""
    connection = session.connection
    wanted = connection.wanted if n is None else n
    # Who names a number may be about to have more started: only what is lost from now on counts.
    old = {} if n is None else _losses(session)
    # Notices of engines that somebody else has just started come before its answer.
    fresh = connection.request("ping")

    def are_there() -> bool:
        if len(session.ids) >= wanted:
            return True
        news = [why for life, why in _losses(session).items() if life not in old]
        if news and fresh.done() and _coming(session) < wanted:
            raise EngineError("\n".join(dict.fromkeys(news)))
        return False

    def late() -> str:
        return f"{wanted} engines not ready in {timeout} seconds. Currently ready: {len(session)}"

    ready = connection.watch(are_there, limit_s(timeout), late)
    fresh.add_done_callback(lambda _: connection.look())
    return ready


def show_engines(session: Session, ready: Answer[None], n: int | None, widget: bool | None) -> None:
    """Wait for an answer of `engines_ready` with a bar that counts engines."""
    wanted = session.connection.wanted if n is None else n
    found = 0

    def look() -> progress.Standing:
        nonlocal found
        if session.connection.failure is None:
            found = min(wanted, len(session))
        return progress.Standing(found, wanted)

    with progress.bar(look, "engines", unit="engines", widget=widget) as draw:
        while not ready.wait(DRAW_S):
            draw()


def is_interactive(interactive: bool | None) -> bool:
    """Whether a bar is shown: as asked, else in IPython unless the environment says no."""
    if interactive is not None:
        return interactive
    silent = os.environ.get("IPP_NONINTERACTIVE", "") not in ("", "0")
    return activation.shell() is not None and not silent


def _is_future(job: object) -> bool:
    return hasattr(job, "add_done_callback")


def _left(until: float | None) -> float | None:
    return None if until is None else max(0.0, until - time.monotonic())


def _wait_for(job: Any, timeout: float | None) -> bool:
    if isinstance(job, AsyncResult):
        job.wait(timeout)
    elif not job.done():
        ended = threading.Event()
        job.add_done_callback(lambda _: ended.set())
        ended.wait(timeout)
    return bool(job.done())


async def _ended(job: Any) -> None:
    loop, ended = asyncio.get_running_loop(), asyncio.Event()

    def tell(_: object) -> None:
        # The loop may have ended before the job.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(ended.set)

    job.add_done_callback(tell)
    await ended.wait()


def _coming(session: Session) -> int:
    infos = list(session.connection.engines.values())
    return sum(info.get("state") in ("live", "starting") for info in infos)


def _losses(session: Session) -> dict[tuple[int, int], str]:
    """Say which engines did not start, and which are gone, in which life, and why."""
    engines = dict(session.connection.engines)
    lives = {one: int(info.get("incarnation", 0)) for one, info in engines.items()}
    reasons = {
        (one, lives[one]): f"Engine {one} is gone: {info['reason']}"
        for one, info in engines.items()
        if info.get("state") == "lost" and info.get("reason")
    }
    for one, why in session.connection.failed:
        told = f"Engine {one} did not start: {why.removeprefix('it did not start: ')}"
        reasons[one, lives.get(one, 0)] = told
    return reasons
