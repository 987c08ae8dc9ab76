"""R5: tasks that kill their engine, again and again, beside tasks that do no harm."""

from __future__ import annotations

import pytest

import ipyviews
from tests.chaos.kills import outcomes, square
from tests.chaos.scale import HANGS_S, count, scale
from tests.waiting import wait_until

pytestmark = pytest.mark.kernels


def test_each_round_ends_and_the_others_have_their_results(start):
    rc = start(3)
    balanced = rc.load_balanced_view()
    die = lambda: __import__("os").kill(__import__("os").getpid(), 9)
    for _ in range(scale(4, 1000)):
        before = balanced.map_async(square, range(20))
        deadly = balanced.apply_async(die)
        after = balanced.map_async(square, range(20))
        with pytest.raises(ipyviews.EngineError, match="SIGKILL"):
            deadly.get(HANGS_S)
        assert outcomes(before) == outcomes(after) == [x**2 for x in range(20)]
        # Killed from outside or by itself looks the same: it had a second try.
        wait_until(lambda: len(rc.ids) == 1, HANGS_S)
        rc.restart([engine for engine in range(3) if engine not in rc.ids], now=True)
        assert rc.ids == [0, 1, 2]
        count("R5", rounds=1, deaths=2, tasks=41)
