"""What an event costs does not grow with the engines, counted in calls: a clock would flicker."""

import sys

import pytest

from ipyviews.core.events import EngineJoined, EngineLost, Kind, Status, TaskReplied, TaskSubmitted
from ipyviews.core.state import ControllerState
from ipyviews.ids import Attempt


def costs(engines: int, allowed: bool) -> list[int]:
    """Count the Python calls of each event: joins, submits, a loss, replies, in a full cluster."""
    state = ControllerState()
    calls = 0

    def count(frame, what, arg) -> None:
        nonlocal calls
        calls += what == "call"

    def cost(event) -> int:
        nonlocal calls
        calls = 0
        sys.setprofile(count)
        try:
            state.handle(event)
        finally:
            sys.setprofile(None)
        return calls

    limit = frozenset(range(engines)) if allowed else None
    for engine in range(engines - 1):
        state.handle(EngineJoined(0.0, engine, 1, can_apply=True))
    for number in range(engines - 2):
        state.handle(TaskSubmitted(0.0, f"r.{number}", "c", "r", Kind.APPLY, allowed=limit))

    def submit(name: str, engine: int | None = None) -> TaskSubmitted:
        return TaskSubmitted(1.0, name, "c", "r", Kind.APPLY, engine, limit)

    return [
        cost(submit("idle.0")),
        cost(submit("full.0")),
        cost(submit("full.1")),
        cost(submit("full.2", 0)),
        cost(TaskReplied(2.0, Attempt("r.1", 1, 1, 1), Status.OK)),
        cost(EngineLost(3.0, 2, 1, "killed")),
        cost(EngineJoined(4.0, engines - 1, 1, can_apply=True)),
    ]


@pytest.mark.parametrize("allowed", [False, True])
def test_an_event_costs_the_same_with_ten_and_with_a_thousand_engines(allowed):
    assert costs(1000, allowed) == costs(10, allowed)
