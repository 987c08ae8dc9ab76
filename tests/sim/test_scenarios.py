"""Small storms in which people interfere, for many seeds and bundles."""

from collections import Counter

import pytest

from ipyviews.core import invariants
from ipyviews.core.effects import Verdict
from ipyviews.core.events import (
    CancelRequested,
    ClientLeft,
    ClientResumed,
    ClientStalled,
    Kind,
    TaskSubmitted,
)
from tests.sim.simulator import Weather, World

ROUGH = Weather(failing=0.05, deadly=0.03, lost=0.02, twice=0.1, late=0.02, restarting=0.7)
CALM = Weather()


def submit_all(world: World, tasks: int, client: str, within_s: float, **what) -> list[str]:
    """Submit calls, every fifth a cell, spread over a time; return their names."""
    names = [f"{client}-1.{number}" for number in range(tasks)]
    for number, name in enumerate(names):
        kind = Kind.APPLY if number % 5 else Kind.EXECUTE
        event = TaskSubmitted(0.0, name, client, f"{client}-1", kind, **what)
        world.at(world.chance.uniform(0.0, within_s), lambda event=event: world.submit(event))
    return names


@pytest.mark.parametrize("bundle", [1, 5, 1000, None])
@pytest.mark.parametrize("seed", range(6))
def test_people_may_do_anything_at_any_moment_and_every_task_gets_one_reply(seed, bundle):
    world = World(ROUGH, seed=seed, bundle=bundle)
    for engine in range(12):
        world.start(engine)
    mapped = submit_all(world, 150, "a", 5.0, retries=1)
    submit_all(world, 60, "b", 5.0, engine=3)
    submit_all(world, 60, "c", 5.0, allowed=frozenset({1, 2, 99}), timeout_s=4.0)
    for name in world.chance.sample(mapped, 60):
        cancel = CancelRequested(0.0, "a", (name,))
        world.at(world.chance.uniform(0.0, 20.0), lambda cancel=cancel: world.feed(cancel))
    world.at(2.0, lambda: world.feed(ClientStalled(2.0, "c")))
    world.at(3.0, lambda: world.feed(ClientResumed(3.0, "c")))
    world.at(4.0, lambda: world.feed(ClientLeft(4.0, "b", drop=True)))
    world.run(each=lambda: invariants.check(world.state))
    verdicts = Counter(world.verdicts().values())
    assert verdicts.total() == 270
    assert verdicts[Verdict.CANCELLED] > 0
    assert not world.state.tasks


def test_when_every_engine_dies_every_task_is_answered():
    world = World(Weather(restarting=0.0), seed=3)
    for engine in range(50):
        world.start(engine)
    submit_all(world, 500, "a", 3.0)
    submit_all(world, 100, "b", 3.0, engine=7)
    for engine in range(50):
        world.at(3.0 + engine / 100, lambda engine=engine: world.kill(engine))
    world.run()
    verdicts = Counter(world.verdicts().values())
    assert verdicts[Verdict.NO_ENGINES] > 0
    assert verdicts[Verdict.ENGINE_LOST] > 0


def test_a_map_survives_the_loss_of_half_the_engines():
    world = World(Weather(restarting=0.0), seed=4)
    for engine in range(20):
        world.start(engine)
    submit_all(world, 400, "a", 1.0, reruns=10)
    for engine in range(0, 20, 2):
        world.at(5.0 + engine / 10, lambda engine=engine: world.kill(engine))
    world.run()
    assert set(world.verdicts().values()) == {Verdict.REPLIED}


def test_no_engine_idles_while_work_waits():
    world = World(CALM, seed=5)
    for engine in range(10):
        world.start(engine)
    submit_all(world, 1000, "a", 0.5)
    world.run()
    busy = sum(run.ended - run.started for (reply,) in world.replies.values() for run in reply.runs)
    assert busy > 0.95 * 10 * (world.now - CALM.start_s)


def test_short_calls_do_not_wait_behind_long_ones_while_other_engines_are_idle():
    world = World(Weather(task_s=0.0002), seed=6)
    for engine in range(4):
        world.start(engine)
    world.run()
    submit_all(world, 200, "a", 0.01)
    world.run()
    world.weather = Weather(task_s=10.0)
    late = [f"b-1.{number}" for number in range(8)]
    for name in late:
        world.submit(TaskSubmitted(world.now, name, "a", "b-1", Kind.APPLY))
    world.run()
    assert world.seen["given back"] > 0
    assert {world.replies[name][0].runs[-1].engine for name in late} == set(range(4))
    assert set(world.verdicts().values()) == {Verdict.REPLIED}
