"""Answers on their way out, without a socket."""

from __future__ import annotations

from typing import Any

import pytest

from ipyviews.engine import replies
from ipyviews.engine.backlog import Call, Request
from ipyviews.engine.outcomes import Outcome
from ipyviews.engine.replies import Replies


class Box:
    """Answers, and the attempts in each message they were sent in."""

    def __init__(self) -> None:
        self.messages: list[list[str]] = []
        self.replies = Replies(self._send, lambda: None, lambda _: None)

    def _send(
        self,
        _request: Request,
        msg_type: str,
        content: dict[str, Any],
        _buffers: list[Any],
        parent: dict[str, Any],
    ) -> None:
        bundled = [one[0] for one in content.get("replies", ())]
        self.messages.append(bundled if msg_type == "bundle_reply" else [parent["msg_id"]])

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
