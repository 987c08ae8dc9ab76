"""Dependencies in requests, and what engines say that they lack."""

from __future__ import annotations

import pytest

from ipyviews.controller.submissions import Choice, Cuts, Submission
from ipyviews.core.events import Kind
from ipyviews.core.schemes import SCHEMES
from tests.waiting import eventually


async def test_a_call_waits_for_another_and_follows_it(start):
    world = await start(2)
    client = await world.client()
    first = client.apply("stall", b"", targets=[1]) + ".0"
    await eventually(lambda: world.kernels[1].running)
    second = client.apply("echo", b"x", any=None, after={"tasks": [first]}) + ".0"
    third = client.apply("echo", b"y", any=None, follow={"tasks": [first], "all": False}) + ".0"
    await world.settle()
    assert not client.replies_to(second)
    world.kernels[1].finish()
    assert (await client.reply(second)).buffers == [b"x"]
    reply = await client.reply(third)
    assert (reply.buffers, reply.ours["engine"]) == ([b"y"], 1)


async def test_calls_of_one_request_wait_each_for_its_own(start):
    world = await start(2)
    client = await world.client()
    first = client.apply("stall", b"", targets=[1]) + ".0"
    await eventually(lambda: world.kernels[1].running)
    after = [{"tasks": [first]}, None]
    request = client.apply("echo", b"x", b"y", any=None, after=after, follow=after)
    assert (await client.reply(f"{request}.1")).buffers == [b"y"]
    await world.settle()
    assert not client.replies_to(f"{request}.0")
    world.kernels[1].finish()
    reply = await client.reply(f"{request}.0")
    assert (reply.buffers, reply.ours["engine"]) == ([b"x"], 1)


async def test_what_can_never_run_is_told_by_a_verdict_and_a_sentence(start):
    world = await start(1)
    client = await world.client()
    bad = client.apply("fail", b"", any=None) + ".0"
    hopeless = await client.reply(
        client.apply("echo", b"", any=None, after={"tasks": [bad]}) + ".0"
    )
    assert hopeless.ours["verdict"] == "impossible"
    assert hopeless.content["ename"] == "ImpossibleDependency"
    assert hopeless.content["evalue"].endswith(f"it comes after task {bad}, which failed")
    senseless = await client.reply(
        client.apply("echo", b"", any=None, follow={"tasks": ["x"]}) + ".0"
    )
    assert senseless.ours["verdict"] == "invalid"
    assert senseless.content["ename"] == "InvalidDependency"


async def test_what_an_engine_lacks_is_looked_for_on_the_others(start):
    world = await start(3)
    client = await world.client()
    reply = await client.reply(client.apply("lack", b"", any=[0, 2]) + ".0")
    assert reply.ours["verdict"] == "impossible"
    assert reply.content["evalue"].endswith("and no other is left; the last said: no tool")
    assert [run[4] for run in reply.ours["attempts"]] == ["unmet", "unmet"]
    assert sorted(run[0] for run in reply.ours["attempts"]) == [0, 2]


async def test_a_task_that_waits_for_one_without_an_engine_gets_no_word_of_that_one_s_engine(start):
    world = await start(1)
    client = await world.client()
    lacking = client.apply("lack", b"", any=None) + ".0"
    waiting = client.apply("echo", b"", any=None, after={"tasks": [lacking]}) + ".0"
    assert "no tool" in (await client.reply(lacking)).content["evalue"]
    reply = await client.reply(waiting)
    assert reply.content["evalue"].endswith(f"it comes after task {lacking}, which failed")


async def test_on_a_direct_call_what_the_engine_says_is_the_answer(start):
    world = await start(1)
    client = await world.client()
    reply = await client.reply(client.apply("lack", b"", targets=[0]) + ".0")
    assert reply.ours["verdict"] == "replied"
    assert reply.content["ename"] == "UnmetDependency"


@pytest.mark.parametrize(
    ("ours", "sentence"),
    [
        ({"any": None, "after": ["a"]}, "`after` must have a list of task ids in `tasks`"),
        ({"any": None, "ended": ["a"]}, "`ended` must tell of each task whether it succeeded"),
        ({"any": None, "ended": {"a": [1, 0, 1]}}, "`ended` must tell of each task whether"),
        ({"any": None, "ended": {"a": [True, "0", 1]}}, "`ended` must tell of each task whether"),
        ({"any": None, "ended": {"a": [True, 0]}}, "`ended` must tell of each task whether"),
        ({"any": None, "follow": {}}, "`follow` must have a list of task ids in `tasks`"),
        ({"any": None, "follow": {"tasks": [1]}}, "`follow` must have a list of task ids"),
        ({"any": None, "after": [None, None]}, "one for all calls, or a list with one for each"),
        ({"any": None, "after": {"tasks": [], "all": 1}}, "`after` must be true or false"),
        ({"any": None, "after": {"tasks": [], "success": False}}, "success or the failure"),
        ({"targets": [0], "after": {"tasks": []}}, "are for load-balanced requests"),
    ],
)
async def test_a_dependency_that_makes_no_sense_is_refused_before_anything_is_done(
    start, ours, sentence
):
    world = await start(1)
    client = await world.client()
    request = client.apply("echo", b"", **ours)
    await client.until(lambda: client.of(request))
    content = client.of(request)[0].read()
    assert content["ename"] == "UsageError"
    assert sentence in content["evalue"]
    assert not world.driver._performer.state.tasks


@pytest.mark.row("5-pure")
@pytest.mark.parametrize("scheme", SCHEMES)
async def test_the_scheme_is_used_and_told(start, scheme):
    world = await start(3, scheme=scheme)
    assert world.driver.connection_info(1)["ipyviews"]["scheme"] == scheme
    client = await world.client()
    request = client.apply("echo", *[b"x"] * 30, any=None)
    replies = [await client.reply(f"{request}.{index}") for index in range(30)]
    assert {reply.ours["engine"] for reply in replies} == {0, 1, 2}


@pytest.mark.row("5-hwm")
async def test_prefetch_is_how_many_calls_may_be_at_an_engine(start):
    world = await start(1, prefetch=2)
    client = await world.client()
    client.apply("stall", *[b""] * 5, any=None)
    await eventually(lambda: world.kernels[0].running)
    await world.settle()
    assert len(world.driver._performer.state.engines[0].running) == 2


@pytest.mark.parametrize("tasks", [[1, 2, 3], [0, 3, 2], [1, 3, 2, 4], [4], [3, 0]])
def test_calls_that_go_together_in_any_order_keep_their_own_arguments(tasks):
    arguments = [b"a", b"bb", b"", b"dddd", b"e"]
    cuts = Cuts([[len(argument), index % 2] for index, argument in enumerate(arguments)])
    choice = Choice(None, None, 0, 0, None)
    buffers = [b"f", b"".join(arguments), b"large 1", b"large 3"]
    submission = Submission(Kind.APPLY, choice, 5, {}, b"", buffers, cuts)
    content, (_, joined, *large) = submission.cut_together(tasks)
    assert bytes(joined) == b"".join(arguments[task] for task in tasks)
    assert content["index"] == [[len(arguments[task]), task % 2] for task in tasks]
    assert large == [b"large %d" % task for task in tasks if task % 2]
