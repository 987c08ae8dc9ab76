"""What an event costs does not grow with the engines, counted in calls: a clock would flicker."""

import gc
import sys
from collections.abc import Callable

import pytest

from ipyviews.core.events import (
    EngineJoined,
    EngineLost,
    Event,
    Kind,
    Status,
    TaskReplied,
    TaskSubmitted,
)
from ipyviews.core.state import ControllerState
from ipyviews.ids import Attempt
from tests.core.needs import needs


def counter(state: ControllerState) -> Callable[[Event], int]:
    """Return what hands an event to a state and counts the Python calls that takes."""
    calls = 0

    def count(frame, what, arg) -> None:
        nonlocal calls
        calls += what == "call"

    def cost(event: Event) -> int:
        nonlocal calls
        calls = 0
        # What others do at each collection is not ours.
        gc.disable()
        sys.setprofile(count)
        try:
            state.handle(event)
        finally:
            sys.setprofile(None)
            gc.enable()
        return calls

    return cost


def costs(engines: int, allowed: bool) -> list[int]:
    """Count the calls of each event: joins, submits, a loss, replies, in a full cluster."""
    state = ControllerState()
    cost = counter(state)
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


def costs_of_dependents(others: int, own: int) -> list[int]:
    """Count the calls of the events of a task that `own` tasks wait for, among many others."""
    state = ControllerState()
    cost = counter(state)

    def submit(name: str, engine: int | None = None, **what) -> TaskSubmitted:
        return TaskSubmitted(1.0, name, "c", "r", Kind.APPLY, engine, **what)

    for engine in range(3):
        state.handle(EngineJoined(0.0, engine, 1, can_apply=True))
    state.handle(submit("long.0", 2))
    state.handle(submit("first.0", 1))
    for number in range(others):
        state.handle(submit(f"other.{number}", after=needs("long.0"), timeout_s=9.0))
    dependents = [
        cost(submit(f"own.{number}", after=needs("first.0"), follow=needs("first.0")))
        for number in range(own)
    ]
    return [*dependents, cost(TaskReplied(2.0, Attempt("first.0", 1, 1, 1), Status.OK))]


def test_an_end_costs_what_its_own_dependents_cost_however_many_others_wait():
    assert costs_of_dependents(1000, 5) == costs_of_dependents(10, 5)


def test_tasks_that_wait_for_the_same_do_not_count_it_each():
    state = ControllerState()
    cost = counter(state)
    state.handle(EngineJoined(0.0, 0, 1, can_apply=True))
    for number in range(1000):
        state.handle(TaskSubmitted(0.0, f"r.{number}", "c", "r", Kind.APPLY))
    after = needs(*(f"r.{number}" for number in range(1000)))
    _, *others = (
        cost(TaskSubmitted(0.0, f"s.{number}", "c", "s", Kind.APPLY, after=after))
        for number in range(10)
    )
    assert max(others) < 100


def costs_of_a_refusal(engines: int, waiting: int) -> int:
    """Count the calls when an engine lacks what a task requires, and all others are busy."""
    state = ControllerState()
    cost = counter(state)
    for engine in range(engines):
        state.handle(EngineJoined(0.0, engine, 1, can_apply=True))
        state.handle(TaskSubmitted(0.0, f"busy.{engine}", "c", "r", Kind.EXECUTE, engine))
    state.handle(TaskReplied(1.0, Attempt("busy.0", 0, 1, 1), Status.OK))
    for number in range(waiting):
        state.handle(TaskSubmitted(1.0, f"s.{number}", "c", "s", Kind.EXECUTE))
        state.handle(TaskReplied(1.0, Attempt(f"s.{number}", 0, 1, 1), Status.UNMET))
    state.handle(TaskSubmitted(2.0, "last.0", "c", "s", Kind.EXECUTE))
    return cost(TaskReplied(3.0, Attempt("last.0", 0, 1, 1), Status.UNMET))


def test_a_refusal_costs_the_same_with_ten_and_with_a_thousand_engines():
    assert costs_of_a_refusal(1000, 5) == costs_of_a_refusal(10, 5)
