"""Shared memory: the controller passes words on, and clears up behind the dead."""

from __future__ import annotations

import pytest

from ipyviews.engine import segments
from tests.waiting import eventually

HELD = [["ipv-x-y-1", 3]]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Segments as files of another folder."""
    monkeypatch.setattr(segments, "FOLDER", tmp_path)
    return tmp_path


@pytest.fixture
def leave(folder):
    """Make a segment: ``leave(world, owner)`` returns how to see whether it is still there."""

    def leave(world, owner, data=b"data"):
        name = segments.prefix(world.driver.config.folder.name, owner) + "1"
        segments.write(name, 1, data)
        return segments.Reference(name, 1, segments.OFFSET, len(data))

    return leave


async def looked(world, times=3):
    """Let the controller look at what is there, as it does every few seconds."""
    for _ in range(times):
        world.driver.sharing.look()
        await world.settle()


def is_there(reference):
    return reference.name in {path.name for path in segments.FOLDER.iterdir()}


async def test_who_shares_is_in_the_connection_file(start):
    world = await start(0)
    told = world.driver.connection_info(1)["ipyviews"]["segments"]
    assert told == world.driver.config.folder.name


async def test_a_cluster_may_share_nothing(start):
    world = await start(0, shared_memory=False)
    assert world.driver.connection_info(1)["ipyviews"]["segments"] == ""


async def test_engines_are_told_where_the_client_is(start):
    world = await start(1)
    client = await world.client()
    client.apply("stall", b"x", targets=[0], shared="c0ffee00/here")
    await eventually(lambda: world.kernels[0].running)
    assert world.kernels[0].running.message.ours["shared"] == "c0ffee00/here"


async def test_a_client_hears_what_an_engine_has_let_go_of(start):
    world = await start(2)
    client, other = await world.client(), await world.client()
    client.apply("stall", b"x", targets=[1])
    kernel = world.kernels[1]
    await eventually(lambda: kernel.running)
    kernel.tell_released(kernel.running.message, client.session, HELD)
    await client.until(lambda: "segments_notice" in dict(client.notices))
    assert dict(client.notices)["segments_notice"] == {"holder": "e1.1", "segments": HELD}
    assert "segments_notice" not in dict(other.notices)


async def test_what_is_told_for_a_client_that_left_is_dropped(start):
    world = await start(1)
    client = await world.client()
    client.apply("stall", b"x", targets=[0])
    kernel = world.kernels[0]
    await eventually(lambda: kernel.running)
    kernel.tell_released(kernel.running.message, "nobody", HELD)
    kernel.tell_released(kernel.running.message, 7, HELD)
    await world.settle()
    assert "segments_notice" not in dict(client.notices)


async def test_an_engine_hears_what_a_client_has_let_go_of(start):
    world = await start(2)
    client = await world.client()
    client.send("control", "released_request", {"owner": "e1.1", "segments": HELD})
    await eventually(lambda: world.kernels[1].released)
    assert world.kernels[1].released == [{"client": client.session, "segments": HELD}]
    assert world.kernels[0].released == []


@pytest.mark.parametrize("owner", ["e0.7", "e9.1"])
async def test_an_engine_that_is_gone_needs_no_word(start, owner):
    world = await start(1)
    client = await world.client()
    client.send("control", "released_request", {"owner": owner, "segments": HELD})
    assert (await client.ask("ping"))["status"] == "ok"
    assert world.kernels[0].released == []


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"owner": 1, "segments": []},
        {"owner": "e0.1", "segments": 1},
        {"owner": "x", "segments": []},
    ],
    ids=str,
)
async def test_a_release_that_makes_no_sense_is_refused(start, content):
    world = await start(1)
    client = await world.client()
    assert (await client.ask("released", **content))["ename"] == "UsageError"


async def test_segments_of_those_that_are_there_stay(start, leave):
    world = await start(1)
    client = await world.client()
    left = [leave(world, client.session), leave(world, "e0.1")]
    await looked(world)
    assert all(map(is_there, left))


async def test_segments_of_a_client_that_left_go(start, leave):
    world = await start(1)
    client = await world.client()
    left = leave(world, client.session)
    await client.ask("bye")
    await looked(world)
    await eventually(lambda: not is_there(left))


async def test_but_not_while_a_task_of_it_may_need_them(start, leave):
    world = await start(1, detached=True)
    client = await world.client()
    left = leave(world, client.session)
    client.apply("stall", b"x", targets=[0])
    await eventually(lambda: world.kernels[0].running)
    await client.ask("bye")
    await looked(world)
    assert is_there(left)
    world.kernels[0].finish()
    await world.settle()
    await looked(world)
    await eventually(lambda: not is_there(left))


async def heard_of_the_death(world, client):
    """Wait until a client has read the report of the death of the first engine, and said so."""
    await eventually(lambda: world.states() == ["lost", "live"])
    await client.until(lambda: client.stream and client.stream[-1].msg_type == "death_notice")
    client.acknowledge()
    await world.settle()


async def test_segments_of_a_lost_engine_go(start, leave):
    world = await start(2)
    client = await world.client()
    left, other = leave(world, "e0.1"), leave(world, "e1.1")
    world.kernels[0].die()
    await heard_of_the_death(world, client)
    await looked(world)
    await eventually(lambda: not is_there(left))
    assert is_there(other)


async def test_but_not_before_clients_have_read_what_it_sent(start, leave):
    world = await start(2)
    client = await world.client()
    left = leave(world, "e0.1")
    await client.reply(client.apply("echo", b"x", targets=[0]) + ".0")
    world.kernels[0].die()
    await eventually(lambda: world.states() == ["lost", "live"])
    await looked(world)
    assert is_there(left)
    client.acknowledge()
    await world.settle()
    await looked(world)
    await eventually(lambda: not is_there(left))


async def test_what_is_sent_to_clients_later_does_not_keep_them(start, leave):
    world = await start(2)
    client = await world.client()
    left = leave(world, "e0.1")
    world.kernels[0].die()
    await heard_of_the_death(world, client)
    await looked(world, 1)
    await client.reply(client.apply("echo", b"x", targets=[1]) + ".0")
    await looked(world)
    await eventually(lambda: not is_there(left))


async def test_a_result_that_is_kept_is_read_from_its_segment(start, leave):
    world = await start(1, detached=True)
    client, other = await world.client(), await world.client()
    reference = leave(world, "e0.1", b"a large result")
    task = client.apply("stall", b"x", targets=[0]) + ".0"
    kernel = world.kernels[0]
    await eventually(lambda: kernel.running)
    await client.ask("bye")
    kernel.running.message.buffers = [b"", b"pickle", reference.pack()]
    kernel.finish()
    answer = await other.ask("result", tasks=[task], hold=True)
    assert answer["buffers"] == [b"pickle", b"a large result"]


def send_shared(client, reference, function):
    buffers = [function, b"x", reference.pack()]
    content, ours = {"index": [[1, 1]]}, {"ipyviews": {"targets": [0]}}
    return client.send("shell", "apply_request", content, metadata=ours, buffers=buffers) + ".0"


async def test_a_pending_call_that_is_resubmitted_has_data_of_its_own(start, leave):
    world = await start(2)
    client = await world.client()
    task = send_shared(client, leave(world, client.session, b"large"), b"stall")
    await eventually(lambda: world.kernels[0].running)
    await client.ask("resubmit", requests={f"{client.session}-700": task})
    await eventually(lambda: world.kernels[1].running)
    sent = world.kernels[1].running.message.buffers
    assert [bytes(buffer) for buffer in sent] == [b"stall", b"x", b"large"]


async def test_the_record_of_a_pending_call_has_its_data(start, leave):
    world = await start(1)
    client = await world.client()
    task = send_shared(client, leave(world, client.session, b"large"), b"stall")
    await eventually(lambda: world.kernels[0].running)
    answer = await client.ask("db", query={"msg_id": task}, keys=["buffers"])
    assert answer["buffers"] == [b"stall", b"x", b"large"]


async def test_a_result_that_somebody_takes_at_once_is_not_read(start, leave):
    world = await start(1)
    client = await world.client()
    reference = leave(world, "e0.1", b"a large result").pack()
    request = client.send(
        "shell",
        "apply_request",
        {"index": [[1, 1]]},
        metadata={"ipyviews": {"targets": [0]}},
        buffers=[b"echo", b"x", reference],
    )
    assert (await client.reply(f"{request}.0")).buffers == [b"x", reference]
