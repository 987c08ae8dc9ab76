"""Deaths of engines: noted, told before what died with them, and named by replies."""

from __future__ import annotations

from ipyviews.controller.deaths import MOST_DEATHS, Deaths, LastWords, describe
from ipyviews.core.effects import UNANSWERED, Run
from ipyviews.launching.exits import report_exit
from tests.waiting import eventually

CRASH = (
    b"went wrong\nFatal Python error: Aborted\n\nCurrent thread 0x01 (most recent call first):\n"
)


def notices(client):
    """What a client was told of deaths, with its place among all messages."""
    return [
        (place, message.read()["deaths"])
        for place, message in enumerate(client.stream)
        if message.msg_type == "death_notice"
    ]


async def test_everybody_hears_of_a_death_before_the_replies(start):
    world = await start(2)
    client, other = await world.client(), await world.client()
    task = client.apply("stall", b"", targets=[1]) + ".0"
    await eventually(lambda: world.kernels[1].running)
    world.kernels[1].die(-6, tail=CRASH)
    reply = await client.reply(task)
    ((place, (told,)),) = notices(client)
    assert place < client.stream.index(client.replies_to(task)[0])
    assert (told["engine"], told["incarnation"], told["verdict"]) == (1, 1, "aborted")
    assert (told["task"], told["stderr"]) == (task, ["went wrong"])
    assert told["trace"].startswith("Fatal Python error")
    assert reply.ours["deaths"] == [[1, 1]]
    await other.until(lambda: notices(other))
    assert notices(other)[0][1] == [told]
    assert (await client.ask("status"))["deaths"] == [told]
    assert (await (world.stranger()).hello())["deaths"] == [told]


async def test_calls_that_had_not_begun_name_the_death_of_their_engine_too(start):
    world = await start(1)
    client = await world.client()
    running = client.execute("stall", targets=[0]) + ".0"
    waiting = client.execute("print x", targets=[0]) + ".0"
    await eventually(lambda: world.kernels[0].running)
    world.kernels[0].die()
    for task in (running, waiting):
        assert (await client.reply(task)).ours["deaths"] == [[0, 1]]
    assert notices(client)[0][1][0]["task"] == running


async def test_every_death_of_a_task_that_was_run_again_is_named(start):
    world = await start(3)
    client = await world.client()
    task = client.apply("stall", b"", any=None, reruns=2) + ".0"
    for _ in range(3):
        await eventually(lambda: any(kernel.running for kernel in world.kernels.values()))
        next(kernel for kernel in world.kernels.values() if kernel.running).die()
    reply = await client.reply(task)
    assert sorted(reply.ours["deaths"]) == [[0, 1], [1, 1], [2, 1]]
    assert "the last of 3 engines that were lost with this task" in reply.content["evalue"]


async def test_what_cells_wrote_to_stderr_is_in_the_report(start):
    world = await start(1)
    client = await world.client()
    task = client.execute("stall", targets=[0]) + ".0"
    await eventually(lambda: world.kernels[0].running)
    for name, text in (("stderr", "a\nb"), ("stdout", "not this\n"), ("stderr", "c\n")):
        world.kernels[0].publish("stream", {"name": name, "text": text}, f"{task}/0.1/1")
    world.kernels[0].die(tail=b"d")
    await client.reply(task)
    assert notices(client)[0][1][0]["stderr"] == ["a", "bc", "d"]


async def test_an_engine_that_was_told_to_end_has_not_died(start):
    world = await start(2)
    client = await world.client()
    task = client.apply("stall", b"", targets=[1]) + ".0"
    await eventually(lambda: world.kernels[1].running)
    await client.ask("restart", engines=[1], now=True)
    await client.ask("shutdown", engines=[0])
    assert (await client.reply(task)).ours["deaths"] == []
    assert not notices(client)


async def test_the_end_of_an_engine_that_starts_is_a_death(start):
    world = await start(1, lambda kernel: setattr(kernel.habits, "answers", False), joined=False)
    client = await world.client()
    task = client.apply("echo", b"x", targets=[0]) + ".0"
    for life in (1, 2):
        await eventually(lambda life=life: world.kernels[0].seen and world.lives() == [life])
        world.kernels[0].seen.clear()
        world.kernels[0].die(1)
    assert (await client.reply(task)).ours["deaths"] == [[0, 2]]
    told = (await client.ask("status"))["deaths"]
    assert [(one["engine"], one["incarnation"], one["task"]) for one in told] == [
        (0, 1, None),
        (0, 2, None),
    ]
    assert {one["verdict"] for one in told} == {"exit"}


def test_oldest_deaths_are_forgotten():
    deaths = Deaths()
    for life in range(MOST_DEATHS + 5):
        deaths.note((0, life), report_exit(7, -9))
    assert len(deaths) == len(deaths.told()) == MOST_DEATHS
    assert deaths.count == MOST_DEATHS + 5
    assert deaths.told()[0]["incarnation"] == 5
    assert deaths.named([], 0) == [(0, MOST_DEATHS + 4)]
    assert deaths.named([Run(0, 1, 0.0, 1.0, "killed")], 0) == []


def test_what_is_kept_for_the_next_controller_is_what_is_remembered():
    kept = {}

    def keep(name, content):
        if content is None:
            del kept[name]
        else:
            kept[name] = content

    deaths = Deaths()
    deaths.keep = keep
    for life in range(MOST_DEATHS + 5):
        deaths.note((0, life), report_exit(7, -9))
    assert list(kept.values()) == deaths.told()
    after = Deaths()
    after.restore(kept.values())
    assert after.told() == deaths.told()


def test_runs_that_ended_otherwise_name_no_death():
    deaths = Deaths()
    deaths.note((0, 1), report_exit(7, -9))
    deaths.note((1, 1), report_exit(7, -9))
    runs = [Run(0, 1, 0.0, 1.0, "error"), Run(1, 1, 1.0, 2.0, "killed by SIGKILL")]
    assert deaths.named(runs, None) == [(1, 1)]
    assert deaths.named([Run(1, 2, 1.0, 2.0, UNANSWERED)], 1) == []


def test_report_is_bounded_whatever_the_engine_wrote():
    words = LastWords()
    for _ in range(1000):
        words.heard(b'{"name": "stderr", "text": "%s"}' % (b"x" * 100_000))
    deaths = Deaths()
    trace = "Fatal Python error: \n" + "y" * 100_000
    tail = (("z" * 2000 + "\n") * 100).encode()
    deaths.note((0, 1), report_exit(7, -9, tail=tail), words=words, crash=trace)
    (told,) = deaths.told()
    assert len(str(told)) < 32_000
    assert {len(line) for line in told["stderr"]} == {500}


def test_what_is_no_json_is_no_word():
    words = LastWords()
    words.heard(b'{"name": "stderr", tex')
    assert words.lines() == []


def test_sentence_names_the_place_of_a_crash_and_not_its_trace():
    tail = CRASH + b'  File "a.py", line 3 in f\n'
    assert describe(report_exit(7, -6, tail=tail)) == (
        'aborted (SIGABRT) in f, "a.py" line 3; its last words: went wrong'
    )
