"""Queues against a sorted list."""

from hypothesis import given
from hypothesis import strategies as st

from ipyviews.core.queues import Home, Queue

KEYS = st.tuples(st.floats(0.0, 9.0), st.integers(0, 50))


@given(st.lists(KEYS, unique=True, min_size=30), st.lists(st.integers(0, 100), min_size=40))
def test_the_first_is_the_least_whatever_was_taken_out(keys, picks):
    queue = Queue()
    for key in keys:
        queue.push(key, key)
    left = sorted(keys)
    for pick in picks[: len(keys)]:
        key = left.pop(pick % len(left))
        queue.remove(key)
        assert len(queue) == len(left)
        assert list(queue) == left
        if left:
            assert queue.first() == left[0]


@given(st.lists(KEYS, unique=True, min_size=1))
def test_a_key_may_be_used_again_after_its_task_was_taken_out(keys):
    queue = Queue()
    for key in keys:
        queue.push(key, "old")
        queue.remove(key)
        queue.push(key, "new")
    assert len(queue) == len(keys)
    for key in sorted(keys):
        assert queue.first() == "new"
        queue.remove(key)
    assert not queue


def test_nowhere_is_closed_and_has_no_engine():
    assert not Home().is_open
    assert Home().free_engine() is None
