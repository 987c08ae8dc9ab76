"""Results that were asked of the controller."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future

import pytest

from ipyviews.client import hubresults
from ipyviews.client.hubresults import AsyncHubResult, Reply
from ipyviews.engine import outcomes
from ipyviews.errors import ClusterError, UsageError
from tests.waiting import wait_until


@pytest.fixture(autouse=True)
def hurried(monkeypatch):
    """The controller is asked again soon."""
    monkeypatch.setattr(hubresults, "FIRST_S", 0.005)
    monkeypatch.setattr(hubresults, "LAST_S", 0.01)


def reply(value, **more):
    outcome = outcomes.success(value, "f")
    ours = {"verdict": "replied", "engine": 1, "attempts": [[1, 1, 1.0, 2.0, "ok"]]}
    return Reply("apply", outcome.content, outcome.buffers, ours, **more)


class Records:
    """Answers as told, one list entry for each time it is asked."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked = []

    def __call__(self, ids):
        self.asked.append(list(ids))
        future = Future()
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            future.set_exception(answer)
        else:
            future.set_result(answer)
        return future


@pytest.mark.row("3-hub-result")
def test_what_is_recorded_is_there_at_once(rc):
    result = AsyncHubResult(rc, "x-1.0", Records({"x-1.0": reply(5)}), "f")
    assert result.get(5) == 5
    assert repr(result) == "<AsyncHubResult(f): finished>"
    assert (result.engine_id, result.status, result.serial_time) == (1, "ok", 1.0)
    assert result.msg_ids == ["x-1.0"]


@pytest.mark.row("3-hub-result")
def test_what_is_not_there_is_asked_for_again(rc):
    some, rest = {"x-1.0": reply(5), "x-1.1": None}, {"x-1.1": reply(6)}
    records = Records(some, {}, {"x-1.1": None}, rest)
    result = AsyncHubResult(rc, ["x-1.0", "x-1.1"], records)
    assert result.get(5) == [5, 6]
    assert records.asked == [["x-1.0", "x-1.1"], *[["x-1.1"]] * 3]


@pytest.mark.row("3-hub-result")
async def test_it_can_be_awaited_and_calls_back(rc):
    result = AsyncHubResult(rc, "x-1.0", Records({}, {}, {"x-1.0": reply(5)}))
    seen = []
    result.add_done_callback(lambda one: seen.append(one.get()))
    assert await asyncio.wait_for(result, 5) == 5
    assert seen == [5]


def test_what_is_known_of_the_task_comes_with_it(rc):
    written = [("stream", {"name": "stdout", "text": "hello\n"})]
    known = reply(5, submitted=7.0, label="mine", output=written)
    result = AsyncHubResult(rc, "x-1.0", Records({"x-1.0": known}))
    result.wait(5)
    assert (result.label, result.submitted.timestamp(), result.stdout) == ("mine", 7.0, "hello\n")


def test_a_task_that_nobody_knows_fails_alone(rc):
    found = {"x-1.0": reply(5), "x-1.1": UsageError("There is no task x-1.1.")}
    result = AsyncHubResult(rc, ["x-1.0", "x-1.1"], Records(found))
    values = result.get(5, return_exceptions=True)
    assert values[0] == 5
    assert str(values[1]) == "There is no task x-1.1."


def test_a_controller_that_refuses_ends_it(rc):
    with pytest.raises(UsageError, match="no records"):
        AsyncHubResult(rc, "x-1.0", Records(UsageError("no records"))).get(5)


def test_asking_that_fails_ends_it(rc):
    def broken(ids):
        raise ClusterError("closed")

    with pytest.raises(ClusterError, match="closed"):
        AsyncHubResult(rc, "x-1.0", broken).get(5)


@pytest.mark.parametrize("end", ["dies", "closes"])
def test_the_end_of_the_connection_ends_it(fake, rc, end):
    records = Records({})
    result = AsyncHubResult(rc, "x-1.0", records)
    wait_until(lambda: len(records.asked) > 1)
    fake.die() if end == "dies" else rc.close()
    with pytest.raises(ClusterError):
        result.get(10)


@pytest.mark.row("3-hub-no-output")
def test_it_has_no_live_output(fake, rc, capsys):
    fake.holding = True
    rc[0].execute("print('x')")
    task = rc.history[-1]
    result = AsyncHubResult(rc, "x-1.0", Records({}, {"x-1.0": reply(5)}))
    with result.stream_output():
        result.wait(5)
        fake.do(lambda: fake.output(task, 0, "stream", {"name": "stdout", "text": "x\n"}))
    assert capsys.readouterr().out == ""


def test_asking_slows_down(rc, monkeypatch):
    monkeypatch.setattr(hubresults, "FIRST_S", 0.1)
    monkeypatch.setattr(hubresults, "LAST_S", 2.0)
    pauses = []
    monkeypatch.setattr(rc.connection, "later", lambda pause, action: pauses.append(pause))
    result = AsyncHubResult(rc, "x-1.0", Records({}))
    for _ in range(12):
        result._ask()
    assert pauses[:3] == pytest.approx([0.1, 0.15, 0.225])
    assert pauses[-1] == 2.0
    result.cancel()
