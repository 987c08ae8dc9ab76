"""Tasks that ended under a controller before, as a client tells of them; others depend on them."""

import pytest

from ipyviews.core.effects import Verdict
from ipyviews.core.ends import Ended
from ipyviews.core.events import EndsTold
from tests.core.desk import Desk
from tests.core.needs import needs


@pytest.mark.parametrize(
    ("wanted", "verdict"),
    [
        (needs("x.0", "x.1"), Verdict.IMPOSSIBLE),
        (needs("x.0", "x.1", all=False), None),
        (needs("x.1", success=False, failure=True), None),
        (needs("x.0", success=False, failure=True), Verdict.IMPOSSIBLE),
        (needs("x.0", "x.2"), Verdict.INVALID),
    ],
)
def test_ends_that_only_a_client_knows_count_as_if_they_had_been_seen(wanted, verdict):
    desk = Desk(engines=2)
    desk.tell("x.0", engine=1, life=1)
    desk.tell("x.1", ok=False, engine=0, life=1)
    desk.submit("b.0", after=wanted)
    assert desk.running == ([] if verdict else ["b.0"])
    assert not verdict or desk.verdict("b.0") is verdict


@pytest.mark.parametrize(
    ("engine", "life", "fate"), [(1, 1, ""), (1, 9, "is gone"), (7, 1, "is gone")]
)
def test_a_task_follows_one_whose_end_was_told_to_the_same_life_of_its_engine(engine, life, fate):
    desk = Desk(engines=2)
    desk.tell("x.0", engine=engine, life=life)
    desk.submit("b.0", follow=needs("x.0"))
    if fate:
        assert desk.verdict("b.0") is Verdict.IMPOSSIBLE
        assert fate in desk.reason("b.0")
    else:
        assert desk.runs_on("b.0") == 1


def test_what_was_seen_counts_more_than_what_is_told():
    desk = Desk(engines=2)
    desk.submit("a.0", 0)
    desk.submit("a.1", 1)
    desk.reply("a.1")
    desk.submit("b.0", after=needs("a.0"))
    bad = Ended(False, None, 0)
    desk.feed(EndsTold(desk.now, (("a.0", bad), ("a.1", bad))))
    desk.submit("b.1", after=needs("a.1"))
    assert desk.running == ["a.0", "b.1"]
    desk.reply("a.0")
    assert desk.verdict("b.0") is None
    assert desk.running == ["b.1", "b.0"]
