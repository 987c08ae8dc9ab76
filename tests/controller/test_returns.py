"""A controller takes over from one that died: engines, and the tasks that clients send again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ipyviews.controller import receipts
from ipyviews.protocol.wire import Message, pack
from tests.controller.lives import Lives, again
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def lives(run_root: Path, errors: list[Any], monkeypatch) -> AsyncIterator[Lives]:
    """A cluster of two engines."""
    monkeypatch.setattr(receipts, "TELL_S", 0.0)
    lives = Lives(run_root)
    await lives.begin(2)
    yield lives
    await lives.close()


def applied(kernel: Any) -> list[str]:
    return [name for _, kind, name in kernel.seen if kind == "apply_request"]


async def test_engines_keep_their_ids_and_lives_and_nothing_is_asked_on_shell(lives):
    seen = [len(kernel.seen) for kernel in lives.kernels.values()]
    await lives.replace()
    assert lives.states() == ["live", "live"]
    assert [info["incarnation"] for info in lives.driver.fleet.infos()] == [1, 1]
    assert lives.driver.fleet.wanted == 2
    for kernel, count in zip(lives.kernels.values(), seen, strict=True):
        assert {channel for channel, _, _ in kernel.seen[count:]} == {"apply"}


async def test_what_was_sent_to_the_controller_before_is_refused(lives):
    client = await lives.client()
    await lives.replace()
    client.life = "of another life"
    client.apply("echo", b"x", targets=[0])
    await eventually(lambda: lives.driver.counters["unverified"])
    assert not applied(lives.kernels[0])


async def test_a_task_that_no_engine_knows_is_run(lives):
    client = await lives.client()
    await lives.replace()
    again(
        client,
        f"{client.session}-1",
        [0, 2],
        function="echo",
        arguments=[b"a", b"b", b"c"],
        any=None,
    )
    replies = [await client.reply(f"{client.session}-1.{place}") for place in (0, 2)]
    assert [reply.buffers for reply in replies] == [[b"a"], [b"c"]]
    assert not client.of(f"{client.session}-1.1")
    assert [len(reply.ours["attempts"]) for reply in replies] == [1, 1]


async def test_an_answer_that_no_client_has_is_kept_by_its_engine_and_given_once(lives):
    client = await lives.client()
    request = client.apply("echo", b"x", targets=[0])
    await client.reply(f"{request}.0")
    await lives.replace()
    again(client, request, [0], function="echo", arguments=[b"x"], targets=[0])
    await client.until(lambda: len(client.replies_to(f"{request}.0")) == 2)
    reply = client.replies_to(f"{request}.0")[1]
    assert [bytes(buffer) for buffer in reply.buffers] == [b"x"]
    assert [run[:2] + run[4:] for run in reply.ours["attempts"]] == [[0, 1, "ok"]]
    assert len(applied(lives.kernels[0])) == 1


async def test_an_acknowledged_answer_is_kept_no_longer(lives):
    client = await lives.client()
    request = client.apply("echo", b"x", b"y", targets=[0, 1])
    for place in range(2):
        await client.reply(f"{request}.{place}")
    assert [len(kernel.kept) for kernel in lives.kernels.values()] == [1, 1]
    client.acknowledge()
    await eventually(lambda: not any(kernel.kept for kernel in lives.kernels.values()))


async def test_answers_for_a_client_that_left_are_not_kept(lives):
    client = await lives.client()
    request = client.apply("echo", b"x", targets=[0])
    await client.reply(f"{request}.0")
    await client.ask("bye")
    await eventually(lambda: not lives.kernels[0].kept)


async def test_a_failed_try_is_not_kept(lives):
    client = await lives.client()
    request = client.apply("fail", b"x", any=None, retries=1)
    await client.reply(f"{request}.0")
    await eventually(lambda: sum(len(kernel.kept) for kernel in lives.kernels.values()) == 1)


async def test_a_call_that_runs_is_not_run_again_and_its_engine_takes_nothing_else(lives):
    client = await lives.client()
    other = await lives.client()
    request = client.apply("stall", b"x", targets=[0])
    await eventually(lambda: lives.kernels[0].running)
    await lives.replace()
    later = other.apply("echo", b"y", targets=[0])
    await lives.settle()
    assert len(applied(lives.kernels[0])) == 1
    again(client, request, [0], function="stall", arguments=[b"x"], targets=[0])
    await lives.settle()
    lives.kernels[0].finish()
    reply = await client.reply(f"{request}.0")
    assert reply.buffers == [b"x"]
    assert "incomplete_output" not in reply.ours
    assert (await other.reply(f"{later}.0")).buffers == [b"y"]
    assert len(applied(lives.kernels[0])) == 2


async def test_a_call_that_ends_before_its_client_is_back_makes_room_and_is_answered(lives):
    client, other = await lives.client(), await lives.client()
    request = client.apply("stall", b"x", targets=[0])
    await eventually(lambda: lives.kernels[0].running)
    await lives.replace()
    later = other.apply("echo", b"y", targets=[0])
    lives.kernels[0].finish()
    assert (await other.reply(f"{later}.0")).buffers == [b"y"]
    again(client, request, [0], function="stall", arguments=[b"x"], targets=[0])
    assert (await client.reply(f"{request}.0")).buffers == [b"x"]
    assert len(applied(lives.kernels[0])) == 2


async def test_a_call_that_nobody_claims_in_time_makes_room_when_it_ends(lives):
    client, other = await lives.client(), await lives.client()
    client.apply("stall", b"x", targets=[0])
    await eventually(lambda: lives.kernels[0].running)
    former = await lives.die()
    await lives.take_over(former)
    await lives.greet(other)
    lives.driver.returns._expire()
    later = other.apply("echo", b"y", targets=[0])
    lives.kernels[0].finish()
    assert (await other.reply(f"{later}.0")).buffers == [b"y"]


@pytest.mark.parametrize("ends_late", [False, True])
async def test_what_ended_before_its_client_was_back_too_late_has_run(lives, ends_late):
    client = await lives.client()
    request = client.apply("stall", b"x", b"y", targets=[0, 1])
    await eventually(lambda: all(kernel.running for kernel in lives.kernels.values()))
    former = await lives.die()
    if not ends_late:
        lives.kernels[0].finish()
    await lives.take_over(former)
    await eventually(lambda: lives.states() == ["live", "live"])
    await lives.settle()
    lives.driver.returns._expire()
    if ends_late:
        lives.kernels[0].finish()
        await eventually(lambda: lives.driver._performer.state.engines[0].stray is None)
    await lives.greet(client)
    again(client, request, [0], function="stall", arguments=[b"x", b"y"], any=None)
    await eventually(lambda: lives.kernels[0].running)
    lives.kernels[0].finish()
    reply = await client.reply(f"{request}.0")
    assert [run[0] for run in reply.ours["attempts"]] == [0, 0]
    assert "its client was back later than 60 s" in reply.ours["attempts"][0][4]


async def test_two_runs_of_one_call_both_make_room_when_they_end(lives):
    client = await lives.client()
    request = client.apply("stall", b"x", targets=[0])
    await eventually(lambda: lives.kernels[0].running)
    former = await lives.die()
    for engine, number in ((0, 1), (1, 2)):
        name = f"{request}.0/{engine}.1/{number}"
        lives.kernels[engine].says["running"] = [name, 0]
    await lives.take_over(former)
    await lives.greet(client)
    engines = lives.driver._performer.state.engines
    assert [engine.stray.number for engine in engines.values()] == [1, 2]
    for engine, number in ((1, 2), (0, 1)):
        link = lives.driver.fleet.find([engine])[0].link
        reply = Message(
            {"seq": 9}, {"msg_id": f"{request}.0/{engine}.1/{number}"}, {}, pack({}), [], []
        )
        lives.driver.returns.replied(link, reply)
    assert [engine.stray for engine in engines.values()] == [None, None]


async def test_a_taken_over_call_can_be_cancelled(lives):
    client = await lives.client()
    request = client.apply("stall", b"x", targets=[0])
    await eventually(lambda: lives.kernels[0].running)
    await lives.replace()
    again(client, request, [0], function="stall", arguments=[b"x"], targets=[0])
    await lives.settle()
    assert (await client.ask("cancel", tasks=[f"{request}.0"]))["interrupted"] == 1
    assert (await client.reply(f"{request}.0")).ours["verdict"] == "cancelled"


async def test_what_an_engine_had_not_begun_runs_once(lives):
    client = await lives.client()
    request = client.apply("stall", b"x", b"y", targets=[0, 0])
    await eventually(lambda: len(lives.kernels[0]._queue) + bool(lives.kernels[0].running) >= 1)
    await lives.replace()
    again(client, request, [0, 1], function="stall", arguments=[b"x", b"y"], targets=[0, 0])
    await lives.settle()
    for _ in range(2):
        await eventually(lambda: lives.kernels[0].running)
        lives.kernels[0].finish()
    assert (await client.reply(f"{request}.1")).buffers == [b"y"]
    assert len(client.replies_to(f"{request}.0")) == 1


async def test_a_result_that_an_engine_could_not_keep_fails_its_direct_task(lives):
    client = await lives.client()
    request = client.apply("echo", b"x", targets=[0])
    await client.reply(f"{request}.0")
    name = applied(lives.kernels[0])[0]
    lives.kernels[0].kept.clear()
    lives.kernels[0].says["gone"] = [name]
    await lives.replace()
    client.stream.clear()
    again(client, request, [0], function="echo", arguments=[b"x"], targets=[0])
    reply = await client.reply(f"{request}.0")
    assert reply.ours["verdict"] == "engine_lost"
    assert "it ran, and its result was lost" in reply.content["evalue"]
    assert len(reply.ours["attempts"]) == 1
    assert reply.ours["deaths"] == []


@pytest.mark.parametrize("sent", [{"code": "print x"}, {"function": "echo", "arguments": [b"x"]}])
async def test_where_an_engine_has_forgotten_names_what_it_does_not_name_may_have_run(lives, sent):
    client = await lives.client()
    lives.kernels[0].says["forgot"] = True
    await lives.replace()
    again(client, f"{client.session}-9", [0], **sent, targets=[0])
    reply = await client.reply(f"{client.session}-9.0")
    assert reply.ours["verdict"] == "engine_lost"
    assert "may have run on engine 0" in reply.content["evalue"]


async def test_such_a_balanced_task_is_run_again_and_says_so(lives):
    client = await lives.client()
    lives.kernels[0].says["gone"] = [f"{client.session}-9.0/0.1/1"]
    await lives.replace()
    again(client, f"{client.session}-9", [0], function="echo", arguments=[b"x"], any=None)
    reply = await client.reply(f"{client.session}-9.0")
    assert reply.buffers == [b"x"]
    assert reply.ours["attempts"][0][0] == 0
    assert "its result was lost" in reply.ours["attempts"][0][4]
    assert reply.ours["attempts"][1][4] == "ok"


# -- cells


async def test_a_running_cell_is_taken_over(lives):
    client = await lives.client()
    request = client.execute("stall", targets=[0])
    await eventually(lambda: lives.kernels[0].running)
    await lives.replace()
    again(client, request, [0], code="stall", targets=[0])
    await lives.settle()
    lives.kernels[0].finish()
    reply = await client.reply(f"{request}.0")
    assert reply.content["status"] == "ok"
    assert "incomplete_output" not in reply.ours
    assert sum(kind == "execute_request" for _, kind, _ in lives.kernels[0].seen) == 2


async def test_a_cell_that_has_ended_is_answered_from_what_its_engine_remembers(lives):
    client = await lives.client()
    request = client.execute("stall", targets=[0])
    await eventually(lambda: lives.kernels[0].running)
    former = await lives.die()
    lives.kernels[0].finish()
    await lives.take_over(former)
    await lives.greet(client)
    again(client, request, [0], code="stall", targets=[0])
    reply = await client.reply(f"{request}.0")
    assert reply.content["status"] == "ok"
    assert reply.ours["incomplete_output"] is True


async def test_a_failed_cell_aborts_those_behind_it(lives):
    client = await lives.client()
    request = client.execute("fail", targets=[0, 1])
    for place in range(2):
        await client.reply(f"{request}.{place}")
    await lives.replace()
    client.stream.clear()
    again(client, request, [0, 1], code="fail", targets=[0, 1])
    for place in range(2):
        assert (await client.reply(f"{request}.{place}")).content["ename"] == "ZeroDivisionError"


async def test_a_cell_behind_one_of_a_console_may_have_run(lives):
    client = await lives.client()
    lives.kernels[0].says["cell"] = "of a console"
    await lives.replace()
    again(client, f"{client.session}-9", [0], code="print x", targets=[0])
    reply = await client.reply(f"{client.session}-9.0")
    assert reply.ours["verdict"] == "engine_lost"
    assert "may have run on engine 0" in reply.content["evalue"]


async def test_a_cell_on_a_kernel_without_the_extension_may_have_run(run_root, errors):
    def prepare(kernel: Any) -> None:
        kernel.habits.loads = ""
        kernel.habits.welcomes = False

    lives = Lives(run_root, prepare)
    await lives.begin(1)
    try:
        client = await lives.client()
        await lives.replace()
        assert lives.states() == ["live"]
        again(client, f"{client.session}-9", [0], code="print x", targets=[0])
        reply = await client.reply(f"{client.session}-9.0")
        assert "the kernel cannot tell whether it ran" in reply.content["evalue"]
        request = client.execute("print y", targets=[0])
        assert (await client.reply(f"{request}.0")).content["status"] == "ok"
    finally:
        await lives.close()


# -- output


def told_again(name: str, *texts: str, whole: bool = True) -> dict[str, Any]:
    messages = [
        ["stream", {"name": "stdout", "text": text}, {}, f"2000-01-01T00:00:0{number}Z", 0]
        for number, text in enumerate(texts)
    ]
    return {"attempt": name, "messages": messages, "whole": whole}


@pytest.mark.parametrize("whole", [True, False])
async def test_output_of_what_has_ended_comes_again_before_the_reply(lives, whole):
    client = await lives.client()
    request = client.apply("print", b"x", targets=[0])
    await client.reply(f"{request}.0")
    name = applied(lives.kernels[0])[0]
    lives.kernels[0].printed.append(told_again(name, "one ", "two", whole=whole))
    await lives.replace()
    client.stream.clear()
    again(client, request, [0], function="print", arguments=[b"x"], targets=[0])
    reply = await client.reply(f"{request}.0")
    assert client.text(f"{request}.0") == "one two"
    assert all(one.ours["again"] for one in client.of(f"{request}.0")[:-1])
    assert reply.ours.get("incomplete_output", False) is not whole
    recorded = (await client.ask("result", tasks=[f"{request}.0"]))["results"]
    assert recorded[f"{request}.0"]["status"] == "gone"


async def test_output_of_what_runs_waits_for_its_client_and_is_not_doubled(lives):
    client = await lives.client()
    request = client.apply("stall", b"x", targets=[0])
    await eventually(lambda: lives.kernels[0].running)
    kernel, name = lives.kernels[0], applied(lives.kernels[0])[0]
    kernel.printed.append(told_again(name, "before "))
    await lives.replace()
    kernel.publish("stream", {"name": "stdout", "text": "between "}, name)
    await lives.settle()
    assert not client.text(f"{request}.0")
    again(client, request, [0], function="stall", arguments=[b"x"], targets=[0])
    await lives.settle()
    kernel.publish("stream", {"name": "stdout", "text": "after"}, name)
    await lives.settle()
    kernel.finish()
    reply = await client.reply(f"{request}.0")
    assert client.text(f"{request}.0") == "before between after"
    assert "incomplete_output" not in reply.ours


async def test_a_cell_that_was_read_is_acknowledged_by_its_name(lives):
    client = await lives.client()
    request = client.execute("print x", targets=[0])
    await client.reply(f"{request}.0")
    client.acknowledge()
    await eventually(lambda: lives.kernels[0].read)
    assert lives.kernels[0].read == [f"{request}.0/0.1/1"]


async def test_what_an_engine_tells_of_output_and_makes_no_sense_is_dropped(lives):
    client = await lives.client()
    lives.kernels[0].printed += [{}, {"attempt": "x/y", "whole": 1, "messages": [1]}]
    await lives.replace()
    request = client.apply("echo", b"x", targets=[0])
    assert (await client.reply(f"{request}.0")).buffers == [b"x"]


async def test_what_waits_for_its_client_is_told_as_a_bound(lives):
    client = await lives.client()
    request = client.apply("echo", b"x" * 5000, targets=[0])
    await client.reply(f"{request}.0")
    former = await lives.die()
    await lives.take_over(former)
    other = await lives.client()
    await eventually(lambda: lives.states() == ["live", "live"])
    told = (await other.ask("status", bounds=True))["bounds"]["controller"]
    assert told["found_bytes"]["now"] > 5000
    await lives.greet(client)
    again(client, request, [0], function="echo", arguments=[b"x"], targets=[0])
    await client.until(lambda: len(client.replies_to(f"{request}.0")) == 2)
    assert lives.driver.returns.size == 0


async def test_a_task_whose_engine_died_before_the_controller_did_says_so(lives):
    client = await lives.client()
    busy = client.apply("stall", b"x", targets=[1])
    await eventually(lambda: lives.kernels[1].running)
    request = client.apply("stall", b"y", any=None)
    await eventually(lambda: lives.kernels[0].running)
    lives.kernels[0].die()
    await eventually(lambda: lives.states() == ["lost", "live"])
    for _ in range(2):
        await lives.replace()
    again(client, busy, [0], function="stall", arguments=[b"x"], targets=[1])
    again(client, request, [0], function="stall", arguments=[b"y"], any=None)
    for _ in range(2):
        await eventually(lambda: lives.kernels[1].running)
        lives.kernels[1].finish()
    reply = await client.reply(f"{request}.0")
    assert [(run[0], run[4][-17:]) for run in reply.ours["attempts"]] == [
        (0, "killed by SIGKILL"),
        (1, "ok"),
    ]


async def test_a_second_run_that_is_taken_over_is_told_with_the_first(lives):
    client = await lives.client()
    request = client.apply("stall", b"y", any=None)
    await eventually(lambda: any(kernel.running for kernel in lives.kernels.values()))
    first = next(one for one, kernel in lives.kernels.items() if kernel.running)
    lives.kernels[first].die()
    await eventually(lambda: lives.kernels[1 - first].running)
    await lives.replace()
    again(client, request, [0], function="stall", arguments=[b"y"], any=None)
    await lives.settle()
    lives.kernels[1 - first].finish()
    reply = await client.reply(f"{request}.0")
    assert [run[0] for run in reply.ours["attempts"]] == [first, 1 - first]
    assert len(applied(lives.kernels[1 - first])) == 1


async def test_what_ran_when_its_engine_was_restarted_does_not_run_again(lives):
    client = await lives.client()
    request = client.apply("stall", b"x", targets=[0])
    await eventually(lambda: lives.kernels[0].running)
    await client.ask("restart", engines=[0], now=True)
    await lives.replace()
    client.stream.clear()
    again(client, request, [0], function="stall", arguments=[b"x"], targets=[0])
    reply = await client.reply(f"{request}.0")
    assert "engine 0 was lost while it ran task" in reply.content["evalue"]
    assert not lives.kernels[0].running


async def test_three_controllers_one_after_the_other_lose_nothing(lives):
    client = await lives.client()
    request = client.apply("stall", b"x", targets=[0])
    await eventually(lambda: lives.kernels[0].running)
    for _ in range(3):
        await lives.replace()
        again(client, request, [0], function="stall", arguments=[b"x"], targets=[0])
        await lives.settle()
    lives.kernels[0].finish()
    assert (await client.reply(f"{request}.0")).buffers == [b"x"]
    assert len(applied(lives.kernels[0])) == 1


@pytest.mark.parametrize("places", [[3], [-1], ["0"], "all", [True]])
async def test_places_that_are_not_there_are_refused(lives, places):
    client = await lives.client()
    again(client, f"{client.session}-9", places, function="echo", arguments=[b"x"], any=None)
    await client.until(lambda: client.replies_to(f"{client.session}-9"))
    assert "`again`" in client.replies_to(f"{client.session}-9")[0].read()["evalue"]
