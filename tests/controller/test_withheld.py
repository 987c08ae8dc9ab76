"""Tasks that an engine may have had which has not told so far wait for its word."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from ipyviews.controller import adoption, receipts
from tests.controller.lives import LastingKernel, Lives, again
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path


@pytest.fixture
async def lives(run_root: Path, errors: list[Any], monkeypatch) -> AsyncIterator[Lives]:
    """A cluster of two engines."""
    monkeypatch.setattr(receipts, "TELL_S", 0.0)
    monkeypatch.setattr(adoption, "PATIENCE_S", 0.01)
    lives = Lives(run_root)
    await lives.begin(2)
    yield lives
    await lives.close()


def silence(kernel: LastingKernel) -> Callable[[], None]:
    """Let a kernel not answer who takes over; returns what makes it answer after all."""
    kernel.asked = asked = []
    kernel._resume = asked.append

    def speak() -> None:
        del kernel._resume
        for frames in asked:
            kernel._resume(frames)

    return speak


def applied(kernel: Any) -> list[str]:
    return [name for _, kind, name in kernel.seen if kind == "apply_request"]


async def begin(lives: Lives, client: Any, **sent: Any) -> tuple[str, LastingKernel]:
    request = client.apply("stall", b"x", **sent)
    await eventually(lambda: any(kernel.running for kernel in lives.kernels.values()))
    return request, next(kernel for kernel in lives.kernels.values() if kernel.running)


@pytest.mark.parametrize("where", [{"any": None}, {"targets": [0]}])
async def test_a_call_that_runs_on_a_slow_engine_runs_once(lives, where):
    client = await lives.client()
    request, kernel = await begin(lives, client, **where)
    speak = silence(kernel)
    await lives.replace()
    await eventually(lambda: sorted(lives.states()) == ["live", "starting"])
    again(client, request, [0], function="stall", arguments=[b"x"], **where)
    await lives.settle()
    speak()
    await eventually(lambda: lives.states() == ["live", "live"])
    kernel.finish()
    reply = await client.reply(f"{request}.0")
    assert [run[0] for run in reply.ours["attempts"]] == [kernel.engine_id]
    assert sum(len(applied(one)) for one in lives.kernels.values()) == 1


async def test_what_a_slow_engine_had_not_runs_when_it_has_told(lives):
    client = await lives.client()
    speak = silence(lives.kernels[0])
    await lives.replace()
    again(client, f"{client.session}-9", [0], function="echo", arguments=[b"x"], any=None)
    await lives.settle()
    assert not any(map(applied, lives.kernels.values()))
    speak()
    reply = await client.reply(f"{client.session}-9.0")
    assert len(reply.ours["attempts"]) == 1


async def test_others_do_not_wait_for_a_slow_engine(lives):
    client, other = await lives.client(), await lives.client()
    silence(lives.kernels[0])
    await lives.replace()
    held = f"{client.session}-8"
    again(client, held, [0], function="echo", arguments=[b"x"], targets=[0])
    again(client, f"{client.session}-9", [0], function="echo", arguments=[b"x"], targets=[1])
    assert (await client.reply(f"{client.session}-9.0")).ours["verdict"] == "replied"
    request = other.apply("echo", b"x", any=None)
    assert (await other.reply(f"{request}.0")).ours["verdict"] == "replied"
    assert not client.replies_to(f"{held}.0")


async def test_an_engine_that_dies_before_it_has_told_may_have_run_what_waits(lives):
    client = await lives.client()
    silence(lives.kernels[0])
    await lives.replace()
    for number, where in ((8, {"targets": [0]}), (9, {"any": None})):
        request = f"{client.session}-{number}"
        again(client, request, [0], function="echo", arguments=[b"x"], **where)
    await eventually(lambda: lives.kernels[0].asked)
    lives.kernels[0].die(-11)
    reply = await client.reply(f"{client.session}-8.0")
    assert reply.ours["verdict"] == "engine_lost"
    assert "engine 0 may have run task" in reply.content["evalue"]
    reply = await client.reply(f"{client.session}-9.0")
    assert [run[0] for run in reply.ours["attempts"]] == [0, 1]


async def test_the_order_of_a_client_on_an_engine_stays(lives):
    client = await lives.client()
    speak = silence(lives.kernels[0])
    await lives.replace()
    requests = [f"{client.session}-{number}" for number in (801, 802)]
    for request in requests:
        again(client, request, [0], function="echo", arguments=[b"x"], targets=[0])
    requests.append(client.apply("echo", b"x", targets=[0]))
    await lives.settle()
    speak()
    for request in requests:
        await client.reply(f"{request}.0")
    assert applied(lives.kernels[0]) == [f"{request}.0/0.1/1" for request in requests]


async def test_what_depends_on_a_task_that_waits_waits_too(lives):
    client = await lives.client()
    speak = silence(lives.kernels[0])
    await lives.replace()
    first = f"{client.session}-9"
    again(client, first, [0], function="echo", arguments=[b"x"], any=None)
    later = client.apply("echo", b"y", any=None, after={"tasks": [f"{first}.0"]})
    await lives.settle()
    speak()
    assert (await client.reply(f"{later}.0")).ours["verdict"] == "replied"


@pytest.mark.parametrize("where", [{"any": [0]}, {"targets": [0]}])
async def test_a_time_limit_counts_while_a_task_is_held_back(lives, where):
    client = await lives.client()
    speak = silence(lives.kernels[0])
    await lives.replace()
    names = {f"{client.session}-{number}": limit for number, limit in ((91, 1e-9), (92, 60.0))}
    for name, limit in names.items():
        again(client, name, [0], function="echo", arguments=[b"x"], timeout=limit, **where)
    await lives.settle()
    speak()
    verdicts = [(await client.reply(f"{name}.0")).ours["verdict"] for name in names]
    assert verdicts == ["timeout", "replied"]


async def test_what_had_begun_on_a_slow_engine_was_in_time(lives):
    client = await lives.client()
    request, kernel = await begin(lives, client, targets=[0], timeout=60.0)
    speak = silence(kernel)
    await lives.replace()
    again(client, request, [0], function="stall", arguments=[b"x"], targets=[0], timeout=1e-9)
    await lives.settle()
    speak()
    await eventually(lambda: lives.states() == ["live", "live"])
    kernel.finish()
    assert (await client.reply(f"{request}.0")).ours["verdict"] == "replied"


async def test_what_a_slow_engine_runs_waits_until_it_has_joined(lives):
    client = await lives.client()
    request, kernel = await begin(lives, client, targets=[0])
    speak = silence(kernel)
    await lives.replace()
    await eventually(lambda: kernel.asked)
    is_written = asyncio.Event()
    lives.driver.fleet.written = is_written.wait
    speak()
    await eventually(lambda: f"{request}.0" in lives.driver.returns._running)
    again(client, request, [0], function="stall", arguments=[b"x"], targets=[0])
    await lives.settle()
    is_written.set()
    await eventually(lambda: lives.states() == ["live", "live"])
    kernel.finish()
    assert (await client.reply(f"{request}.0")).ours["verdict"] == "replied"


async def test_what_follows_a_task_that_ran_on_a_slow_engine_runs_there_in_the_end(lives):
    client = await lives.client()
    speak = silence(lives.kernels[0])
    await lives.replace()
    known = {"follow": {"tasks": ["x.0"]}, "ended": {"x.0": [True, 0, 1]}}
    request = f"{client.session}-8"
    again(client, request, [0], function="echo", arguments=[b"x"], any=[0], **known)
    await lives.settle()
    # Engines that have told do not keep it, nor do those that it would not go to.
    known = {"follow": {"tasks": ["y.0"]}, "ended": {"y.0": [True, 1, 1], "x.0": [True, 0, 1]}}
    new = client.apply("echo", b"y", any=None, **known)
    assert (await client.reply(f"{new}.0")).ours["engine"] == 1
    late = client.apply("echo", b"z", any=None, follow={"tasks": ["x.0"]}, ended=known["ended"])
    # Nor does it matter who has told.
    other = await lives.client()
    theirs = other.apply("echo", b"z", any=None, follow={"tasks": ["x.0"]})
    await lives.settle()
    assert not client.replies_to(f"{late}.0")
    assert not other.replies_to(f"{theirs}.0")
    speak()
    for who, name in ((client, request), (client, late), (other, theirs)):
        assert (await who.reply(f"{name}.0")).ours["engine"] == 0


async def test_what_waits_can_be_cancelled(lives):
    client = await lives.client()
    request, kernel = await begin(lives, client, targets=[0])
    speak = silence(kernel)
    await lives.replace()
    again(client, request, [0], function="stall", arguments=[b"x"], targets=[0])
    await lives.settle()
    told = await client.ask("cancel", tasks=[f"{request}.0"])
    assert (told["interrupted"], told["done"]) == (1, 0)
    speak()
    assert (await client.reply(f"{request}.0")).ours["verdict"] == "cancelled"


async def test_what_waits_for_a_client_that_leaves_is_let_go(lives):
    client = await lives.client()
    speak = silence(lives.kernels[0])
    await lives.replace()
    for number in (8, 9):
        request = f"{client.session}-{number}"
        again(client, request, [0], function="stall", arguments=[b"x"], targets=[0])
    await lives.settle()
    await client.ask("bye")
    speak()
    await eventually(lambda: lives.driver.is_idle)
    assert not lives.driver._performer.state.tasks
    assert not lives.driver._performer.state.clients.by_id
