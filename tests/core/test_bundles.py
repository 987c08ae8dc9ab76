"""Small calls are sent ahead, several at a time, and nobody waits for it."""

import pytest

from ipyviews.core.effects import Dispatch, Recall, Reply, Verdict
from ipyviews.core.engines import MOST_AHEAD
from ipyviews.core.events import (
    EngineJoined,
    EngineLost,
    Kind,
    RepliesTaken,
    Status,
    TaskReplied,
    TaskSubmitted,
)
from ipyviews.core.state import ControllerState
from ipyviews.ids import Attempt
from tests.core.desk import Desk


def flood(desk: Desk, calls: int, client: str = "a", **what) -> None:
    for number in range(calls):
        desk.submit(f"{client}.{number}", client=client, **what)


def work(desk: Desk, replies: int, ran_s: float) -> None:
    """Let the oldest call end, again and again."""
    for _ in range(replies):
        desk.reply(desk.running[0], after=ran_s, ran_s=ran_s)


def load(desk: Desk, engine: int = 0) -> int:
    return sum(attempt.engine == engine for attempt in desk.in_flight)


def test_calls_of_an_unknown_client_go_one_by_one():
    desk = Desk(None, engines=2)
    flood(desk, 10)
    assert len(desk.running) == 2


def test_more_are_sent_ahead_while_they_prove_short():
    desk = Desk(None, engines=1)
    flood(desk, 500)
    loads = []
    for _ in range(40):
        work(desk, 1, 0.0001)
        loads.append(load(desk))
    assert loads == sorted(loads)
    assert loads[0] == 2
    assert loads[-1] > 20


@pytest.mark.parametrize(("ran_s", "expected"), [(0.00001, MOST_AHEAD), (0.001, 20), (0.004, 5)])
def test_as_many_are_sent_ahead_as_take_a_few_milliseconds(ran_s, expected):
    desk = Desk(None, engines=1)
    flood(desk, 500)
    work(desk, 100, ran_s)
    assert abs(load(desk) - expected) <= 1


def test_behind_a_call_that_takes_a_while_goes_one_and_behind_a_long_one_none():
    desk = Desk(None, engines=1)
    flood(desk, 500)
    work(desk, 100, 0.015)
    assert load(desk) == 2
    work(desk, 30, 0.03)
    assert load(desk) == 1


def test_after_a_long_call_they_go_one_by_one_again():
    desk = Desk(None, engines=1)
    flood(desk, 500)
    work(desk, 60, 0.0001)
    # What was thought of those already there is not changed.
    work(desk, load(desk) + 3, 0.2)
    assert load(desk) == 1


def test_how_long_calls_take_is_known_for_each_client():
    desk = Desk(None, engines=1)
    flood(desk, 200)
    work(desk, 199, 0.0001)
    desk.reply(desk.running[0])
    flood(desk, 10, client="b")
    assert load(desk) == 1


def test_a_short_queue_is_shared_by_all_engines():
    desk = Desk(100, engines=0)
    desk.stall("a")
    for engine in range(4):
        desk.join(engine)
    flood(desk, 8)
    desk.resume("a")
    assert [load(desk, engine) for engine in range(4)] == [2] * 4


def test_clients_take_turns_also_in_what_is_sent_ahead():
    desk = Desk(10, engines=1)
    desk.submit("x.0", 0, client="x")
    flood(desk, 10, client="a")
    flood(desk, 10, client="b")
    desk.reply("x.0")
    assert sorted(task[0] for task in desk.running) == ["a"] * 5 + ["b"] * 5


# -- direct calls and cells ------------------------------------------------------------------------


def test_a_direct_call_is_sent_at_once_and_goes_before_what_waits():
    desk = Desk(10, engines=1)
    flood(desk, 10)
    effects = desk.submit("b.0", 0, client="b")
    assert effects == [Dispatch(Attempt("b.0", 0, 1, 1), desk.submitted["b.0"].kind, urgent=True)]


def test_a_direct_call_passes_a_cell_that_is_not_in_turn_yet():
    desk = Desk(10, engines=1)
    flood(desk, 20)
    desk.cell("a.99", 0)
    desk.submit("b.0", 0, client="b")
    assert "b.0" in desk.running


def test_a_direct_call_needs_no_turn_beside_the_calls_of_a_client_that_used_a_little_less():
    desk = Desk(10, engines=1)
    flood(desk, 20)
    for number in range(3):
        desk.submit(f"b.{number}", 0, client="b")
        desk.reply(f"b.{number}", after=0.1, ran_s=0.1)
    desk.submit("b.3", 0, client="b")
    assert "b.3" in desk.running


def test_long_direct_calls_shut_no_balanced_ones_out():
    desk = Desk(5, engines=1)
    flood(desk, 500)
    for number in range(100):
        desk.submit(f"b.{number}", 0, client="b")
    for _ in range(200):
        direct = [task for task in desk.running if task[0] == "b"]
        desk.reply((direct or desk.running)[0], after=0.1, ran_s=0.1)
    used = {client.id: client.used_s for client in desk.state.clients.by_id.values()}
    assert abs(used["a"] - used["b"]) < 2.0


def test_beside_direct_calls_no_balanced_one_is_sent():
    desk = Desk(10, engines=1)
    flood(desk, 5)
    desk.submit("b.0", 0, client="b")
    flood(desk, 5, client="c")
    desk.submit("b.1", 0, client="b")
    assert desk.running[5:] == ["b.0", "b.1"]


def test_direct_calls_are_sent_ahead_in_their_order_while_they_prove_short():
    desk = Desk(None, engines=1)
    flood(desk, 100, engine=0)
    assert load(desk) == 1
    work(desk, 50, 0.0001)
    assert load(desk) > 10
    work(desk, 50, 0.0001)
    assert desk.order == [f"a.{number}" for number in range(100)]


def test_after_a_long_direct_call_they_go_one_by_one_again():
    desk = Desk(None, engines=1)
    flood(desk, 200, engine=0)
    work(desk, 60, 0.0001)
    # What was thought of those already there is not changed.
    work(desk, load(desk) + 3, 0.2)
    assert load(desk) == 1


def test_before_the_direct_call_of_another_client_those_not_started_are_asked_back():
    desk = Desk(10, engines=1)
    flood(desk, 4, engine=0)
    effects = desk.submit("b.0", 0, client="b")
    assert effects == [Recall(tuple(Attempt(f"a.{number}", 0, 1, 1) for number in (1, 2, 3)))]
    desk.give_back("a.1", "a.2", "a.3")
    desk.reply("a.0", after=1.0)
    assert desk.running == ["b.0"]
    desk.reply("b.0")
    assert desk.running == ["a.1", "a.2", "a.3"]


def test_a_direct_call_does_not_overtake_those_of_its_client_that_were_asked_back():
    desk = Desk(10, engines=1)
    flood(desk, 4, engine=0)
    desk.submit("b.0", 0, client="b")
    desk.cancel("b.0", client="b")
    desk.submit("a.9", 0)
    assert desk.running == ["a.0", "a.1", "a.2", "a.3"]
    desk.give_back("a.1", "a.2", "a.3")
    desk.reply("a.0")
    assert desk.running == ["a.1", "a.2", "a.3", "a.9"]


def test_a_cell_waits_for_the_direct_calls_its_client_made_before():
    desk = Desk(10, engines=1)
    flood(desk, 3, engine=0)
    assert desk.cell("a.3", 0) == []
    desk.submit("a.4", 0)
    for number in range(5):
        desk.reply(f"a.{number}")
    assert desk.order == [f"a.{number}" for number in range(5)]


def test_before_the_cell_of_another_client_direct_calls_are_asked_back():
    desk = Desk(10, engines=1)
    flood(desk, 3, engine=0)
    desk.cell("b.0", 0, client="b")
    desk.give_back("a.1", "a.2")
    desk.reply("a.0", after=1.0)
    assert desk.running == ["b.0"]


def test_a_direct_call_that_may_wait_only_so_long_is_not_sent_ahead():
    desk = Desk(10, engines=1)
    flood(desk, 2, engine=0, timeout_s=5.0)
    assert desk.running == ["a.0"]
    desk.wake(5.0)
    assert desk.verdict("a.1") is Verdict.TIMEOUT


def test_the_only_call_of_a_client_goes_before_a_flood_of_another():
    desk = Desk(10, engines=1)
    flood(desk, 20)
    desk.submit("b.0", client="b")
    desk.reply("a.0")
    assert desk.effects[-1][-1] == Dispatch(
        Attempt("b.0", 0, 1, 1), desk.submitted["b.0"].kind, True
    )


def test_before_a_cell_what_has_not_started_is_asked_back():
    desk = Desk(10, engines=1)
    flood(desk, 4)
    effects = desk.cell("b.0", 0, client="b")
    assert effects == [Recall(tuple(Attempt(f"a.{number}", 0, 1, 1) for number in (1, 2, 3)))]
    desk.give_back("a.1", "a.2", "a.3")
    assert desk.running == ["a.0"]
    desk.reply("a.0")
    assert desk.running == ["b.0"]
    desk.reply("b.0")
    assert desk.running == ["a.1", "a.2", "a.3"]


def test_the_same_is_not_asked_back_twice():
    desk = Desk(10, engines=1)
    flood(desk, 4)
    desk.cell("b.0", 0, client="b")
    assert desk.cell("b.1", 0, client="b") == []


def test_a_cell_waits_for_what_had_started_in_the_meantime():
    desk = Desk(10, engines=1)
    flood(desk, 3)
    desk.cell("b.0", 0, client="b")
    desk.reply("a.0")
    desk.give_back("a.2")
    assert desk.running == ["a.1"]
    desk.reply("a.1")
    assert desk.running == ["b.0"]


# -- what engines give back ------------------------------------------------------------------------


def test_what_is_given_back_goes_elsewhere_and_counts_as_no_try():
    desk = Desk(10, engines=2)
    flood(desk, 4, retries=0, reruns=1)
    desk.give_back("a.2")
    assert desk.runs_on("a.2") == 1
    desk.reply("a.2")
    assert len(desk.replies["a.2"].runs) == 1


def test_an_engine_that_gave_calls_back_takes_none_until_it_replies():
    desk = Desk(10, engines=1)
    flood(desk, 3)
    desk.give_back("a.1", "a.2")
    assert desk.running == ["a.0"]
    desk.submit("b.0", 0, client="b")
    assert desk.running == ["a.0"]
    desk.reply("a.0")
    assert desk.running[0] == "b.0"


def test_what_is_given_back_keeps_its_place_in_the_order():
    desk = Desk(10, engines=1)
    flood(desk, 12)
    desk.give_back("a.3", "a.1")
    desk.reply("a.0")
    assert desk.order[10:] == ["a.1", "a.3", "a.10"]


def test_a_direct_call_that_was_given_back_waits_for_a_restart():
    desk = Desk(10, engines=1)
    flood(desk, 1)
    desk.submit("b.0", 0, client="b")
    desk.give_back("b.0")
    desk.lose(0, restarting=True)
    assert desk.verdict("b.0") is None
    desk.join(0, incarnation=2)
    assert "b.0" in desk.running


def test_a_cancelled_call_that_is_given_back_is_cancelled():
    desk = Desk(10, engines=1)
    flood(desk, 2)
    desk.cancel("a.1")
    desk.give_back("a.1")
    assert desk.verdict("a.1") is Verdict.CANCELLED
    assert desk.reason("a.1") == "cancelled before it started"


def test_what_is_given_back_for_a_client_that_left_is_dropped():
    desk = Desk(10, engines=1)
    flood(desk, 2)
    desk.leave("a")
    desk.give_back("a.1")
    assert desk.verdict("a.1") is Verdict.CANCELLED


def test_a_call_that_was_given_back_may_still_wait_too_long():
    desk = Desk(10, engines=1)
    flood(desk, 2, timeout_s=5.0)
    desk.give_back("a.1")
    desk.wake(5.0)
    assert desk.verdict("a.1") is Verdict.TIMEOUT


def test_what_runs_at_most_once_runs_alone():
    desk = Desk(10, engines=1)
    flood(desk, 3, reruns=0)
    assert desk.running == ["a.0"]


def test_a_call_that_runs_alone_waits_for_what_runs_and_is_passed_over_by_none():
    desk = Desk(10, engines=1)
    flood(desk, 2)
    desk.submit("b.0", client="b", reruns=0)
    desk.submit("a.2")
    assert desk.recalled == {Attempt("a.1", 0, 1, 1): None}
    desk.give_back("a.1")
    desk.reply("a.0", after=1.0)
    assert desk.running == ["b.0"]


def test_an_engine_gets_more_to_do_after_the_last_of_many_replies():
    state = ControllerState(bundle=2)
    state.handle(EngineJoined(0.0, 0, 1, can_apply=True))
    for number in range(4):
        state.handle(TaskSubmitted(0.0, f"r-1.{number}", "r", "r-1", Kind.APPLY))
    attempts = [Attempt(f"r-1.{number}", 0, 1, 1) for number in range(4)]
    for attempt in attempts[:2]:
        event = TaskReplied(1.0, attempt, Status.OK, is_one_of_many=True)
        assert [type(effect) for effect in state.handle(event)] == [Reply]
    assert [effect.attempt for effect in state.handle(RepliesTaken(1.0))] == attempts[2:]
    assert state.handle(RepliesTaken(1.0)) == []


def test_nothing_more_goes_to_an_engine_that_was_lost_after_many_replies():
    state = ControllerState(bundle=2)
    state.handle(EngineJoined(0.0, 0, 1, can_apply=True))
    for number in range(2):
        state.handle(TaskSubmitted(0.0, f"r-1.{number}", "r", "r-1", Kind.APPLY))
    state.handle(TaskReplied(1.0, Attempt("r-1.0", 0, 1, 1), Status.OK, is_one_of_many=True))
    state.handle(EngineLost(1.0, 0, 1, "killed", restarting=True))
    assert state.handle(RepliesTaken(1.0)) == []
