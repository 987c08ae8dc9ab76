"""Graphs of tasks: in calm weather they run as they should, in storms each gets its one reply."""

from collections import Counter
from collections.abc import Iterator
from itertools import count
from random import Random

import pytest

from ipyviews.core import invariants
from ipyviews.core.effects import Dispatch, Effect, Reply, Verdict
from ipyviews.core.events import CancelRequested, Kind, TaskSubmitted
from ipyviews.core.schemes import SCHEMES
from tests.core.needs import check_dispatch, check_impossible, needs, succeeded
from tests.sim.simulator import Weather, World

ROUGH = Weather(
    failing=0.04, deadly=0.02, lost=0.01, unmet=0.1, twice=0.1, late=0.01, restarting=0.8
)


class Careful(World):
    """Looks at each dispatch and each refusal from outside."""

    def perform(self, effect: Effect) -> None:
        lives = {engine: fake.incarnation for engine, fake in self.engines.items()}
        if isinstance(effect, Dispatch):
            check_dispatch(self.submitted[effect.attempt.task], effect.attempt, self.final, lives)
        elif isinstance(effect, Reply):
            self.final[effect.task] = effect
            if effect.verdict is Verdict.IMPOSSIBLE:
                check_impossible(self.submitted[effect.task], effect, self.final, lives)
        super().perform(effect)

    def submit(self, event: TaskSubmitted) -> None:
        event = event._replace(now=self.now)
        self.submitted[event.task] = event
        super().submit(event)

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.submitted: dict[str, TaskSubmitted] = {}
        self.final: dict[str, Reply] = {}


def start(world: World, engines: int) -> None:
    for engine in range(engines):
        world.start(engine)


def graph(count: int, chance: Random) -> Iterator[TaskSubmitted]:
    """Make tasks of three clients that wait for earlier ones, on one of them here and there."""
    for number in range(count):
        client = "abc"[number % 3]
        earlier = [f"{'abc'[n % 3]}-1.{n}" for n in range(max(0, number - 20), number)]
        after, follow = (
            needs(
                *chance.sample(earlier, min(len(earlier), chance.randint(1, 3))),
                all=chance.random() < 0.5,
                failure=chance.random() < 0.7,
            )
            if chance.random() < share
            else None
            for share in (0.5, 0.2)
        )
        yield TaskSubmitted(
            0.0,
            f"{client}-1.{number}",
            client,
            f"{client}-1",
            Kind.APPLY if number % 7 else Kind.EXECUTE,
            after=after,
            follow=follow,
            retries=number % 3,
            timeout_s=chance.choice([None, None, 20.0]),
        )


@pytest.mark.parametrize("bundle", [1, None])
@pytest.mark.parametrize("seed", range(7))
def test_every_task_of_a_graph_gets_one_reply_whatever_happens(seed, bundle):
    scheme = SCHEMES[seed % len(SCHEMES)]
    world = Careful(ROUGH, seed=seed, bundle=bundle, scheme=scheme)
    start(world, 8)
    for number, event in enumerate(graph(200, world.chance)):
        world.at(2.0 + number / 50, lambda event=event: world.submit(event))
    for name in world.chance.sample([f"a-1.{number}" for number in range(0, 200, 3)], 8):
        when = world.chance.uniform(2.0, 10.0)
        cancel = CancelRequested(when, "a", (name,))
        world.at(when, lambda cancel=cancel: world.feed(cancel))
    step = count()
    world.run(each=lambda: next(step) % 5 or invariants.check(world.state))
    verdicts = Counter(world.verdicts().values())
    assert verdicts.total() == 200
    assert verdicts[Verdict.REPLIED] > 50
    assert verdicts[Verdict.IMPOSSIBLE] > 0
    assert not world.state.tasks


def test_in_calm_weather_a_graph_runs_completely_and_each_task_after_those_it_names():
    world = Careful(Weather(), seed=1)
    start(world, 5)
    chance = Random(1)
    for number in range(300):
        earlier = [f"a-1.{n}" for n in range(number)]
        after = needs(*chance.sample(earlier, min(number, 3)))
        event = TaskSubmitted(0.0, f"a-1.{number}", "a", "a-1", Kind.APPLY, after=after)
        world.at(2.0, lambda event=event: world.submit(event))
    world.run()
    assert set(world.verdicts().values()) == {Verdict.REPLIED}
    for name, reply in world.final.items():
        for earlier in world.submitted[name].after.tasks:
            assert world.final[earlier].runs[-1].ended <= reply.runs[0].started + 1e-9


def test_a_tree_of_followers_stays_on_the_engine_of_its_root():
    world = Careful(Weather(), seed=2)
    start(world, 6)
    for number in range(200):
        root = number < 6
        follow = None if root else needs(f"a-1.{(number - 6) // 2}")
        event = TaskSubmitted(0.0, f"a-1.{number}", "a", "a-1", Kind.APPLY, follow=follow)
        world.at(3.0, lambda event=event: world.submit(event))
    world.run()
    engines = {name: reply.runs[-1].engine for name, reply in world.final.items()}
    assert len({engines[f"a-1.{number}"] for number in range(6)}) == 6
    for number in range(6, 200):
        assert engines[f"a-1.{number}"] == engines[f"a-1.{(number - 6) // 2}"]


def test_with_tries_enough_failures_stop_no_graph():
    world = Careful(Weather(failing=0.3), seed=3)
    start(world, 4)
    for number in range(200):
        after = needs(*{f"a-1.{n}" for n in (number - 1, number // 2) if 0 <= n < number})
        event = TaskSubmitted(0.0, f"a-1.{number}", "a", "a-1", Kind.APPLY, after=after, retries=50)
        world.at(2.0, lambda event=event: world.submit(event))
    world.run()
    assert all(succeeded(reply) for reply in world.final.values())
