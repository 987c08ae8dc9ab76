"""What a client that is gone leaves on a detached cluster, and who fetches it."""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from ipyviews.controller import receipts
from ipyviews.controller.unfetched import RESULT_BYTES, Unfetched
from ipyviews.engine.segments import Reference
from ipyviews.ids import ClientId, TaskId
from ipyviews.store.journal import Journal
from tests.controller.lives import Lives, again
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

A, B = ClientId("a"), ClientId("b")


@pytest.fixture
async def lives(run_root: Path, errors: list[Any], monkeypatch) -> AsyncIterator[Lives]:
    """A detached cluster of two engines."""
    monkeypatch.setattr(receipts, "TELL_S", 0.0)
    lives = Lives(run_root, detached=True)
    await lives.begin(2)
    yield lives
    await lives.close()


async def vanish(lives: Lives, client: Any) -> None:
    """Let a client die, and the controller notice it."""
    client.close()
    lives.clients.remove(client)
    lives.driver.clients.probe(everybody=True)
    await eventually(lambda: client.session not in lives.driver.clients)


async def results(client: Any, *tasks: str) -> list[list[bytes]]:
    """Fetch results that are there."""
    answer = await client.ask("result", tasks=list(tasks))
    told = answer["results"]
    frames, found = list(answer.get("buffers", ())), []
    for task in tasks:
        assert told[task]["status"] == "final", told[task]
        found.append([frames.pop(0) for _ in range(told[task]["buffers"])])
    return found


@pytest.mark.parametrize("controllers", [1, 2])
async def test_a_client_that_is_back_after_all_has_the_results_of_what_went_on(lives, controllers):
    client = await lives.client()
    request = client.apply("stall", b"x", b"y", targets=[0, 1])
    await eventually(lambda: all(kernel.running for kernel in lives.kernels.values()))
    lives.driver.clients.leave(client.session, "its connection is gone")
    await eventually(lambda: len(lives.driver._journal.read("request")) == 1)
    await lives.take_over(await lives.die())
    await lives.settle()
    lives.kernels[0].finish()
    await eventually(lambda: lives.driver.requests.retold.has_ended(f"{request}.0"))
    if controllers > 1:
        await lives.take_over(await lives.die())
    await lives.greet(client)
    again(client, request, [0, 1], function="stall", arguments=[b"x", b"y"], targets=[0, 1])
    reply = await client.reply(f"{request}.0")
    assert [bytes(buffer) for buffer in reply.buffers] == [b"x"]
    assert len(reply.ours["attempts"]) == 1
    await eventually(lambda: lives.kernels[1].running)
    lives.kernels[1].finish()
    assert (await client.reply(f"{request}.1")).buffers == [b"y"]
    for kernel in lives.kernels.values():
        assert sum(kind == "apply_request" for _, kind, _ in kernel.seen) == 1


def test_what_a_killed_client_was_sent_is_taken_out_once():
    unfetched = Unfetched()
    for client, name in ((A, "a-1.0"), (B, "b-1.0"), (A, "a-2.0")):
        unfetched.add(client, TaskId(name), [name.encode()])
    assert unfetched.take(A) == {"a-1.0": [b"a-1.0"], "a-2.0": [b"a-2.0"]}
    assert unfetched.take(A) == {}
    assert list(unfetched.take(B)) == ["b-1.0"]


def test_of_what_was_read_the_oldest_goes_first_and_of_the_rest_nothing():
    unfetched = Unfetched(most_read=2 * (RESULT_BYTES + 10))
    for number in range(6):
        unfetched.add(A, TaskId(f"a-{number}.0"), [bytes(10)])
    for number in (1, 2, 3, 5):
        unfetched.read(A, TaskId(f"a-{number}.0"))
    assert list(unfetched.take(A)) == ["a-0.0", "a-3.0", "a-4.0", "a-5.0"]
    unfetched.read(A, TaskId("a-9.0"))
    assert unfetched.take(A) == {}


def test_what_is_in_shared_memory_is_let_go_when_it_was_read():
    reference = Reference("ipv-00000000-e0.1-1", 1, 4096, 5).pack()
    unfetched = Unfetched()
    unfetched.add(A, TaskId("a-1.0"), [b"pickle", reference])
    unfetched.add(A, TaskId("a-2.0"), [b"pickle", reference])
    unfetched.read(A, TaskId("a-1.0"))
    assert list(unfetched.take(A)) == ["a-2.0"]


async def test_results_of_a_killed_client_are_fetched_by_another_one(lives):
    client = await lives.client()
    request = client.apply("echo", b"x", b"y", targets=[0, 1])
    for place in range(2):
        await client.reply(f"{request}.{place}")
    running = client.apply("stall", b"z", targets=[0])
    await eventually(lambda: lives.kernels[0].running)
    await vanish(lives, client)
    lives.kernels[0].finish()
    other = await lives.client()
    names = (await other.ask("history"))["history"]
    assert names == [f"{request}.0", f"{request}.1", f"{running}.0"]
    await eventually(lambda: not lives.driver.requests._store)
    assert await results(other, *names) == [[b"x"], [b"y"], [b"z"]]


async def test_results_are_there_before_the_end_of_their_client_is_noticed(lives):
    client = await lives.client()
    request = client.apply("echo", b"x", targets=[0])
    await client.reply(f"{request}.0")
    other = await lives.client()
    assert await results(other, f"{request}.0") == [[b"x"]]


async def test_those_of_one_that_said_goodbye_are_not_kept(lives):
    client = await lives.client()
    request = client.apply("echo", b"x", targets=[0])
    await client.reply(f"{request}.0")
    await client.ask("bye")
    other = await lives.client()
    told = (await other.ask("result", tasks=[f"{request}.0"]))["results"]
    assert told[f"{request}.0"]["status"] == "gone"


async def test_results_nobody_has_fetched_outlive_the_controller(lives):
    client = await lives.client()
    request = client.apply("echo", b"x", targets=[0], label="mine")
    await client.reply(f"{request}.0")
    written = client.apply("print", b"text", targets=[1])
    await client.reply(f"{written}.0")
    await vanish(lives, client)
    await lives.replace()
    other = await lives.client()
    names = [f"{request}.0", f"{written}.0"]
    assert sorted((await other.ask("history"))["history"]) == sorted(names)
    found = await other.ask("db", query={"label": "mine"}, keys=["msg_id", "completed", "stdout"])
    assert [one["msg_id"] for one in found["records"]] == names[:1]
    assert await results(other, *names) == [[b"x"], [b"text"]]
    told = (await other.ask("result", tasks=names[1:]))["results"][names[1]]
    assert ["stream", {"name": "stdout", "text": "text\n"}] in told["output"]


async def test_work_of_a_client_that_is_gone_outlives_the_controller(lives):
    client = await lives.client()
    busy = client.apply("stall", b"a", b"b", targets=[0, 1])
    await eventually(lambda: lives.kernels[0].running and lives.kernels[1].running)
    queued = client.apply("echo", b"1", b"2", b"3", any=None, reruns=0)
    cell = client.execute("print x", targets=[0])
    await lives.settle()
    await vanish(lives, client)
    await lives.replace()
    other = await lives.client()
    pending = (await other.ask("result", tasks=[f"{cell}.0"], status_only=True))["pending"]
    assert pending == [f"{cell}.0"]
    for kernel in lives.kernels.values():
        kernel.finish()
    names = [*(f"{busy}.{i}" for i in range(2)), *(f"{queued}.{i}" for i in range(3))]
    await eventually(lambda: not len(lives.driver.requests._store))
    assert await results(other, *names) == [[b"a"], [b"b"], [b"1"], [b"2"], [b"3"]]
    ran = [name for kernel in lives.kernels.values() for _, kind, name in kernel.seen]
    assert sum(name.startswith(f"{busy}.") for name in ran) == 2


async def test_what_had_ended_is_not_run_again_by_the_next_controller_but_one(lives):
    client = await lives.client()
    request = client.apply("stall", b"a", b"b", targets=[0, 1])
    await eventually(lambda: lives.kernels[0].running and lives.kernels[1].running)
    await vanish(lives, client)
    await lives.replace()
    lives.kernels[0].finish()
    await eventually(lambda: len(lives.driver.requests._store) == 1)
    await lives.replace()
    assert len(lives.driver.requests._store) == 1
    lives.kernels[1].finish()
    await eventually(lambda: not len(lives.driver.requests._store))
    await lives.replace()
    assert not len(lives.driver.requests._store)
    other = await lives.client()
    assert await results(other, f"{request}.0", f"{request}.1") == [[b"a"], [b"b"]]


async def test_an_engine_keeps_its_answer_until_that_is_written(lives, monkeypatch):
    client = await lives.client()
    client.apply("stall", b"a", targets=[0])
    await eventually(lambda: lives.kernels[0].running)
    await vanish(lives, client)
    later: list[Any] = []
    monkeypatch.setattr(lives.driver.records._file, "then", later.append)
    lives.kernels[0].finish()
    await eventually(lambda: not len(lives.driver.requests._store))
    await lives.settle()
    assert lives.kernels[0].kept
    for action in later:
        action()
    await eventually(lambda: not lives.kernels[0].kept)


@pytest.mark.parametrize("first", ["echo", "stall"])
async def test_one_call_of_a_map_asked_for_again_outlives_the_controller(run_root, errors, first):
    lives = Lives(run_root, detached=True, keep_results=True)
    await lives.begin(2)
    client = await lives.client()
    before = client.apply(first, b"w", any=None) + ".0"
    after = [{"tasks": [before]}, {"tasks": [before]}]
    request = client.apply("echo", b"x", b"y", any=None, after=after)
    if first == "echo":
        await client.reply(f"{request}.1")
    else:
        await eventually(lambda: any(kernel.running for kernel in lives.kernels.values()))
    again = f"{client.session}-77"
    for kernel in lives.kernels.values():
        kernel._run = partial(setattr, kernel, "running")
    answer = await client.ask("resubmit", requests={again: f"{request}.1"})
    assert answer["refused"] == {}
    await lives.settle()
    await vanish(lives, client)
    await lives.replace()
    assert lives.states() == ["live", "live"]
    assert TaskId(f"{again}.0") in lives.driver._store
    while len(lives.driver._store):
        for kernel in lives.kernels.values():
            if kernel.running:
                kernel.finish()
        await lives.settle()
    end = lives.driver.records.memory.get(TaskId(f"{again}.0")).end
    assert end.ours["verdict"] == "replied"
    await lives.close()


async def test_a_request_that_cannot_be_read_is_lost_alone(lives, caplog):
    client = await lives.client()
    client.apply("stall", b"a", targets=[0])
    await eventually(lambda: lives.kernels[0].running)
    queued = client.apply("echo", b"1", targets=[0])
    await lives.settle()
    await vanish(lives, client)
    former = await lives.die()
    journal = Journal(lives.driver.config.folder / "state.db")
    notes = journal.read("request")
    bad = next(name for name in notes if name != queued)
    journal.put("request", bad, {**notes[bad], "ours": {"again": [0]}}, [b"{}"])
    journal.close()
    await lives.take_over(former)
    assert f"request {bad} of a client that is gone is lost" in caplog.text
    assert list(lives.driver._store._tasks) == [f"{queued}.0"]
    lives.kernels[0].finish()
    await eventually(lambda: not len(lives.driver._store))
    await lives.replace()
    assert list(lives.driver._journal.read("request")) == []


async def test_what_a_client_that_is_gone_shared_is_not_copied_in_the_loop(lives, monkeypatch):
    client, threads = await lives.client(), []

    def whole(buffers):
        threads.append(threading.current_thread().name)
        return buffers

    client.apply("stall", b"a", targets=[0])
    await eventually(lambda: lives.kernels[0].running)
    monkeypatch.setattr(lives.driver.records, "whole", whole)
    await vanish(lives, client)
    await eventually(lambda: threads)
    assert threads == ["ipyviews-journal"]
    monkeypatch.undo()
    lives.kernels[0].finish()
    await eventually(lambda: not len(lives.driver._store))


@pytest.mark.parametrize("leaves", ["first", "last", "orderly"])
async def test_what_depends_on_a_task_that_ended_before_the_controller_died_goes_on(lives, leaves):
    client = await lives.client()
    first = client.apply("stall", b"a", targets=[1]) + ".0"
    busy = client.apply("stall", b"b", targets=[0])
    await eventually(lambda: all(kernel.running for kernel in lives.kernels.values()))
    needs = {"after": {"tasks": [first, f"{busy}.0"]}, "follow": {"tasks": [first]}}
    second = client.apply("echo", b"c", any=None, **needs) + ".0"
    await lives.settle()
    if leaves == "first":
        await vanish(lives, client)
    lives.kernels[1].finish()
    await eventually(lambda: first not in lives.driver._store)
    if leaves == "last":
        await vanish(lives, client)
    elif leaves == "orderly":
        await client.ask("bye")
    await lives.replace()
    lives.kernels[0].finish()
    await eventually(lambda: not len(lives.driver._store))
    other = await lives.client()
    told = (await other.ask("result", tasks=[second]))["results"]
    assert told[second]["content"]["status"] == "ok"
    assert told[second]["ours"]["engine"] == 1
