"""Death reports on the client: with the errors of what died, and by themselves."""

import time

import pytest

from ipyviews import AsyncClient, EngineError, UsageError
from ipyviews.client import control
from ipyviews.client.deaths import MOST_DEATHS, Deaths
from tests.test_deaths import CRASH
from tests.waiting import wait_until


def report(engine=0, incarnation=1):
    return {**CRASH.as_content(), "engine": engine, "incarnation": incarnation}


def test_reply_names_its_reports():
    deaths = Deaths()
    deaths.take([report(0, 1), report(1, 1), report(0, 2)])
    found = deaths.of({"deaths": [[1, 1], [0, 2], [5, 5]]})
    assert [(one.engine, one.incarnation) for one in found] == [(1, 1), (0, 2)]
    assert deaths.of({}) == ()


def test_latest_report_of_an_engine():
    deaths = Deaths()
    deaths.take([report(0, 1), report(0, 2), report(1, 1)])
    assert [one.incarnation for one in deaths.latest(0)] == [2]
    assert deaths.latest(7) == ()


def test_what_is_no_report_is_left_out_and_the_oldest_are_forgotten():
    deaths = Deaths()
    deaths.take([{}, {"when": "now"}, *(report(0, life) for life in range(MOST_DEATHS + 9))])
    assert len(deaths) == MOST_DEATHS
    assert not deaths.of({"deaths": [[0, 8]]})


def test_error_of_a_lost_task_has_the_reports(fake, rc):
    fake.holding = True
    result = rc[0].apply_async(abs, -1)
    wait_until(lambda: fake.held)
    ours = {"verdict": "engine_lost", "engine": 0, "deaths": [[0, 1]]}
    content = {"status": "error", "ename": "EngineError", "evalue": "lost"}

    def die():
        fake._send(0, "death_notice", {"deaths": [report(0, 1)]}, "", {}, ())
        fake._send(0, "apply_reply", content, result.msg_ids[0], {"ipyviews": ours}, ())

    fake.do(die)
    with pytest.raises(EngineError) as caught:
        result.get(10)
    assert caught.value.report.verdict == "segmentation fault"
    assert [one.engine for one in caught.value.reports] == [0]
    # The table of engines comes on another channel, perhaps later.
    assert rc.ids == [1]


def test_table_older_than_a_death_does_not_bring_the_engine_back(fake, rc):
    told = report(1, 1) | {"restarted": False}
    fake.do(lambda: fake._send(0, "death_notice", {"deaths": [told]}, "", {}, ()))
    wait_until(lambda: rc.ids == [0])
    fake.engines[0] |= {"state": "lost"}
    fake.notice()
    wait_until(lambda: rc.ids == [])
    assert rc.connection.engines[1]["state"] == "lost"
    fake.engines[1] |= {"incarnation": 2}
    fake.notice()
    wait_until(lambda: rc.ids == [1])


def test_engine_that_is_gone_is_told_with_why_it_is_not_started_again(fake, rc):
    content = {"deaths": [report(1, 1) | {"restarted": False}], "refusal": "it was 2 times in 60 s"}
    fake.do(lambda: fake._send(0, "death_notice", content, "", {}, ()))
    wait_until(lambda: rc.ids == [0])
    with pytest.raises(EngineError, match=r"segmentation fault .*; it was 2 times in 60 s"):
        rc[1].apply_sync(abs, -1)


def test_engine_that_is_started_again_is_not_called_gone(fake, rc):
    told = report(1, 1) | {"restarted": True}
    fake.do(lambda: fake._send(0, "death_notice", {"deaths": [told]}, "", {}, ()))
    wait_until(lambda: rc.ids == [0])
    assert rc.connection.engines[1]["state"] == "starting"


def test_engine_that_is_gone_is_told_with_its_report(fake, rc):
    fake.engines[1] |= {"state": "lost", "reason": "killed by SIGKILL"}
    told = report(1, 1) | {"restarted": False}
    fake.do(lambda: fake._send(0, "death_notice", {"deaths": [told]}, "", {}, ()))
    fake.notice()
    wait_until(lambda: rc.connection.engines[1]["state"] == "lost")
    wait_until(lambda: rc.connection.ledger.deaths.latest(1))
    with pytest.raises(EngineError) as caught:
        rc[1].apply_sync(abs, -1)
    assert (caught.value.engine, caught.value.report.engine) == (1, 1)


def test_error_without_a_report_says_so():
    assert EngineError("stopped").report is None
    assert EngineError("stopped").reports == ()


def test_deaths_are_listed_as_the_controller_remembers_them(fake, rc, monkeypatch):
    assert rc.deaths() == []
    status = fake._on_status({}) | {"deaths": [report(0, 1), report(1, 1)]}
    monkeypatch.setattr(fake, "_on_status", lambda _content: status)
    assert [one.engine for one in rc.deaths()] == [0, 1]


async def test_deaths_and_restarts_can_be_awaited(fake):
    async with AsyncClient(fake.file, transport=fake.transport) as rc:
        assert await rc.deaths() == []
        await rc.auto_restart((2, 5))
        await rc.auto_restart(False)
    limits = [content["limit"] for name, content, _ in fake.requests if "auto" in name]
    assert limits == [[2, 5.0], None]


def test_who_waits_in_vain_for_a_restart_is_told_where_to_look(fake, rc, monkeypatch):
    monkeypatch.setattr(control, "RESTART_S", 0.05)
    fake.mute = True
    with pytest.raises(TimeoutError) as caught:
        rc.restart(0)
    assert str(caught.value) == (
        "The controller did not answer 'restart' within 0.05 s. It goes on all the same: "
        "client.table() shows which engines are back."
    )
    fake.mute = False


def test_what_is_no_limit_of_restarts_is_refused_before_it_is_sent(fake, rc):
    with pytest.raises(UsageError, match="times in 60 s"):
        rc.auto_restart("often")
    assert "auto_restart_request" not in fake.names()


@pytest.mark.parametrize(
    ("how", "refusal", "said"),
    [
        ({}, "engine 1 is not started again: so it is", "engine 1 is not started again: so it is"),
        ({"task": None}, "", "engine 1 died: segmentation fault (SIGSEGV)"),
        (
            {"restarted": True, "sentence": "aborted"},
            "",
            "engine 1 died (aborted) and is started again, without its variables",
        ),
        ({"restarted": False}, "", None),
    ],
    ids=["for good", "idle", "comes back", "with a task"],
)
def test_what_no_error_says_is_logged_once_for_all_clients(caplog, how, refusal, said):
    told = report(1, 1) | {"when": time.time(), "restarted": False} | how
    for client in (Deaths(), Deaths()):
        client.heard({"deaths": [told], "refusal": refusal})
        assert client.latest(1)
    assert caplog.messages == [said] * (said is not None)


def test_a_notice_that_an_engine_is_not_started_again_is_logged(fake, rc, caplog):
    told = report(1, 1) | {"when": time.time()}
    content = {"deaths": [told], "refusal": "engine 1 is not started again: so it is"}
    fake.do(lambda: fake._send(0, "death_notice", content, "", {}, ()))
    wait_until(lambda: rc.connection.ledger.deaths.latest(1))
    wait_until(lambda: caplog.messages == ["engine 1 is not started again: so it is"])


def test_status_tells_what_the_client_keeps(rc):
    result = rc[:].apply_async(abs, -1)
    result.get(10)
    kept = rc.status()["bounds"]["client"]
    assert kept["history"]["now"] == 2
    assert kept["ended"] == {"now": 2, "most": 20_000, "dropped": 0}
    assert kept["unanswered"] == {"now": 0, "most": 100_000, "dropped": 0}


def test_a_set_up_cell_is_marked(fake, rc):
    rc[:].execute("a = 1", setup=True, block=True)
    rc[:].execute("b = 1", block=True)
    marks = [ours.get("setup") for name, _, ours in fake.requests if name == "execute_request"]
    assert marks == [True, None]
