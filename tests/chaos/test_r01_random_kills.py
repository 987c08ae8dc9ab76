"""R1: one of four engines is killed from outside at a random moment of 1,000 tasks."""

from __future__ import annotations

import time
from functools import partial

import pytest

import ipyviews
from tests.chaos.kills import kill_when, outcomes, processes, revive, square
from tests.chaos.scale import HANGS_S, count, most, scale

pytestmark = pytest.mark.kernels

TASKS = 1000
EXACT = [x**2 for x in range(TASKS)]


def test_each_of_a_thousand_tasks_has_its_exact_result(start, chance):
    rc = start(4)
    for _ in range(scale(2, 100)):
        victim = chance.randrange(4)
        result = rc.load_balanced_view().map_async(square, range(TASKS))
        kill_when(result, chance.randrange(TASKS), [processes(rc)[victim]])
        assert outcomes(result) == EXACT
        revive(rc, [victim])
        count("R1", rounds=1, kills=1, tasks=TASKS)
    assert rc.ids == [0, 1, 2, 3]


def note_failure(failures, call):
    if call.exception() is not None:
        failures.append(time.monotonic())


def test_what_may_not_run_again_fails_with_the_engine_and_the_others_are_exact(start, chance):
    rc = start(4)
    for _ in range(scale(2, 100)):
        victim = chance.randrange(4)
        calls = [rc[x % 4].apply_async(square, x) for x in range(TASKS)]
        failures = [time.monotonic()]
        for call in calls:
            call.add_done_callback(partial(note_failure, failures))
        result = ipyviews.AsyncResult.join(*calls)
        killed = kill_when(result, chance.randrange(TASKS), [processes(rc)[victim]])
        assert result.wait(HANGS_S)
        most("R1", ms_until_told=int(1000 * (max(failures) - killed)))
        for call, exact in zip(calls, EXACT, strict=True):
            found = call.exception() or call.result()
            failed = isinstance(found, ipyviews.EngineError)
            assert failed or found == exact
            assert not failed or f"engine {victim}" in str(found)
        revive(rc, [victim])
        count("R1", rounds=1, kills=1, tasks=TASKS)


def note(told, number, _):
    told.append(number)


def test_a_result_is_never_told_twice(start, chance, tmp_path):
    """What an attempt did before its engine died may be done twice; what is told, once."""
    rc = start(4)
    for _ in range(scale(1, 20)):
        told = []
        result = rc.load_balanced_view().map_async(square, range(TASKS))
        for number, part in enumerate(result.split()):
            part.add_done_callback(partial(note, told, number))
        victim = chance.randrange(4)
        kill_when(result, chance.randrange(TASKS), [processes(rc)[victim]])
        outcomes(result)
        assert sorted(told) == list(range(TASKS))
        revive(rc, [victim])
        count("R1", rounds=1, kills=1, tasks=TASKS)
