"""R8: replies that come twice, late, or for tasks nobody knows; each result is told once."""

from __future__ import annotations

from functools import partial

import pytest

import ipyviews
from ipyviews.core import invariants
from ipyviews.core.effects import Verdict
from ipyviews.core.events import Kind, Status, TaskReplied, TaskSubmitted
from ipyviews.ids import Attempt
from tests.chaos.proxy import Proxy
from tests.chaos.scale import HANGS_S, count, scale
from tests.controller.conftest import errors
from tests.controller.conftest import start as start_driver
from tests.core.desk import Desk, fingerprint
from tests.sim.simulator import Weather, World
from tests.waiting import wait_until

__all__ = ["errors", "start_driver"]

STORMS = scale(10, 500)


def test_a_late_reply_of_attempt_one_does_not_end_attempt_two():
    desk = Desk(engines=2)
    desk.submit("r.0")
    first = desk.attempt("r.0")
    desk.lose(first.engine)
    second = desk.attempt("r.0")
    assert (first.number, second.number) == (1, 2)
    before = fingerprint(desk.state)
    assert desk.feed(TaskReplied(desk.now, first, Status.OK)) == []
    assert fingerprint(desk.state) == before
    desk.reply(second)
    assert desk.replies["r.0"].attempt == second


@pytest.mark.parametrize(
    "attempt",
    [Attempt("r.0", 0, 1, 1), Attempt("unknown.0", 0, 1, 1), Attempt("r.0", 7, 1, 1)],
    ids=["twice", "unknown task", "unknown engine"],
)
def test_a_reply_nobody_waits_for_changes_nothing(attempt):
    desk = Desk(engines=1)
    desk.submit("r.0", 0)
    desk.reply("r.0")
    before = fingerprint(desk.state)
    assert desk.feed(TaskReplied(desk.now, attempt, Status.OK)) == []
    assert fingerprint(desk.state) == before


def submit_all(world):
    """Start eight engines and ask for 200 calls and cells, some of them direct."""
    for engine in range(8):
        world.start(engine)
    for number in range(200):
        kind = Kind.APPLY if number % 5 else Kind.EXECUTE
        engine = number % 8 if number % 3 == 0 else None
        task = TaskSubmitted(0.0, f"a-1.{number}", "a", "a-1", kind, engine, reruns=2)
        world.at(world.chance.uniform(0, 5), partial(world.submit, task))


def test_in_storms_of_such_replies_each_task_has_exactly_one(chance):
    weather = Weather(deadly=0.03, lost=0.02, missing=0.05, twice=0.5, late=0.1, restarting=1.0)
    for _ in range(STORMS):
        world = World(weather, seed=chance.randrange(2**32))
        submit_all(world)
        world.run(each=partial(invariants.check, world.state))
        verdicts = list(world.verdicts().values())
        assert len(verdicts) == 200
        assert verdicts.count(Verdict.REPLIED) > 0
        seen = {name.replace(" ", "_"): number for name, number in world.seen.items()}
        count("R8", tasks=200, **{name: seen[name] for name in ("replies_twice", "replies_late")})


async def test_a_controller_counts_them_and_tells_each_result_once(start_driver):
    world = await start_driver(2)
    client = await world.client()
    world.kernels[0].habits.copies = 3
    for _ in range(20):
        request = client.apply("echo", b"x", targets=[0])
        await client.reply(f"{request}.0")
        world.kernels[0].send_again()
        await world.settle()
        assert len(client.replies_to(f"{request}.0")) == 1
    # All but the first of three have another number, the repeated one has the same.
    assert world.counters["stale"] == 40
    assert world.counters["unverified"] == 20


@pytest.mark.kernels
def test_on_sockets_a_repeated_message_is_dropped(cluster4, module_root, chance):
    told = []
    with (
        Proxy(cluster4.cluster_file, module_root, chance) as proxy,
        ipyviews.Client(proxy.info) as client,
    ):
        for number in range(scale(50, 2000)):
            result = client[number % 4].apply_async(abs, -number)
            result.add_done_callback(lambda one: told.append(one.result()))
            assert result.get(HANGS_S) == number
            proxy.send_again("down")
            proxy.send_again("up")
        wait_until(lambda: not proxy._asked)
        assert client[:].apply_sync(abs, -1) == [1] * 4
        assert client.status()["counters"]["unverified"] > 0
    assert told == list(range(scale(50, 2000)))
