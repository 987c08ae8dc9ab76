"""R2: three of four engines die at a blow, then all of them."""

from __future__ import annotations

import pytest

import ipyviews
from tests.chaos.kills import kill_when, outcomes, processes, revive, square
from tests.chaos.scale import HANGS_S, count, scale
from tests.waiting import wait_until

pytestmark = pytest.mark.kernels

TASKS = 400


def test_the_last_engine_finishes_what_three_others_leave(start, chance):
    rc = start(4)
    for _ in range(scale(1, 50)):
        victims = chance.sample(range(4), 3)
        result = rc.load_balanced_view().map_async(square, range(TASKS))
        engines = processes(rc)
        kill_when(result, chance.randrange(TASKS // 2), [engines[one] for one in victims])
        assert outcomes(result) == [x**2 for x in range(TASKS)]
        revive(rc, victims)
        count("R2", rounds=1, kills=3, tasks=TASKS)


def test_when_all_die_every_task_says_so_and_so_does_the_next_call(start, chance):
    rc = start(4)
    for _ in range(scale(1, 50)):
        result = rc.load_balanced_view().map_async(square, range(TASKS))
        kill_when(result, chance.randrange(TASKS // 2), processes(rc).values())
        lost = (ipyviews.EngineError, ipyviews.NoEnginesRegistered)
        for number, found in enumerate(outcomes(result)):
            assert found == number**2 or isinstance(found, lost)
        with pytest.raises(ipyviews.NoEnginesRegistered):
            rc.load_balanced_view().apply_async(square, 2).get(HANGS_S)
        wait_until(lambda: not rc.ids, HANGS_S)
        with pytest.raises(ipyviews.NoEnginesRegistered):
            rc[:].apply_async(square, 2)
        revive(rc, range(4))
        count("R2", rounds=1, kills=4, tasks=TASKS)
    assert rc[:].apply_sync(square, 3) == [9] * 4
