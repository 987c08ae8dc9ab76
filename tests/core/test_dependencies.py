"""Tasks that wait for others: ``after`` and ``follow``."""

import pytest

from ipyviews.core.effects import Reply, Verdict
from ipyviews.core.events import CancelRequested, Kind, TaskSubmitted
from ipyviews.core.tasks import TaskState
from tests.core.desk import Desk
from tests.core.needs import needs


def test_a_task_starts_when_the_one_before_it_is_done():
    desk = Desk(engines=2)
    desk.submit("a.0", 0)
    desk.submit("b.0", after=needs("a.0"))
    assert desk.running == ["a.0"]
    assert desk.state.tasks["b.0"].state is TaskState.HELD
    desk.reply("a.0")
    assert desk.running == ["b.0"]


def test_a_task_whose_needs_are_met_already_starts_at_once():
    desk = Desk(engines=1)
    desk.submit("a.0")
    desk.reply("a.0")
    desk.submit("b.0", after=needs("a.0"), follow=needs("a.0"))
    assert desk.running == ["b.0"]


def test_needing_nothing_is_met():
    desk = Desk(engines=1)
    desk.submit("b.0", after=needs(), follow=needs(all=False))
    assert desk.running == ["b.0"]


def test_all_tasks_count_unless_any_will_do():
    desk = Desk(engines=4)
    desk.submit("a.0", 0)
    desk.submit("a.1", 1)
    desk.submit("all.0", after=needs("a.0", "a.1"))
    desk.submit("any.0", after=needs("a.0", "a.1", all=False))
    desk.reply("a.0")
    assert desk.running == ["a.1", "any.0"]
    desk.reply("a.1")
    assert desk.running == ["any.0", "all.0"]


@pytest.mark.parametrize("task", ["x.0", "b.0"])
@pytest.mark.parametrize("how", ["after", "follow"])
def test_a_dependency_on_nothing_known_or_on_itself_is_invalid(task, how):
    desk = Desk(engines=1)
    desk.submit("b.0", **{how: needs(task)})
    assert desk.verdict("b.0") is Verdict.INVALID
    reason = "depends on itself" if task == "b.0" else "task x.0, which the controller does not"
    assert reason in desk.reason("b.0")


def test_too_long_ago_is_unknown_and_the_answer_says_so():
    desk = Desk(engines=1)
    desk.state.holding.graph.ends.most = 3
    for number in range(5):
        desk.submit(f"a{number}.0")
        desk.reply(f"a{number}.0")
    desk.submit("b.0", after=needs("a1.0"))
    assert desk.verdict("b.0") is Verdict.INVALID
    assert "there was none, or it ended more than 3 tasks ago" in desk.reason("b.0")
    desk.submit("b.1", after=needs("a3.0"))
    assert desk.running == ["b.1"]


def test_a_failed_need_makes_a_task_impossible_at_once_though_others_go_on():
    desk = Desk(engines=2)
    desk.submit("a.0", 0)
    desk.submit("a.1", 1)
    desk.submit("b.0", after=needs("a.0", "a.1"))
    desk.fail("a.0")
    assert desk.verdict("b.0") is Verdict.IMPOSSIBLE
    assert desk.reason("b.0") == "task b.0 can never run: it comes after task a.0, which failed"
    assert desk.running == ["a.1"]


def test_any_of_several_is_impossible_only_when_all_have_failed():
    desk = Desk(engines=2)
    desk.submit("a.0", 0)
    desk.submit("a.1", 1)
    desk.submit("b.0", after=needs("a.0", "a.1", all=False))
    desk.fail("a.0")
    assert desk.verdict("b.0") is None
    desk.fail("a.1")
    assert desk.verdict("b.0") is Verdict.IMPOSSIBLE
    assert "one of 2 tasks, and none will do: task a.0, which failed" in desk.reason("b.0")


def test_failure_can_be_what_is_waited_for():
    desk = Desk(engines=3)
    desk.submit("a.0", 0)
    desk.submit("sweep.0", after=needs("a.0", success=False, failure=True))
    desk.submit("both.0", after=needs("a.0", failure=True))
    desk.fail("a.0")
    assert desk.running == ["sweep.0", "both.0"]


def test_success_makes_a_task_impossible_that_waits_for_failure():
    desk = Desk(engines=1)
    desk.submit("a.0")
    desk.submit("b.0", after=needs("a.0", success=False, failure=True))
    desk.reply("a.0")
    assert desk.verdict("b.0") is Verdict.IMPOSSIBLE
    assert desk.reason("b.0").endswith("task a.0, which succeeded")


def test_a_retried_task_has_failed_only_when_no_try_is_left():
    desk = Desk(engines=1)
    desk.submit("a.0", retries=1)
    desk.submit("b.0", after=needs("a.0"))
    desk.fail("a.0")
    assert desk.verdict("b.0") is None
    desk.reply("a.0")
    assert desk.running == ["b.0"]


def test_a_cancelled_need_has_failed():
    desk = Desk(engines=1)
    desk.submit("a.0")
    desk.submit("a.1")
    desk.submit("b.0", after=needs("a.1"))
    desk.cancel("a.1")
    assert desk.verdict("b.0") is Verdict.IMPOSSIBLE


def test_a_chain_of_any_length_falls_at_once():
    state = Desk(engines=1).state
    state.handle(TaskSubmitted(0.0, "a.0", "a", "a", Kind.APPLY))
    for number in range(1, 3000):
        after = needs(f"a.{number - 1}")
        state.handle(TaskSubmitted(0.0, f"a.{number}", "a", "a", Kind.APPLY, after=after))
    effects = state.handle(CancelRequested(0.0, "a", ("a.1",)))
    assert sum(isinstance(effect, Reply) for effect in effects) == 2999
    assert list(state.tasks) == ["a.0"]


def test_tasks_of_other_clients_and_direct_ones_can_be_waited_for():
    desk = Desk(engines=2)
    desk.submit("a.0", 1, client="a")
    desk.submit("b.0", client="b", follow=needs("a.0"))
    desk.reply("a.0")
    assert desk.runs_on("b.0") == 1


def test_cells_can_wait_and_be_waited_for():
    desk = Desk(engines=2)
    desk.cell("a.0", 1)
    desk.cell("b.0", follow=needs("a.0"))
    desk.reply("a.0")
    assert desk.runs_on("b.0") == 1


# -- where -----------------------------------------------------------------------------------------


def test_a_task_follows_to_the_engine_though_others_idle():
    desk = Desk(engines=3)
    desk.submit("a.0", 2)
    desk.submit("b.0", follow=needs("a.0"))
    desk.reply("a.0")
    assert desk.runs_on("b.0") == 2


def test_a_follower_waits_for_its_engine():
    desk = Desk(engines=2)
    desk.submit("a.0", 1)
    desk.reply("a.0")
    desk.submit("c.0", 1)
    desk.submit("b.0", follow=needs("a.0"))
    assert desk.running == ["c.0"]
    desk.reply("c.0")
    assert desk.runs_on("b.0") == 1


def test_a_follower_goes_before_what_was_submitted_later():
    desk = Desk(engines=1)
    desk.submit("a.0")
    desk.submit("b.0", follow=needs("a.0"))
    desk.submit("c.0")
    desk.reply("a.0")
    assert desk.running == ["b.0"]


def test_following_all_of_several_engines_is_impossible_as_soon_as_it_shows():
    desk = Desk(engines=3)
    for engine in range(3):
        desk.submit(f"a.{engine}", engine)
    desk.submit("b.0", follow=needs("a.0", "a.1", "a.2"))
    desk.reply("a.0")
    desk.reply("a.2")
    assert desk.verdict("b.0") is Verdict.IMPOSSIBLE
    assert desk.reason("b.0").endswith("it follows tasks that ran on different engines: 0, 2")


def test_following_any_of_several_engines_takes_one_of_them():
    desk = Desk(engines=4)
    for engine in (1, 2):
        desk.submit(f"a.{engine}", engine)
        desk.reply(f"a.{engine}")
    for number in range(3):
        desk.submit(f"b.{number}", follow=needs("a.1", "a.2", all=False))
    assert {desk.runs_on("b.0"), desk.runs_on("b.1")} == {1, 2}
    assert desk.runs_on("b.2") is None


@pytest.mark.parametrize("restarting", [False, True])
@pytest.mark.parametrize("when", ["before", "held", "queued"])
def test_a_follower_is_impossible_once_its_engine_is_lost(when, restarting):
    desk = Desk(engines=3)
    desk.submit("a.0", 1)
    desk.submit("other.0", 0)
    desk.reply("a.0")
    after = needs("other.0") if when == "held" else None
    if when == "before":
        desk.lose(1, restarting=restarting)
        desk.join(1, incarnation=2)
    desk.submit("block.0", 1)
    desk.submit("b.0", follow=needs("a.0"), after=after)
    if when != "before":
        assert desk.verdict("b.0") is None
        desk.lose(1, restarting=restarting)
    assert desk.verdict("b.0") is Verdict.IMPOSSIBLE
    assert "gone" in desk.reason("b.0")


def test_a_follower_of_any_goes_elsewhere_when_one_engine_is_lost():
    desk = Desk(engines=2)
    for engine in (0, 1):
        desk.submit(f"a.{engine}", engine)
        desk.reply(f"a.{engine}")
        desk.submit(f"block.{engine}", engine)
    desk.submit("b.0", follow=needs("a.0", "a.1", all=False))
    desk.lose(0, restarting=True)
    desk.join(0, incarnation=2)
    assert desk.runs_on("b.0") is None
    desk.reply("block.1")
    assert desk.runs_on("b.0") == 1


def test_a_follower_that_runs_when_its_engine_dies_is_not_run_again():
    desk = Desk(engines=2)
    desk.submit("a.0", 1)
    desk.reply("a.0")
    desk.submit("b.0", follow=needs("a.0"))
    desk.lose(1, restarting=True)
    assert desk.verdict("b.0") is Verdict.ENGINE_LOST


def test_a_follower_limited_to_other_engines_is_impossible():
    desk = Desk(engines=2)
    desk.submit("a.0", 1)
    desk.reply("a.0")
    desk.submit("b.0", follow=needs("a.0"), allowed=frozenset({0}))
    assert desk.verdict("b.0") is Verdict.IMPOSSIBLE


def test_following_what_never_ran_is_impossible():
    desk = Desk(engines=1)
    desk.submit("x.0")
    desk.submit("a.0")
    desk.submit("b.0", follow=needs("a.0", failure=True))
    desk.cancel("a.0")
    assert desk.reason("b.0").endswith("it follows task a.0, which ran on no engine")


# -- while it waits --------------------------------------------------------------------------------


def test_time_counts_while_a_task_waits_for_others():
    desk = Desk(engines=2)
    desk.submit("a.0", 0)
    desk.submit("b.0", after=needs("a.0"), timeout_s=5.0)
    assert desk.alarms == [5.0]
    desk.wake(5.0)
    assert desk.verdict("b.0") is Verdict.TIMEOUT
    assert desk.reason("b.0").endswith("it still waited for 1 of the 1 tasks it depends on")
    desk.reply("a.0")
    assert desk.order == ["a.0"]


def test_a_held_task_can_be_cancelled():
    desk = Desk(engines=1)
    desk.submit("a.0")
    desk.submit("b.0", after=needs("a.0"))
    desk.cancel("b.0")
    assert desk.verdict("b.0") is Verdict.CANCELLED
    desk.reply("a.0")
    assert desk.order == ["a.0"]


def test_a_client_that_leaves_takes_its_held_tasks_along():
    desk = Desk(engines=1)
    desk.submit("a.0", client="a")
    desk.submit("b.0", client="b", after=needs("a.0"))
    desk.leave("b")
    assert desk.verdict("b.0") is Verdict.CANCELLED


def test_held_tasks_do_not_count_as_competing():
    desk = Desk(engines=1)
    desk.submit("a.0", client="a")
    desk.submit("b.0", client="b", after=needs("a.0"))
    assert desk.state.clients.get("b").queued == 0


def test_a_task_that_is_free_to_run_when_no_engine_is_left_is_answered():
    desk = Desk(engines=1)
    desk.submit("a.0")
    desk.submit("b.0", after=needs("a.0", failure=True))
    desk.lose(0, self_inflicted=True)
    assert desk.verdict("b.0") is Verdict.NO_ENGINES


def test_nothing_is_left_of_conditions_that_nobody_waits_for():
    desk = Desk(engines=1)
    for number in range(20):
        desk.submit(f"a.{number}")
        desk.submit(f"b.{number}", after=needs(f"a.{number}"), follow=needs(f"a.{number}"))
        desk.cancel(f"b.{number}")
    graph = desk.state.holding.graph
    assert len(list(graph)) <= 4
    assert sum(map(len, graph._awaiting.values())) <= 4
    assert not graph._pointing
    assert not graph._bound


# -- what an engine lacks --------------------------------------------------------------------------


def test_a_task_that_an_engine_refuses_goes_to_another_without_using_a_try():
    desk = Desk(engines=3)
    desk.submit("a.0", retries=0)
    desk.unmet("a.0")
    desk.unmet("a.0")
    assert desk.runs_on("a.0") == 2
    desk.reply("a.0")
    assert [run.outcome for run in desk.replies["a.0"].runs] == ["unmet", "unmet", "ok"]


def test_a_refused_task_never_goes_to_the_same_engine_again():
    desk = Desk(engines=2)
    desk.submit("block.0", 1)
    desk.submit("a.0")
    desk.unmet("a.0")
    assert desk.runs_on("a.0") is None
    desk.reply("block.0")
    assert desk.runs_on("a.0") == 1


def test_a_task_that_all_engines_refuse_is_impossible_at_once():
    desk = Desk(engines=3)
    desk.submit("a.0", allowed=frozenset({0, 2}))
    desk.unmet("a.0")
    desk.unmet("a.0")
    assert desk.verdict("a.0") is Verdict.IMPOSSIBLE
    assert "not on engine 0, 2, and no other is left" in desk.reason("a.0")


def test_a_refused_task_is_impossible_when_the_engines_left_are_lost():
    desk = Desk(engines=2)
    desk.submit("block.0", 1)
    desk.submit("a.0")
    desk.unmet("a.0")
    desk.lose(1)
    assert desk.verdict("a.0") is Verdict.IMPOSSIBLE


def test_a_refused_task_is_tried_on_an_engine_that_joins_meanwhile():
    desk = Desk(engines=2)
    desk.submit("block.0", 1)
    desk.submit("a.0")
    desk.unmet("a.0")
    desk.join(2)
    assert desk.runs_on("a.0") == 2


def test_refused_tasks_of_a_client_that_does_not_read_wait_until_it_does():
    desk = Desk(engines=2)
    desk.submit("block.0", 1, client="b")
    desk.submit("a.0")
    desk.stall("a")
    desk.unmet("a.0")
    desk.reply("block.0")
    assert desk.running == []
    desk.resume("a")
    assert desk.runs_on("a.0") == 1


def test_engines_that_lack_something_take_other_work_meanwhile():
    desk = Desk(engines=2)
    desk.submit("block.0", 1)
    for number in range(3):
        desk.submit(f"a.{number}")
        desk.unmet(f"a.{number}")
    desk.submit("other.0")
    assert desk.runs_on("other.0") == 0
    desk.reply("block.0")
    assert desk.runs_on("a.0") == 1


def test_a_refused_task_whose_second_engine_dies_is_impossible():
    desk = Desk(engines=2)
    desk.submit("a.0")
    desk.unmet("a.0")
    desk.lose(1)
    assert desk.verdict("a.0") in (Verdict.ENGINE_LOST, Verdict.IMPOSSIBLE)


def test_nothing_is_left_of_a_rest_without_tasks():
    desk = Desk(engines=3)
    for number in range(3):
        desk.submit(f"a.{number}", allowed=frozenset({0, 1}))
    while desk.in_flight:
        desk.unmet(desk.running[0])
    assert all(desk.verdict(f"a.{number}") is Verdict.IMPOSSIBLE for number in range(3))
    assert len(list(desk.state.pools)) == 2
    assert not any(pool.rest or pool.unfinished for pool in desk.state.pools)


def test_the_time_limit_holds_on_for_a_refused_task():
    desk = Desk(engines=2)
    desk.submit("block.0", 1)
    desk.submit("a.0", timeout_s=5.0)
    desk.unmet("a.0")
    desk.wake(5.0)
    assert desk.verdict("a.0") is Verdict.TIMEOUT


def test_the_refusal_of_a_direct_task_is_its_answer():
    desk = Desk(engines=2)
    desk.submit("a.0", 0)
    desk.submit("b.0", after=needs("a.0"))
    desk.unmet("a.0")
    assert desk.verdict("a.0") is Verdict.REPLIED
    assert desk.verdict("b.0") is Verdict.IMPOSSIBLE


def test_a_refused_task_that_was_cancelled_stays_so():
    desk = Desk(engines=2)
    desk.submit("a.0")
    desk.cancel("a.0")
    desk.unmet("a.0")
    assert desk.verdict("a.0") is Verdict.CANCELLED


def test_retries_may_run_on_the_same_engine_and_end_with_the_task_s_own_error():
    desk = Desk(engines=1)
    desk.submit("a.0", retries=2)
    for _ in range(3):
        desk.fail("a.0")
    assert desk.verdict("a.0") is Verdict.REPLIED
    assert len(desk.replies["a.0"].runs) == 3


# -- together with calls that wait for calls -------------------------------------------------------


def test_a_task_that_only_its_waiting_caller_s_engine_could_run_is_told_so():
    desk = Desk(engines=2)
    desk.submit("outer.0", 0)
    desk.submit("inner.0")
    desk.waits("outer.0", "inner.0")
    desk.unmet("inner.0")
    assert desk.verdict("inner.0") is Verdict.DEADLOCK


def test_a_follower_of_what_ran_on_its_waiting_caller_s_engine_is_told_so():
    desk = Desk(engines=2)
    desk.submit("before.0", 0)
    desk.reply("before.0")
    desk.submit("first.0", 1)
    desk.submit("outer.0", 0)
    desk.submit("inner.0", after=needs("first.0"), follow=needs("before.0"))
    desk.waits("outer.0", "inner.0")
    assert desk.verdict("inner.0") is None
    desk.reply("first.0")
    assert desk.verdict("inner.0") is Verdict.DEADLOCK
