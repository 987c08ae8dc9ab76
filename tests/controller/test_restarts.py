"""Engines that are started again: by themselves within a limit, and with their set-up cells."""

from __future__ import annotations

import pytest

from ipyviews.client import control
from ipyviews.controller import adoption, joining, setups
from ipyviews.controller.config import read_limit
from ipyviews.controller.setups import Limit, Revival, Setups
from ipyviews.errors import UsageError
from ipyviews.launching.kernels import SHUTDOWN_TIME
from tests.waiting import eventually


def life(world, engine=0):
    """Name state and incarnation of an engine."""
    info = world.driver.fleet.infos()[engine]
    return info["state"], info["incarnation"]


def cells(kernel):
    """Name the cells that came to a kernel in this life, from whoever."""
    return [name for channel, kind, name in kernel.seen if kind == "execute_request"]


async def set_up(client, code, targets):
    """Run a set-up cell."""
    request = client.execute(code, targets=targets, setup=True)
    for place in range(len(targets)):
        await client.reply(f"{request}.{place}")


async def test_engines_stay_dead_unless_asked_for(start):
    world = await start(1)
    world.kernels[0].die()
    await eventually(lambda: life(world) == ("lost", 1))
    assert world.driver.fleet.deaths.told()[0]["restarted"] is False


async def test_a_dead_engine_comes_back_and_what_waited_for_it_runs(start):
    world = await start(2, restart=Limit(2, 60.0))
    client = await world.client()
    running = client.apply("stall", b"", targets=[0]) + ".0"
    waiting = client.apply("echo", b"x", targets=[0]) + ".0"
    await eventually(lambda: world.kernels[0].running)
    world.kernels[0].die()
    assert (await client.reply(running)).ours["verdict"] == "engine_lost"
    assert (await client.reply(waiting)).content["status"] == "ok"
    assert life(world) == ("live", 2)
    assert life(world, 1) == ("live", 1)
    assert world.driver.fleet.deaths.told()[0]["restarted"] is True


async def test_beyond_the_limit_an_engine_stays_dead_and_that_is_said_once(start):
    world = await start(1, restart=Limit(2, 60.0))
    client = await world.client()
    for number in range(3):
        world.kernels[0].die()
        await eventually(lambda n=number: life(world) != ("live", n + 1))
        await eventually(lambda: life(world)[0] != "starting")
    assert life(world) == ("lost", 3)
    reply = await client.reply(client.apply("echo", b"x", targets=[0]) + ".0")
    said = (
        "engine 0 is not started again by itself: it was 2 times in 60 s; client.restart(0) does it"
    )
    assert said in reply.content["evalue"]
    told = [m.read()["refusal"] for m in client.stream if m.msg_type == "death_notice"]
    assert told == ["", "", said]
    # Somebody has looked at it: the count begins anew.
    await client.ask("restart", engines=[0], now=True)
    world.kernels[0].die()
    await eventually(lambda: life(world) == ("live", 5))


async def test_clients_switch_it_on_and_off(start):
    world = await start(1)
    client = await world.client()
    assert (await client.ask("auto_restart", limit=[1, 60]))["status"] == "ok"
    world.kernels[0].die()
    await eventually(lambda: life(world) == ("live", 2))
    assert (await client.ask("auto_restart", limit=None))["status"] == "ok"
    world.kernels[0].die()
    await eventually(lambda: life(world) == ("lost", 2))
    assert (await client.ask("auto_restart", limit="often"))["ename"] == "UsageError"


async def test_set_up_cells_come_before_anything_else_in_each_life(start):
    world = await start(2, restart=Limit(5, 60.0))
    client = await world.client()
    await set_up(client, "print one", [0, 1])
    await set_up(client, "print two", [0])
    await set_up(client, "print one", [0])
    await set_up(client, "fail", [0])
    kernel = world.kernels[0]
    kernel.seen.clear()
    running = client.execute("stall", targets=[0]) + ".0"
    waiting = client.execute("print three", targets=[0]) + ".0"
    await eventually(lambda: kernel.running)
    kernel.die()
    await client.reply(running)
    await client.reply(waiting)
    assert world.driver.fleet.setups.of(0) == ["print two", "print one"]
    assert world.driver.fleet.setups.of(1) == ["print one"]
    # After the stalled one: loading the extension, two set-up cells, and what waited.
    names = cells(kernel)[1:]
    own = world.driver.life
    assert [name.startswith(f"{own}-e0.2-") for name in names] == [True, True, True, False]
    assert names[-1].startswith(waiting)
    # They are nobody's output.
    assert client.text(waiting) == "three\n"
    assert not [m for m in client.stream if "one" in str(m.content) and m.parent_id == running]


async def test_a_restart_runs_them_too_or_forgets_them(start):
    world = await start(1)
    client = await world.client()
    await set_up(client, "print one", [0])
    kernel = world.kernels[0]
    kernel.seen.clear()
    await client.ask("restart", engines=[0], now=True)
    assert len(cells(kernel)) == 2
    kernel.seen.clear()
    await client.ask("restart", engines=[0], now=True, setup=False)
    await client.ask("restart", engines=[0], now=True)
    assert len(cells(kernel)) == 2
    assert world.driver.fleet.setups.of(0) == []


async def test_an_engine_whose_set_up_fails_does_not_come_back(start):
    world = await start(1)
    client = await world.client()
    await set_up(client, "print one", [0])
    world.driver.fleet.setups.note(0, "fail")
    answer = await client.ask("restart", engines=[0], now=True)
    (info,) = answer["engines"]
    assert info["state"] == "lost"
    assert "set-up cell 2 of 2 failed: ZeroDivisionError: fake" in info["reason"]


async def test_set_up_that_takes_too_long_ends_the_engine_with_a_reason(start, monkeypatch):
    monkeypatch.setattr(joining, "SETUP_LIMIT_S", 0.05)
    world = await start(1)
    client = await world.client()
    world.driver.fleet.setups.note(0, "print one")
    world.driver.fleet.setups.note(0, "stall")
    answer = await client.ask("restart", engines=[0], now=True)
    (info,) = answer["engines"]
    assert info["state"] == "lost"
    assert "its 2 set-up cells took more than 0.05 s; client.restart(setup=False)" in info["reason"]


def test_clients_wait_for_a_restart_as_long_as_it_may_take():
    steps = joining.START_LIMIT_S + 4 * joining.STEP_LIMIT_S + joining.SETUP_LIMIT_S
    polite = 3 * SHUTDOWN_TIME + 2 * adoption.WRITING_S
    assert steps + polite < control.RESTART_S


@pytest.mark.parametrize("ours", [{"any": None}, {"targets": [0]}], ids=["balanced", "call"])
async def test_only_cells_on_named_engines_set_up(start, ours):
    world = await start(1)
    client = await world.client()
    if "any" in ours:
        request = client.execute("print one", setup=True, **ours)
    else:
        request = client.apply("echo", b"x", setup=True, **ours)
    assert (await client.reply(request)).content["ename"] == "UsageError"


async def test_too_many_set_up_cells_are_refused(start, monkeypatch):
    monkeypatch.setattr(setups, "MOST_CELLS", 2)
    world = await start(1)
    client = await world.client()
    await set_up(client, "print one", [0])
    await set_up(client, "print two", [0])
    await set_up(client, "print two", [0])
    reply = await client.reply(client.execute("print three", targets=[0], setup=True))
    assert "too many set-up cells" in reply.content["evalue"]


async def test_nothing_comes_back_while_the_cluster_ends(start):
    world = await start(1, restart=Limit(5, 60.0))
    world.kernels[0].die()
    await world.driver.fleet.close(politely=False)
    world.driver.fleet._verdict(world.driver.fleet.find([0])[0], 1, None)
    assert life(world)[1] == 1


def test_size_of_set_up_cells_is_limited_and_counted(monkeypatch):
    monkeypatch.setattr(setups, "MOST_BYTES", 10)
    kept = Setups()
    kept.check([0, 1], "12345")
    with pytest.raises(UsageError):
        kept.check([0, 1], "123456")
    kept.note(0, "12345")
    kept.note(0, "12345")
    kept.note(1, "123")
    assert kept.size == 8
    kept.forget(0)
    kept.forget(0)
    assert (kept.size, kept.of(0), kept.of(1)) == (3, [], ["123"])


def test_only_the_cells_of_the_engine_that_changed_are_written_and_restored():
    kept, written = Setups(), []
    kept.keep = lambda *changed: written.append(changed)
    for engine, code in ((0, "a"), (0, "b"), (1, "a"), (0, "a")):
        kept.note(engine, code)
    kept.forget(1)
    assert written == [(0, ["a"]), (0, ["a", "b"]), (1, ["a"]), (0, ["b", "a"]), (1, [])]
    again = Setups()
    again.restore(0, ["b", "a"])
    assert (again.of(0), again.of(1), again.size) == (["b", "a"], [], 2)


def test_limit_is_of_each_engine_and_a_time():
    revival = Revival(Limit(2, 10.0))
    assert [revival.judge(0, now)[0] for now in (0.0, 1.0, 2.0)] == [True, True, False]
    assert revival.judge(1, 2.0) == (True, "")
    # The first was 10 s ago.
    assert [revival.judge(0, now)[0] for now in (10.5, 10.6)] == [True, False]
    revival.forgive(0)
    assert revival.judge(0, 10.7)[0]
    assert Revival(None).judge(0, 0.0) == (False, "")
    once = "engine 0 is not started again by itself: it was once in 5 s; client.restart(0) does it"
    revival = Revival(Limit(1, 5.0))
    assert [revival.judge(0, now) for now in (0.0, 4.0)] == [(True, ""), (False, once)]
    later = Revival(Limit(1, 5.0))
    later.restore(0, revival.deaths(0))
    assert [later.judge(0, now)[0] for now in (4.0, 5.0)] == [False, True]


@pytest.mark.parametrize("value", [[0, 1], [1, 0], [1], "ab", {}, 3, [None, 1]])
def test_what_is_no_limit_is_refused(value):
    with pytest.raises(UsageError, match="times, seconds"):
        read_limit(value)
    assert read_limit(None) is None
    assert read_limit([2, 5]) == Limit(2, 5.0)
