"""What is remembered of tasks that have ended."""

import pytest

from ipyviews.core.ends import Ended, Ends

FINE, FAILED = Ended(True, 0, 1), Ended(False, 1, 2)


def test_each_task_has_its_own_end():
    ends = Ends()
    ends.add("c-1.2", FINE)
    ends.add("c-1.0", FAILED)
    assert [ends.get(f"c-1.{index}") for index in range(4)] == [FAILED, None, FINE, None]
    assert "c-1.2" in ends
    assert "c-2.2" not in ends


def test_a_task_that_ends_again_has_its_newest_end():
    ends = Ends(most=1)
    ends.add("c-1.0", FAILED)
    ends.add("c-1.0", FINE)
    assert ends.get("c-1.0") == FINE


@pytest.mark.parametrize(
    "name", ["", ".", "c-1", "c-1.", "c-1.x", "c-1.-1", "c-1.²", "c-1." + "9" * 99]
)
def test_any_text_may_be_asked_for(name):
    ends = Ends()
    ends.add("c-1.0", FINE)
    assert ends.get(name) is None


def test_the_request_whose_last_end_is_oldest_is_forgotten_first():
    ends = Ends(most=4)
    for task in ("a-1.0", "a-1.1", "b-1.0", "b-1.1", "a-1.2"):
        ends.add(task, FINE)
    assert [task for task in ("a-1.0", "a-1.2", "b-1.0", "b-1.1") if task in ends] == [
        "a-1.0",
        "a-1.2",
    ]


def test_the_request_with_the_newest_end_is_never_forgotten():
    ends = Ends(most=2)
    for index in range(10):
        ends.add(f"a-1.{index}", FINE)
    assert all(f"a-1.{index}" in ends for index in range(10))
    ends.add("b-1.0", FINE)
    assert "a-1.9" not in ends
    assert "b-1.0" in ends


def test_ends_that_were_told_may_have_any_name_and_are_bounded():
    ends = Ends(most=3)
    for index in range(5):
        ends.tell(f"c-1.{999_999_990 + index}", Ended(True, index, index))
    assert len(ends) == 3
    assert ends.get("c-1.999999990") is None
    assert ends.get("c-1.999999994") == Ended(True, 4, 4)


def test_what_was_seen_later_counts_more_than_what_was_told():
    ends = Ends()
    ends.tell("c-1.0", FAILED)
    ends.add("c-1.0", FINE)
    assert ends.get("c-1.0") == FINE
