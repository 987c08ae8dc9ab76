"""Attempts that a living engine holds no more and has not answered."""

from ipyviews.core.effects import Verdict
from ipyviews.core.events import Kind
from tests.core.desk import Desk


def test_a_call_that_never_came_is_sent_again_and_that_was_no_try():
    desk = Desk(engines=1)
    desk.submit("r.0", 0)
    desk.miss(desk.attempt("r.0"), untouched=1)
    assert desk.running == ["r.0"]
    assert desk.attempt("r.0").number == 2
    desk.reply("r.0")
    assert [run.outcome for run in desk.replies["r.0"].runs] == ["ok"]


def test_a_balanced_task_whose_reply_is_lost_runs_once_more():
    desk = Desk(engines=2)
    desk.submit("r.0")
    first = desk.attempt("r.0")
    desk.miss(first)
    desk.reply("r.0")
    outcomes = [run.outcome for run in desk.replies["r.0"].runs]
    assert outcomes == ["its reply did not arrive", "ok"]
    desk.reply(first)
    assert desk.verdict("r.0") is Verdict.REPLIED


def test_after_its_last_run_it_fails_with_what_is_known():
    desk = Desk(engines=1)
    desk.submit("r.0")
    desk.miss(desk.attempt("r.0"))
    desk.miss(desk.attempt("r.0"))
    assert desk.verdict("r.0") is Verdict.ENGINE_LOST
    assert "it may have run" in desk.reason("r.0")


def test_a_direct_task_whose_reply_is_lost_never_runs_again():
    desk = Desk(engines=1)
    desk.cell("r.0", 0)
    desk.submit("s.0", 0)
    desk.miss(desk.attempt("r.0"))
    assert desk.verdict("r.0") is Verdict.ENGINE_LOST
    assert "engine 0 has nothing of task r.0" in desk.reason("r.0")
    assert desk.running == ["s.0"]


def test_the_engine_goes_on_with_what_waits():
    desk = Desk(bundle=4, engines=1)
    for number in range(6):
        desk.submit(f"r.{number}")
    desk.miss(*[desk.attempt(f"r.{number}") for number in range(4)], untouched=4)
    assert len(desk.running) == 4
    for task in (f"r.{number}" for number in range(6)):
        desk.reply(task)
    assert set(map(desk.verdict, desk.submitted)) == {Verdict.REPLIED}


def test_a_late_reply_changes_nothing():
    desk = Desk(engines=1)
    desk.submit("r.0", 0)
    late = desk.attempt("r.0")
    desk.miss(late)
    assert desk.reply(late) == []
    assert desk.verdict("r.0") is Verdict.ENGINE_LOST


def test_a_cancelled_one_is_cancelled():
    desk = Desk(engines=1)
    desk.submit("r.0", kind=Kind.EXECUTE)
    desk.cancel("r.0")
    desk.miss(desk.attempt("r.0"))
    assert desk.verdict("r.0") is Verdict.CANCELLED


def test_one_that_never_gets_there_is_not_sent_for_ever():
    desk = Desk(engines=1)
    desk.submit("r.0", 0)
    for _ in range(4):
        assert desk.verdict("r.0") is None
        desk.miss(desk.attempt("r.0"), untouched=1)
    assert desk.verdict("r.0") is Verdict.ENGINE_LOST
