"""Questions about code reach engines beside their tasks, and always end."""

from __future__ import annotations

import asyncio

import pytest

from ipyviews.controller import inspection
from tests.waiting import eventually

QUESTION = {"engine": 0, "code": "x.", "cursor_pos": 2}


def with_subshells(kernel):
    kernel.habits.subshells = True


async def test_a_question_is_put_in_a_subshell_that_is_made_once(start):
    world = await start(1, with_subshells)
    client, kernel = await world.client(), world.kernels[0]
    assert kernel.subshells == []
    first = await client.ask("complete", **QUESTION)
    second = await client.ask("inspect", **QUESTION, detail_level=1)
    assert first["reply"] == second["reply"] == {"status": "ok", "told": "e0.1"}
    completed, inspected = kernel.questions
    assert completed.read() == {"code": "x.", "cursor_pos": 2}
    assert inspected.read() == {"code": "x.", "cursor_pos": 2, "detail_level": 1}
    assert {message.header["subshell_id"] for message in kernel.questions} == {"e0.1-0"}
    assert kernel.subshells == ["e0.1-0"]
    assert ("control", "create_subshell_request") in [seen[:2] for seen in kernel.seen]


async def test_first_questions_at_the_same_time_share_a_subshell(start):
    world = await start(1, with_subshells)
    client = await world.client()
    answers = await asyncio.gather(*(client.ask("complete", **QUESTION) for _ in range(3)))
    assert all(answer["reply"] for answer in answers)
    assert len(world.kernels[0].subshells) == 1


async def test_a_busy_engine_answers_in_its_subshell_and_its_cell_goes_on(start):
    world = await start(1, with_subshells)
    client, kernel = await world.client(), world.kernels[0]
    task = client.execute("stall", targets=[0]) + ".0"
    await eventually(lambda: kernel.running)
    assert (await client.ask("complete", **QUESTION))["reply"]["told"] == "e0.1"
    assert client.replies_to(task) == []
    kernel.finish()
    assert (await client.reply(task)).content["status"] == "ok"


async def test_a_kernel_without_subshells_is_asked_only_while_it_has_no_task(start):
    world = await start(1)
    client, kernel = await world.client(), world.kernels[0]
    assert (await client.ask("complete", **QUESTION))["reply"]["told"] == "e0.1"
    assert "subshell_id" not in kernel.questions[0].header
    task = client.execute("stall", targets=[0]) + ".0"
    await eventually(lambda: kernel.running)
    told = await client.ask("complete", **QUESTION)
    assert told["reply"] is None
    assert told["reason"].startswith("engine 0 has no answer: it is busy")
    assert len(kernel.questions) == 1
    kernel.finish()
    await client.reply(task)
    assert (await client.ask("complete", **QUESTION))["reply"]


async def test_the_core_never_hears_of_a_question(start):
    world = await start(1, with_subshells)
    client = await world.client()
    await client.ask("complete", **QUESTION)
    assert world.driver.is_idle
    assert (await client.ask("history"))["history"] == []
    assert client.stream == []


async def test_a_question_ends_with_its_engine(start):
    world = await start(1, lambda kernel: setattr(kernel.habits, "tells", False))
    client, kernel = await world.client(), world.kernels[0]
    msg_id = client.send("control", "complete_request", QUESTION)
    await eventually(lambda: kernel.questions)
    kernel.die()
    await client.until(lambda: msg_id in client.replies)
    assert client.replies[msg_id]["reply"] is None
    assert "killed" in client.replies[msg_id]["reason"]
    told = await client.ask("complete", **QUESTION)
    assert told["reason"] == "engine 0 has no answer: it is lost"


@pytest.mark.parametrize("prepare", [with_subshells, lambda _kernel: None])
async def test_a_silent_engine_is_not_waited_for_for_ever(start, monkeypatch, prepare):
    monkeypatch.setattr(inspection, "LIMIT_S", 0.01)
    world = await start(1, prepare)
    client, kernel = await world.client(), world.kernels[0]
    kernel.habits.tells = False
    told = await client.ask("inspect", **QUESTION)
    assert told["reply"] is None
    assert "did not answer within 0.01 s" in told["reason"]


async def test_an_engine_that_leaves_many_questions_open_gets_no_more_until_it_answers(
    start, monkeypatch
):
    monkeypatch.setattr(inspection, "LIMIT_S", 0.01)
    world = await start(1, with_subshells)
    client, kernel = await world.client(), world.kernels[0]
    kernel.habits.tells = False
    for _ in range(inspection.MOST_OPEN + 2):
        told = await client.ask("complete", **QUESTION)
    assert "earlier questions" in told["reason"]
    assert len(kernel.questions) == inspection.MOST_OPEN
    late = kernel.questions[-1]
    kernel._reply("shell", late, "complete_reply", {"status": "ok"})
    await world.settle()
    kernel.habits.tells = True
    assert (await client.ask("complete", **QUESTION))["reply"]


async def test_open_questions_are_forgotten_after_a_while(start, monkeypatch):
    monkeypatch.setattr(inspection, "LIMIT_S", 0.01)
    monkeypatch.setattr(inspection, "FORGET_S", 0.0)
    world = await start(1, with_subshells)
    client, kernel = await world.client(), world.kernels[0]
    kernel.habits.tells = False
    for _ in range(inspection.MOST_OPEN + 2):
        await client.ask("complete", **QUESTION)
    assert len(kernel.questions) == inspection.MOST_OPEN + 2


async def test_each_life_of_an_engine_has_its_own_subshell(start):
    world = await start(1, with_subshells)
    client = await world.client()
    await client.ask("complete", **QUESTION)
    assert (await client.ask("restart", engines=[0], now=True))["status"] == "ok"
    kernel = world.kernels[0]
    kernel.subshells.clear()
    assert (await client.ask("complete", **QUESTION))["reply"]["told"] == "e0.2"
    assert kernel.subshells == ["e0.2-0"]


async def test_a_subshell_that_somebody_deleted_is_made_anew(start):
    world = await start(1, with_subshells)
    client, kernel = await world.client(), world.kernels[0]
    await client.ask("complete", **QUESTION)
    kernel.subshells[:] = ["another"]
    assert (await client.ask("complete", **QUESTION))["reply"] is None
    assert (await client.ask("complete", **QUESTION))["reply"]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"engine": 7}, "there is no engine 7"),
        ({"engine": None}, "`engine` must be the id of an engine"),
        ({"engine": True}, "`engine` must be the id of an engine"),
        ({"code": 1}, "`code` must be a text"),
        ({"cursor_pos": 3}, "`cursor_pos` must be a place in the code, from 0 to 2"),
        ({"cursor_pos": -1}, "`cursor_pos` must be a place in the code, from 0 to 2"),
        ({"detail_level": 2}, "`detail_level` must be 0 or 1"),
    ],
)
async def test_a_malformed_question_is_refused_with_a_sentence(start, change, sentence):
    world = await start(1, with_subshells)
    client = await world.client()
    refused = await client.ask("inspect", **{**QUESTION, **change})
    assert (refused["status"], refused["ename"]) == ("error", "UsageError")
    assert sentence in refused["evalue"]
    assert world.kernels[0].questions == []
