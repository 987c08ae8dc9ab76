"""What gets lost between a client and its controller is missed, and told."""

from __future__ import annotations

import pytest

import ipyviews
from tests.waiting import wait_until


def shell(fake):
    """The client's connection, to let messages get lost on it."""
    (connection,) = fake.network.connections("ipc:///nowhere/c-1")
    return connection


def ask(rc, fake):
    """Look twice, as the timer does: the second time what is pending is old."""
    fake.do(rc.connection._silence.look)
    fake.do(rc.connection._silence.look)


@pytest.mark.parametrize("way", ["out", "back"])
def test_what_got_lost_fails_and_says_so(fake, rc, way):
    link = getattr(shell(fake), way)
    fake.do(lambda: setattr(link.faults, "loss", 1.0))
    result = rc[0].apply_async(pow, 2, 3)
    result.wait_for_send()
    fake.do(lambda: setattr(link.faults, "loss", 0.0))
    ask(rc, fake)
    with pytest.raises(ipyviews.TaskError, match=r"lost a message\. The task may have run"):
        result.get(5)


def test_what_the_controller_has_goes_on(fake, rc):
    fake.holding = True
    result = rc[0].apply_async(pow, 2, 3)
    wait_until(lambda: fake.held)
    ask(rc, fake)
    fake.release()
    assert result.get(5) == 8


def test_what_was_just_sent_is_not_asked_for(fake, rc):
    fake.holding = True
    rc[0].apply_async(pow, 2, 3).wait_for_send()
    fake.do(rc.connection._silence.look)
    assert "missing_request" not in fake.names()


def test_another_controller_is_not_believed(fake, rc):
    """One that took over knows only what it was told since."""
    fake.holding = True
    result = rc[0].apply_async(pow, 2, 3)
    wait_until(lambda: fake.held)
    fake.life = "another"
    ask(rc, fake)
    fake.release()
    assert result.get(5) == 8


def test_what_got_lost_does_not_count_as_unread(fake, rc):
    link = shell(fake).back
    fake.do(lambda: setattr(link.faults, "loss", 1.0))
    result = rc[0].apply_async(bytes, 100_000)
    result.wait_for_send()
    fake.do(lambda: setattr(link.faults, "loss", 0.0))
    ask(rc, fake)
    assert isinstance(result.exception(5), ipyviews.TaskError)
    wait_until(lambda: fake.acknowledged == fake.sent_bytes)


def test_many_are_asked_for_in_turns(fake, rc, monkeypatch):
    monkeypatch.setattr("ipyviews.client.silence.MOST_ASKED", 2)
    fake.holding = True
    results = [rc[0].execute("pass", block=False) for _ in range(5)]
    wait_until(lambda: len(fake.held) == 5)
    for _ in range(4):
        fake.do(rc.connection._silence.look)
    wait_until(lambda: fake.names().count("missing_request") == 3)
    asked = [len(content["tasks"]) for name, content, _ in fake.requests if "missing" in name]
    assert asked == [2, 1, 2]
    fake.release()
    assert all(result.wait(5) for result in results)
