"""Clients: cancelling, leaving, stalling, limits, turns."""

from collections import Counter

import pytest

from ipyviews.core.effects import Interrupt, Reply, Verdict, WakeAt
from ipyviews.core.events import Kind
from ipyviews.ids import Attempt
from tests.core.desk import Desk, fingerprint


def test_a_queued_task_is_cancelled_at_once():
    desk = Desk(engines=1)
    desk.submit("r.0", 0)
    desk.submit("r.1", 0)
    desk.cancel("r.1")
    assert desk.verdict("r.1") is Verdict.CANCELLED


def test_a_running_task_is_interrupted_once():
    desk = Desk(engines=1)
    desk.cell("r.0", 0)
    assert desk.cancel("r.0") == [Interrupt(Attempt("r.0", 0, 1, 1), Kind.EXECUTE)]
    assert desk.cancel("r.0") == []


def test_an_interrupted_task_is_cancelled_and_never_retried():
    desk = Desk(engines=1)
    desk.submit("r.0", 0, retries=3)
    desk.cancel("r.0")
    desk.fail("r.0")
    assert desk.verdict("r.0") is Verdict.CANCELLED
    assert desk.reason("r.0") == "cancelled while it ran on engine 0"


def test_a_task_that_finished_before_the_interrupt_keeps_its_result():
    desk = Desk(engines=1)
    desk.submit("r.0", 0)
    desk.cancel("r.0")
    desk.reply("r.0")
    assert desk.verdict("r.0") is Verdict.REPLIED


def test_a_cancelled_task_is_not_run_again_when_its_engine_is_lost():
    desk = Desk(engines=2)
    desk.submit("r.0", reruns=3)
    desk.cancel("r.0")
    desk.lose(0)
    assert desk.verdict("r.0") is Verdict.CANCELLED
    assert "killed by SIGKILL" in desk.reason("r.0")


def test_a_client_cannot_cancel_the_tasks_of_another():
    desk = Desk(engines=1)
    desk.submit("r.0", 0)
    desk.submit("r.1", 0)
    assert desk.cancel("r.0", "r.1", "unknown.0", client="b") == []


def test_the_rest_of_a_cancelled_cells_request_is_aborted():
    desk = Desk(engines=1)
    desk.cell("r.0", 0)
    desk.cell("r.1", 0)
    desk.cancel("r.0")
    desk.fail("r.0")
    assert desk.verdict("r.1") is Verdict.ABORTED


def test_many_cancelled_tasks_leave_no_memory_behind():
    desk = Desk()
    desk.expect(0)
    desk.submit("keep.0", 0)
    for number in range(200):
        desk.submit(f"r.{number}", 0, timeout_s=1000.0 + number)
        desk.cancel(f"r.{number}")
    (lane,) = desk.state.engines[0].lanes.values()
    assert len(lane._heap) < 20
    assert len(desk.state.deadlines._heap) < 20


def test_tasks_of_a_client_that_left_for_good_are_dropped_and_running_ones_end():
    desk = Desk(engines=2)
    desk.submit("r.0", 0, retries=5)
    desk.submit("r.1", 0)
    desk.submit("r.2", 0, client="b")
    desk.submit("r.3", reruns=5)
    desk.leave("a", drop=True)
    assert desk.verdict("r.1") is Verdict.CANCELLED
    desk.lose(1)
    assert desk.verdict("r.3") is Verdict.ENGINE_LOST
    desk.fail("r.0")
    assert desk.verdict("r.0") is Verdict.REPLIED
    assert desk.running == ["r.2"]


def test_a_client_that_may_return_loses_nothing():
    desk = Desk(engines=1)
    desk.submit("r.0", 0)
    desk.submit("r.1", 0)
    assert desk.leave("a", drop=False) == []
    desk.reply("r.0")
    assert desk.running == ["r.1"]


def test_nothing_is_kept_of_a_client_that_left_for_good():
    desk = Desk(engines=1)
    desk.submit("r.0", 0)
    desk.leave("a")
    desk.reply("r.0")
    assert desk.state.clients.by_id == {}


def test_the_leaving_of_an_unknown_client_changes_nothing():
    assert Desk().leave("nobody") == []


def test_nothing_is_started_for_a_stalled_client_and_others_go_on():
    desk = Desk(engines=1)
    desk.stall("a")
    desk.submit("r.0", 0)
    desk.submit("r.1")
    assert desk.running == []
    desk.submit("s.0", 0, client="b")
    desk.reply("s.0")
    assert desk.running == []


def test_a_resumed_client_gets_all_the_engines_that_are_free():
    desk = Desk(engines=4)
    desk.stall("a")
    desk.submit("r.0", 2)
    for number in range(1, 5):
        desk.submit(f"r.{number}")
    desk.resume("a")
    assert len(desk.running) == 4
    assert desk.runs_on("r.0") == 2


def test_resuming_a_client_that_reads_changes_nothing():
    desk = Desk(engines=2)
    desk.submit("b.0", 1, client="b")
    desk.submit("b.1", 1, client="b")
    desk.submit("a.0", 0)
    desk.submit("a.1", 0)
    desk.reply("a.0", after=9.0)
    before = fingerprint(desk.state)
    assert desk.resume("a") == desk.resume("b") == desk.resume("nobody") == []
    assert fingerprint(desk.state) == before


def test_a_task_that_waits_too_long_is_answered():
    desk = Desk(engines=1)
    desk.submit("r.0", 0)
    assert desk.submit("r.1", 0, timeout_s=5.0) == [WakeAt(5.0)]
    assert desk.wake(4.0) == []
    assert [type(effect) for effect in desk.wake(5.0)] == [Reply]
    assert desk.verdict("r.1") is Verdict.TIMEOUT


def test_a_task_that_started_in_time_has_all_the_time_it_needs_also_when_run_again():
    desk = Desk(engines=1)
    desk.submit("r.0", timeout_s=5.0)
    desk.lose(0, restarting=True)
    desk.wake(100.0)
    desk.join(0, incarnation=2)
    assert desk.runs_on("r.0") == 0


def test_an_alarm_is_asked_for_only_when_none_comes_early_enough():
    desk = Desk(engines=1)
    desk.submit("r.0", 0)
    assert desk.submit("r.1", 0, timeout_s=5.0) == [WakeAt(5.0)]
    assert desk.submit("r.2", 0, timeout_s=7.0) == []
    assert desk.submit("r.3", 0, timeout_s=3.0) == [WakeAt(3.0)]
    assert WakeAt(5.0) not in desk.wake(3.0)
    assert desk.wake(5.0)[-1] == WakeAt(7.0)


def shares(desk: Desk, seconds: dict[str, float], replies: int) -> Counter[str]:
    """Let the oldest run end `replies` times; count the runs started for each client."""
    before = len(desk.sent)
    for _ in range(replies):
        task = desk.running[0]
        desk.reply(task, after=seconds[task[0]] / 4)
    return Counter(task[0] for task in desk.order[before:])


def test_clients_with_equal_tasks_take_turns():
    desk = Desk(engines=4)
    for client in "ab":
        for number in range(100):
            desk.submit(f"{client}.{number}", client=client)
    counts = shares(desk, {"a": 1.0, "b": 1.0}, 80)
    assert abs(counts["a"] - counts["b"]) <= 4


def test_clients_share_engine_seconds_not_tasks():
    desk = Desk(engines=2)
    for client in "ab":
        for number in range(60):
            desk.submit(f"{client}.{number}", client=client)
    used = dict.fromkeys("ab", 0.0)
    ends = {}
    for _ in range(70):
        for attempt in desk.in_flight:
            ends.setdefault(attempt, desk.now + (3.0 if attempt.task[0] == "a" else 1.0))
        attempt = min(desk.in_flight, key=ends.__getitem__)
        used[attempt.task[0]] += 3.0 if attempt.task[0] == "a" else 1.0
        desk.reply(attempt, after=ends[attempt] - desk.now)
    assert 0.9 < used["a"] / used["b"] < 1.1


def test_a_new_client_gets_its_turns_at_once_and_does_not_shut_out_the_old():
    desk = Desk(engines=4)
    for number in range(100):
        desk.submit(f"a.{number}", client="a")
    shares(desk, {"a": 10.0}, 50)
    for number in range(50):
        desk.submit(f"b.{number}", client="b")
    counts = shares(desk, {"a": 10.0, "b": 10.0}, 40)
    assert 17 <= counts["b"] <= 24


def test_a_client_that_asked_for_nothing_saves_up_no_turns():
    desk = Desk(engines=1)
    desk.submit("b.0", client="b")
    desk.reply("b.0", after=1.0)
    for number in range(100):
        desk.submit(f"a.{number}", client="a")
    shares(desk, {"a": 4.0}, 50)
    for number in range(1, 100):
        desk.submit(f"b.{number}", client="b")
    counts = shares(desk, {"a": 4.0, "b": 4.0}, 40)
    assert 18 <= counts["a"] <= 22


def test_a_client_that_could_not_read_saves_up_no_turns():
    desk = Desk(engines=1)
    desk.submit("a.0", client="a")
    desk.stall("b")
    for client in "ab":
        for number in range(1, 60):
            desk.submit(f"{client}.{number}", client=client)
    shares(desk, {"a": 4.0}, 30)
    desk.resume("b")
    counts = shares(desk, {"a": 4.0, "b": 4.0}, 20)
    assert abs(counts["a"] - counts["b"]) <= 2


def test_a_new_client_gets_no_credit_from_one_that_asks_for_nothing():
    desk = Desk(engines=1)
    desk.submit("s.0", client="s")
    desk.reply("s.0")
    for number in range(60):
        desk.submit(f"a.{number}", client="a")
    shares(desk, {"a": 4.0}, 30)
    for number in range(30):
        desk.submit(f"b.{number}", client="b")
    counts = shares(desk, {"a": 4.0, "b": 4.0}, 20)
    assert abs(counts["a"] - counts["b"]) <= 2


def test_a_new_client_gets_no_credit_from_one_that_cannot_read():
    desk = Desk(engines=1)
    desk.submit("a.0", client="a")
    desk.submit("s.0", client="s")
    desk.stall("s")
    for number in range(1, 60):
        desk.submit(f"a.{number}", client="a")
    shares(desk, {"a": 4.0}, 30)
    for number in range(30):
        desk.submit(f"b.{number}", client="b")
    counts = shares(desk, {"a": 4.0, "b": 4.0}, 20)
    assert abs(counts["a"] - counts["b"]) <= 2


def test_a_new_client_does_not_get_every_engine_before_its_first_task_is_paid():
    desk = Desk(engines=20)
    for number in range(60):
        desk.submit(f"a.{number}", client="a")
    shares(desk, {"a": 8.0}, 20)
    for number in range(60):
        desk.submit(f"b.{number}", client="b")
    counts = Counter()
    for attempt in [attempt for attempt in desk.in_flight if attempt.task[0] == "a"]:
        counts += Counter(effect.attempt.task[0] for effect in desk.reply(attempt)[1:])
    assert 5 <= counts["a"] <= 15


def test_clients_take_turns_also_when_their_tasks_take_no_time():
    desk = Desk(engines=1)
    for client in "ab":
        for number in range(10):
            desk.submit(f"{client}.{number}", client=client)
    for _ in range(19):
        desk.reply(desk.running[0])
    assert "".join(task[0] for task in desk.order[2:18]) == "ab" * 8


@pytest.mark.parametrize("seconds", [0.1, 1.0, 5.0])
def test_a_call_waits_only_for_the_one_task_that_runs_on_its_engine(seconds):
    desk = Desk(engines=1)
    for number in range(60):
        desk.submit(f"a.{number}", client="a")
    shares(desk, {"a": 4.0}, 30)
    for number in range(10):
        desk.submit(f"b.{number}", 0, client="b")
        desk.reply(desk.running[0], after=seconds)
        assert desk.running == [f"b.{number}"]
        desk.reply(f"b.{number}", after=0.05)


def test_an_endless_cell_does_not_shut_its_client_out_afterwards():
    desk = Desk(engines=1)
    desk.cell("a.0", client="a")
    for client in "ba":
        for number in range(1, 40):
            desk.submit(f"{client}.{number}", client=client)
    desk.reply("a.0", after=86400.0)
    counts = shares(desk, {"a": 24.0, "b": 24.0}, 40)
    assert 13 <= counts["a"] <= 16


def test_when_nobody_waits_a_new_client_starts_level_with_one_that_used_much():
    desk = Desk(engines=1)
    desk.submit("a.0", client="a")
    desk.reply("a.0", after=50.0)
    for client in "ba":
        for number in range(1, 30):
            desk.submit(f"{client}.{number}", client=client)
    counts = shares(desk, {"a": 4.0, "b": 4.0}, 20)
    assert abs(counts["a"] - counts["b"]) <= 8


def test_a_clock_that_is_set_while_a_call_runs_charges_nobody_for_an_hour():
    desk = Desk(engines=1)
    desk.submit("a-1.0", client="a")
    desk.reply("a-1.0", after=0.1, ran_s=3600.0)
    assert desk.state.clients.get("a").used_s < 1.0


def test_a_time_limit_that_is_over_is_told_at_once_though_an_engine_is_free():
    desk = Desk(engines=1)
    desk.submit("r.0", timeout_s=-1.0)
    assert desk.verdict("r.0") is Verdict.TIMEOUT
    desk.submit("r.1", 0, timeout_s=0.0)
    assert desk.running == ["r.1"]
