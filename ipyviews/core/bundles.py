"""Calls that engines hold and have not started: which to ask back.

A small call is cheap only together with others, so an engine is sent several ahead: as much work as
it does in a few milliseconds, as far as the calls before can tell. It gives back by itself what has
waited there for long, and what it is asked for because something else is to run there next.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ipyviews.core.effects import Recall

if TYPE_CHECKING:
    from ipyviews.core.engines import Engine
    from ipyviews.core.tasks import Task


def recall(engine: Engine, before: Task | None = None) -> list[Recall]:
    """Ask an engine for what it has not started, at most once for each attempt.

    The oldest is what it runs; unless direct calls went before it. Those of the client of `before`,
    the task that is to run next, came before it.
    """
    running = list(engine.running.values())
    is_first = not engine.directs or running[0].id in engine.directs
    asked = [
        task
        for task in running[is_first:]
        if not (task.recalled or (before and task.home is engine and task.client is before.client))
    ]
    for task in asked:
        task.recalled = True
    attempts = tuple(task.attempt for task in asked if task.attempt is not None)
    return [Recall(attempts)] if attempts else []
