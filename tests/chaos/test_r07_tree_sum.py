"""R7: a sum over a tree of 256 leaves while two engines are killed from outside."""

from __future__ import annotations

import pytest

from tests.chaos.kills import kill_when, processes, revive
from tests.chaos.scale import HANGS_S, count, scale

pytestmark = pytest.mark.kernels

LEAVES = 256

add = lambda a, b: (__import__("time").sleep(0.002), a + b)[1]


def tree_sum(view, numbers, disturb):
    """Add neighbours, level by level; `disturb` meddles with each level."""
    while len(numbers) > 1:
        level = view.map_async(add, numbers[::2], numbers[1::2])
        disturb(level)
        numbers = level.get(HANGS_S)
    return numbers[0]


class Killer:
    """Kills an engine at two of the levels, when some of the level's sums are there."""

    def __init__(self, rc, chance):
        self.rc, self.chance = rc, chance
        self.engines = processes(rc)
        self.victims = chance.sample(sorted(self.engines), 2)
        self.levels = sorted(chance.choices(range(7), k=2))
        self.level = -1

    def __call__(self, result):
        self.level += 1
        for level, victim in zip(self.levels, self.victims, strict=True):
            if level == self.level:
                kill_when(result, self.chance.randrange(len(result)), [self.engines[victim]])


def test_the_sum_is_exact(start, chance):
    rc = start(4)
    view = rc.load_balanced_view()
    view.reruns = 2
    for _ in range(scale(2, 200)):
        killer = Killer(rc, chance)
        leaves = [chance.randrange(10**6) for _ in range(LEAVES)]
        assert tree_sum(view, leaves, killer) == sum(leaves)
        revive(rc, killer.victims)
        count("R7", rounds=1, kills=2, leaves=LEAVES)
