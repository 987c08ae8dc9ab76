"""Engines join, die, restart and end."""

from __future__ import annotations

import asyncio

import pytest

from ipyviews.controller import fleet, joining
from ipyviews.controller.setups import Limit
from tests.waiting import eventually


async def test_an_engine_without_a_welcome_joins_when_its_status_arrives(start, monkeypatch):
    monkeypatch.setattr(joining, "ASK_AGAIN_S", 0.001)
    world = await start(1, lambda kernel: setattr(kernel.habits, "welcomes", False))
    assert world.driver.fleet.infos()[0]["apply"] is True


async def test_no_task_is_sent_before_output_is_proven(start, monkeypatch):
    monkeypatch.setattr(joining, "ASK_AGAIN_S", 0.001)
    published = []

    def deaf(kernel):
        kernel.habits.welcomes = False
        kernel._send_iopub, kernel.speak = lambda *said: published.append(said), kernel._send_iopub

    world = await start(1, deaf, joined=False)
    client = await world.client()
    task = client.execute("print x", targets=[0]) + ".0"
    await eventually(lambda: len(published) > 10)
    kernel = world.kernels[0]
    assert {kind for _, kind, _ in kernel.seen} == {"kernel_info_request"}
    kernel._send_iopub = kernel.speak
    await client.reply(task)
    assert client.text(task) == "x\n"


async def test_an_engine_where_ipyviews_is_not_installed_joins_by_source(start):
    world = await start(1, lambda kernel: setattr(kernel.habits, "loads", "source"))
    assert world.driver.fleet.infos()[0]["apply"] is True


async def test_a_python_kernel_that_loads_nothing_takes_cells_and_says_why_no_calls(start):
    world = await start(1, lambda kernel: setattr(kernel.habits, "loads", ""))
    client = await world.client()
    info = world.driver.fleet.infos()[0]
    assert info["apply"] is False
    assert "ImportError" in info["reason"]
    assert (await client.reply(client.execute("print x", targets=[0]) + ".0")).content
    refused = await client.reply(client.apply("echo", b"", targets=[0]) + ".0")
    assert refused.ours["verdict"] == "unknown_engine"
    assert refused.content["ename"] == "UsageError"


async def test_a_kernel_of_another_language_takes_cells(start):
    world = await start(1, lambda kernel: setattr(kernel.habits, "language", "bash"))
    client = await world.client()
    info = world.driver.fleet.infos()[0]
    assert (info["language"], info["implementation"], info["apply"]) == ("bash", None, False)
    task = client.execute("print x", targets=[0]) + ".0"
    await client.reply(task)
    assert client.text(task) == "x\n"


async def test_what_clients_are_told_of_an_engine(start):
    world = await start(1)
    assert world.driver.fleet.infos() == [
        {
            "id": 0,
            "incarnation": 1,
            "state": "live",
            "kernel": "fake",
            "language": "python",
            "implementation": "cpython-3.11",
            "apply": True,
            "place": "",
            "pid": 1000,
            "connection_file": str(world.kernels[0].connection_file),
            "reason": None,
        }
    ]


async def test_tasks_wait_for_an_engine_that_is_starting(start):
    world = await start(1, lambda kernel: setattr(kernel.habits, "answers", False), joined=False)
    client = await world.client()
    task = client.apply("echo", b"x", targets=[0]) + ".0"
    await eventually(lambda: world.kernels[0].seen)
    assert client.of(task) == []
    for life in (1, 2):
        await eventually(lambda life=life: world.kernels[0].seen and world.lives() == [life])
        world.kernels[0].seen.clear()
        world.kernels[0].die(1, tail=b"ModuleNotFoundError: No module named 'ipykernel'")
    reply = await client.reply(task)
    assert reply.ours["verdict"] == "engine_lost"
    failed = dict((await client.hello())["failed"])
    assert "exit code 1" in failed[0]
    assert "No module named 'ipykernel'" in failed[0]


async def test_an_engine_that_is_silent_fails_after_its_time(start, monkeypatch):
    monkeypatch.setattr(joining, "START_LIMIT_S", 0.02)
    world = await start(1, lambda kernel: setattr(kernel.habits, "answers", False), joined=False)
    await eventually(lambda: world.states() == ["lost"])
    [(engine, sentence)] = world.driver.fleet.failed()
    assert engine == 0
    assert "did not answer a kernel_info_request within" in sentence


async def test_an_engine_that_cannot_be_started_says_why(start):
    world = await start(2, lambda k: "refuse" if k.engine_id == 1 else None, joined=False)
    await eventually(lambda: world.states() == ["live", "lost"])
    assert world.driver.fleet.failed() == [
        (1, "it did not start: there is no such program"),
    ]


async def test_death_ends_a_direct_call_with_engine_and_reason(start):
    world = await start(2)
    client = await world.client()
    task = client.apply("stall", b"", targets=[1]) + ".0"
    await eventually(lambda: world.kernels[1].running)
    world.kernels[1].die(-9)
    reply = await client.reply(task)
    assert reply.ours["verdict"] == "engine_lost"
    assert reply.content["ename"] == "EngineError"
    for part in ("engine 1", task, "SIGKILL"):
        assert part in reply.content["evalue"]
    assert world.states() == ["live", "lost"]


async def test_a_balanced_call_is_run_again_elsewhere_when_its_engine_is_killed(start):
    world = await start(2)
    client = await world.client()
    request = client.apply("stall", b"", b"", any=None)
    await eventually(lambda: world.kernels[0].running and world.kernels[1].running)
    lost = world.kernels[0].running.message.msg_id.split("/")[0]
    world.kernels[0].die(-9)
    await eventually(lambda: world.states() == ["lost", "live"])
    world.kernels[1].finish()
    await eventually(lambda: world.kernels[1].running)
    world.kernels[1].finish()
    reply = await client.reply(lost)
    assert reply.content["status"] == "ok"
    assert [run[0] for run in reply.ours["attempts"]] == [0, 1]
    assert len(client.replies_to(f"{request}.0") + client.replies_to(f"{request}.1")) == 2


async def test_a_call_that_kills_its_engine_is_not_run_again(start):
    world = await start(2)
    client = await world.client()
    for kernel in world.kernels.values():
        kernel.die = lambda *a, kernel=kernel, die=kernel.die, **k: die(-11, tail=b"Fatal: fake")
    reply = await client.reply(client.apply("die", b"", any=None) + ".0")
    assert reply.ours["verdict"] == "engine_lost"
    assert "Fatal: fake" in reply.content["evalue"]
    assert sorted(world.states()) == ["live", "lost"]


async def test_a_reply_that_was_sent_before_the_death_counts(start):
    world = await start(1)
    client = await world.client()
    world.kernels[0].habits.idle = "never"
    task = client.execute("print last words", targets=[0]) + ".0"
    await client.until(lambda: client.text(task))
    world.kernels[0].die()
    reply = await client.reply(task)
    assert reply.content == {"status": "ok"}
    assert reply.ours["incomplete_output"] is True


async def test_the_output_before_a_death_precedes_the_verdict(start):
    world = await start(1)
    client = await world.client()
    task = client.execute("stall", targets=[0]) + ".0"
    await eventually(lambda: world.kernels[0].running)
    world.kernels[0].publish("stream", {"name": "stdout", "text": "x"}, f"{task}/0.1/1")
    world.kernels[0].die()
    await client.reply(task)
    assert client.types(task) == ["execute_input", "stream", "execute_reply"]


async def test_a_restarted_engine_is_a_new_incarnation_that_answers(start):
    world = await start(2)
    client = await world.client()
    answer = await client.ask("restart", engines=[1], now=True)
    assert [(e["id"], e["incarnation"], e["state"]) for e in answer["engines"]] == [(1, 2, "live")]
    reply = await client.reply(client.apply("echo", b"x", targets=[1]) + ".0")
    assert reply.ours["attempts"][0][:2] == [1, 2]


async def test_a_restart_ends_what_ran_and_keeps_what_waits(start):
    world = await start(1)
    client = await world.client()
    running = client.apply("stall", b"", targets=[0])
    waiting = client.apply("echo", b"x", targets=[0])
    await eventually(lambda: world.kernels[0].running)
    await client.ask("restart", engines=[0], now=True)
    lost = await client.reply(f"{running}.0")
    assert lost.ours["verdict"] == "engine_lost"
    assert "restarted" in lost.content["evalue"]
    assert (await client.reply(f"{waiting}.0")).content["status"] == "ok"


async def test_a_late_reply_of_a_former_life_changes_nothing(start):
    world = await start(1)
    client = await world.client()
    await client.reply(client.apply("echo", b"x", targets=[0]) + ".0")
    port, frames = world.kernels[0].last_reply
    await client.ask("restart", engines=[0], now=True)
    task = client.apply("stall", b"", targets=[0]) + ".0"
    await eventually(lambda: world.kernels[0].running)
    world.kernels[0]._ports[port].send(frames)
    await world.settle()
    assert client.of(task) == []
    assert world.counters["stale"] == 1
    world.kernels[0].finish()
    assert (await client.reply(task)).content["status"] == "ok"


async def test_a_dead_engine_can_be_restarted(start):
    world = await start(1)
    client = await world.client()
    world.kernels[0].die()
    await eventually(lambda: world.states() == ["lost"])
    answer = await client.ask("restart", engines=[0], now=False)
    assert answer["engines"][0]["state"] == "live"
    assert (await client.reply(client.apply("echo", b"", any=None) + ".0")).content


async def test_fifty_restarts_under_load_leave_nothing_stale(start):
    world = await start(1)
    client = await world.client()
    for _ in range(50):
        request = client.apply("echo", *[b"x"] * 5, targets=[0] * 5)
        await client.ask("restart", engines=[0], now=True)
        for index in range(5):
            reply = await client.reply(f"{request}.{index}")
            assert reply.ours["verdict"] in ("replied", "engine_lost")
    assert len(world.driver._store) == 0


async def test_engines_can_be_added(start):
    world = await start(1)
    client = await world.client()
    answer = await client.ask("start", n=2)
    assert answer == {"status": "ok", "engines": [1, 2]}
    reply = await client.reply(client.apply("echo", b"x", targets=[2]) + ".0")
    assert reply.content["status"] == "ok"
    assert (await client.hello())["n"] == 3


async def test_an_engine_can_be_shut_down(start):
    world = await start(2)
    client = await world.client()
    running = client.apply("stall", b"", targets=[0])
    await eventually(lambda: world.kernels[0].running)
    assert (await client.ask("shutdown", engines=[0]))["status"] == "ok"
    assert "shut down" in (await client.reply(f"{running}.0")).content["evalue"]
    assert world.states() == ["lost", "live"]
    assert (await client.hello())["n"] == 1


async def test_an_engine_can_be_shut_down_while_it_starts(start):
    world = await start(1, lambda kernel: setattr(kernel.habits, "answers", False), joined=False)
    client = await world.client()
    waiting = client.apply("echo", b"", targets=[0])
    await eventually(lambda: world.kernels[0].seen)
    assert (await client.ask("shutdown", engines=[0]))["status"] == "ok"
    assert (await client.reply(f"{waiting}.0")).ours["verdict"] == "engine_lost"
    assert world.states() == ["lost"]
    assert world.kernels[0]._ports == {}
    assert world.driver.links._links == {}


async def test_an_engine_that_ends_twice_before_anybody_connects_fails_at_once(start):
    world = await start(1, sickly(2, 1), joined=False)
    await eventually(lambda: world.states() == ["lost"], 5)
    assert "exit code 1" in world.driver.fleet.failed()[0][1]
    told = world.driver.fleet.deaths.told()
    assert [(one["incarnation"], one["restarted"]) for one in told] == [(1, True), (2, False)]


def sickly(deaths, returncode=-11):
    """Make a kernel die so many times as soon as it is there, with a trace."""
    trace = b"Fatal Python error: Segmentation fault\n\nThread 0x1 (most recent call first):\n"

    def sick(kernel):
        boot, left = kernel.boot, [deaths]

        def boot_and_die():
            boot()
            if left[0]:
                left[0] -= 1
                asyncio.get_running_loop().call_soon(lambda: kernel.die(returncode, tail=trace))

        kernel.boot = boot_and_die

    return sick


async def test_an_engine_that_ends_before_it_has_said_anything_is_started_once_more(start, caplog):
    world = await start(2, lambda k: sickly(1)(k) if k.engine_id == 1 else None, joined=False)
    await eventually(lambda: world.states() == ["live", "live"])
    assert world.lives() == [1, 2]
    assert world.driver.fleet.failed() == []
    assert world.counters["second_starts"] == 1
    assert "engine 1 is started once more" in caplog.text
    (death,) = world.driver.fleet.deaths.told()
    assert (death["engine"], death["restarted"]) == (1, True)
    assert "Fatal Python error" in death["trace"]
    client = await world.client()
    reply = await client.reply(client.apply("echo", b"x", targets=[1]) + ".0")
    assert reply.content["status"] == "ok"


@pytest.mark.parametrize("deaths", [1, 2])
async def test_so_it_is_when_it_is_restarted_or_added(start, deaths):
    world = await start(1)
    client = await world.client()
    sickly(deaths)(world.kernels[0])
    answer = await client.ask("restart", engines=[0], now=True)
    assert answer["engines"][0]["state"] == ("live" if deaths == 1 else "lost")
    assert world.lives() == [3]
    world.driver.fleet.launcher._prepare = sickly(deaths)
    await client.ask("start", n=1)
    await eventually(lambda: world.states()[1] == ("live" if deaths == 1 else "lost"))
    assert world.counters["second_starts"] == 2


async def test_so_it_is_when_it_comes_back_by_itself(start):
    world = await start(1, restart=Limit(1, 60.0))
    sickly(1)(world.kernels[0])
    world.kernels[0].die()
    await eventually(lambda: world.lives() == [3])
    await eventually(lambda: world.states() == ["live"])


async def test_an_engine_that_has_answered_and_is_not_ready_is_started_once_more(start):
    def mute_at_first(kernel):
        answer = kernel._answer_probe
        kernel._answer_probe = lambda *sent: kernel.incarnation > 1 and answer(*sent)

    world = await start(1, mute_at_first, joined=False)
    await eventually(lambda: "execute_request" in str([k.seen for k in world.kernels.values()]))
    world.kernels[0].die(-11)
    await eventually(lambda: world.states() == ["live"])
    assert world.lives() == [2]


async def test_an_engine_that_runs_set_up_cells_is_not_started_once_more(start):
    world = await start(1)
    world.driver.fleet.setups.note(0, "stall")
    client = await world.client()
    client.send("control", "restart_request", {"engines": [0], "now": True})
    await eventually(lambda: world.kernels[0].incarnation == 2 and world.kernels[0].running)
    world.kernels[0].die(-11)
    await eventually(lambda: world.states() == ["lost"])
    assert world.lives() == [2]


async def test_an_engine_that_was_sent_a_signal_as_it_starts_is_not_started_once_more(start):
    world = await start(1, lambda kernel: setattr(kernel.habits, "answers", False), joined=False)
    client = await world.client()
    await eventually(lambda: world.kernels[0].seen)
    await client.ask("signal", engines=[0], signal=9)
    await eventually(lambda: world.states() == ["lost"])
    assert world.lives() == [1]


async def test_an_engine_that_is_shut_down_during_its_second_start_stays_dead(start):
    def sick_then_silent(kernel):
        kernel.habits.answers = False
        sickly(1)(kernel)

    world = await start(1, sick_then_silent, joined=False)
    client = await world.client()
    await eventually(lambda: world.lives() == [2] and world.kernels[0].seen)
    assert (await client.ask("shutdown", engines=[0]))["status"] == "ok"
    assert (world.states(), world.lives()) == (["lost"], [2])
    assert world.kernels[0]._ports == {}


async def test_a_launcher_that_fails_is_answered(start):
    world = await start(1)
    client = await world.client()

    async def fail(_number):
        raise RuntimeError("no such process")

    world.kernels[0].signal = fail
    answer = await client.ask("signal", engines=[0], signal=15)
    assert (answer["ename"], answer["evalue"]) == ("ClusterError", "RuntimeError: no such process")


async def test_an_engine_that_was_shut_down_is_not_restarted(start):
    world = await start(1)
    client = await world.client()
    await client.ask("shutdown", engines=[0])
    answer = await client.ask("restart", engines=[0], now=True)
    assert "cannot be restarted now: it is lost" in answer["evalue"]


async def test_signals_reach_the_engines_named(start):
    world = await start(2)
    client = await world.client()
    assert (await client.ask("signal", engines=[1], signal=10))["status"] == "ok"
    assert (world.kernels[0].signals, world.kernels[1].signals) == ([], [10])


async def test_an_exit_reported_for_a_former_life_changes_nothing(start):
    world = await start(1)
    client = await world.client()
    await client.ask("restart", engines=[0], now=True)
    world.driver.fleet.exited(0, 1, fleet_report())
    await asyncio.sleep(2 * fleet.LAST_WORDS_S)
    assert world.states() == ["live"]


def fleet_report():
    from ipyviews.launching.exits import report_exit

    return report_exit(1, -9)


@pytest.mark.parametrize("tail", ["", "a\nb\n\nc\n"])
def test_last_words_are_told_when_there_are_any(tail):
    from ipyviews.launching.exits import ExitReport

    sentence = fleet.describe(ExitReport(1, -9, "killed by SIGKILL", False, tail))
    expected = "killed by SIGKILL" + ("; its last words: a | b | c" if tail else "")
    assert sentence == expected


async def test_engines_beyond_the_limit_of_open_files_are_refused_and_the_others_come_up(start):
    world = await start()
    world.driver.fleet.most = 2
    world.driver.fleet.start(4)
    await eventually(lambda: world.states() == ["live", "live", "lost", "lost"])
    assert [engine for engine, _ in world.driver.fleet.failed()] == [2, 3]
    assert all("limit of open files" in why for _, why in world.driver.fleet.failed())
