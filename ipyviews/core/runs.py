"""What follows from a run: it has ended, was lost, never began, or was found going on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ipyviews.core import sentences
from ipyviews.core.clients import UNKNOWN_S
from ipyviews.core.effects import UNANSWERED, Past, Requeued, Run, Verdict
from ipyviews.core.engines import Engine
from ipyviews.core.events import Kind, Status
from ipyviews.core.moves import Mover
from ipyviews.core.placement import Pool
from ipyviews.core.tasks import TaskState

if TYPE_CHECKING:
    from ipyviews.core.events import Found
    from ipyviews.core.tasks import Task


class Runs(Mover):
    """Decides whether a task is run again or has its reply; see `Mover` for the parameters."""

    def _conclude(self, task: Task, engine: Engine, status: Status) -> None:
        """Decide what follows from an engine's reply."""
        if status is Status.UNMET and may_go_elsewhere(task):
            self.holding.try_elsewhere(task, engine)
        elif status is Status.ERROR and task.retries and may_run_again(task):
            task.retries -= 1
            self._requeue(task)
        else:
            if task.cancelled and status is not Status.OK:
                reason = f"cancelled while it ran on engine {engine.id}"
                self._finish(task, Verdict.CANCELLED, reason)
            else:
                self._finish(task, Verdict.REPLIED, ok=status is Status.OK)
            if task.kind is Kind.EXECUTE and status is not Status.OK:
                self._abort_rest(task, engine)

    def _abort_rest(self, failed: Task, engine: Engine) -> None:
        lane = engine.lanes.get(failed.client)
        for task in lane.cells(failed.submission) if lane else ():
            reason = f"an earlier cell of the same request failed on engine {engine.id}"
            self._finish(task, Verdict.ABORTED, reason)

    def _run_again(
        self, task: Task, what: str, *, guilty: bool = False, started: bool = True
    ) -> None:
        """Queue a task again whose run has no reply; `what` tells why, if it may not."""
        pool = task.home if isinstance(task.home, Pool) else None
        if task.cancelled:
            self._finish(task, Verdict.CANCELLED, f"cancelled; {what}")
        elif pool is None or guilty or not task.reruns or task.is_unwanted or task.is_tied:
            self._finish(task, Verdict.ENGINE_LOST, what)
        elif not pool.fits(task):
            self._finish(task, Verdict.ENGINE_LOST, f"{what}; no engine is left to run it again")
        else:
            task.reruns -= started
            self._requeue(task)

    def _requeue(self, task: Task) -> None:
        past = Past(task.runs, task.retries, task.reruns, task.sent)
        self._effects.append(Requeued(task.id, past))
        self._enqueue(task)

    def _give_back(self, task: Task, engine: Engine) -> None:
        """Undo a dispatch."""
        engine.end(task)
        self.waits.end(task, engine)
        self.clients.refund(task)
        if not task.runs:
            task.attempt = None
        if not task.home.is_open:
            # Its engine is lost: it ends, or waits for the next life.
            self._move(task, TaskState.READY)
        if task.cancelled:
            self._finish(task, Verdict.CANCELLED, "cancelled before it started")
        elif task.client.gone:
            self._finish(task, Verdict.CANCELLED, "its client left before it started")
        else:
            self._enqueue(task)

    # -- what a controller before this one had dispatched -----------------------------------------

    def _resume(self, task: Task, past: Past) -> None:
        """Take up what was behind a task when it was queued again last."""
        task.runs, task.retries, task.reruns, task.sent = past
        task.begun = True

    def _task_found(self, task: Task, found: Found) -> None:
        """Go on with a task where the controller before had left it."""
        attempt = found.attempt
        engine = self.engines.get(attempt.engine) or Engine(attempt.engine, self.most)
        if found.before is not None and task.sent < found.before[0].number < attempt.number:
            first, reason = found.before
            task.runs += (Run(first.engine, first.incarnation, self._now, self._now, reason),)
            task.reruns = max(0, task.reruns - 1)
        task.attempt, task.sent, task.begun = attempt, attempt.number, True
        lost, lives = found.lost, found.lives
        if found.status is None and not lost:
            if engine.stray == attempt:
                self._adopt_run(task, engine)
                return
            lives = engine.is_open and engine.incarnation == attempt.incarnation
            lost = sentences.missing(task, engine) if lives else sentences.lost(task, engine)
        ran_s = found.ran_s or 0.0
        outcome = lost or str(found.status)
        if lives:
            outcome = f"{UNANSWERED}: {lost}"
        run = Run(engine.id, attempt.incarnation, self._now - ran_s, self._now, outcome)
        task.runs += (run,)
        if found.status is None:
            self._run_again(task, lost)
        else:
            self._conclude(task, engine, found.status)

    def _adopt_run(self, task: Task, engine: Engine) -> None:
        """Take over a run that goes on."""
        engine.stray = None
        self._move(task, TaskState.READY)
        self._move(task, TaskState.RUNNING)
        task.started = self._now
        # It has run for a while, and nobody knows how long it will.
        task.estimate_s = UNKNOWN_S
        engine.begin(task)
        self.clients.charge(task)
        self._fill(engine)


def may_run_again(task: Task) -> bool:
    """Whether there is a place for another run of a task, and somebody who wants it."""
    home = task.home
    if task.is_unwanted or task.is_tied:
        return False
    if isinstance(home, Pool):
        return home.fits(task)
    return isinstance(home, Engine) and home.may_ever_run(task.kind)


def may_go_elsewhere(task: Task) -> bool:
    """Whether a task may go to another engine because one lacks what it requires."""
    return isinstance(task.home, Pool) and not task.is_unwanted and not task.is_tied
