"""Load-balanced tasks: the scheduler chooses the engine."""

from ipyviews.core.effects import Verdict
from tests.core.desk import Desk


def test_tasks_spread_over_idle_engines():
    desk = Desk(engines=3)
    for number in range(3):
        desk.submit(f"r.{number}")
    assert [desk.runs_on(f"r.{number}") for number in range(3)] == [0, 1, 2]


def test_the_engine_idle_for_longest_is_taken():
    desk = Desk(engines=3)
    for number in range(3):
        desk.submit(f"r.{number}")
    for number in (2, 0, 1):
        desk.reply(f"r.{number}")
    for number in (3, 4, 5):
        desk.submit(f"r.{number}")
    assert [desk.runs_on(f"r.{number}") for number in (3, 4, 5)] == [2, 0, 1]


def test_the_least_loaded_engine_is_taken():
    desk = Desk(bundle=3, engines=2)
    desk.submit("r.0", 0)
    desk.submit("r.1", 0)
    for number in (2, 3):
        desk.submit(f"r.{number}")
    assert [desk.runs_on("r.2"), desk.runs_on("r.3")] == [1, 1]


def test_a_queued_task_starts_when_an_engine_is_done():
    desk = Desk(engines=1)
    desk.submit("r.0")
    desk.submit("r.1")
    assert desk.running == ["r.0"]
    desk.reply("r.0")
    assert desk.running == ["r.1"]


def test_a_task_runs_only_where_it_is_allowed():
    desk = Desk(engines=4)
    for number in range(4):
        desk.submit(f"r.{number}", allowed=frozenset({1, 3}))
    assert {desk.runs_on(task) for task in desk.running} == {1, 3}


def test_a_task_that_must_wait_for_its_engines_holds_up_no_other():
    desk = Desk(engines=2)
    desk.submit("r.0", allowed=frozenset({0}))
    desk.submit("r.1", allowed=frozenset({0}))
    desk.submit("r.2")
    assert desk.runs_on("r.2") == 1


def test_a_limited_task_goes_first_on_its_engine_when_it_was_submitted_first():
    desk = Desk(engines=2)
    desk.submit("r.0", allowed=frozenset({0}))
    desk.submit("r.1", 1)
    desk.submit("r.2", allowed=frozenset({0}))
    desk.submit("r.3")
    desk.reply("r.0")
    assert desk.runs_on("r.2") == 0


def test_calls_pass_by_kernels_without_apply():
    desk = Desk()
    desk.join(0, can_apply=False)
    desk.join(1)
    desk.submit("r.0")
    desk.cell("s.0")
    assert (desk.runs_on("r.0"), desk.runs_on("s.0")) == (1, 0)


def test_tasks_wait_for_engines_that_are_being_started():
    desk = Desk()
    desk.expect(0)
    desk.submit("r.0")
    desk.submit("r.1", allowed=frozenset({0, 5}))
    assert not desk.replies
    desk.join(0)
    assert desk.running == ["r.0"]


def test_an_engine_that_joins_takes_work_that_waits():
    desk = Desk(engines=1)
    desk.submit("r.0")
    desk.submit("r.1")
    desk.submit("r.2", allowed=frozenset({0, 1}))
    desk.reply("r.0")
    desk.join(1)
    assert (desk.runs_on("r.1"), desk.runs_on("r.2")) == (0, 1)


def test_without_engines_a_task_is_answered_at_once():
    desk = Desk()
    desk.submit("r.0")
    assert desk.verdict("r.0") is Verdict.NO_ENGINES
    assert desk.reason("r.0") == "no engine is there, or coming, to run this apply task"


def test_without_an_allowed_engine_a_task_is_answered_at_once():
    desk = Desk(engines=2)
    desk.submit("r.0", allowed=frozenset({7, 4}))
    assert desk.verdict("r.0") is Verdict.NO_ENGINES
    assert desk.reason("r.0").endswith("to run this apply task on engine 4, 7")


def test_a_call_is_answered_at_once_when_no_engine_has_apply():
    desk = Desk()
    desk.expect(0)
    desk.submit("r.0")
    desk.join(0, can_apply=False)
    assert desk.verdict("r.0") is Verdict.NO_ENGINES


def test_queued_tasks_are_answered_when_the_last_engine_they_may_run_on_is_lost():
    desk = Desk(engines=2)
    desk.submit("r.0", 0)
    desk.submit("r.1", allowed=frozenset({0}))
    desk.lose(0)
    assert desk.verdict("r.1") is Verdict.NO_ENGINES


def test_queued_tasks_are_answered_when_the_last_expected_engine_never_came_up():
    desk = Desk()
    desk.expect(0)
    desk.submit("r.0")
    desk.lose(0, incarnation=0)
    assert desk.verdict("r.0") is Verdict.NO_ENGINES


def test_a_failed_task_runs_again_on_any_engine():
    desk = Desk(engines=2)
    desk.submit("r.0", retries=1)
    desk.fail("r.0")
    assert desk.runs_on("r.0") == 1


def test_no_pool_of_a_set_of_engines_outlives_its_tasks():
    desk = Desk(engines=2)
    for number in range(5):
        desk.submit(f"r.{number}", allowed=frozenset({number % 2}))
    for number in range(5):
        desk.reply(f"r.{number}")
    assert len(list(desk.state.pools)) == 2
