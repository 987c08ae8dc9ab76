"""How an engine is chosen among those with room."""

from collections import Counter
from random import Random

import pytest

from ipyviews.core.engines import Engine, EngineState
from ipyviews.core.schemes import SCHEMES, make_index
from tests.core.desk import Desk

DRAWING = ["plainrandom", "twobin", "weighted"]


def used(desk: Desk, count: int = 100) -> list[int]:
    """Run tasks one after the other; where each ran."""
    engines = []
    for _ in range(count):
        task = f"r.{len(desk.submitted)}"
        desk.submit(task)
        engines.append(desk.runs_on(task))
        desk.reply(task)
    return engines


def engine_with(name: int, running: int) -> Engine:
    """Make an engine that runs so many tasks."""
    engine = Engine(name, 100)
    engine.state = EngineState.LIVE
    engine.running = dict.fromkeys(map(str, range(running)))
    engine.is_fresh = False
    return engine


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_scheme_uses_every_engine_and_keeps_none_idle(scheme):
    desk = Desk(engines=4, scheme=scheme)
    assert set(used(desk)) == {0, 1, 2, 3}
    for number in range(6):
        desk.submit(f"s.{number}")
    assert sorted(desk.runs_on(task) for task in desk.running) == [0, 1, 2, 3]


@pytest.mark.row("5-leastload")
def test_leastload_takes_the_fewest_tasks_and_of_equals_the_one_idle_longest():
    index = make_index("leastload")
    for name, running in enumerate([3, 1, 1, 2]):
        index.put(engine_with(name, running))
    assert index.first().id == 1
    index.put(engine_with(1, 2))
    assert index.first().id == 2


@pytest.mark.row("5-lru")
@pytest.mark.parametrize("scheme", ["lru", "pure"])
def test_lru_takes_the_one_used_longest_ago_whatever_it_runs(scheme):
    desk = Desk(bundle=3, engines=3, scheme=scheme)
    for number in range(7):
        desk.submit(f"r.{number}", reruns=1)
    assert [desk.runs_on(f"r.{number}") for number in range(7)] == [0, 1, 2, 0, 1, 2, 0]


@pytest.mark.row("5-plainrandom")
def test_plainrandom_takes_any():
    counts = Counter(used(Desk(engines=3, scheme="plainrandom"), 300))
    assert all(70 < counts[engine] < 130 for engine in range(3))


@pytest.mark.row("5-twobin")
def test_twobin_takes_the_one_used_longer_ago_of_two_drawn():
    engines = used(Desk(engines=10, scheme="twobin"), 400)
    distances = [
        number - last
        for number, engine in enumerate(engines)
        if (last := max((i for i in range(number) if engines[i] == engine), default=None))
        is not None
    ]
    # By drawing one alone, a tenth of them would be used twice in a row.
    assert distances.count(1) < 0.03 * len(distances)
    assert len(set(distances)) > 3


@pytest.mark.row("5-weighted")
def test_weighted_prefers_the_less_loaded_without_always_taking_them():
    index = make_index("weighted", Random(5))
    for name, running in enumerate([9, 1, 1, 1]):
        index.put(engine_with(name, running))
    counts = Counter(index.first().id for _ in range(2000))
    assert 0 < counts[0] < 20
    assert all(counts[name] > 500 for name in (1, 2, 3))


@pytest.mark.row("5-new-engines-first")
@pytest.mark.parametrize("scheme", ["leastload", "lru"])
def test_a_new_engine_is_at_the_head_of_the_line(scheme):
    desk = Desk(engines=3, scheme=scheme)
    used(desk, 4)
    desk.join(3)
    assert used(desk, 2) == [3, 1]


@pytest.mark.row("5-new-engines-first")
def test_a_new_engine_counts_as_used_longest_ago_when_two_are_drawn():
    index = make_index("twobin", Random(1))
    for name in range(4):
        index.put(engine_with(name, 0))
    fresh = engine_with(4, 0)
    fresh.is_fresh = True
    index.put(fresh)
    counts = Counter(index.first().id for _ in range(1000))
    assert counts[4] == max(counts.values())


@pytest.mark.parametrize("scheme", DRAWING)
def test_a_scheme_that_draws_needs_chance(scheme):
    with pytest.raises(ValueError, match=f"'{scheme}' needs chance"):
        make_index(scheme)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_an_index_knows_what_was_put_in_and_taken_out(scheme):
    index, chance = make_index(scheme, Random(2)), Random(3)
    known: dict[int, int] = {}
    assert index.first() is None
    for _ in range(500):
        name, running = chance.randrange(8), chance.randrange(4)
        if chance.random() < 0.4:
            index.discard(engine_with(name, running))
            known.pop(name, None)
        else:
            index.put(engine_with(name, running))
            known[name] = running
        assert index.loads() == known
        first = index.first()
        assert first.id in known if known else first is None
