"""Answers on their way out, without a socket."""

from __future__ import annotations

from typing import Any

import pytest

from ipyviews.engine import replies
from ipyviews.engine.backlog import Call, Request
from ipyviews.engine.kept import Kept
from ipyviews.engine.outcomes import Outcome
from ipyviews.engine.replies import Replies


class Box:
    """Answers, and the attempts in each message they were sent in."""

    def __init__(self) -> None:
        self.messages: list[list[str]] = []
        #: To whom each went.
        self.sessions: list[str] = []
        self.replies = Replies(self._send, lambda: None, lambda _: None)

    def _send(
        self,
        request: Request,
        msg_type: str,
        content: dict[str, Any],
        _buffers: list[Any],
        parent: dict[str, Any],
    ) -> int:
        bundled = [one[0] for one in content.get("replies", ())]
        self.messages.append(bundled if msg_type == "bundle_reply" else [parent["msg_id"]])
        self.sessions.append(request.header["session"])
        return len(self.messages)

    def add(self, attempt: str, *, at_once: bool = False, ran_s: float = 0.0, **ours: Any) -> None:
        call = Call(
            attempt, Request([b"c"], {"msg_id": attempt, "session": "s"}, ours, {}, []), b"", []
        )
        self.replies.add(call, Outcome({}, [b"x"]), at_once=at_once, ran_s=ran_s)


@pytest.fixture(autouse=True)
def _patient(monkeypatch) -> None:
    monkeypatch.setattr(replies, "PATIENCE_S", 3600.0)


def test_answers_wait_for_one_that_goes_at_once():
    box = Box()
    box.add("a")
    assert box.messages == []
    box.add("b", at_once=True)
    assert box.messages == [["a", "b"]]


def test_the_answer_of_a_call_that_took_its_time_goes_at_once():
    box = Box()
    box.add("a", ran_s=2.0 * replies.PATIENCE_S)
    assert box.messages == [["a"]]


def test_an_urgent_answer_waits_for_no_other_and_goes_alone():
    box = Box()
    box.add("a")
    box.add("b", urgent=True)
    assert box.messages == [["b"]]
    box.add("c", at_once=True)
    assert box.messages == [["b"], ["a", "c"]]


def successor() -> Request:
    return Request([b"c"], {"msg_id": "resume", "session": "s2"}, {}, {}, [])


def test_what_is_not_acknowledged_is_sent_to_the_next_controller_in_the_same_order():
    box = Box()
    box.add("a")
    box.add("b", at_once=True)
    box.add("c", at_once=True)
    box.add("d", at_once=True)
    box.replies.acknowledge([2])
    assert box.replies.send_again(successor()) == []
    assert box.messages[3:] == [["a", "b"], ["d"]]
    assert box.sessions[3:] == ["s2", "s2"]


def test_what_was_sent_again_is_kept_until_that_is_acknowledged():
    box = Box()
    box.add("a", at_once=True)
    box.replies.send_again(successor())
    box.replies.acknowledge([1])
    box.replies.send_again(successor())
    box.replies.acknowledge([3])
    box.replies.send_again(successor())
    assert box.messages == [["a"]] * 3


def test_a_repeated_attempt_is_answered_from_what_is_kept():
    box = Box()
    box.add("a")
    box.add("b", at_once=True)
    box.replies.repeat("b", successor())
    box.replies.repeat("unknown", successor())
    assert box.messages == [["a", "b"], ["b"]]


def test_of_more_than_is_kept_the_names_remain():
    box = Kept(most_bytes=5000)
    for number, attempt in enumerate("abcde"):
        box.add(number, [attempt], [Outcome({}, [bytes(500)])])
    box.add(9, ["large"], [Outcome({}, [bytes(10_000)])])
    assert list(box.gone) == ["a", "b", "large"]
    assert [[attempt for attempt, _ in one] for one in box.take()] == [["c"], ["d"], ["e"]]
    assert len(box) == 0


def test_a_kept_answer_is_as_it_was_sent():
    kept, value = Kept(), bytearray(b"before")
    kept.add(1, ["a"], [Outcome({}, [value])])
    value[:] = b"after!"
    assert kept.find("a").buffers == [b"before"]
    assert kept.find("b") is None
