"""Calls and replies that travel together; whatever way they take, each is a call of its own."""

from __future__ import annotations

import asyncio

import pytest

from ipyviews.controller import turns as turns_module
from ipyviews.controller.turns import FEW, Turns
from tests.waiting import eventually

BUNDLES = pytest.mark.parametrize("prefetch", [0, 1, 1000])


def sent(kernel) -> int:
    return [kind for _, kind, _ in kernel.seen].count("apply_request")


@BUNDLES
async def test_each_call_gets_its_own_reply(start, prefetch):
    world = await start(2, prefetch=prefetch)
    client = await world.client()
    arguments = [f"{i}".encode() for i in range(200)]
    request = client.apply("echo", *arguments, any=None)
    replies = [await client.reply(f"{request}.{i}") for i in range(200)]
    assert [reply.buffers for reply in replies] == [[argument] for argument in arguments]
    assert all(len(reply.ours["attempts"]) == 1 for reply in replies)
    assert len(client.stream) == 200


@BUNDLES
async def test_output_precedes_its_reply(start, prefetch):
    world = await start(2, prefetch=prefetch)
    client = await world.client()
    request = client.apply("print", *[f"{i}".encode() for i in range(40)], any=None)
    for i in range(40):
        await client.reply(f"{request}.{i}")
        assert client.types(f"{request}.{i}") == ["stream", "apply_reply"]
        assert client.text(f"{request}.{i}") == f"{i}\n"


async def test_calls_of_one_request_leave_together(start):
    world = await start(1, prefetch=50)
    client = await world.client()
    request = client.apply("echo", *[b"x"] * 50, any=None)
    await client.reply(f"{request}.49")
    assert sent(world.kernels[0]) <= 3


async def test_out_of_band_buffers_stay_with_their_call(start):
    world = await start(1, prefetch=50)
    client = await world.client()
    stalled = client.apply("stall", b"", targets=[0])
    await world.settle()
    request = client.send(
        "shell",
        "apply_request",
        {"index": [[1, 2], [1, 0], [1, 1]]},
        metadata={"ipyviews": {"any": None}},
        buffers=[b"echo", b"abc", b"x", b"y", b"z"],
    )
    await world.settle()
    world.kernels[0].finish()
    await client.reply(f"{stalled}.0")
    replies = [await client.reply(f"{request}.{i}") for i in range(3)]
    assert [reply.buffers for reply in replies] == [[b"a", b"x", b"y"], [b"b"], [b"c", b"z"]]


async def test_retries_within_a_bundle_are_those_of_their_call(start):
    world = await start(1, prefetch=50)
    client = await world.client()
    request = client.apply("fail", *[b"x"] * 10, any=None, retries=1)
    for i in range(10):
        reply = await client.reply(f"{request}.{i}")
        assert [run[4] for run in reply.ours["attempts"]] == ["error", "error"]


async def test_a_direct_call_of_another_passes_a_bundle(start):
    world = await start(1, prefetch=50)
    first, second = await world.client(), await world.client()
    flood = first.apply("stall", *[b""] * 3, any=None)
    await world.settle()
    call = second.apply("echo", b"now", targets=[0])
    await world.settle()
    world.kernels[0].finish()
    assert (await second.reply(f"{call}.0")).buffers == [b"now"]
    assert first.of(f"{flood}.1") == []


async def test_a_cell_passes_a_bundle(start):
    world = await start(1, prefetch=50)
    first, second = await world.client(), await world.client()
    flood = first.apply("stall", *[b""] * 3, any=None)
    await world.settle()
    cell = second.execute("print here", targets=[0])
    await world.settle()
    world.kernels[0].finish()
    assert (await second.reply(f"{cell}.0")).content["status"] == "ok"
    assert first.of(f"{flood}.1") == []
    assert world.driver.gate.running(first.session)


async def test_what_an_engine_gives_back_runs_elsewhere(start):
    world = await start(1, prefetch=50)
    client = await world.client()
    request = client.apply("stall", b"", any=None)
    await world.settle()
    behind = client.apply("echo", b"1", b"2", any=None)
    await world.settle()
    world.driver.fleet.start(1)
    await eventually(lambda: world.states() == ["live"] * 2)
    world.kernels[0].give_back_all()
    for index, argument in enumerate((b"1", b"2")):
        reply = await client.reply(f"{behind}.{index}")
        assert reply.buffers == [argument]
        assert [run[0] for run in reply.ours["attempts"]] == [1]
    world.kernels[0].finish()
    await client.reply(f"{request}.0")
    assert world.driver.gate._flights == {}


async def test_a_cancel_reaches_calls_that_wait_on_an_engine(start):
    world = await start(1, prefetch=50)
    client = await world.client()
    request = client.apply("stall", *[b""] * 5, any=None)
    await world.settle()
    await client.ask("cancel", tasks=[f"{request}.{i}" for i in range(5)])
    for i in range(5):
        assert (await client.reply(f"{request}.{i}")).ours["verdict"] == "cancelled"


async def test_an_engine_that_dies_with_a_bundle_loses_none_but_what_killed_it(start):
    world = await start(3, prefetch=50)
    client = await world.client()
    calls = client.apply("stall", *[b""] * 3, any=None)
    await world.settle()
    request = client.apply("echo", *[b"x"] * 9, any=None)
    await world.settle()
    world.kernels[0].die()
    world.kernels[1].finish()
    world.kernels[2].finish()
    for i in range(9):
        assert (await client.reply(f"{request}.{i}")).ours["verdict"] == "replied"
    await eventually(lambda: any(kernel.running for kernel in world.kernels.values()))
    for kernel in world.kernels.values():
        if kernel.running:
            kernel.finish()
    for i in range(3):
        assert (await client.reply(f"{calls}.{i}")).ours["verdict"] == "replied"


# -- turns -----------------------------------------------------------------------------------------


class Work:
    """Turns that note who had one, and when what was caused was sent."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.turns = Turns(
            asyncio.get_running_loop(), lambda work: work(), lambda: self.log.append("sent")
        )

    def steps(self, name: str, count: int):
        for _ in range(count):
            self.log.append(name)
            yield

    async def settle(self) -> None:
        for _ in range(1000):
            await asyncio.sleep(0)


@pytest.fixture
def slow(monkeypatch) -> None:
    """Every step takes a whole slice."""
    for name in ("SLICE_S", "ALONE_S"):
        monkeypatch.setattr(f"ipyviews.controller.turns.{name}", -1.0)


async def test_short_work_is_done_at_once(slow):
    work = Work()
    work.turns.make_tasks("a", work.steps("a", 100), 100)
    work.turns.make_tasks("b", work.steps("b", FEW), FEW)
    assert work.log.count("b") == FEW
    assert work.log.count("a") == 1


async def test_senders_take_turns(slow):
    work = Work()
    for sender in "abc":
        work.turns.make_tasks(sender, work.steps(sender, 10), 10)
    await work.settle()
    turns = "".join(work.log).replace("sent", "")
    assert turns.count("a") == turns.count("b") == turns.count("c") == 10
    assert sorted(turns[10:13]) == ["a", "b", "c"]


async def test_the_work_of_one_sender_is_done_in_its_order(slow):
    work = Work()
    work.turns.make_tasks("a", work.steps("1", 5), 5)
    work.turns.make_tasks("a", work.steps("2", 1), 1)
    await work.settle()
    assert "".join(work.log).replace("sent", "") == "111112"


async def test_replies_and_requests_have_the_same_share(slow):
    work = Work()
    for sender in "abcd":
        work.turns.make_tasks(sender, work.steps("r", 20), 20)
    work.turns.end_tasks("engine", work.steps("e", 20))
    await work.settle()
    turns = "".join(work.log).replace("sent", "")
    assert turns[:44].count("e") == 20


async def test_much_work_rests_while_somebody_else_asks_for_little(slow, monkeypatch):
    monkeypatch.setattr(turns_module, "REST_S", 3600.0)
    work = Work()
    work.turns.make_tasks("a", work.steps("a", 100), 100)
    work.turns.make_tasks("b", work.steps("b", 1), 1)
    work.turns.end_tasks("engine", work.steps("e", 10))
    await work.settle()
    # One turn was due already.
    assert work.log.count("a") + work.log.count("e") <= 4
    assert work.log.count("b") == 1
    work.turns.close()


async def test_much_work_does_not_rest_because_its_own_client_asks_for_little(slow, monkeypatch):
    monkeypatch.setattr(turns_module, "REST_S", 3600.0)
    work = Work()
    work.turns.make_tasks("a", work.steps("a", 100), 100)
    work.turns.make_tasks("a", work.steps("own", 1), 1)
    await work.settle()
    assert (work.log.count("a"), work.log.count("own")) == (100, 1)


async def test_much_work_does_not_rest_long_after_somebody_asked_for_little(slow, monkeypatch):
    monkeypatch.setattr(turns_module, "REST_S", 3600.0)
    monkeypatch.setattr(turns_module, "POLITE_S", 0.0)
    work = Work()
    work.turns.make_tasks("b", work.steps("b", 1), 1)
    work.turns.make_tasks("a", work.steps("a", 100), 100)
    await work.settle()
    assert work.log.count("a") == 100


async def test_a_sender_s_work_can_be_finished_at_once(slow):
    work = Work()
    work.turns.make_tasks("a", work.steps("a", 10), 10)
    work.turns.make_tasks("b", work.steps("b", 10), 10)
    work.turns.finish("a")
    assert work.log.count("a") == 10
    assert work.log.count("b") < 10
    work.turns.close()


async def test_what_work_causes_is_sent_at_its_end(slow):
    work = Work()
    work.turns.end_tasks("a", work.steps("a", 3))
    await work.settle()
    assert work.log == ["a", "a", "a", "sent"]


async def test_work_that_fails_ends_and_the_next_goes_on(slow):
    work = Work()

    def failing():
        yield
        raise ValueError("broken")

    found = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: found.append(context))
    work.turns.make_tasks("a", failing(), 9)
    work.turns.make_tasks("a", work.steps("b", 3), 3)
    await work.settle()
    assert len(found) == 1
    assert work.log.count("b") == 3
