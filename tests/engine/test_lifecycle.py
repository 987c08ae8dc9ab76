"""Segments of shared memory: never written while anybody may map them, and never lost."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ipyviews.engine.lifecycle import IDLE_S, SPOILED_S, Pool, State

PLENTY = 1_000_000
PICKS = st.integers(0, 2**16)


@pytest.fixture
def pool():
    return Pool()


def filled(pool, size=100, *, users=1, holders=(), now=0.0):
    segment, _ = pool.take(size, PLENTY)
    pool.sent(segment, users, holders, now)
    return segment


def reused(pool, size=100):
    segment, _ = pool.take(size, PLENTY)
    return segment.use > 1


def test_a_segment_whose_tasks_have_ended_is_used_again(pool):
    segment = filled(pool, users=2)
    pool.ended(1, 1, 0.0)
    assert segment.state is State.SENT
    pool.ended(1, 1, 0.0)
    again, unlink = pool.take(100, PLENTY)
    assert (again, again.use, again.state, unlink) == (segment, 2, State.FILLING, [])


def test_a_segment_that_is_mapped_waits_for_its_release(pool):
    filled(pool)
    pool.ended(1, 1, 0.0, holder="e0.1")
    assert not reused(pool)
    pool.released(1, 1, "e0.1", 0.0)
    assert reused(pool)


def test_a_release_may_overtake_the_reply(pool):
    filled(pool)
    pool.released(1, 1, "e0.1", 0.0)
    pool.ended(1, 1, 0.0, holder="e0.1")
    assert reused(pool)


def test_what_is_told_of_an_earlier_use_changes_nothing(pool):
    segment = filled(pool)
    pool.ended(1, 1, 0.0)
    pool.take(100, PLENTY)
    pool.sent(segment, 1, (), 0.0)
    pool.released(1, 1, "e0.1", 0.0)
    pool.ended(1, 1, 0.0)
    pool.ended(7, 1, 0.0)
    assert (segment.state, segment.users, segment.holders) == (State.SENT, 1, {})


def test_a_result_waits_for_its_client(pool):
    filled(pool, users=0, holders=["c1"])
    assert not reused(pool)
    pool.released(1, 1, "c1", 0.0)
    assert reused(pool)


def test_what_a_lost_holder_mapped_is_never_written_again_but_removed_soon(pool):
    segment = filled(pool)
    pool.ended(1, 1, 0.0, holder="e0.1")
    pool.lost("e0.1", 1.0)
    assert not reused(pool)
    assert pool.expire(1.0) == []
    assert pool.expire(1.0 + SPOILED_S) == [segment]


@pytest.mark.parametrize("release_first", [True, False])
def test_what_a_forked_child_may_map_is_never_written_again_but_removed_soon(pool, release_first):
    segment = filled(pool)
    words = [
        lambda: pool.ended(1, 1, 0.0, holder="e0.1"),
        lambda: pool.released(1, 1, "e0.1", 0.0, spoiled=True),
    ]
    for word in reversed(words) if release_first else words:
        word()
    assert not reused(pool)
    assert pool.expire(SPOILED_S) == [segment]


def test_a_spoiled_segment_stays_while_a_task_needs_it(pool):
    segment = filled(pool, users=2)
    pool.ended(1, 1, 0.0, spoiled=True)
    assert pool.expire(100.0) == []
    pool.ended(1, 1, 100.0)
    assert pool.expire(100.0 + SPOILED_S) == [segment]


def test_idle_segments_are_removed(pool):
    segment = filled(pool)
    assert pool.next_end() is None
    pool.ended(1, 1, 5.0)
    assert pool.next_end() == 5.0 + IDLE_S
    assert pool.expire(4.9 + IDLE_S) == []
    assert pool.expire(5.0 + IDLE_S) == [segment]
    assert segment.state is State.UNLINKED


@pytest.mark.parametrize(("size", "fits"), [(101, False), (100, True), (50, True), (49, False)])
def test_only_what_fits_well_is_used_again(pool, size, fits):
    filled(pool, 100)
    pool.ended(1, 1, 0.0)
    assert reused(pool, size) is fits


def test_the_smallest_that_fits_is_used_again(pool):
    large, small = filled(pool, 180), filled(pool, 120)
    for segment in (large, small):
        pool.ended(segment.number, 1, 0.0)
    assert pool.take(100, PLENTY)[0] is small


def test_idle_segments_make_room_the_oldest_first(pool):
    old, new = filled(pool, 100), filled(pool, 100)
    pool.ended(new.number, 1, 2.0)
    pool.ended(old.number, 1, 1.0)
    segment, unlink = pool.take(300, 200)
    assert (segment.capacity, unlink) == (300, [old])


def test_without_room_there_is_no_segment(pool):
    needed = filled(pool, 100)
    assert pool.take(200, 150) == (None, [])
    assert pool.segments == {1: needed}


def test_closing_leaves_what_is_to_be_kept(pool):
    needed, free = filled(pool), filled(pool, users=0, holders=["c1"])
    assert pool.close(lambda segment: segment.users > 0) == [free]
    assert pool.close(lambda _: False) == [needed]


def test_what_could_not_be_filled_is_given_up(pool):
    segment, _ = pool.take(100, PLENTY)
    assert pool.give_up([segment]) == [segment]
    assert not pool.segments


class World(RuleBasedStateMachine):
    """Engines map, let go, and die; what they tell arrives late and in any order."""

    def __init__(self):
        super().__init__()
        self.pool = Pool()
        self.now = 0.0
        self.alive = {"e0.1", "e1.1"}
        self.born = 2
        # What is true: tasks that have not ended, and mappings, of each filling.
        self.tasks = []
        self.maps = Counter()
        self.messages = []

    @rule(size=st.integers(1, 300), users=st.integers(1, 3), room=st.sampled_from([0, PLENTY]))
    def send(self, size, users, room):
        segment, unlink = self.pool.take(size, room)
        self.check_unlinked(unlink)
        if segment is None:
            return
        assert segment.capacity >= size
        used = [(number, use) for number, use, _ in self.maps.elements()] + self.tasks
        earlier = [use for number, use in used if number == segment.number]
        assert not earlier, f"segment {segment.number} is written while fillings {earlier} live"
        self.pool.sent(segment, users, (), self.now)
        self.tasks += [(segment.number, segment.use)] * users

    @precondition(lambda self: self.tasks and self.alive)
    @rule(task=PICKS, engine=PICKS, keeps=st.booleans())
    def run(self, task, engine, keeps):
        number, use = self.tasks.pop(task % len(self.tasks))
        holder = sorted(self.alive)[engine % len(self.alive)]
        if keeps:
            self.maps[number, use, holder] += 1
        self.messages.append(("ended", number, use, holder if keeps else "", False))

    @precondition(lambda self: self.tasks)
    @rule(task=PICKS)
    def give_task_up(self, task):
        # A cancel, a timeout: whoever runs it may map it for ever.
        number, use = self.tasks.pop(task % len(self.tasks))
        self.maps[number, use, "nobody knows"] += 1
        self.messages.append(("ended", number, use, "", True))

    @precondition(lambda self: self.held())
    @rule(which=PICKS, forked=st.booleans())
    def let_go(self, which, forked):
        held = self.held()
        number, use, holder = held[which % len(held)]
        self.maps[number, use, holder] -= 1
        if forked:
            self.maps[number, use, "a child"] += 1
        self.messages.append(("released", number, use, holder, forked))

    @precondition(lambda self: self.alive)
    @rule(engine=PICKS)
    def lose(self, engine):
        # Its mappings stay: a process may be slow to die.
        holder = sorted(self.alive)[engine % len(self.alive)]
        self.alive.remove(holder)
        self.pool.lost(holder, self.now)

    @rule()
    def join(self):
        self.alive.add(f"e{self.born}.1")
        self.born += 1

    @precondition(lambda self: self.messages)
    @rule(which=PICKS)
    def deliver(self, which):
        kind, number, use, *rest = self.messages.pop(which % len(self.messages))
        holder, spoiled = rest
        if kind == "released":
            self.pool.released(number, use, holder, self.now, spoiled=spoiled)
            return
        is_lost = bool(holder) and holder not in self.alive
        holder = "" if is_lost else holder
        self.pool.ended(number, use, self.now, holder=holder, spoiled=spoiled or is_lost)

    @rule(seconds=st.sampled_from([1.0, SPOILED_S, IDLE_S]))
    def wait(self, seconds):
        self.now += seconds
        self.check_unlinked(self.pool.expire(self.now))

    def held(self):
        return sorted(one for one in self.maps.elements() if one[2] in self.alive)

    def check_unlinked(self, segments):
        for segment in segments:
            assert segment.state is State.UNLINKED
            needed = [use for number, use in self.tasks if number == segment.number]
            assert not needed, f"segment {segment.number} is unlinked before its tasks have ended"

    @invariant()
    def states_and_counts_agree(self):
        for segment in self.pool.segments.values():
            assert segment.state is not State.UNLINKED
            if segment.state is State.POOLED:
                assert segment.users == 0
                assert not segment.holders

    def teardown(self):
        while self.tasks:
            self.give_task_up(0)
        while self.held():
            self.let_go(0, forked=False)
        while self.messages:
            self.deliver(0)
        self.wait(IDLE_S)
        assert not self.pool.segments, "a segment is lost"


World.TestCase.settings = settings(max_examples=300, stateful_step_count=40, deadline=None)
TestWorld = World.TestCase
