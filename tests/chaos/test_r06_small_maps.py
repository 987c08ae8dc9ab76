"""R6: maps of twelve, round after round."""

from __future__ import annotations

import gc

import psutil
import pytest

from tests.chaos.scale import count, scale

pytestmark = pytest.mark.kernels

ROUNDS = scale(100, 1000)

#: What the processes together may grow by after a tenth of the rounds [bytes].
GROWTH = 8 * 2**20


def memory(processes):
    gc.collect()
    return sum(process.memory_info().rss for process in processes)


def test_no_round_stalls_and_memory_stays_flat(start, members):
    rc = start(4)
    views = [rc[:], rc.load_balanced_view()]
    processes = [psutil.Process(), *members(rc).all()]
    for number in range(ROUNDS):
        assert views[number % 2].map_sync(lambda x: x**2, range(12)) == [x**2 for x in range(12)]
        if number == ROUNDS // 10:
            before = memory(processes)
    grown = memory(processes) - before
    count("R6", rounds=ROUNDS, bytes_grown=grown)
    assert grown < GROWTH
