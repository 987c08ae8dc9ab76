"""`check` finds what it is for: each rule, broken by hand, is named."""

import pytest

from ipyviews.core import invariants
from ipyviews.core.dependencies import Condition
from ipyviews.core.engines import EngineState
from ipyviews.core.events import Kind
from ipyviews.core.queues import Home, Lane
from ipyviews.core.state import ControllerState
from ipyviews.core.tasks import TaskState
from tests.core.desk import Desk
from tests.core.needs import needs


def busy_state() -> ControllerState:
    """Engine 0 runs a direct and engine 1 a balanced task, 2 is idle, 3 expected, 4 lost."""
    desk = Desk(bundle=2, engines=3)
    desk.expect(3)
    desk.expect(4)
    desk.lose(4, incarnation=0)
    desk.cell("run.0", 0)
    desk.submit("wait.0", 0, timeout_s=9.0)
    desk.submit("wait.1", 0)
    desk.submit("pool.0", allowed=frozenset({1}))
    desk.submit("pool.1", allowed=frozenset({1}))
    desk.submit("pool.2", allowed=frozenset({1}))
    desk.submit("later.0", 3)
    desk.submit("held.0", after=needs("run.0"))
    return desk.state


def limited(state):
    return next(pool for pool in state.pools if pool.allowed)


def lane(state) -> Lane:
    return next(iter(state.engines[0].lanes.values()))


def condition(state) -> Condition:
    return next(iter(state.holding.graph))


def replace_attempt(state, task, **what) -> None:
    state.tasks[task].attempt = state.tasks[task].attempt._replace(**what)


BREAKS = {
    "is done but still known": lambda s: setattr(s.tasks["run.0"], "state", TaskState.DONE),
    "is held: True, by 0 conditions": lambda s: setattr(s.tasks["held.0"], "conditions", ()),
    "is held: True, by 1 conditions": lambda s: s.clients.get("a").held.clear(),
    "waits for 9 tasks of 1": lambda s: setattr(condition(s), "left", 9),
    "points to a life of engine 2": lambda s: condition(s).places.update({2: 7}),
    "holds task run.0, which does not know": lambda s: condition(s).tasks.update(
        x=s.tasks["run.0"]
    ),
    "holds task held.0 up in vain": lambda s: setattr(condition(s), "left", 0),
    "is queued: False, running: False": lambda s: setattr(s.tasks["wait.0"], "queued", False),
    "is waiting though its home": lambda s: setattr(s.tasks["wait.0"], "state", TaskState.WAITING),
    "runs without an attempt": lambda s: setattr(s.tasks["run.0"], "attempt", None),
    "is not among those engine 0 runs": lambda s: s.engines[0].running.pop("run.0"),
    "in a life of engine 0 that is over": lambda s: replace_attempt(s, "run.0", incarnation=7),
    "counts its runs wrongly": lambda s: replace_attempt(s, "run.0", number=2),
    "runs on engine 2, not its own": lambda s: replace_attempt(s, "run.0", engine=2),
    "runs on engine 2, which it may not": lambda s: replace_attempt(s, "pool.0", engine=2),
    "engine 0 is expected and runs": lambda s: setattr(s.engines[0], "state", EngineState.EXPECTED),
    "engine 0 runs several cells": lambda s: s.engines[0].running.update(x=s.tasks["run.0"]),
    "engine 1 runs .*execute": lambda s: s.engines[1].running.update(x=s.tasks["run.0"]),
    "the kind that runs for None": lambda s: setattr(s.engines[0], "kind", None),
    "runs a task that has its reply": lambda s: s.tasks.pop("run.0"),
    "engine 2 drains but runs nothing": lambda s: setattr(s.engines[2], "draining", True),
    "is lost and has tasks queued": lambda s: setattr(s.engines[3], "state", EngineState.LOST),
    "queued that it cannot run": lambda s: setattr(s.engines[0], "can_apply", False),
    "remembers pools that are no more": lambda s: s.engines[2].pools.update({Home(): None}),
    "room while a task of its own waits": lambda s: (
        s.engines[0].running.clear() or setattr(s.engines[0], "kind", None)
    ),
    "has the engines": lambda s: limited(s).members.clear(),
    "is not known to its engines": lambda s: s.engines[1].pools.pop(limited(s)),
    "takes the loads for": lambda s: limited(s).index.put(s.engines[2]),
    "room while a task waits": lambda s: s.engines[1].running.popitem(),
    "has tasks queued and no engine": lambda s: limited(s).members.clear(),
    "counts 9 unfinished tasks of 3": lambda s: setattr(limited(s), "unfinished", 9),
    "empty or unknown lane of client a": lambda s: lane(s)._tasks.clear(),
    "lane of client a out of order": lambda s: setattr(s.tasks["wait.0"], "order", 99),
    "a task of another in the lane": lambda s: setattr(s.tasks["wait.0"], "home", Home()),
    "that is not queued": lambda s: setattr(s.tasks["wait.0"], "queued", False),
    "client a counts 9 queued tasks": lambda s: setattr(s.clients.get("a"), "queued", 9),
    "is queued though its client left": lambda s: setattr(s.clients.get("a"), "gone", True),
    "are not those watched": lambda s: setattr(s.tasks["wait.1"], "deadline", 5.0),
    "next alarm comes too late": lambda s: setattr(s, "alarms", [50.0]),
    "no alarm is set": lambda s: s.alarms.clear(),
    "alarms are out of order": lambda s: s.alarms.insert(0, 1.0),
}


def test_a_state_nobody_tampered_with_is_right():
    state = busy_state()
    invariants.check(state)
    assert {kind for engine in state.engines.values() if (kind := engine.kind)} == set(Kind)


@pytest.mark.parametrize("sentence", BREAKS)
def test_a_broken_rule_is_named(sentence):
    state = busy_state()
    BREAKS[sentence](state)
    with pytest.raises(AssertionError, match=sentence):
        invariants.check(state)
