"""10,000 engines and 50,000 tasks in virtual time, with everything going wrong."""

from collections import Counter

from ipyviews.core import invariants
from ipyviews.core.effects import Verdict
from ipyviews.core.events import Kind, TaskSubmitted
from tests.sim.simulator import Weather, World

ENGINES = 10_000
TASKS = 50_000
ROUGH = Weather(failing=0.01, deadly=0.004, lost=0.002, twice=0.02, late=0.002)


def storm(engines: int, tasks: int, seed: int) -> World:
    """Three clients: a map, a fan-out to every engine, and a map limited to every second one."""
    world = World(ROUGH, seed=seed)
    for engine in range(engines):
        world.start(engine)
    even = frozenset(range(0, engines, 2))

    def submit(number: int) -> None:
        client = "abc"[number % 3]
        kind = Kind.EXECUTE if number % 7 == 0 else Kind.APPLY
        direct = number % engines if client == "b" else None
        allowed = even if client == "c" else None
        name, request = f"{client}-1.{number}", f"{client}-1"
        world.submit(
            TaskSubmitted(
                world.now, name, client, request, kind, direct, allowed, retries=number % 2
            )
        )

    for number in range(tasks):
        world.at(world.chance.uniform(0.0, 2.0), lambda number=number: submit(number))
    return world


def test_every_task_gets_exactly_one_reply_though_engines_die_and_replies_go_astray():
    world = storm(ENGINES, TASKS, seed=1)
    checks = iter(range(0, 10**9, 40_000))
    due = next(checks)

    def sample() -> None:
        nonlocal due
        if world.events >= due:
            invariants.check(world.state)
            due = next(checks)

    world.run(each=sample)
    invariants.check(world.state)
    verdicts = Counter(world.verdicts().values())
    assert verdicts.total() == TASKS
    assert not world.state.tasks
    assert verdicts[Verdict.REPLIED] > 0.98 * TASKS
    assert verdicts[Verdict.ENGINE_LOST] > 0
    for what in ("deaths", "replies lost", "replies twice", "replies late"):
        assert world.seen[what] > 50, what


def test_the_same_seed_gives_the_same_replies():
    first, second = (storm(200, 2_000, seed=7) for _ in range(2))
    first.run()
    second.run()
    assert first.replies == second.replies
    assert first.now == second.now
