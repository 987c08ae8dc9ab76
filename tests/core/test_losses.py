"""Engines that die, restart, and come back."""

import pytest

from ipyviews.core.effects import Verdict
from ipyviews.core.events import EngineJoined
from ipyviews.ids import Attempt
from tests.core.desk import Desk


def test_a_running_direct_task_fails_with_engine_task_and_reason():
    desk = Desk(engines=2)
    desk.submit("r.0", 0)
    desk.lose(0)
    assert desk.verdict("r.0") is Verdict.ENGINE_LOST
    assert desk.reason("r.0") == "engine 0 was lost while it ran task r.0: killed by SIGKILL"
    assert desk.replies["r.0"].runs[0].outcome == "killed by SIGKILL"


def test_a_queued_direct_task_fails_as_not_started():
    desk = Desk(engines=1)
    desk.submit("r.0", 0)
    desk.submit("r.1", 0)
    desk.lose(0)
    assert desk.verdict("r.1") is Verdict.ENGINE_LOST
    assert desk.reason("r.1") == "engine 0 was lost before task r.1 started: killed by SIGKILL"


def test_a_queued_direct_task_waits_for_the_restart_and_the_running_one_fails():
    desk = Desk(engines=1)
    desk.submit("r.0", 0)
    desk.submit("r.1", 0)
    desk.lose(0, restarting=True)
    assert list(desk.replies) == ["r.0"]
    desk.join(0, incarnation=2)
    assert desk.attempt("r.1") == Attempt("r.1", 0, 2, 1)


def test_a_queued_direct_task_fails_when_the_restart_does():
    desk = Desk(engines=1)
    desk.submit("r.0", 0)
    desk.submit("r.1", 0)
    desk.lose(0, restarting=True)
    desk.lose(0, incarnation=0, reason="exited with code 1")
    assert desk.reason("r.1").endswith("exited with code 1")


def test_a_running_balanced_task_runs_again_elsewhere():
    desk = Desk(engines=2)
    desk.submit("r.0")
    desk.lose(0)
    assert desk.attempt("r.0") == Attempt("r.0", 1, 1, 2)
    desk.reply("r.0")
    assert [run.outcome for run in desk.replies["r.0"].runs] == ["killed by SIGKILL", "ok"]


def test_a_balanced_task_fails_with_the_last_error_when_its_reruns_are_used_up():
    desk = Desk(engines=4)
    desk.submit("r.0", reruns=2)
    for engine in range(3):
        desk.lose(engine, reason=f"death {engine}")
    assert desk.reason("r.0") == (
        "engine 2 was lost while it ran task r.0: death 2 "
        "(the last of 3 engines that were lost with this task)"
    )
    assert len(desk.replies["r.0"].runs) == 3


def test_a_balanced_task_without_reruns_fails_with_its_engine():
    desk = Desk(engines=2)
    desk.submit("r.0", reruns=0)
    desk.lose(0)
    assert desk.verdict("r.0") is Verdict.ENGINE_LOST


def test_a_task_that_killed_its_engine_is_not_run_again():
    desk = Desk(engines=2)
    desk.submit("r.0", reruns=5)
    desk.lose(0, self_inflicted=True)
    assert desk.verdict("r.0") is Verdict.ENGINE_LOST


def test_of_several_calls_on_a_lost_engine_none_is_blamed_and_each_runs_again_alone():
    desk = Desk(bundle=3, engines=1)
    for number in range(3):
        desk.submit(f"r.{number}")
    desk.expect(1)
    desk.lose(0, self_inflicted=True)
    assert not desk.replies
    desk.join(1)
    assert desk.running == ["r.0"]
    desk.reply("r.0")
    assert desk.running == ["r.1"]


def test_a_call_that_kills_its_engine_alone_is_blamed():
    desk = Desk(bundle=3, engines=1)
    for number in range(3):
        desk.submit(f"r.{number}", reruns=5)
    desk.expect(1)
    desk.lose(0, self_inflicted=True)
    desk.join(1)
    desk.join(2)
    desk.lose(1, self_inflicted=True)
    assert desk.verdict("r.0") is Verdict.ENGINE_LOST
    desk.reply("r.1")
    desk.reply("r.2")
    assert [desk.verdict(f"r.{number}") for number in (1, 2)] == [Verdict.REPLIED] * 2


def test_only_the_first_of_several_calls_uses_up_a_rerun():
    desk = Desk(bundle=2, engines=1)
    desk.submit("r.0")
    desk.submit("r.1")
    for engine in (1, 2):
        desk.expect(engine)
    desk.lose(0)
    desk.join(1)
    desk.lose(1)
    assert desk.verdict("r.0") is Verdict.ENGINE_LOST
    desk.join(2)
    desk.lose(2, restarting=True)
    assert desk.verdict("r.1") is None


def test_a_balanced_task_fails_with_the_loss_when_no_engine_is_left_to_run_it_again():
    desk = Desk(engines=1)
    desk.submit("r.0")
    desk.lose(0)
    assert desk.verdict("r.0") is Verdict.ENGINE_LOST
    assert desk.reason("r.0").endswith("killed by SIGKILL; no engine is left to run it again")


def test_a_balanced_task_waits_for_a_restarting_engine():
    desk = Desk(engines=1)
    desk.submit("r.0")
    desk.lose(0, restarting=True)
    desk.join(0, incarnation=2)
    assert desk.attempt("r.0") == Attempt("r.0", 0, 2, 2)


def test_tasks_run_again_in_the_order_submitted():
    desk = Desk(engines=4)
    for number in range(4):
        desk.submit(f"r.{number}")
    desk.reply("r.3")
    desk.submit("s.0", 3)
    for engine in (1, 0, 2):
        desk.lose(engine)
    desk.reply("s.0")
    for number in range(3):
        desk.reply(f"r.{number}")
    assert desk.order[-3:] == ["r.0", "r.1", "r.2"]


@pytest.mark.parametrize("incarnation", [0, 1, 3])
def test_the_loss_of_another_life_changes_nothing(incarnation):
    desk = Desk()
    desk.join(0, incarnation=2)
    desk.submit("r.0", 0)
    assert desk.lose(0, incarnation=incarnation) == []
    assert desk.running == ["r.0"]


def test_a_loss_told_twice_while_the_engine_restarts_changes_nothing():
    desk = Desk(engines=1)
    desk.lose(0, restarting=True)
    desk.submit("r.0", 0)
    assert desk.lose(0) == []
    assert not desk.replies


def test_a_loss_told_twice_brings_no_engine_back():
    desk = Desk(engines=1)
    desk.lose(0)
    assert desk.lose(0, restarting=True) == []
    desk.submit("r.0", 0)
    assert desk.verdict("r.0") is Verdict.UNKNOWN_ENGINE


def test_a_life_that_was_lost_before_it_joined_cannot_join():
    desk = Desk(engines=1)
    desk.lose(0, restarting=True)
    desk.lose(0, incarnation=2, restarting=True)
    desk.submit("r.0", 0)
    desk.feed(EngineJoined(desk.now, 0, 2, can_apply=True))
    assert desk.running == []


def test_the_loss_of_an_unknown_engine_changes_nothing():
    assert Desk().lose(5) == []


def test_a_life_that_is_over_cannot_join_again():
    desk = Desk(engines=1)
    desk.lose(0, restarting=True)
    desk.submit("r.0", 0)
    assert desk.feed(desk.events[0]) == []
    assert desk.running == []


def test_a_new_life_that_joins_before_the_loss_is_told_ends_the_old_one():
    desk = Desk(engines=1)
    desk.submit("r.0", 0)
    desk.submit("r.1", 0)
    desk.join(0, incarnation=2)
    assert desk.reason("r.0").endswith("a new process took its place")
    assert desk.running == ["r.1"]


def test_an_engine_lost_for_good_may_be_started_again():
    desk = Desk(engines=1)
    desk.lose(0)
    desk.expect(0)
    desk.submit("r.0", 0)
    desk.join(0, incarnation=2)
    assert desk.runs_on("r.0") == 0


def test_a_call_waits_for_a_restart_though_the_last_kernel_had_no_apply():
    desk = Desk()
    desk.join(0, can_apply=False)
    desk.lose(0, restarting=True)
    desk.submit("r.0", 0)
    desk.submit("r.1")
    desk.join(0, incarnation=2)
    assert desk.running == ["r.0"]
    assert not desk.replies


def test_expecting_an_engine_that_is_there_changes_nothing():
    desk = Desk(engines=1)
    desk.submit("r.0", 0)
    assert desk.expect(0) == []
    assert desk.running == ["r.0"]


def test_stale_and_repeated_replies_change_nothing():
    desk = Desk(engines=1)
    desk.submit("r.0", 0, retries=1)
    desk.submit("s.0", 0)
    first = desk.attempt("r.0")
    desk.fail(first)
    assert desk.fail(first) == []
    assert desk.fail(Attempt("r.0", 0, 2, 2)) == []
    assert desk.fail(Attempt("r.0", 1, 1, 2)) == []
    assert desk.fail(Attempt("s.0", 0, 1, 1)) == []
    assert desk.fail(Attempt("unknown.0", 0, 1, 1)) == []
    assert desk.running == ["r.0"]


# -- what had been started is known ----------------------------------------------------------------


def lose_knowing(desk: Desk, ended: int, left: int, **how) -> None:
    """Lose engine 0: of what it was sent, so many had ended, and so many had not been started."""
    sent = [attempt for attempt in desk.in_flight if attempt.engine == 0]
    untouched = sent[len(sent) - left :]
    desk.lose(0, ended=frozenset(sent[:ended]), untouched=frozenset(untouched), **how)


def test_of_direct_calls_sent_ahead_only_those_fail_that_had_been_started():
    desk = Desk(10, engines=1)
    for number in range(4):
        desk.submit(f"r.{number}", 0)
    lose_knowing(desk, ended=1, left=2, restarting=True)
    assert {task: desk.verdict(task) for task in desk.replies} == {
        "r.0": Verdict.ENGINE_LOST,
        "r.1": Verdict.ENGINE_LOST,
    }
    desk.join(0, incarnation=2)
    assert desk.running == ["r.2", "r.3"]


def test_without_a_restart_those_not_started_fail_as_such():
    desk = Desk(10, engines=1)
    for number in range(3):
        desk.submit(f"r.{number}", 0)
    lose_knowing(desk, ended=0, left=2)
    assert desk.reason("r.0") == "engine 0 was lost while it ran task r.0: killed by SIGKILL"
    assert desk.reason("r.2") == "engine 0 was lost before task r.2 started: killed by SIGKILL"


def test_a_call_that_kills_its_engine_is_blamed_among_others_at_once():
    desk = Desk(10, engines=1)
    for number in range(4):
        desk.submit(f"r.{number}")
    lose_knowing(desk, ended=1, left=2, self_inflicted=True, restarting=True)
    assert {task: desk.verdict(task) for task in desk.replies} == {"r.1": Verdict.ENGINE_LOST}
    desk.join(0, incarnation=2)
    assert desk.running == ["r.0"]
    desk.reply("r.0")
    assert desk.running == ["r.2", "r.3"]


def test_what_had_not_been_started_keeps_its_reruns():
    desk = Desk(10, engines=1)
    for number in range(2):
        desk.submit(f"r.{number}")
    lose_knowing(desk, ended=0, left=1, restarting=True)
    desk.join(0, incarnation=2)
    desk.reply("r.0")
    desk.lose(0, incarnation=2, restarting=True)
    desk.join(0, incarnation=3)
    assert desk.running == ["r.1"]
