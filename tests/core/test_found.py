"""Tasks that a controller before this one had begun."""

from __future__ import annotations

import pytest

from ipyviews.core.effects import Dispatch, Verdict
from ipyviews.core.events import EngineJoined, Found, Kind, Status, StrayEnded
from ipyviews.ids import Attempt
from tests.core.desk import Desk
from tests.core.needs import needs

RAN = Attempt("a-1.0", 0, 1, 2)


def taken_over(stray: Attempt | None = None, engines: int = 2) -> Desk:
    """Engines that have joined; the first of them is busy with `stray`."""
    desk = Desk(bundle=None)
    for engine in range(engines):
        desk.lives[engine] = 1
        busy = stray if engine == 0 else None
        desk.feed(EngineJoined(desk.now, engine, 1, can_apply=True, stray=busy))
    return desk


@pytest.mark.parametrize("kind", list(Kind))
def test_what_has_ended_is_told_and_not_run_again(kind):
    desk = taken_over()
    desk.submit(RAN.task, 0, kind=kind, found=Found(RAN, Status.OK, 0.5))
    assert desk.verdict(RAN.task) is Verdict.REPLIED
    reply = desk.replies[RAN.task]
    assert reply.attempt == RAN
    assert [(run.engine, run.outcome) for run in reply.runs] == [(0, "ok")]
    assert not desk.sent


def test_an_error_is_retried_if_that_was_asked_for():
    desk = taken_over()
    desk.submit(RAN.task, found=Found(RAN, Status.ERROR), retries=1)
    assert desk.attempt(RAN.task).number == 3
    desk.reply(RAN.task)
    assert [run.outcome for run in desk.replies[RAN.task].runs] == ["error", "ok"]


def test_a_requirement_that_was_unmet_goes_elsewhere():
    desk = taken_over()
    desk.submit(RAN.task, found=Found(RAN, Status.UNMET))
    assert desk.runs_on(RAN.task) == 1


def test_what_waits_for_a_task_that_was_found_goes_on():
    from ipyviews.core.events import Dependency

    desk = taken_over()
    desk.submit(RAN.task, found=Found(RAN, Status.OK))
    desk.submit("a-2.0", after=Dependency(frozenset({RAN.task})))
    assert desk.running == ["a-2.0"]


def test_a_run_that_goes_on_is_taken_over_and_ends_by_its_reply():
    desk = taken_over(RAN)
    effects = desk.submit(RAN.task, 0, found=Found(RAN))
    assert not [effect for effect in effects if isinstance(effect, Dispatch)]
    desk.in_flight[RAN] = Kind.APPLY
    desk.reply(RAN)
    assert desk.verdict(RAN.task) is Verdict.REPLIED
    assert [run.outcome for run in desk.replies[RAN.task].runs] == ["ok"]


def test_an_engine_with_a_stray_takes_nothing_until_that_has_ended():
    desk = taken_over(RAN, engines=1)
    desk.submit("b-1.0", 0, client="b")
    desk.submit("b-2.0", client="b")
    desk.cell("b-3.0", 0, client="b")
    assert not desk.sent
    desk.feed(StrayEnded(desk.now, Attempt("a-9.0", 0, 1, 1)))
    assert not desk.sent
    desk.feed(StrayEnded(desk.now, RAN))
    assert desk.order[0] == "b-1.0"


def test_a_balanced_task_goes_to_an_engine_without_a_stray():
    desk = taken_over(RAN)
    desk.submit("b-1.0", client="b")
    assert desk.runs_on("b-1.0") == 1


def test_a_cell_that_goes_on_is_alone():
    desk = taken_over(RAN, engines=1)
    desk.cell(RAN.task, 0, found=Found(RAN))
    desk.in_flight[RAN] = Kind.EXECUTE
    desk.submit("b-1.0", 0, client="b")
    assert not desk.sent
    desk.reply(RAN)
    assert desk.order == ["b-1.0"]


def test_an_interrupt_of_a_run_that_was_taken_over_names_its_attempt():
    desk = taken_over(RAN)
    desk.submit(RAN.task, 0, found=Found(RAN))
    desk.in_flight[RAN] = Kind.APPLY
    desk.cancel(RAN.task)
    assert desk.interrupted == [RAN]
    desk.fail(RAN)
    assert desk.verdict(RAN.task) is Verdict.CANCELLED


def test_a_direct_task_that_may_have_run_is_not_run_again():
    desk = taken_over()
    desk.submit(RAN.task, 0, found=Found(RAN, lost="it may have run"))
    assert desk.verdict(RAN.task) is Verdict.ENGINE_LOST
    assert desk.reason(RAN.task) == "it may have run"
    assert [run.outcome for run in desk.replies[RAN.task].runs] == ["it may have run"]


def test_a_balanced_one_is_run_again_once_and_both_runs_are_told():
    desk = taken_over()
    desk.submit(RAN.task, found=Found(RAN, lost="it may have run"))
    assert desk.attempt(RAN.task).number == 3
    desk.reply(RAN.task)
    outcomes = [run.outcome for run in desk.replies[RAN.task].runs]
    assert outcomes == ["it may have run", "ok"]
    desk.submit("a-2.0", found=Found(RAN._replace(task="a-2.0"), lost="gone"), reruns=0)
    assert desk.verdict("a-2.0") is Verdict.ENGINE_LOST


def test_a_run_whose_engine_lives_is_no_loss_of_an_engine():
    desk = taken_over()
    desk.submit(RAN.task, found=Found(RAN, lost="its result was lost", lives=True))
    again = desk.attempt(RAN.task)
    desk.lose(again.engine)
    reply = desk.replies[RAN.task]
    assert [run.lost_engine for run in reply.runs] == [False, True]
    assert "engines that were lost with this task" not in reply.reason


def test_a_direct_one_whose_engine_lives_fails_with_the_reason():
    desk = taken_over()
    desk.submit(RAN.task, 0, found=Found(RAN, lost="its result was lost", lives=True))
    assert desk.verdict(RAN.task) is Verdict.ENGINE_LOST
    assert desk.reason(RAN.task) == "its result was lost"


def test_a_run_before_the_one_that_was_found_is_told_and_used_up_a_rerun():
    desk = taken_over(RAN)
    before = (RAN._replace(engine=1, number=1), "killed")
    desk.submit(RAN.task, found=Found(RAN, before=before), reruns=1)
    desk.lose(0)
    assert desk.verdict(RAN.task) is Verdict.ENGINE_LOST
    reply = desk.replies[RAN.task]
    assert [(run.engine, run.lost_engine) for run in reply.runs] == [(1, True), (0, True)]
    assert "the last of 2 engines that were lost with this task" in reply.reason


def test_the_run_that_was_found_is_not_told_twice():
    desk = taken_over()
    desk.submit(RAN.task, found=Found(RAN, Status.OK, before=(RAN, "killed")))
    assert [run.outcome for run in desk.replies[RAN.task].runs] == ["ok"]


def test_a_run_on_an_engine_that_was_lost_since_counts_as_lost_with_it():
    desk = taken_over(RAN)
    desk.lose(0)
    desk.submit(RAN.task, 0, found=Found(RAN))
    assert desk.verdict(RAN.task) is Verdict.ENGINE_LOST
    assert "engine 0 was lost while it ran" in desk.reason(RAN.task)


def test_the_loss_of_an_engine_with_a_stray_ends_that():
    desk = taken_over(RAN, engines=1)
    desk.submit("b-1.0", 0, client="b")
    desk.lose(0, restarting=True)
    desk.join(0, 2)
    assert desk.order == ["b-1.0"]


@pytest.mark.parametrize("engine", [None, 0])
def test_an_error_that_cannot_be_retried_anywhere_is_the_reply(engine):
    desk = Desk(bundle=None)
    desk.submit(RAN.task, engine, found=Found(RAN, Status.ERROR), retries=1)
    assert desk.verdict(RAN.task) is Verdict.REPLIED


@pytest.mark.parametrize("engine", [None, 0])
def test_an_error_on_an_engine_that_is_lost_is_the_reply(engine):
    desk = Desk(bundle=None, engines=1)
    desk.lose(0)
    desk.submit(RAN.task, engine, found=Found(RAN, Status.ERROR), retries=1)
    assert desk.verdict(RAN.task) is Verdict.REPLIED


def test_others_are_placed_when_a_run_is_taken_over_and_not_behind_it():
    desk = taken_over(RAN)
    for number in range(2, 5):
        desk.submit(f"a-{number}.0", client="b")
    desk.submit(RAN.task, found=Found(RAN))
    desk.submit("a-6.0", client="b")
    assert all(attempt.engine == 1 for attempt in desk.sent)


def test_what_follows_others_has_no_second_place():
    desk = taken_over()
    follow = needs("a-0.0")
    desk.submit(RAN.task, found=Found(RAN, lost="gone"), follow=follow, reruns=2)
    assert desk.verdict(RAN.task) is Verdict.ENGINE_LOST
    other = RAN._replace(task="a-2.0")
    desk.submit("a-2.0", found=Found(other, Status.ERROR), follow=follow, retries=2)
    assert desk.verdict("a-2.0") is Verdict.REPLIED
    other = RAN._replace(task="a-3.0")
    desk.submit("a-3.0", found=Found(other, Status.UNMET), follow=follow)
    assert desk.verdict("a-3.0") is Verdict.REPLIED
    assert not desk.sent


def test_what_an_engine_that_lives_does_not_run_any_more_names_no_loss():
    desk = taken_over()
    desk.submit(RAN.task, 0, found=Found(RAN))
    assert desk.verdict(RAN.task) is Verdict.ENGINE_LOST
    assert "it may have run" in desk.reason(RAN.task)
    assert not desk.replies[RAN.task].runs[0].lost_engine


def test_each_run_that_is_repeated_is_told_with_what_is_left():
    desk = Desk(engines=2)
    desk.submit("a-1.0", retries=1, reruns=1)
    desk.fail("a-1.0")
    assert desk.requeued["a-1.0"].retries == 0
    desk.lose(desk.attempt("a-1.0").engine)
    past = desk.requeued["a-1.0"]
    assert [run.outcome for run in past.runs] == ["error", "killed by SIGKILL"]
    assert past[1:] == (0, 0, 2)


def test_a_task_with_a_past_goes_on_from_there():
    before = Desk(engines=2)
    before.submit("a-1.0", reruns=1)
    before.lose(before.attempt("a-1.0").engine)
    desk = Desk(engines=2)
    desk.submit("a-1.0", reruns=1, past=before.requeued["a-1.0"])
    assert desk.attempt("a-1.0").number == 2
    desk.lose(desk.attempt("a-1.0").engine)
    assert desk.verdict("a-1.0") is Verdict.ENGINE_LOST
    assert len(desk.replies["a-1.0"].runs) == 2
