"""What follows from a run: it has ended, was lost, never began, or was found going on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ipyviews.core.effects import UNANSWERED, Run, Verdict
from ipyviews.core.events import Kind, Status
from ipyviews.core.moves import Mover
from ipyviews.core.placement import Pool
from ipyviews.core.tasks import TaskState

if TYPE_CHECKING:
    from ipyviews.core.engines import Engine
    from ipyviews.core.events import Found
    from ipyviews.core.tasks import Task


class Runs(Mover):
    """Decides whether a task is run again or has its reply; see `Mover` for the parameters."""

    def _conclude(self, task: Task, engine: Engine, status: Status) -> None:
        """Decide what follows from an engine's reply."""
        if status is Status.UNMET and isinstance(task.home, Pool) and not task.is_unwanted:
            self.holding.try_elsewhere(task, engine)
        elif status is Status.ERROR and task.retries and not task.is_unwanted:
            task.retries -= 1
            self._enqueue(task)
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
        elif pool is None or guilty or not task.reruns or task.is_unwanted:
            self._finish(task, Verdict.ENGINE_LOST, what)
        elif not pool.fits(task):
            self._finish(task, Verdict.ENGINE_LOST, f"{what}; no engine is left to run it again")
        else:
            task.reruns -= started
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

    def _task_found(self, task: Task, found: Found) -> None:
        """Go on with a task where the controller before had left it."""
        attempt = found.attempt
        engine = self.engines[attempt.engine]
        task.attempt, task.sent = attempt, attempt.number
        task.begun = True
        if found.before is not None and found.before[0].number < attempt.number:
            first, reason = found.before
            task.runs += (Run(first.engine, first.incarnation, self._now, self._now, reason),)
            task.reruns = max(0, task.reruns - 1)
        lost = found.lost
        if found.status is None and not lost:
            if engine.stray == attempt:
                self._adopt_run(task, engine)
                return
            lost = f"engine {engine.id} was lost while it ran task {task.id}: {engine.reason}"
        ran_s = found.ran_s or 0.0
        outcome = lost or str(found.status)
        if found.lives:
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
        engine.begin(task)
        self.clients.charge(task)
        for pool in engine.pools:
            pool.refresh(engine)
