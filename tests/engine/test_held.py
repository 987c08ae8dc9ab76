"""What an engine says of calls that are asked for: held, never seen, or answered."""

from __future__ import annotations

import pytest

from ipyviews.engine import backlog
from tests.engine.kernelbox import interactive


def calls(first: int, *attempts: str) -> list[backlog.Call]:
    content = {"index": [[1, 0]] * len(attempts), "attempts": attempts}
    buffers = [b"f", b"x" * len(attempts)]
    return backlog.split(backlog.Request([], {"msg_id": "m"}, {"first": first}, content, buffers))


def test_a_call_is_held_until_its_answer_was_sent():
    work = backlog.Backlog()
    work.add(calls(0, "a", "b"))
    work.take()
    work.running = None
    assert work.holds() == ["b", "a"]
    work.answered(["a"])
    assert work.holds() == ["b"]
    assert work.unseen({"a": 0, "b": 1}) == []


def test_what_never_came_is_unseen():
    work = backlog.Backlog()
    work.add(calls(5, "f"))
    assert work.unseen({"e": 4, "f": 5, "g": 6}) == ["e", "g"]


def test_what_was_given_back_is_unseen_for_it_will_not_be_begun():
    work = backlog.Backlog()
    work.add(calls(0, "a", "b"))
    returned = [call.attempt for call in work.remove({"b"})]
    assert work.holds() == ["a", "b"]
    work.returned(returned)
    assert work.holds() == ["a"]
    assert work.unseen({"a": 0, "b": 1}) == ["b"]


def test_what_may_have_come_and_been_forgotten_is_not_called_unseen(monkeypatch):
    monkeypatch.setattr(backlog, "MEMORY", 2)
    work = backlog.Backlog()
    work.add(calls(0, "a", "b", "c", "d"))
    assert work.unseen({"a": 0, "b": 1, "c": 2, "x": 9}) == ["x"]


def test_the_cell_that_runs_is_held():
    work = backlog.Backlog()
    work.cell = "the cell"
    assert work.holds() == ["the cell"]


def test_to_another_controller_nothing_of_the_one_before_is_unseen():
    work = backlog.Backlog()
    work.add(calls(0, "a", "b", "c"))
    work.take()
    work.answered(["a"])
    work.running = None
    work.take()
    work.drop_waiting()
    assert work.holds() == ["b"]
    assert work.unseen({"a": 0, "b": 1, "d": 3}) == ["d"]


@pytest.mark.kernels
def test_an_engine_tells_what_it_holds_while_it_computes(box):
    function = interactive("import time\ndef f(): time.sleep(0.3)")["f"]
    attempt = box.send_call(function)
    report = box.ping(**{attempt: 0, "never-sent": 1000})
    assert report["holds"] == [attempt]
    assert report["unseen"] == ["never-sent"]
    box.answer(attempt)
    box.wait_until_idle()
    assert box.ping(**{attempt: 0})["unseen"] == []


@pytest.mark.kernels
def test_an_answer_that_got_lost_is_sent_again_to_who_asks_for_it(box):
    attempt = box.send_call(abs, -1)
    box.answer(attempt)
    box.wait_until_idle()
    box.replies.clear()
    assert box.ping(**{attempt: 0})["unseen"] == []
    assert box.answer(attempt).value == 1
