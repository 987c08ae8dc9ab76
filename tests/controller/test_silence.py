"""What gets lost between the controller and an engine that lives is missed, and told."""

from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace

import pytest

from tests.waiting import eventually


def way(world, channel, engine=0):
    """The connection to an engine, to let messages get lost on it."""
    (connection,) = world.network.connections(world.kernels[engine].url(channel))
    return connection


async def ask(world):
    """Look twice, as the timer does: the second time what is silent is old."""
    for _ in range(2):
        world.driver.silence.look()
    await world.settle()


async def test_a_call_that_never_came_is_sent_again(start):
    world = await start(1)
    client = await world.client()
    way(world, "apply").out.faults.loss = 1.0
    request = client.apply("echo", b"x", targets=[0])
    await world.settle()
    way(world, "apply").out.faults.loss = 0.0
    await ask(world)
    reply = await client.reply(f"{request}.0")
    assert reply.content["status"] == "ok"
    assert [outcome for *_, outcome in reply.ours["attempts"]] == ["ok"]
    assert world.counters["attempts_missing"] == 1


async def test_a_direct_call_whose_reply_got_lost_fails_and_says_that_it_may_have_run(start):
    world = await start(1)
    client = await world.client()
    way(world, "apply").back.faults.loss = 1.0
    request = client.apply("echo", b"x", targets=[0])
    await world.settle()
    way(world, "apply").back.faults.loss = 0.0
    await ask(world)
    reply = await client.reply(f"{request}.0")
    assert reply.ours["verdict"] == "engine_lost"
    assert "may have run" in reply.content["evalue"]


async def test_a_balanced_call_whose_reply_got_lost_runs_once_more(start):
    world = await start(2)
    client = await world.client()
    for engine in range(2):
        way(world, "apply", engine).back.faults.loss = 1.0
    request = client.apply("echo", b"x", any=None)
    await world.settle()
    for engine in range(2):
        way(world, "apply", engine).back.faults.loss = 0.0
    await ask(world)
    reply = await client.reply(f"{request}.0")
    assert reply.content["status"] == "ok"
    assert len(reply.ours["attempts"]) == 2


async def test_what_is_held_is_left_alone(start):
    world = await start(1)
    client = await world.client()
    running = client.apply("stall", b"x", targets=[0])
    cell = client.execute("print later", targets=[0])
    await world.settle()
    for _ in range(5):
        await ask(world)
    assert not world.counters["attempts_missing"]
    world.kernels[0].finish()
    assert (await client.reply(f"{running}.0")).content["status"] == "ok"
    assert (await client.reply(f"{cell}.0")).content["status"] == "ok"


@pytest.mark.parametrize("language", ["python", "bash"])
@pytest.mark.parametrize("way_there", [True, False])
async def test_a_cell_that_got_lost_fails_as_one_that_may_have_run(start, language, way_there):
    def prepare(kernel):
        kernel.habits.language = language

    world = await start(1, prepare)
    client = await world.client()
    shell = way(world, "shell")
    link = shell.out if way_there else shell.back
    link.faults.loss = 1.0
    request = client.execute("print lost", targets=[0])
    await world.settle()
    link.faults.loss = 0.0
    await ask(world)
    reply = await client.reply(f"{request}.0")
    assert reply.ours["verdict"] == "engine_lost"
    assert "may have run" in reply.content["evalue"]


@pytest.mark.parametrize("language", ["python", "bash"])
async def test_a_cell_that_runs_for_long_is_left_alone(start, language):
    def prepare(kernel):
        kernel.habits.language = language

    world = await start(1, prepare)
    client = await world.client()
    request = client.execute("stall", targets=[0])
    await world.settle()
    await ask(world)
    await ask(world)
    assert not client.replies_to(f"{request}.0")
    world.kernels[0].finish()
    assert (await client.reply(f"{request}.0")).content["status"] == "ok"


async def test_an_interrupt_that_got_lost_is_sent_again(start):
    world = await start(1)
    client = await world.client()
    request = client.apply("stall", b"x", targets=[0])
    await world.settle()
    way(world, "apply").out.faults.loss = 1.0
    await client.ask("cancel", tasks=[f"{request}.0"])
    await world.settle()
    way(world, "apply").out.faults.loss = 0.0
    await ask(world)
    assert (await client.reply(f"{request}.0")).ours["verdict"] == "cancelled"


async def test_a_silent_engine_is_asked_less_and_less_often(start):
    world = await start(1)
    client = await world.client()
    client.apply("stall", b"x", targets=[0])
    await world.settle()
    for _ in range(10):
        await ask(world)
    pings = [kind for _, kind, _ in world.kernels[0].seen if kind == "ping_request"]
    # One to join, one now; the next one is due in two seconds.
    assert len(pings) == 2


async def test_a_kernel_is_asked_for_its_cells_less_often_but_every_five_minutes(
    start, monkeypatch
):
    world = await start(1)
    client = await world.client()
    client.execute("stall", targets=[0])
    await world.settle()
    silence, now, asked = world.driver.silence, [0.0], []
    monkeypatch.setattr(silence, "_loop", SimpleNamespace(time=lambda: now[0]))
    monkeypatch.setattr(silence, "_when_answered", lambda *_: asked.append(now[0]))
    for second in range(0, 7200, 5):
        now[0] = float(second)
        silence.look()
    gaps = [after - before for before, after in pairwise(asked)]
    assert gaps == sorted(gaps)
    assert gaps[0] < 10 < gaps[-1] <= 300


async def test_replies_at_hand_are_taken_in_before_anything_is_missed(start):
    world = await start(1)
    client = await world.client()
    request = client.apply("stall", *[b"x"] * 3, any=None)
    await eventually(lambda: world.kernels[0].running)
    way(world, "apply").out.faults.delay = 0.01
    await ask(world)
    for _ in range(3):
        await eventually(lambda: world.kernels[0].running)
        world.kernels[0].finish()
    for number in range(3):
        assert (await client.reply(f"{request}.{number}")).content["status"] == "ok"
    assert not world.counters["attempts_missing"]


def notices(client):
    return [message.read() for message in client.stream if message.msg_type == "missing_notice"]


async def test_a_client_is_told_what_has_no_reply_to_come(start):
    world = await start(1)
    client = await world.client()
    done = client.apply("echo", b"x", targets=[0])
    running = client.apply("stall", b"x", targets=[0])
    asked = [f"{done}.0", f"{running}.0", f"{client.session}-99.0"]
    client.send("shell", "missing_request", {"tasks": asked, "life": client.life})
    await client.until(lambda: notices(client))
    (notice,) = notices(client)
    assert set(notice["tasks"]) <= {asked[0], asked[2]}
    assert asked[2] in notice["tasks"]
    # The reply of what is done came before.
    replied = [message.parent_id for message in client.stream]
    assert asked[0] not in notice["tasks"] or asked[0] in replied


async def test_of_tasks_that_go_on_nothing_is_told(start):
    world = await start(1)
    client = await world.client()
    request = client.apply("stall", b"x", targets=[0])
    client.send("shell", "missing_request", {"tasks": [f"{request}.0"], "life": client.life})
    client.send("shell", "missing_request", {"tasks": ["any.0"], "life": "a former controller"})
    client.send("shell", "missing_request", {"tasks": 5})
    await client.until(lambda: world.counters["refused"] == 1)
    await world.settle()
    assert not notices(client)
