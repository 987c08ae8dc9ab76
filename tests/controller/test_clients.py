"""Clients come, ask, stall and go."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from ipyviews.controller import clients as clients_module
from ipyviews.controller import turns as turns_module
from ipyviews.controller.clients import Credit
from ipyviews.version import __version__
from tests.waiting import eventually

MB = 1024 * 1024


async def test_hello_tells_what_there_is(start):
    world = await start(2)
    answer = await world.stranger().hello()
    assert answer["status"] == "ok"
    assert answer["version"] == __version__
    assert answer["cluster_id"] == "test"
    assert answer["life"] == world.driver.life
    assert [engine["id"] for engine in answer["engines"]] == [0, 1]
    assert (answer["n"], answer["failed"]) == (2, [])


async def test_another_version_is_refused_with_both_versions(start):
    world = await start()
    answer = await world.stranger().hello(version="99.0.0")
    assert answer["ename"] == "VersionMismatch"
    assert "99.0.0" in answer["evalue"]
    assert __version__ in answer["evalue"]
    assert len(world.driver.clients) == 0


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("cancel", {"tasks": "all"}, "`tasks`"),
        ("interrupt", {"engines": ["0"]}, "`engines`"),
        ("interrupt", {"engines": [7]}, "no engine 7"),
        ("start", {"n": 0}, "`n`"),
        ("start", {"n": True}, "`n`"),
        ("start", {"n": 1, "kernel": 3}, "`kernel`"),
        ("restart", {"engines": [0, 9]}, "no engine 9"),
        ("restart", {}, "`engines`"),
        ("signal", {"engines": [0], "signal": 4000}, "`signal`"),
        ("shutdown", {"engines": []}, "`engines`"),
        ("received", {"bytes": -1}, "`bytes`"),
        ("dance", {}, "dance_request"),
    ],
)
async def test_a_bad_request_is_answered_once_and_does_nothing(start, name, content, says):
    world = await start(1)
    client = await world.client()
    answer = await client.ask(name, **content)
    assert answer["status"] == "error"
    assert says in answer["evalue"]
    assert world.counters["refused"] == 1
    assert world.states() == ["live"]
    assert (await client.ask("ping"))["status"] == "ok"


@pytest.mark.parametrize(
    ("ours", "says"),
    [
        ({}, "`targets` or `any`"),
        ({"targets": [0], "any": None}, "`targets` or `any`"),
        ({"targets": []}, "not empty"),
        ({"targets": "all"}, "`targets`"),
        ({"targets": [0.5]}, "whole numbers"),
        ({"any": [None]}, "`any`"),
        ({"any": None, "retries": -1}, "`retries`"),
        ({"any": None, "timeout": "soon"}, "`timeout`"),
    ],
)
async def test_a_bad_choice_of_engines_is_answered_once(start, ours, says):
    world = await start(1)
    client = await world.client()
    request = client.apply("echo", b"", **ours)
    reply = await client.reply(request)
    assert reply.type == "apply_reply"
    assert reply.content["ename"] == "UsageError"
    assert says in reply.content["evalue"]
    assert len(world.driver._store) == 0


@pytest.mark.parametrize(
    ("content", "buffers", "says"),
    [
        ({}, [b"f", b""], "`index`"),
        ({"index": []}, [b"f", b""], "`index`"),
        ({"index": [[1]]}, [b"f", b"a"], "`index`"),
        ({"index": [[-1, 0]]}, [b"f", b""], "`index`"),
        ({"index": [[1, 0]]}, [b"f"], "two buffers"),
        ({"index": [[2, 0]]}, [b"f", b"a"], "2 bytes"),
        ({"index": [[1, 0]]}, [b"f", b"a", b"x"], "1 buffers"),
        ({"index": [[1, 0], [0, 0]]}, [b"f", b"a"], "2 calls do not fit 1 targets"),
    ],
)
async def test_calls_that_do_not_fit_their_buffers_are_refused(start, content, buffers, says):
    world = await start(1)
    client = await world.client()
    request = client.send(
        "shell",
        "apply_request",
        content,
        metadata={"ipyviews": {"targets": [0]}},
        buffers=buffers,
    )
    assert says in (await client.reply(request)).content["evalue"]
    assert len(world.driver._store) == 0


async def test_an_unknown_engine_is_named_in_its_reply(start):
    world = await start(1)
    client = await world.client()
    request = client.apply("echo", b"", targets=[0, 5])
    assert (await client.reply(f"{request}.0")).content["status"] == "ok"
    refused = await client.reply(f"{request}.1")
    assert refused.ours["verdict"] == "unknown_engine"
    assert refused.ours["engine"] == 5
    assert "5" in refused.content["evalue"]


async def test_without_engines_a_balanced_call_fails_at_once(start):
    world = await start()
    client = await world.client()
    reply = await client.reply(client.apply("echo", b"", any=None) + ".0")
    assert reply.ours["verdict"] == "no_engines"
    assert reply.content["ename"] == "NoEnginesRegistered"


async def test_unknown_types_on_shell_get_one_error(start):
    world = await start()
    client = await world.client()
    reply = await client.reply(client.send("shell", "complete_request", {}))
    assert (reply.type, reply.content["ename"]) == ("complete_reply", "UsageError")


async def test_requests_without_hello_are_refused(start):
    world = await start(1)
    stranger = world.stranger()
    assert "hello" in (await stranger.ask("status"))["evalue"]
    reply = await stranger.reply(stranger.apply("echo", b"", any=None))
    assert "hello" in reply.content["evalue"]


async def test_a_request_id_is_used_once_and_belongs_to_its_sender(start):
    world = await start(1)
    client = await world.client()
    client.apply("stall", b"", any=None)
    for msg_id in (
        f"{client.session}-2",
        "somebody-1",
        f"{client.session}-1/2",
        f"{client.session}-\ud800",
    ):
        client.send(
            "shell",
            "apply_request",
            {"index": [[0, 0]]},
            msg_id=msg_id,
            metadata={"ipyviews": {"any": None}},
            buffers=[b"echo", b""],
        )
        assert (await client.reply(msg_id)).content["ename"] == "UsageError"


@pytest.mark.parametrize("session", ["x\ud800", "ä", "a b", "a/b", "a\n", 65 * "x"])
async def test_a_session_id_of_odd_letters_is_not_heard_and_harms_nobody(start, session):
    world = await start(1)
    odd, client = world.stranger(session=session), await world.client()
    odd.send("control", "hello_request", {"version": __version__})
    await world.settle()
    assert [one.id for one in world.driver.clients] == [client.session]
    assert world.counters["unverified"] == 1
    world.driver.clients.probe(everybody=True)
    assert (await client.ask("ping"))["status"] == "ok"


async def test_what_fails_in_one_look_around_is_looked_at_again(start, monkeypatch):
    world = await start(1)

    def fail():
        raise ZeroDivisionError

    monkeypatch.setattr(world.driver.silence, "look", fail)
    before = world.driver._probe_timer
    with pytest.raises(ZeroDivisionError):
        world.driver._probe()
    before.cancel()
    assert world.driver._probe_timer is not before


async def test_messages_that_do_not_verify_are_counted_and_never_answered(start):
    world = await start(1)
    forger = world.stranger(key="wrong")
    forger.send("control", "hello_request", {"version": __version__})
    forger.apply("echo", b"", any=None)
    client = await world.client()
    client.send("control", "ping_request", {}, to="somebody else")
    client.ports["control"].send([b"rubbish"])
    await eventually(lambda: world.counters["unverified"] == 4)
    assert (forger.replies, forger.stream) == ({}, [])
    assert len(client.replies) == 1


async def test_a_message_sent_again_is_dropped(start):
    world = await start(1)
    client = await world.client()
    frames = client._wires["control"].encode("ping_request", "again-1", {}, to=client.life)
    client.ports["control"].send(frames)
    client.ports["control"].send(frames)
    await eventually(lambda: world.counters["unverified"] == 1)


async def test_engine_changes_of_one_turn_are_one_notice(start):
    world = await start(1)
    client = await world.client()
    await world.settle()
    client.notices.clear()
    world.driver.fleet.start(3)
    await eventually(lambda: world.states() == ["live"] * 4)
    await world.settle()
    engines = [content for kind, content in client.notices if kind == "engines_notice"]
    assert len(engines[0]["engines"]) == 4
    assert len(engines) < 8
    assert [info["state"] for info in engines[-1]["engines"]] == ["live"] * 4


async def test_status_counts_running_and_queued(start):
    world = await start(2)
    client = await world.client()
    client.apply("stall", b"", targets=[1])
    client.apply("echo", b"", b"", targets=[1, 1])
    await eventually(lambda: world.kernels[1].running)
    status = await client.ask("status")
    assert [(e["running"], e["queued"]) for e in status["engines"]] == [(0, 0), (1, 2)]
    assert [c["id"] for c in status["clients"]] == [client.session]
    assert all(engine["since"] > 1e9 for engine in status["engines"])
    json.dumps(status["counters"])


async def test_bye_ends_a_session_and_drops_what_waits(start):
    world = await start(1)
    client = await world.client()
    counts = []
    world.driver.clients.on_count = counts.append
    client.apply("stall", b"", b"", any=None)
    await eventually(lambda: world.kernels[0].running)
    assert (await client.ask("bye"))["status"] == "ok"
    assert counts == [0]
    world.kernels[0].finish()
    await world.settle()
    assert len(world.driver._store) == 0
    assert not world.kernels[0].running


class Channel:
    """Notes what is sent."""

    def __init__(self):
        self.sent = []

    def send(self, client, msg_type, content, *, parent="", metadata=None, buffers=()):
        self.sent.append((msg_type, parent))
        return 1


@pytest.mark.parametrize("content", [b"[" * 100_000, b"{" + b" " * 100_000 + b"}", b"no json"])
def test_a_reply_that_cannot_go_with_others_goes_alone_and_holds_back_none(content):
    shell = Channel()
    clients = clients_module.Clients(
        shell, Channel(), lambda: 0.0, lambda _: None, Counter(), turns=None
    )
    clients.join("c", "name", 1)
    for number in range(3):
        body = content if number == 1 else {"status": "ok"}
        clients.reply("c", (f"c-1.{number}", "apply_reply", body, {}, ()))
    clients.flush()
    told = [parent for kind, parent in shell.sent if kind == "apply_reply"]
    assert told == ["c-1.0", "c-1.1", "c-1.2"]


async def test_a_client_may_leave_while_its_request_is_taken_in(start, monkeypatch):
    monkeypatch.setattr(turns_module, "SLICE_S", -1.0)
    world = await start(1)
    client, other = await world.client(), await world.client()
    client.apply("echo", *[b"x"] * 1000, any=None)
    await eventually(lambda: len(world.driver._store) > 0)
    assert len(world.driver._store) < 900
    assert (await client.ask("bye"))["status"] == "ok"
    reply = await other.reply(other.apply("echo", b"y", any=None) + ".0")
    assert reply.buffers == [b"y"]
    await eventually(lambda: len(world.driver._store) == 0)
    # What of it was not taken in has no record that would stay for ever.
    pending = await other.ask("db", query={"status": "pending"})
    assert pending["records"] == []


async def test_engines_are_told_that_a_client_left(start):
    world = await start(2)
    client = await world.client()
    await client.ask("bye")
    await eventually(lambda: [k.left for k in world.kernels.values()] == [[client.session]] * 2)


async def test_on_a_detached_cluster_queued_work_outlives_its_client(start):
    world = await start(1, detached=True)
    client = await world.client()
    client.apply("stall", b"", b"", any=None)
    await eventually(lambda: world.kernels[0].running)
    assert (await client.ask("bye"))["status"] == "ok"
    world.kernels[0].finish()
    await eventually(lambda: world.kernels[0].running)
    world.kernels[0].finish()
    await eventually(lambda: len(world.driver._store) == 0)


async def test_a_client_that_died_is_noticed(start, monkeypatch):
    world = await start(1)
    client, other = await world.client(), await world.client()
    client.close()
    world.driver.clients.probe(everybody=True)
    await eventually(lambda: len(world.driver.clients) == 1)
    assert (await other.ask("ping"))["status"] == "ok"


async def test_a_client_that_is_only_silent_keeps_its_session(start, monkeypatch):
    monkeypatch.setattr(clients_module, "PROBE_AFTER_S", 0.0)
    world = await start(1)
    client = await world.client()
    for port in client.ports.values():
        port.stall()
    task = client.apply("echo", b"x", any=None) + ".0"
    for _ in range(5):
        world.driver.clients.probe()
        await world.settle()
    for port in client.ports.values():
        port.resume()
    assert (await client.reply(task)).buffers == [b"x"]


async def test_a_dead_client_s_reply_harms_nobody(start):
    world = await start(1)
    client, other = await world.client(), await world.client()
    client.execute("stall", targets=[0])
    await eventually(lambda: world.kernels[0].running)
    client.close()
    world.kernels[0].finish()
    reply = await other.reply(other.execute("print x", targets=[0]) + ".0")
    assert reply.content["status"] == "ok"
    assert len(world.driver.clients) == 1


async def test_a_client_that_does_not_read_is_given_nothing_more_until_it_reads(start, monkeypatch):
    monkeypatch.setattr(clients_module, "STALL_BYTES", 20_000)
    world = await start(1)
    slow, quick = await world.client(), await world.client()
    request = slow.apply("echo", *[bytes(1000)] * 100, any=None)
    await eventually(lambda: world.counters["clients_stalled"] == 1)
    reply = await quick.reply(quick.apply("echo", b"x", any=None) + ".0")
    assert reply.buffers == [b"x"]
    await world.settle()
    assert len(slow.stream) < 30

    async def read_on():
        while not slow.replies_to(f"{request}.99"):
            slow.acknowledge()
            await world.settle()

    await read_on()
    assert all(slow.replies_to(f"{request}.{i}") for i in range(100))


async def test_output_beyond_the_cap_is_dropped_counted_and_told(start, monkeypatch):
    monkeypatch.setattr(clients_module, "STALL_BYTES", 10_000)
    monkeypatch.setattr(clients_module, "FOLD_BYTES", 20_000)
    world = await start(1)
    client = await world.client()
    task = client.execute("stall", targets=[0]) + ".0"
    await eventually(lambda: world.kernels[0].running)
    for _ in range(100):
        content = {"name": "stdout", "text": "x" * 1000}
        world.kernels[0].publish("stream", content, f"{task}/0.1/1")
    await eventually(lambda: world.counters["output_folded"])
    world.kernels[0].finish()
    await client.reply(task)
    assert client.types(task)[-2:] == ["output_folded", "execute_reply"]
    [notice] = [m.read() for m in client.of(task) if m.msg_type == "output_folded"]
    assert notice["messages"] + client.types(task).count("stream") == 100
    assert notice["bytes"] > 1000 * notice["messages"]


async def test_large_results_on_their_way_do_not_fold_output():
    credit = Credit()
    credit.spend(500 * MB)
    assert credit.unread == 500 * MB
    assert not credit.is_full()
    for _ in range(300):
        credit.spend(MB // 2)
    assert credit.is_full()
    credit.acknowledge(500 * MB)
    assert credit.unread == 150 * MB
    credit.acknowledge(10_000 * MB)
    assert credit.unread == 0
    assert not credit.is_full()


async def test_shutting_the_cluster_down_is_answered_and_told_to_all(start):
    world = await start(1)
    client, other = await world.client(), await world.client()
    assert (await client.ask("shutdown", cluster=True))["status"] == "ok"
    why = await world.driver.ended
    await world.driver.close(why)
    await world.settle()
    assert other.notices[-1][0] == "bye_notice"
    assert client.session in other.notices[-1][1]["reason"]
    assert world.driver.fleet.launcher.closed is True


async def test_two_clients_keep_apart(start):
    world = await start(2)
    first, second = await world.client(), await world.client()
    mine = first.apply("echo", *[b"1"] * 50, any=None)
    other = second.apply("print", *[b"2"] * 50, any=None)
    for i in range(50):
        assert (await first.reply(f"{mine}.{i}")).buffers == [b"1"]
        assert (await second.reply(f"{other}.{i}")).buffers == [b"2"]
    assert {message.parent_id.split(".")[0] for message in first.stream} == {mine}
    assert {message.parent_id.split(".")[0] for message in second.stream} == {other}


async def test_a_broken_rule_ends_the_cluster_instead_of_letting_somebody_wait(start, errors):
    world = await start(1)
    client = await world.client()

    def break_rule(_event):
        raise AssertionError("a rule is broken")

    world.driver._performer.state.handle = break_rule
    client.apply("echo", b"", any=None)
    assert "a rule is broken" in await world.driver.ended
    assert "a rule is broken" in repr(errors.pop()["exception"])
    world.driver._performer.state.handle = lambda _event: []


async def test_replies_go_first_to_the_client_that_gets_the_fewest(start, monkeypatch):
    world = await start()
    many, few = await world.client(), await world.client()
    clients, sent = world.driver.clients, []
    monkeypatch.setattr(
        world.driver._shell, "send", lambda client, *_, **__: sent.append(client) or 0
    )
    for number in range(3):
        clients.reply(many.session, (f"{many.session}-1.{number}", "apply_reply", {}, {}, ()))
    clients.reply(few.session, (f"{few.session}-1.0", "apply_reply", {}, {}, ()))
    clients.flush()
    assert sent == [few.session, many.session]
