"""Asking for what a controller remembers, when it is slow, silent or dies."""

from __future__ import annotations

import asyncio

import pytest

from ipyviews.client import records, returning
from ipyviews.client.aio import AsyncClient
from ipyviews.errors import ControllerLost, EngineError, UsageError
from tests.client.fakes import engine_info
from tests.waiting import wait_until


@pytest.fixture
def pending(fake):
    """Every task asked for is pending, for ever."""

    def on_result(content):
        if content.get("status_only"):
            return {"pending": content["tasks"], "completed": [], "unknown": []}
        return None

    fake._on_result = on_result
    return fake


def asked(fake, name):
    return [content for kind, content, _ in fake.requests if kind == f"{name}_request"]


def test_a_pending_result_is_asked_for_once_and_the_controller_answers_when_it_is_there(
    pending, rc
):
    result = rc.get_result("other-1.0")
    assert not result.wait(0.3)
    held = [content for content in asked(pending, "result") if content.get("hold")]
    assert held == [{"tasks": ["other-1.0"], "hold": True}]


def test_the_wait_for_a_result_of_the_controller_ends_with_its_death(pending, rc, monkeypatch):
    monkeypatch.setattr(returning, "DOUBT_S", 0.02)
    result = rc.get_result(["other-1.0", "other-1.1"])
    wait_until(lambda: asked(pending, "result"))
    pending.die()
    with pytest.raises(ControllerLost):
        result.get(timeout=10)


async def test_the_awaited_one_does_too(pending, monkeypatch):
    monkeypatch.setattr(returning, "DOUBT_S", 0.02)
    async with AsyncClient(pending.file, transport=pending.transport) as rc:
        result = rc.get_result("other-1.0")
        await asyncio.to_thread(wait_until, lambda: asked(pending, "result"))
        await asyncio.to_thread(pending.die)
        with pytest.raises(ControllerLost):
            await asyncio.wait_for(result, 10)


@pytest.mark.parametrize(
    "ask",
    [
        lambda rc: rc.hub_history(),
        lambda rc: rc.db_query({}),
        lambda rc: rc.queue_status(),
        lambda rc: rc.result_status("other-1.0"),
        lambda rc: rc.purge_hub_results("other-1.0"),
        lambda rc: rc.resubmit("other-1.0"),
    ],
)
def test_a_question_ends_with_the_controller_s_death(fake, rc, monkeypatch, ask):
    monkeypatch.setattr(returning, "DOUBT_S", 0.02)
    fake.mute = True
    fake.on_request = lambda name: fake.loop.call_soon(
        lambda: [port.close() for port in fake._ports]
    )
    with pytest.raises(ControllerLost):
        ask(rc)
    assert not rc.outstanding


def test_a_refused_resubmission_leaves_nothing_waiting(fake, rc):
    fake._on_resubmit = lambda content: {
        "refused": dict.fromkeys(content["requests"].values(), "it is gone")
    }
    with pytest.raises(UsageError, match="it is gone"):
        rc.resubmit(["other-1.0", "other-1.1"])
    assert not rc.outstanding
    assert rc.wait(timeout=5)


def test_resubmitted_tasks_get_their_replies_on_the_usual_way(fake, rc):
    fake._on_resubmit = lambda content: {"refused": {}}
    result = rc.resubmit("other-1.0")
    name = asked(fake, "resubmit")[0]["requests"]
    assert list(name.values()) == ["other-1.0"]
    (request,) = name
    assert result.msg_ids == [f"{request}.0"] == rc.history
    assert rc.outstanding == {f"{request}.0"}
    reply = {"status": "ok", "execution_count": 3}
    fake.do(lambda: fake.reply(f"{request}.0", "execute", reply, engine=1))
    assert result.get(timeout=5).execution_count == 3
    assert result.engine_id == 1


def test_naive_times_of_a_query_are_local(fake, rc):
    from datetime import UTC, datetime

    fake._on_db = lambda content: {"records": []}
    moment = datetime(2026, 3, 1, 12, tzinfo=UTC)
    naive = moment.astimezone().replace(tzinfo=None)
    rc.db_query({"submitted": {"$gt": naive, "$in": [moment]}})
    told = asked(fake, "db")[0]["query"]["submitted"]
    assert [datetime.fromisoformat(one) for one in (told["$gt"], *told["$in"])] == [moment] * 2


def test_buffers_go_to_their_records_in_order(rc):
    content = {
        "records": [
            {"msg_id": "a", "buffers": 1, "result_buffers": 2},
            {"msg_id": "b", "buffers": 0, "result_buffers": 1},
        ],
        "buffers": [b"1", b"2", b"3", b"4"],
    }
    assert records._records(content) == [
        {"msg_id": "a", "buffers": [b"1"], "result_buffers": [b"2", b"3"]},
        {"msg_id": "b", "buffers": [], "result_buffers": [b"4"]},
    ]


def test_only_some_ids_are_named_in_a_sentence(fake, rc):
    fake.holding = True
    result = rc[0].map_async(abs, range(8))
    many = [rc[0].apply(abs, n) for n in range(8)]
    with pytest.raises(RuntimeError, match=r"and \d+ more$"):
        rc.purge_local_results([result, *many])
    fake.release()


def test_only_living_engines_have_queues_but_records_of_gone_ones_can_be_purged(fake, rc):
    fake._on_purge = lambda content: {"purged": 3, "pending": []}
    fake.notice(engines=[engine_info(0), engine_info(1, state="lost", reason="it was stopped")])
    wait_until(lambda: rc.ids == [0])
    assert set(rc.queue_status()) == {0, "unassigned"}
    with pytest.raises(EngineError, match="Engine 1 is gone"):
        rc.queue_status(1)
    rc.purge_hub_results(targets=1)
    assert asked(fake, "purge") == [{"tasks": [], "engines": [1]}]
    with pytest.raises(IndexError, match="No such engine: 7"):
        rc.purge_hub_results(targets=[0, 7])
