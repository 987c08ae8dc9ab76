"""A controller takes over the engines of one that died, or finds out that they are gone."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from ipyviews.controller import adoption, joining
from ipyviews.controller.setups import Limit
from ipyviews.errors import UsageError
from ipyviews.store.journal import Journal
from tests.controller.lives import LastingKernel, LastingLauncher, Lives, again
from tests.test_deaths import CRASH
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def lives(run_root: Path, errors: list[Any]) -> AsyncIterator[Lives]:
    """A cluster of two engines."""
    lives = Lives(run_root)
    await lives.begin(2)
    yield lives
    await lives.close()


async def test_an_engine_that_died_meanwhile_is_lost_and_its_direct_tasks_may_have_run(lives):
    client = await lives.client()
    former = await lives.die()
    lives.kernels[0].die(-11)
    await lives.take_over(former)
    assert lives.states() == ["lost", "live"]
    told = await lives.greet(client)
    assert "segmentation fault" in told["engines"][0]["reason"]
    again(client, f"{client.session}-9", [0, 1], function="echo", arguments=[b"x"], targets=[0, 1])
    replies = [await client.reply(f"{client.session}-9.{place}") for place in range(2)]
    assert [reply.ours["verdict"] for reply in replies] == ["engine_lost", "replied"]
    assert "engine 0 may have run task" in replies[0].content["evalue"]


async def test_a_balanced_task_says_that_it_may_have_run_there(lives):
    client = await lives.client()
    former = await lives.die()
    lives.kernels[0].die()
    await lives.take_over(former)
    await lives.greet(client)
    again(client, f"{client.session}-9", [0], function="echo", arguments=[b"x"], any=None)
    reply = await client.reply(f"{client.session}-9.0")
    assert [run[0] for run in reply.ours["attempts"]] == [0, 1]
    again(client, f"{client.session}-8", [0], function="echo", arguments=[b"x"], any=None, reruns=0)
    assert (await client.reply(f"{client.session}-8.0")).ours["verdict"] == "engine_lost"


async def test_an_engine_that_dies_with_a_stray_call_fails_it(lives):
    client = await lives.client()
    request = client.apply("stall", b"x", targets=[0])
    await eventually(lambda: lives.kernels[0].running)
    await lives.replace()
    lives.kernels[0].die()
    await eventually(lambda: lives.states() == ["lost", "live"])
    again(client, request, [0], function="stall", arguments=[b"x"], targets=[0])
    reply = await client.reply(f"{request}.0")
    assert reply.ours["verdict"] == "engine_lost"
    assert "while it ran task" in reply.content["evalue"]


async def test_an_engine_that_died_meanwhile_comes_back_where_that_is_asked_for(run_root, errors):
    lives = Lives(run_root, restart=Limit(1, 60.0))
    await lives.begin(2)
    client = await lives.client()
    for expected in (("live", 2), ("lost", 2)):
        former = await lives.die()
        lives.kernels[0].die(-11)
        await lives.take_over(former)
        info = lives.driver.fleet.infos()[0]
        assert (info["state"], info["incarnation"]) == expected
        told = await lives.greet(client)
        verdicts = [one["verdict"] for one in told["deaths"]]
        assert verdicts == ["segmentation fault"] * (1 if expected[0] == "live" else 2)
        await client.ask("auto_restart", limit=None)
    await lives.close()


async def test_so_does_one_that_dies_before_it_has_told(run_root, errors, monkeypatch):
    monkeypatch.setattr(adoption, "PATIENCE_S", 0.01)
    lives = Lives(run_root, restart=Limit(1, 60.0))
    await lives.begin(2)
    client = await lives.client()
    former, asked = await lives.die(), []
    lives.kernels[0]._resume = asked.append
    await lives.take_over(former)
    await eventually(lambda: asked)
    lives.kernels[0].die(-11)
    await eventually(lambda: lives.states() == ["live", "live"])
    assert lives.driver.fleet.infos()[0]["incarnation"] == 2
    told = await lives.greet(client)
    assert [one["verdict"] for one in told["deaths"]] == ["segmentation fault"]
    again(client, f"{client.session}-9", [0, 1], function="echo", arguments=[b"x"], targets=[0, 1])
    replies = [await client.reply(f"{client.session}-9.{place}") for place in range(2)]
    assert [reply.ours["verdict"] for reply in replies] == ["engine_lost", "replied"]
    assert "engine 0 may have run task" in replies[0].content["evalue"]
    await lives.close()


async def test_how_often_the_controller_was_replaced_is_counted(lives):
    client = await lives.client()
    for count in range(3):
        assert (await lives.greet(client))["replaced"] == count
        assert (await client.ask("status"))["replaced"] == count
        await lives.replace()


async def test_the_limit_of_restarts_counts_across_controllers(run_root, errors):
    lives = Lives(run_root, restart=Limit(2, 60.0))
    await lives.begin(1)
    client = await lives.client()
    lives.kernels[0].die()
    await eventually(lambda: lives.driver.fleet.infos()[0]["incarnation"] == 2)
    await eventually(lambda: lives.states() == ["live"])
    for expected in (("live", 3), ("lost", 3)):
        former = await lives.die()
        lives.kernels[0].die(-11)
        await lives.take_over(former)
        await eventually(lambda: lives.driver.fleet.infos()[0]["state"] != "starting")
        info = lives.driver.fleet.infos()[0]
        assert (info["state"], info["incarnation"]) == expected
    said = "engine 0 is not started again by itself: it was 2 times in 60 s"
    assert said in info["reason"]
    told = (await lives.greet(client))["deaths"]
    assert [one["restarted"] for one in told] == [True, True, False]
    # Somebody has looked at it: the count begins anew, and stays so.
    await client.ask("restart", engines=[0], now=True)
    await lives.replace()
    lives.kernels[0].die()
    await eventually(lambda: lives.driver.fleet.infos()[0]["incarnation"] == 5)
    await eventually(lambda: lives.states() == ["live"])
    await lives.close()


async def test_set_up_cells_do_not_run_again_where_an_engine_is_taken_over(lives):
    client = await lives.client()
    request = client.execute("import numpy", targets=[0], setup=True)
    await client.reply(f"{request}.0")
    seen = len(lives.kernels[0].seen)
    await lives.replace()
    assert {kind for _, kind, _ in lives.kernels[0].seen[seen:]} == {"resume_request"}
    await client.ask("restart", engines=[0], now=True)
    assert "execute_request" in [kind for _, kind, _ in lives.kernels[0].seen]
    await client.ask("restart", engines=[0], now=True, setup=False)
    await lives.replace()
    assert lives.driver.fleet.setups.of(0) == []


async def test_a_kernel_that_nobody_knows_is_killed(lives):
    former = await lives.die()
    lives.kernels[5] = lives.kernels[1]
    lives.kernels[1] = type(lives.kernels[1])(
        lives.network, 1, 1, lives.kernels[5].connection_file.parent
    )
    lives.kernels[1].pid, lives.kernels[1].process = 7, lives.kernels[5].process
    await lives.take_over(former)
    assert not lives.kernels[5]._ports
    assert lives.states() == ["live", "lost"]


async def test_a_lost_engine_stays_lost_and_can_be_restarted(lives):
    client = await lives.client()
    lives.kernels[1].die(3)
    await eventually(lambda: lives.states() == ["live", "lost"])
    await lives.replace()
    assert lives.states() == ["live", "lost"]
    answer = await client.ask("restart", engines=[1], now=False)
    assert [(one["state"], one["incarnation"]) for one in answer["engines"]] == [("live", 2)]
    await lives.replace()
    assert lives.states() == ["live", "live"]


async def replace_while_it_restarts(lives, kernel, what_happens):
    """Let the controller die in the midst of a restart of engine 1."""
    client, begun = await lives.client(), asyncio.Event()

    async def restart(now: bool) -> None:
        what_happens()
        begun.set()
        await asyncio.Event().wait()

    kernel.restart = restart
    client.send("control", "restart_request", {"engines": [1], "now": False})
    await begun.wait()
    await lives.replace()
    await eventually(lambda: lives.states() == ["live", "live"])


async def test_a_restart_that_a_controller_had_begun_is_done_by_the_next(lives):
    before = lives.kernels[1]
    await replace_while_it_restarts(lives, before, lambda: None)
    assert lives.kernels[1] is not before
    assert not before._ports
    assert lives.driver.fleet.infos()[1]["incarnation"] == 2
    assert not lives.driver.fleet.deaths.told()


async def test_an_engine_that_had_died_before_it_was_ready_begins_a_life_of_another_number(lives):
    before = lives.kernels[1]

    def die():
        content = {**CRASH.as_content(), "engine": 1, "incarnation": 2}
        lives.driver.fleet.deaths.keep("1.2", content)
        before.die(told=False)

    await replace_while_it_restarts(lives, before, die)
    assert lives.driver.fleet.infos()[1]["incarnation"] == 3


async def test_an_engine_gets_tasks_only_when_a_later_controller_would_know_it(lives, monkeypatch):
    noted = []
    obey = LastingKernel._obey

    def look(kernel, channel, message):
        if message.msg_type == "apply_request":
            journal = Journal(lives.driver.config.folder / "state.db")
            noted.append(journal.read("engine")["2"]["joined"]["apply_url"])
            journal.close()
        obey(kernel, channel, message)

    monkeypatch.setattr(LastingKernel, "_obey", look)
    client = await lives.client()
    await client.ask("start", n=1)
    await client.reply(client.apply("echo", b"x", targets=[2]) + ".0")
    assert noted == [lives.kernels[2].url("apply")]


async def test_engines_are_started_where_a_controller_died_before_it_noted_any(run_root, errors):
    lives = Lives(run_root, n=2)
    await lives.begin(2)
    former, before = await lives.die(), dict(lives.kernels)
    (run_root / "state.db").unlink()
    await lives.take_over(former)
    await eventually(lambda: lives.states() == ["live", "live"])
    assert lives.driver.fleet.wanted == 2
    assert not any(kernel._ports for kernel in before.values())
    await lives.close()


async def test_an_engine_that_dies_while_it_is_taken_over_twice_is_missed(lives, monkeypatch):
    monkeypatch.setattr(adoption, "PATIENCE_S", 0.01)
    client = await lives.client()
    lives.kernels[1]._resume = lambda _frames: None
    await lives.replace()
    await eventually(lambda: lives.states() == ["live", "starting"])
    former = await lives.die()
    lives.kernels[1].die(-11)
    await lives.take_over(former)
    await eventually(lambda: lives.states() == ["live", "lost"])
    await lives.greet(client)
    again(client, f"{client.session}-9", [0], function="echo", arguments=[b"x"], targets=[1])
    reply = await client.reply(f"{client.session}-9.0")
    assert "engine 1 may have run task" in reply.content["evalue"]


async def test_a_life_that_could_not_be_noted_is_not_taken_for_the_one_before(lives):
    client = await lives.client()
    lives.driver.fleet.on_news = lambda _engine: None
    await client.ask("restart", engines=[1], now=True)
    kernel = lives.kernels[1]
    kernel.pid = 7
    await lives.replace()
    assert lives.states() == ["live", "lost"]
    assert not kernel._ports
    answer = await client.ask("restart", engines=[1], now=True)
    assert [one["incarnation"] for one in answer["engines"]] == [3]


@pytest.mark.parametrize("deaf", ["_arrived", "_resume"])
async def test_an_engine_that_is_stopped_is_not_killed_and_joins_when_it_goes_on(
    lives, monkeypatch, deaf
):
    monkeypatch.setattr(adoption, "PATIENCE_S", 0.01)
    monkeypatch.setattr(joining, "STEP_LIMIT_S", 0.01)
    monkeypatch.setattr(joining, "ASK_AGAIN_S", 0.001)
    client, kernel, arrived = await lives.client(), lives.kernels[0], []
    former = await lives.die()
    monkeypatch.setattr(kernel, deaf, lambda *frames: arrived.append(frames))
    monkeypatch.setattr(kernel, "_subscribed", lambda _topic: None)
    await lives.take_over(former)
    await eventually(lambda: arrived)
    past = asyncio.get_running_loop().time() + 0.1
    await eventually(lambda: asyncio.get_running_loop().time() > past)
    assert lives.states()[0] == "starting"
    assert kernel._ports
    monkeypatch.undo()
    for one in arrived:
        getattr(kernel, deaf)(*one)
    await eventually(lambda: lives.states() == ["live", "live"])
    await lives.greet(client)
    request = client.apply("echo", b"x", targets=[0])
    assert (await client.reply(f"{request}.0")).buffers == [b"x"]


async def test_an_engine_that_is_stopped_can_be_shut_down(lives, monkeypatch):
    monkeypatch.setattr(adoption, "PATIENCE_S", 0.01)
    client, kernel = await lives.client(), lives.kernels[0]
    former, asked = await lives.die(), []
    kernel._resume = asked.append
    await lives.take_over(former)
    await lives.greet(client)
    await eventually(lambda: asked)
    again(client, f"{client.session}-9", [0], function="echo", arguments=[b"x"], targets=[0])
    await client.ask("shutdown", engines=[0])
    reply = await client.reply(f"{client.session}-9.0")
    assert "engine 0 may have run task" in reply.content["evalue"]
    assert not kernel._ports


async def test_what_is_left_of_a_lost_engine_is_killed(lives):
    lives.driver.fleet._lose(lives.driver.fleet.find([1])[0], "it was shut down")
    await lives.replace()
    assert lives.states() == ["live", "lost"]
    assert not lives.kernels[1]._ports


async def test_deaths_are_remembered_by_the_controllers_after_the_one_that_heard_of_them(lives):
    client = await lives.client()
    task = client.apply("stall", b"x", targets=[1]) + ".0"
    await eventually(lambda: lives.kernels[1].running)
    lives.kernels[1].die(-11)
    await client.reply(task)
    told = (await client.ask("status"))["deaths"]
    assert [(one["engine"], one["incarnation"], one["task"]) for one in told] == [(1, 1, task)]
    for _ in range(2):
        await lives.replace()
        assert (await client.ask("status"))["deaths"] == told
        assert lives.driver.fleet.deaths.count == 1


async def test_a_death_that_was_noted_before_its_engine_was_is_told_once(lives, monkeypatch):
    noted = lives.driver.fleet.on_news
    # The controller dies between the two notes.
    lives.driver.fleet.on_news = lambda engine: engine.state == "lost" or noted(engine)
    client = await lives.client()
    task = client.apply("stall", b"x", targets=[1]) + ".0"
    await eventually(lambda: lives.kernels[1].running)
    lives.kernels[1].die(-11)
    await client.reply(task)
    told = (await client.ask("status"))["deaths"]
    await lives.replace()
    assert lives.states() == ["live", "lost"]
    assert (await client.ask("status"))["deaths"] == told


async def test_a_lost_engine_whose_kernelspec_is_gone_stays_lost_and_harms_no_other(
    run_root, errors, monkeypatch
):
    lives = Lives(run_root, restart=Limit(3, 60.0))
    await lives.begin(2)
    former = await lives.die()
    lives.kernels[0].die(-11)
    adopt = LastingLauncher.adopt

    def missing(launcher, engine_id, *more):
        if engine_id == 0:
            raise UsageError("there is no kernel 'gone'")
        return adopt(launcher, engine_id, *more)

    monkeypatch.setattr(LastingLauncher, "adopt", missing)
    await lives.take_over(former)
    assert lives.states() == ["lost", "live"]
    client = await lives.client()
    reason = (await lives.greet(client))["engines"][0]["reason"]
    assert "segmentation fault" in reason
    assert "cannot be started again: there is no kernel 'gone'" in reason
    await lives.close()


async def test_an_engine_whose_note_cannot_be_read_is_lost_and_no_other(lives, caplog):
    former = await lives.die()
    journal = Journal(lives.driver.config.folder / "state.db")
    journal.put("engine", "0", {**journal.read("engine")["0"], "request": {"what": 1}})
    journal.close()
    await lives.take_over(former)
    assert lives.states() == ["lost", "live"]
    assert "could not be taken over" in lives.driver.fleet.infos()[0]["reason"]


async def test_new_engines_never_have_the_id_of_one_that_is_there(lives):
    client = await lives.client()
    await client.ask("start", n=1)
    await eventually(lambda: lives.states() == ["live"] * 3)
    former = await lives.die()
    journal = Journal(lives.driver.config.folder / "state.db")
    journal.drop("engine", "1")
    journal.close()
    await lives.take_over(former)
    await lives.greet(client)
    await client.ask("start", n=1)
    await eventually(lambda: lives.states() == ["live"] * 3)
    assert [one["id"] for one in lives.driver.fleet.infos()] == [0, 2, 3]
