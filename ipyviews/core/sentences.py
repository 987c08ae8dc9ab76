"""What people are told when a task cannot be run."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from ipyviews.core.effects import UNANSWERED, Verdict
from ipyviews.core.engines import Engine

if TYPE_CHECKING:
    from collections.abc import Collection

    from ipyviews.core.placement import Pool
    from ipyviews.core.queues import Home
    from ipyviews.core.tasks import Task
    from ipyviews.ids import EngineId

#: Engines named in one sentence.
MOST_NAMES = 16


def missing(task: Task, engine: Engine) -> str:
    """Say that an engine lives and does not answer a task any more."""
    what = f"engine {engine.id} has nothing of task {task.id} any more"
    return f"{what}, and {UNANSWERED}: it may have run"


def lost(task: Task, engine: Engine) -> str:
    """Say that an engine was lost with a task."""
    why = engine.reason or "how it ended is not known"
    return f"engine {engine.id} was lost while it ran task {task.id}: {why}"


def no_apply(engine: Engine) -> str:
    """Say that a kernel takes cells only."""
    return f"engine {engine.id} runs a kernel without apply; use execute"


def no_engine(name: EngineId | None, home: Home, present: Collection[EngineId]) -> str:
    """Say that the engine of a direct task is not there, and which are."""
    what = f"there is no engine {name}"
    if isinstance(home, Engine):
        what = f"engine {name} is gone ({home.reason})"
    return f"{what}; {f'engines: {_names(present)}' if present else 'there are no engines'}"


def no_engines(pool: Pool) -> str:
    """Say that no engine can run a load-balanced task."""
    limit = "" if pool.allowed is None else f" on engine {_names(sorted(pool.allowed))}"
    return f"no engine is there, or coming, to run this {pool.kind} task{limit}"


def deserted(task: Task, pool: Pool) -> tuple[Verdict, str]:
    """Say why no engine is left for a task, and what that makes of it."""
    if not task.narrowed and not task.avoid:
        return Verdict.NO_ENGINES, no_engines(pool)
    if task.avoid:
        refused = _names(sorted(task.avoid))
        obstacle = f"what it requires is not on engine {refused}, and no other is left"
    else:
        obstacle = "the engines where the tasks it follows ran are gone, or it may not run there"
    return Verdict.IMPOSSIBLE, never(task, obstacle)


def never(task: Task, obstacle: str) -> str:
    """Say why what a task depends on can never be met."""
    return f"task {task.id} can never run: {obstacle}"


def deadlock(task: Task, engines: Collection[EngineId]) -> str:
    """Say that a task would wait for ever for engines that wait themselves."""
    return (
        f"task {task.id} would wait for ever: all that could run it, engine {_names(engines)}, "
        "run calls that wait for it or for one another. Let fewer calls wait for calls of their "
        "own, start more engines, or give the inner calls engines of their own (targets)"
    )


def too_late(task: Task) -> str:
    """Say that a task was not started in time."""
    waits = [condition.waits_for() for condition in task.conditions if not condition.is_met]
    reason = f": it still waited for {' and '.join(waits)}" if waits else ""
    return f"task {task.id} was not started in time{reason}"


def _names(engines: Collection[EngineId]) -> str:
    names = ", ".join(str(name) for name in islice(engines, MOST_NAMES))
    more = len(engines) - MOST_NAMES
    return f"{names} and {more} more" if more > 0 else names
