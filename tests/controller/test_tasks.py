"""Requests become tasks, tasks become messages to engines, and each gets one reply."""

from __future__ import annotations

import pytest

from ipyviews.controller import outputs
from tests.waiting import eventually


async def test_a_cell_runs_on_each_target_and_its_output_precedes_its_reply(start):
    world = await start(3)
    client = await world.client()
    request = client.execute("print hello", targets=[0, 2])
    for index, engine in enumerate([0, 2]):
        reply = await client.reply(f"{request}.{index}")
        assert reply.type == "execute_reply"
        assert reply.content == {"status": "ok"}
        assert reply.ours["verdict"] == "replied"
        assert reply.ours["engine"] == engine
        types = client.types(f"{request}.{index}")
        assert types == ["execute_input", "stream", "execute_reply"]
        assert client.text(f"{request}.{index}") == "hello\n"
    assert not world.kernels[1].running


async def test_output_names_its_engine_and_the_engine_s_time(start):
    world = await start(2)
    client = await world.client()
    request = client.execute("print hello", targets=[1])
    await client.reply(f"{request}.0")
    stream = client.of(f"{request}.0")[1]
    assert stream.ours["engine"] == 1
    assert stream.ours["date"].endswith(("Z", "+00:00"))


async def test_a_direct_call_is_cut_so_that_each_engine_gets_its_own_arguments(start):
    world = await start(3)
    client = await world.client()
    request = client.apply("echo", b"zero", b"one", b"two", targets=[2, 0, 1])
    replies = [await client.reply(f"{request}.{i}") for i in range(3)]
    assert [reply.buffers for reply in replies] == [[b"zero"], [b"one"], [b"two"]]
    assert [reply.ours["engine"] for reply in replies] == [2, 0, 1]
    assert all(reply.type == "apply_reply" for reply in replies)


async def test_one_call_goes_to_all_targets(start):
    world = await start(3)
    client = await world.client()
    request = client.apply("echo", b"same", targets=[0, 1, 2])
    replies = [await client.reply(f"{request}.{i}") for i in range(3)]
    assert [reply.buffers for reply in replies] == [[b"same"]] * 3


async def test_out_of_band_buffers_follow_their_call(start):
    world = await start(1)
    client = await world.client()
    request = client.send(
        "shell",
        "apply_request",
        {"index": [[1, 2], [1, 0], [1, 1]]},
        metadata={"ipyviews": {"any": None}},
        buffers=[b"echo", b"abc", b"x", b"y", b"z"],
    )
    replies = [await client.reply(f"{request}.{i}") for i in range(3)]
    assert [reply.buffers for reply in replies] == [[b"a", b"x", b"y"], [b"b"], [b"c", b"z"]]


async def test_balanced_calls_use_all_engines_and_each_gets_one_reply(start):
    world = await start(3)
    client = await world.client()
    arguments = [f"{i}".encode() for i in range(100)]
    request = client.apply("echo", *arguments, any=None)
    replies = [await client.reply(f"{request}.{i}") for i in range(100)]
    assert [reply.buffers[0] for reply in replies] == arguments
    assert {reply.ours["engine"] for reply in replies} == {0, 1, 2}
    assert len(client.stream) == 100


async def test_the_engine_is_told_client_python_and_name_of_a_call(start):
    world = await start(1)
    client = await world.client()
    kernel = world.kernels[0]
    told = []
    kernel._add = lambda job: told.append(job.message.ours)
    client.apply("echo", b"", targets=[0], python="cpython-3.11", name="f", label="mine")
    await eventually(lambda: told)
    ours = {"client": client.session, "python": "cpython-3.11", "name": "f"}
    assert told == [ours | {"first": 0, "direct": True}]


async def test_a_failing_call_s_reply_is_the_engine_s(start):
    world = await start(1)
    client = await world.client()
    reply = await client.reply(client.apply("fail", b"", any=None) + ".0")
    assert reply.content["ename"] == "ZeroDivisionError"
    assert reply.ours["verdict"] == "replied"
    assert [run[4] for run in reply.ours["attempts"]] == ["error"]


async def test_retries_run_a_failing_call_again(start):
    world = await start(1)
    client = await world.client()
    reply = await client.reply(client.apply("fail", b"", any=None, retries=2) + ".0")
    assert [run[4] for run in reply.ours["attempts"]] == ["error"] * 3
    attempts = [msg_id for _, kind, msg_id in world.kernels[0].seen if kind == "apply_request"]
    assert len(set(attempts)) == 3


@pytest.mark.parametrize("idle", ["before", "after"])
async def test_the_reply_waits_for_idle(start, idle):
    world = await start(1)
    world.kernels[0].habits.idle = idle
    client = await world.client()
    task = client.execute("print text", targets=[0]) + ".0"
    reply = await client.reply(task)
    assert client.types(task)[-1] == "execute_reply"
    assert "incomplete_output" not in reply.ours


async def test_the_reply_of_a_cell_is_held_until_idle_comes(start):
    world = await start(1)
    world.kernels[0].habits.idle = "later"
    client = await world.client()
    task = client.execute("print text", targets=[0]) + ".0"
    await client.until(lambda: client.text(task))
    await world.settle()
    assert client.replies_to(task) == []
    world.kernels[0].publish("stream", {"name": "stdout", "text": "more"}, f"{task}/0.1/1")
    world.kernels[0].publish_late_idle()
    await client.reply(task)
    assert client.types(task) == ["execute_input", "stream", "stream", "execute_reply"]


async def test_the_reply_of_a_call_that_wrote_is_held_until_its_marker_comes(start):
    world = await start(1)
    world.kernels[0].habits.idle = "later"
    client = await world.client()
    task = client.apply("print", b"text", targets=[0]) + ".0"
    await client.until(lambda: client.text(task))
    await world.settle()
    assert client.replies_to(task) == []
    world.kernels[0].publish_late_idle()
    assert "incomplete_output" not in (await client.reply(task)).ours


async def test_a_lost_idle_delays_the_reply_and_is_told(start, monkeypatch):
    monkeypatch.setattr(outputs, "IDLE_PATIENCE_S", 0.02)
    world = await start(1)
    world.kernels[0].habits.idle = "never"
    client = await world.client()
    cell = await client.reply(client.execute("print text", targets=[0]) + ".0")
    call = await client.reply(client.apply("print", b"text", targets=[0]) + ".0")
    assert cell.ours["incomplete_output"] is True
    assert call.ours["incomplete_output"] is True
    assert world.counters["idle_lost"] == 2


async def test_a_call_that_wrote_nothing_waits_for_no_marker(start):
    world = await start(1)
    world.kernels[0].habits.idle = "never"
    client = await world.client()
    reply = await client.reply(client.apply("echo", b"x", targets=[0]) + ".0")
    assert "incomplete_output" not in reply.ours


async def test_a_second_reply_to_an_attempt_changes_nothing(start):
    world = await start(1)
    world.kernels[0].habits.copies = 3
    client = await world.client()
    request = client.apply("echo", b"a", b"b", any=None)
    await client.reply(f"{request}.1")
    await world.settle()
    assert len(client.stream) == 2
    assert world.counters["stale"] == 4


async def test_output_nobody_asked_for_is_counted(start):
    world = await start(1)
    client = await world.client()
    world.kernels[0].publish("stream", {"name": "stdout", "text": "x"}, "somebody-else")
    await world.settle()
    assert client.stream == []
    assert world.counters["output_without_task"] == 1


async def test_output_after_its_task_has_ended_goes_to_the_client_that_asked(start):
    world = await start(2)
    client = await world.client()
    other = await world.client()
    task = client.execute("print text", targets=[0]) + ".0"
    await client.reply(task)
    before = len(client.stream)
    late = {"name": "stdout", "text": "from a thread"}
    world.kernels[0].publish("stream", late, f"{task}/0.1/1")
    world.kernels[1].publish("stream", late, f"{task}/0.1/1")
    await world.settle()
    (message,) = client.stream[before:]
    assert (message.parent_id, message.read(), message.ours["engine"]) == (task, late, 0)
    assert other.stream == []
    assert world.counters["output_late"] == 1


async def test_late_output_for_a_client_that_has_left_is_counted(start):
    world = await start(1)
    client = await world.client()
    task = client.execute("print text", targets=[0]) + ".0"
    await client.reply(task)
    await client.ask("bye")
    world.kernels[0].publish("stream", {"name": "stdout", "text": "x"}, f"{task}/0.1/1")
    await world.settle()
    assert world.counters["output_without_client"] == 1


async def test_one_engine_cannot_write_under_another_s_attempt(start):
    world = await start(2)
    client = await world.client()
    task = client.apply("stall", b"", targets=[0]) + ".0"
    await world.settle()
    world.kernels[1].publish("stream", {"name": "stdout", "text": "x"}, f"{task}/0.1/1")
    await world.settle()
    assert client.stream == []


async def test_tasks_are_forgotten_when_they_are_final(start):
    world = await start(2)
    client = await world.client()
    request = client.apply("echo", *[b"x"] * 20, any=None)
    for index in range(20):
        await client.reply(f"{request}.{index}")
    assert len(world.driver._store) == 0
    assert world.driver.gate._flights == {}


async def test_a_failing_cell_aborts_the_rest_of_its_own_request_only(start):
    world = await start(1)
    first, second = await world.client(), await world.client()
    blocking = first.execute("stall", targets=[0])
    await world.settle()
    failing = first.execute("fail", targets=[0, 0])
    other = second.execute("print fine", targets=[0])
    await world.settle()
    world.kernels[0].finish()
    assert (await first.reply(f"{blocking}.0")).content["status"] == "ok"
    assert (await first.reply(f"{failing}.0")).content["ename"] == "ZeroDivisionError"
    aborted = await first.reply(f"{failing}.1")
    assert aborted.ours["verdict"] == "aborted"
    assert aborted.content["ename"] == "TaskAborted"
    assert (await second.reply(f"{other}.0")).content["status"] == "ok"


async def test_calls_wait_until_cells_before_them_have_ended(start):
    world = await start(1)
    client = await world.client()
    client.execute("stall", targets=[0])
    call = client.apply("echo", b"", targets=[0])
    await world.settle()
    assert "apply_request" not in [kind for _, kind, _ in world.kernels[0].seen]
    world.kernels[0].finish()
    assert (await client.reply(f"{call}.0")).content["status"] == "ok"


async def test_a_task_may_wait_only_so_long(start):
    world = await start(1)
    client = await world.client()
    stalled = client.apply("stall", b"", any=None)
    waiting = client.apply("echo", b"", any=None, timeout=0.02)
    reply = await client.reply(f"{waiting}.0")
    assert reply.ours["verdict"] == "timeout"
    assert reply.content["ename"] == "TaskTimeout"
    assert client.of(f"{stalled}.0") == []
