"""Calls that wait for calls of their own: what must go elsewhere, and what can never go on."""

import pytest

from ipyviews.core.effects import Verdict
from ipyviews.core.events import Dependency
from tests.core.desk import Desk

STUCK = Verdict.DEADLOCK


def desk_of_outer_calls(engines: int, bundle: int = 1) -> Desk:
    """Each engine runs a call ``outer-<n>.0`` of client a."""
    desk = Desk(bundle=bundle, engines=engines)
    for engine in range(engines):
        desk.submit(f"outer-{engine}.0", engine)
    return desk


def test_an_inner_call_runs_on_an_engine_that_does_not_wait():
    desk = Desk(engines=2)
    desk.submit("outer.0", 0)
    desk.submit("inner.0", client="b")
    desk.waits("outer.0", "inner.0")
    assert desk.runs_on("inner.0") == 1
    desk.reply("inner.0")
    desk.waits("outer.0")
    desk.reply("outer.0")
    assert desk.verdict("outer.0") is Verdict.REPLIED


def test_a_call_that_only_its_own_engine_can_run_fails_at_once():
    desk = Desk(engines=2)
    desk.submit("outer.0", 0)
    desk.submit("inner.0", 0, client="b")
    desk.waits("outer.0", "inner.0")
    assert desk.verdict("inner.0") is STUCK
    assert "engine 0" in desk.reason("inner.0")
    assert desk.verdict("outer.0") is None


def test_a_call_on_its_own_engine_that_is_not_waited_for_waits():
    desk = Desk(engines=2)
    desk.submit("outer.0", 0)
    desk.submit("mine.0", 0, client="b")
    desk.submit("other.0", 1, client="b")
    desk.waits("outer.0", "other.0")
    assert desk.verdict("mine.0") is None
    desk.reply("other.0")
    desk.reply("outer.0")
    assert desk.runs_on("mine.0") == 0


def test_only_the_newest_of_the_calls_that_wait_is_told():
    desk = desk_of_outer_calls(3)
    for engine in range(3):
        desk.submit(f"inner-{engine}.0", client=f"e{engine}")
        desk.submit(f"inner-{engine}.1", client=f"e{engine}")
    desk.waits("outer-0.0", "inner-0.0", "inner-0.1")
    desk.waits("outer-1.0", "inner-1.0", "inner-1.1")
    assert not desk.replies
    desk.waits("outer-2.0", "inner-2.0", "inner-2.1")
    assert {name: reply.verdict for name, reply in desk.replies.items()} == {
        "inner-2.0": STUCK,
        "inner-2.1": STUCK,
    }
    # Its call fails, and its engine does the work of the others.
    desk.fail("outer-2.0")
    for _ in range(4):
        desk.reply(desk.running[-1])
    assert desk.verdict("inner-0.1") is desk.verdict("inner-1.1") is Verdict.REPLIED


def test_an_engine_that_is_coming_is_waited_for():
    desk = desk_of_outer_calls(1)
    desk.expect(1)
    desk.submit("inner.0", client="b")
    desk.waits("outer-0.0", "inner.0")
    assert desk.verdict("inner.0") is None
    desk.join(1)
    assert desk.runs_on("inner.0") == 1


def test_losing_the_last_engine_that_does_not_wait_is_noticed():
    desk = desk_of_outer_calls(2)
    desk.submit("inner.0", client="b")
    desk.waits("outer-0.0", "inner.0")
    assert desk.verdict("inner.0") is None
    desk.lose(1)
    assert desk.verdict("inner.0") is STUCK


def test_an_inner_call_that_could_run_again_only_where_it_is_waited_for_ends_with_its_engine():
    desk = Desk(engines=2)
    desk.submit("outer.0", 0)
    desk.submit("inner.0", client="b")
    desk.waits("outer.0", "inner.0")
    assert desk.runs_on("inner.0") == 1
    desk.lose(1, 1)
    assert desk.verdict("inner.0") is STUCK
    assert len(desk.replies["inner.0"].runs) == 1
    desk.reply("outer.0")
    assert desk.verdict("outer.0") is Verdict.REPLIED


def test_calls_that_wait_in_a_circle_of_engines_are_noticed():
    desk = desk_of_outer_calls(2)
    desk.submit("to-1.0", 1, client="e0")
    desk.submit("to-0.0", 0, client="e1")
    desk.waits("outer-0.0", "to-1.0")
    desk.waits("outer-1.0", "to-0.0")
    assert desk.verdict("to-0.0") is STUCK
    assert desk.verdict("to-1.0") is None


def test_waiting_for_a_call_that_waits_but_can_go_on_is_no_deadlock():
    desk = desk_of_outer_calls(2)
    desk.submit("inner.0", 1, client="e0")
    desk.waits("outer-0.0", "inner.0")
    desk.reply("outer-1.0")
    desk.join(2)
    desk.submit("innermost.0", client="e1")
    desk.waits("inner.0", "innermost.0")
    assert not desk.verdict("innermost.0")
    assert desk.runs_on("innermost.0") == 2


def test_nested_to_the_last_engine_the_innermost_fails():
    desk = desk_of_outer_calls(1)
    desk.join(1)
    desk.submit("inner.0", client="e0")
    desk.waits("outer-0.0", "inner.0")
    desk.submit("innermost.0", client="e1")
    desk.waits("inner.0", "innermost.0")
    assert desk.verdict("innermost.0") is STUCK
    assert desk.verdict("inner.0") is None


def test_calls_sent_ahead_to_an_engine_that_waits_go_elsewhere():
    desk = Desk(bundle=4, engines=1)
    for i in range(3):
        desk.submit(f"ahead.{i}")
    assert desk.running == ["ahead.0", "ahead.1", "ahead.2"]
    desk.waits("ahead.0", "inner.0")
    assert [attempt.task for attempt in desk.recalled] == ["ahead.1", "ahead.2"]
    desk.join(1)
    desk.give_back("ahead.1", "ahead.2")
    assert [desk.runs_on(f"ahead.{i}") for i in range(3)] == [0, 1, 1]


def test_an_inner_call_that_was_sent_ahead_of_the_wait_is_noticed_when_it_is_back():
    desk = Desk(bundle=4, engines=1)
    desk.submit("outer.0")
    desk.submit("inner.0", client="b")
    desk.waits("outer.0", "inner.0")
    assert desk.verdict("inner.0") is None
    desk.give_back("inner.0")
    assert desk.verdict("inner.0") is STUCK


def test_an_engine_that_waits_takes_nothing_though_an_older_reply_comes_late():
    desk = Desk(bundle=4, engines=1)
    desk.submit("first.0")
    desk.submit("outer.0")
    desk.waits("outer.0", "elsewhere.0")
    desk.reply("first.0")
    desk.submit("next.0")
    assert desk.running == ["outer.0"]
    desk.waits("outer.0")
    desk.reply("outer.0")
    assert desk.running == ["next.0"]


def test_what_an_inner_call_depends_on_counts():
    desk = desk_of_outer_calls(1)
    desk.submit("first.0", client="b")
    desk.submit("then.0", client="b", after=Dependency(frozenset({"first.0"})))
    desk.waits("outer-0.0", "then.0")
    assert desk.verdict("first.0") is STUCK
    assert desk.verdict("then.0") is Verdict.IMPOSSIBLE


def test_any_of_several_that_an_inner_call_depends_on_will_do():
    desk = desk_of_outer_calls(2)
    desk.submit("stuck.0", 0, client="b")
    desk.submit("fine.0", 1, client="b")
    after = Dependency(frozenset({"stuck.0", "fine.0"}), all=False)
    desk.submit("then.0", client="b", after=after)
    desk.waits("outer-0.0", "then.0")
    assert not desk.replies
    desk.reply("outer-1.0")
    desk.reply("fine.0")
    assert desk.runs_on("then.0") == 1


@pytest.mark.parametrize("attempt", ["unknown.0/0.1/1", "outer-0.0/0.1/7"])
def test_a_stale_wait_changes_nothing(attempt):
    from ipyviews.core.events import TaskWaits
    from ipyviews.ids import parse_attempt

    desk = desk_of_outer_calls(1)
    desk.submit("inner.0", 0, client="b")
    desk.feed(TaskWaits(desk.now, parse_attempt(attempt), ("inner.0",)))
    assert not desk.replies


def test_a_cell_can_wait_too():
    desk = Desk(engines=1)
    desk.cell("outer.0", 0)
    desk.submit("inner.0", client="b")
    desk.waits("outer.0", "inner.0")
    assert desk.verdict("inner.0") is STUCK
    desk.reply("outer.0")
    assert not desk.state.waits
