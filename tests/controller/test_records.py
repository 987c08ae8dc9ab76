"""What the controller remembers, and what it answers about that."""

from __future__ import annotations

import asyncio

import pytest

from ipyviews.controller import records
from ipyviews.store.memory import Limits
from tests.waiting import eventually


async def done(client, request, count=1):
    for index in range(count):
        await client.reply(f"{request}.{index}")
    return [f"{request}.{index}" for index in range(count)]


async def query(client, check, keys=None):
    answer = await client.ask("db", query=check, keys=keys)
    assert answer["status"] == "ok", answer
    return answer["records"]


async def result(client, task):
    return (await client.ask("result", tasks=[task]))["results"][task]


async def test_a_question_that_overtakes_a_request_waits_for_it(start):
    world = await start(1)
    client = await world.client()
    request = f"{client.session}-77"
    behind = {"ipyviews": {"behind": request}}
    asked = client.send("control", "history_request", {}, metadata=behind)
    await client.ask("ping")
    assert asked not in client.replies
    ours = {"ipyviews": {"any": None}}
    content, buffers = {"index": [[1, 0]]}, [b"echo", b"x"]
    client.send("shell", "apply_request", content, msg_id=request, metadata=ours, buffers=buffers)
    await client.until(lambda: asked in client.replies)
    assert client.replies[asked]["history"] == [f"{request}.0"]


async def test_a_question_does_not_wait_for_a_request_that_was_refused(start):
    world = await start(1)
    client = await world.client()
    request = f"{client.session}-77"
    client.send("shell", "apply_request", {"index": []}, msg_id=request)
    behind = {"ipyviews": {"behind": request}}
    asked = client.send("control", "history_request", {}, metadata=behind)
    await client.until(lambda: asked in client.replies)
    assert client.replies[asked]["history"] == []


async def test_a_question_does_not_wait_for_ever_for_a_request_that_never_comes(start, monkeypatch):
    monkeypatch.setattr("ipyviews.controller.control.BEHIND_S", 0.0)
    world = await start(1)
    client = await world.client()
    behind = {"ipyviews": {"behind": f"{client.session}-77"}}
    asked = client.send("control", "history_request", {}, metadata=behind)
    await client.until(lambda: asked in client.replies)
    assert client.replies[asked]["history"] == []


@pytest.mark.row("8.4-memory", "8.4-keys")
async def test_a_cell_is_recorded_with_its_output(start):
    world = await start(2)
    client = await world.client()
    (task,) = await done(client, client.execute("print hello", targets=[1], label="mine"))
    (record,) = await query(client, {"msg_id": task})
    assert record["header"]["msg_type"] == "execute_request"
    assert record["header"]["msg_id"] == task
    assert record["content"]["code"] == "print hello"
    assert record["metadata"]["ipyviews"]["targets"] == [1]
    assert (record["client_uuid"], record["engine_uuid"]) == (client.session, "e1")
    assert (record["queue"], record["label"], record["status"]) == ("mux", "mine", "ok")
    assert record["stdout"] == "hello\n"
    assert record["execute_input"] == "print"
    assert record["result_content"] == {"status": "ok"}
    assert record["result_metadata"]["ipyviews"]["verdict"] == "replied"
    assert record["submitted"] <= record["started"] <= record["completed"] <= record["received"]
    assert "buffers" not in record


async def test_a_pending_task_has_a_record_too(start):
    world = await start(1)
    client = await world.client()
    running = f"{client.execute('stall', targets=[0])}.0"
    waiting = f"{client.apply('echo', b'x', any=None)}.0"
    await eventually(lambda: world.kernels[0].running)
    await world.settle()
    found = await query(client, {"status": "pending"}, ["completed", "engine_uuid", "queue"])
    assert found == [
        {"msg_id": running, "completed": None, "engine_uuid": "e0", "queue": "mux"},
        {"msg_id": waiting, "completed": None, "engine_uuid": None, "queue": "task"},
    ]
    world.kernels[0].finish()
    await done(client, waiting.removesuffix(".0"))
    assert await query(client, {"status": "pending"}) == []


@pytest.mark.row("1.5-hub-history")
async def test_the_history_is_in_the_order_of_submission_and_of_all_clients(start):
    world = await start(2)
    one, other = await world.client(), await world.client()
    first = f"{one.execute('stall', targets=[0])}.0"
    await eventually(lambda: world.kernels[0].running)
    rest = await done(other, other.apply("echo", b"a", b"b", any=[1]), 2)
    assert (await one.ask("history"))["history"] == [first, *rest]


async def test_a_verdict_of_the_controller_is_recorded(start):
    world = await start(1)
    client = await world.client()
    (task,) = await done(client, client.execute("print x", targets=[7]))
    (record,) = await query(client, {"msg_id": task})
    assert record["status"] == "error"
    assert record["started"] is None
    assert "there is no engine 7" in record["result_content"]["evalue"]


async def test_a_query_that_is_none_is_refused(start):
    world = await start(0)
    client = await world.client()
    answer = await client.ask("db", query={"label": {"$foo": 1}}, keys=None)
    assert (answer["status"], answer["ename"]) == ("error", "UsageError")
    assert "$foo" in answer["evalue"]


async def test_a_query_for_too_much_is_refused_with_the_remedy(start, monkeypatch):
    monkeypatch.setattr(records, "MOST_TEXT", 2000)
    world = await start(1)
    client = await world.client()
    for _ in range(5):
        await done(client, client.execute("print hello", targets=[0]))
    answer = await client.ask("db", query={}, keys=None)
    assert "for some keys only" in answer["evalue"]
    assert len(await query(client, {}, "label")) == 5


# -- results -------------------------------------------------------------------------------------


@pytest.mark.row("8.4-payload")
async def test_a_result_leaves_with_its_reply_and_the_answer_says_how_to_keep_it(start):
    world = await start(1)
    client = await world.client()
    (task,) = await done(client, client.apply("echo", b"value", targets=[0]))
    told = await result(client, task)
    assert told["status"] == "gone"
    assert "Cluster(keep_results=True)" in told["reason"]
    (record,) = await query(client, {"msg_id": task}, ["buffers", "result_buffers"])
    assert (record["buffers"], record["result_buffers"]) == (0, 0)


@pytest.mark.row("8.4-payload")
async def test_a_kept_result_is_told_to_another_client_again_and_again(start):
    world = await start(1, keep_results=True)
    one, other = await world.client(), await world.client()
    tasks = await done(one, one.apply("echo", b"first", b"second", any=None, name="f"), 2)
    for client in (other, one, other):
        answer = await client.ask("result", tasks=tasks)
        assert [answer["results"][task]["status"] for task in tasks] == ["final", "final"]
        assert [answer["results"][task]["buffers"] for task in tasks] == [1, 1]
        assert answer["buffers"] == [b"first", b"second"]
    assert answer["results"][tasks[0]]["name"] == "f"
    answer = await other.ask("db", query={"msg_id": tasks[1]}, keys=["buffers", "result_buffers"])
    assert answer["records"] == [{"msg_id": tasks[1], "buffers": 2, "result_buffers": 1}]
    assert answer["buffers"] == [b"echo", b"second", b"second"]


async def test_cells_and_failures_are_told_without_keeping(start):
    world = await start(1)
    client = await world.client()
    (cell,) = await done(client, client.execute("print hello", targets=[0]))
    (failed,) = await done(client, client.apply("fail", b"", targets=[0]))
    told = await result(client, cell)
    assert (told["status"], told["kind"], told["content"]) == ("final", "execute", {"status": "ok"})
    assert ["stream", {"name": "stdout", "text": "hello\n"}] in told["output"]
    told = await result(client, failed)
    assert told["content"]["ename"] == "ZeroDivisionError"


async def test_a_question_for_a_pending_result_is_answered_when_it_is_there(start):
    world = await start(1, keep_results=True)
    one, other = await world.client(), await world.client()
    task = f"{one.apply('stall', b'', targets=[0])}.0"
    await eventually(lambda: world.kernels[0].running)
    assert await result(other, task) is None
    asked = asyncio.ensure_future(other.ask("result", tasks=[task, "nothing"], hold=True))
    assert (await asked)["results"][task] is None
    asked = asyncio.ensure_future(other.ask("result", tasks=[task], hold=True))
    await world.settle()
    assert not asked.done()
    world.kernels[0].finish()
    assert (await asked)["results"][task]["content"]["status"] == "ok"


async def test_a_result_that_was_asked_for_while_pending_is_kept_for_who_asked(start):
    world = await start(1)
    owner, *askers = [await world.client() for _ in range(3)]
    task = f"{owner.apply('stall', b'', targets=[0])}.0"
    await eventually(lambda: world.kernels[0].running)
    asked = [asyncio.ensure_future(one.ask("result", tasks=[task], hold=True)) for one in askers]
    await world.settle()
    world.kernels[0].finish()
    for answer in asked:
        assert (await answer)["results"][task]["status"] == "final"
    await world.settle()
    assert (await result(askers[0], task))["status"] == "gone"
    assert not world.driver.records._unclaimed


async def test_a_held_question_is_answered_after_a_while_all_the_same(start, monkeypatch):
    monkeypatch.setattr(records, "HOLD_S", 0.01)
    world = await start(1)
    client = await world.client()
    task = f"{client.execute('stall', targets=[0])}.0"
    await eventually(lambda: world.kernels[0].running)
    answer = await client.ask("result", tasks=[task], hold=True)
    assert answer["results"] == {task: None}
    assert not world.driver.records._waiting


async def test_status_only_sorts_tasks(start):
    world = await start(1)
    client = await world.client()
    (ended,) = await done(client, client.execute("print x", targets=[0]))
    running = f"{client.execute('stall', targets=[0])}.0"
    await eventually(lambda: world.kernels[0].running)
    answer = await client.ask("result", tasks=[running, ended, "nothing"], status_only=True)
    assert answer == {
        "status": "ok",
        "pending": [running],
        "completed": [ended],
        "unknown": ["nothing"],
    }


async def test_one_answer_has_a_bounded_size_and_the_rest_is_asked_for_again(start, monkeypatch):
    monkeypatch.setattr(records, "MOST_BUFFERS", 8)
    world = await start(1, keep_results=True)
    client = await world.client()
    tasks = await done(client, client.apply("echo", b"a" * 9, b"b", targets=[0, 0]), 2)
    told = (await client.ask("result", tasks=tasks))["results"]
    assert told[tasks[0]]["status"] == "final"
    assert told[tasks[1]] is None
    assert (await result(client, tasks[1]))["status"] == "final"


async def test_a_result_whose_client_left_a_detached_cluster_is_kept_until_it_is_fetched(start):
    world = await start(1, detached=True)
    client, other = await world.client(), await world.client()
    client.apply("stall", b"", any=None)
    later = f"{client.apply('echo', b'value', any=None)}.0"
    await eventually(lambda: world.kernels[0].running)
    await world.settle()
    client.close()
    world.driver.clients.probe(everybody=True)
    await eventually(lambda: client.session not in world.driver.clients)
    world.kernels[0].finish()
    await eventually(lambda: world.driver.records.memory.get(later).end is not None)
    answer = await other.ask("result", tasks=[later])
    assert answer["buffers"] == [b"value"]
    await world.settle()
    assert (await result(other, later))["status"] == "gone"


async def test_a_result_whose_client_left_an_attached_cluster_is_not_kept(start):
    world = await start(1)
    client, other = await world.client(), await world.client()
    task = f"{client.apply('echo', b'', any=None)}.0"
    await client.reply(task)
    assert (await result(other, task))["status"] == "gone"


# -- dropping ------------------------------------------------------------------------------------


@pytest.mark.row("1.5-purge-hub", "8.4-none")
async def test_purged_records_are_gone(start):
    world = await start(2, keep_results=True)
    client = await world.client()
    first, second = await done(client, client.apply("echo", b"a", targets=[0, 1]), 2)
    answer = await client.ask("purge", tasks=[first], engines=[])
    assert (answer["purged"], answer["pending"]) == (1, [])
    assert (await client.ask("history"))["history"] == [second]
    assert (await result(client, first))["status"] == "unknown"
    assert "there is no record" in (await result(client, first))["reason"]


@pytest.mark.row("1.5-purge-hub")
async def test_records_of_an_engine_are_purged(start):
    world = await start(2)
    client = await world.client()
    await done(client, client.execute("print x", targets=[0, 1]), 2)
    third = (await done(client, client.execute("print x", targets=[0])))[0]
    assert (await client.ask("purge", tasks=[], engines=[1]))["purged"] == 1
    assert third in (await client.ask("history"))["history"]
    assert (await client.ask("purge", tasks="all"))["purged"] == 2
    assert (await client.ask("history"))["history"] == []
    assert not world.driver.records.memory._kept


@pytest.mark.row("1.5-purge-hub-pending")
async def test_nothing_is_purged_when_one_of_the_named_is_pending(start):
    world = await start(1)
    client = await world.client()
    (ended,) = await done(client, client.execute("print x", targets=[0]))
    running = f"{client.execute('stall', targets=[0])}.0"
    await eventually(lambda: world.kernels[0].running)
    answer = await client.ask("purge", tasks=[ended, running])
    assert (answer["purged"], answer["pending"]) == (0, [running])
    assert len((await client.ask("history"))["history"]) == 2


# -- again ---------------------------------------------------------------------------------------


@pytest.mark.row("1.5-resubmit")
async def test_a_kept_call_runs_again_for_whoever_asks(start):
    world = await start(1, keep_results=True)
    one, other = await world.client(), await world.client()
    old = (await done(one, one.apply("echo", b"a", b"b", targets=[0, 0], label="x"), 2))[1]
    request = f"{other.session}-700"
    answer = await other.ask("resubmit", requests={request: old})
    assert answer == {"status": "ok", "refused": {}}
    assert (await other.reply(f"{request}.0")).buffers == [b"b"]
    (record,) = await query(one, {"msg_id": old}, "resubmitted")
    assert record["resubmitted"] == f"{request}.0"
    (record,) = await query(one, {"msg_id": f"{request}.0"}, ["queue", "label", "client_uuid"])
    assert record == {
        "msg_id": f"{request}.0",
        "queue": "task",
        "label": "x",
        "client_uuid": other.session,
    }


@pytest.mark.row("1.5-resubmit-in-flight")
async def test_a_running_call_may_be_resubmitted(start):
    world = await start(2)
    client = await world.client()
    old = f"{client.apply('stall', b'', targets=[0])}.0"
    await eventually(lambda: world.kernels[0].running)
    request = f"{client.session}-700"
    await client.ask("resubmit", requests={request: old})
    await eventually(lambda: world.kernels[1].running)
    world.kernels[1].finish()
    assert (await client.reply(f"{request}.0")).ours["engine"] == 1
    assert not client.replies_to(old)


async def test_a_cell_runs_again_without_keeping_and_a_call_is_refused(start):
    world = await start(1)
    client = await world.client()
    (cell,) = await done(client, client.execute("print hello", targets=[0]))
    (call,) = await done(client, client.apply("echo", b"", targets=[0]))
    request = f"{client.session}-700"
    both = {request: cell, f"{client.session}-701": call}
    answer = await client.ask("resubmit", requests=both)
    assert set(answer["refused"]) == {call}
    assert "keep_results" in answer["refused"][call]
    assert not client.of(f"{request}.0")
    assert (await client.ask("resubmit", requests={request: cell}))["refused"] == {}
    await client.reply(f"{request}.0")
    assert client.text(f"{request}.0") == "hello\n"


@pytest.mark.row("1.5-resubmit-unknown")
async def test_an_unknown_task_is_refused(start):
    world = await start(1)
    client = await world.client()
    answer = await client.ask("resubmit", requests={f"{client.session}-700": "nothing"})
    assert "there is no record of task nothing" in answer["refused"]["nothing"]


async def test_a_new_request_must_be_the_client_s_own(start):
    world = await start(1)
    client = await world.client()
    (cell,) = await done(client, client.execute("print x", targets=[0]))
    answer = await client.ask("resubmit", requests={"somebody-1": cell})
    assert answer["ename"] == "UsageError"


# -- queues --------------------------------------------------------------------------------------


@pytest.mark.row("1.5-queue-status", "1.5-queue-status-verbose")
async def test_queues_tell_direct_and_balanced_work_of_all_clients(start):
    world = await start(2)
    one, other = await world.client(), await world.client()
    (ended,) = await done(one, one.execute("print x", targets=[0]))
    running = f"{one.execute('stall', targets=[0])}.0"
    waiting = f"{other.execute('print', targets=[0])}.0"
    balanced = f"{other.apply('stall', b'', any=[1])}.0"
    await eventually(lambda: all(kernel.running for kernel in world.kernels.values()))
    homeless = f"{other.apply('echo', b'', any=[1])}.0"
    await world.settle()
    answer = await one.ask("queue", engines=[0, 1], verbose=True)
    queues = dict(answer["queues"])
    assert queues[0] == {"queue": [running, waiting], "tasks": [], "completed": [ended]}
    assert balanced in queues[1]["tasks"]
    assert {*queues[1]["tasks"], *answer["unassigned"]} == {balanced, homeless}
    answer = await one.ask("queue", engines=[0], verbose=False)
    assert answer["queues"] == [[0, {"queue": 2, "tasks": 0, "completed": 1}]]


# -- bounds --------------------------------------------------------------------------------------


async def test_what_was_dropped_is_counted_in_the_status(start):
    world = await start(1)
    memory = world.driver.records.memory
    memory.limits = Limits(records=100)
    client = await world.client()
    for _ in range(3):
        await done(client, client.apply("echo", *[b"x"] * 100, any=None), 100)
    assert len(memory) == 100
    assert not memory._open
    assert (await client.ask("status"))["counters"]["records_dropped"] == 200


@pytest.mark.row("8.4-sqlite")
async def test_records_outlive_the_controller_in_a_file(start, run_root, tmp_path):
    path = tmp_path / "tasks.db"
    world = await start(1, keep_results=True, history_file=path)
    client = await world.client()
    (cell,) = await done(client, client.execute("print hello", targets=[0]))
    (call,) = await done(client, client.apply("echo", b"value", targets=[0]))
    client.close()
    await world.driver.close("its end is tested")
    world = await start(0, keep_results=True, history_file=path)
    client = await world.client()
    assert (await client.ask("history"))["history"] == [cell, call]
    (record,) = await query(client, {"stdout": {"$glob": "hel*"}})
    assert (record["msg_id"], record["queue"]) == (cell, "mux")
    answer = await client.ask("result", tasks=[call, cell])
    assert answer["buffers"] == [b"value"]
    assert answer["results"][cell]["kind"] == "execute"
    assert ["stream", {"name": "stdout", "text": "hello\n"}] in answer["results"][cell]["output"]
    answer = await client.ask("result", tasks=[call, "x"], status_only=True)
    assert (answer["completed"], answer["unknown"]) == ([call], ["x"])
    assert (await client.ask("purge", tasks=[call]))["purged"] == 1
    assert (await client.ask("history"))["history"] == [cell]
    assert path.stat().st_mode & 0o777 == 0o600
