"""Calls that real engines were sent ahead: what is seen of it, also when something goes wrong."""

from __future__ import annotations

import os
import sys
import time

import pytest

from ipyviews import EngineError, TaskAborted
from tests.engine.kernelbox import interactive
from tests.waiting import wait_until

pytestmark = pytest.mark.kernels


def nap(seconds):
    sys.stdout.write("on")
    sys.stdout.flush()
    time.sleep(seconds)


@pytest.fixture
def quick(rc):
    """One engine, for whose calls it is known that they take no time."""
    view = rc[0]
    for call in [view.apply_async(abs, -1) for _ in range(60)]:
        call.get(10)
    return view


def test_direct_calls_in_a_row_run_in_their_order(rc, quick):
    quick.execute("seen = []", block=True)
    step = interactive("def step(i): seen.append(i)")["step"]
    calls = [quick.apply_async(step, number) for number in range(500)]
    assert quick["seen"] == list(range(500))
    assert all(call.done() for call in calls)


def test_a_cell_after_direct_calls_sees_what_they_did_and_a_call_after_it_what_it_did(rc, quick):
    quick.execute("n = 0", block=True)
    step = interactive("def step():\n    global n\n    n += 1")["step"]
    for _ in range(100):
        quick.apply_async(step)
    cell = quick.execute("n *= 1000", silent=True)
    for _ in range(100):
        quick.apply_async(step)
    assert quick["n"] == 100_100
    assert cell.successful()


def test_a_call_of_another_client_does_not_wait_for_a_row_of_direct_ones(cluster4, rc, quick):
    calls = [quick.apply_async(time.sleep, 0.02) for _ in range(200)]
    with cluster4.connect_client_sync() as other:
        assert other[0].apply_sync(abs, -1) == 1
    assert not calls[-1].done()
    rc.interrupt()
    quick.abort()


def test_of_direct_calls_only_what_was_begun_fails_with_its_engine(rc, quick):
    running = quick.apply_async(nap, 60)
    waiting = [quick.apply_async(abs, -number) for number in range(40)]
    wait_until(lambda: running.stdout)
    rc.restart([0])
    with pytest.raises(EngineError, match="while it ran"):
        running.get(10)
    assert [call.get(10) for call in waiting] == list(range(40))


def test_direct_calls_behind_one_that_ends_the_engine_were_never_begun(rc, quick):
    killer = quick.apply_async(os._exit, 3)
    waiting = [quick.apply_async(abs, -number) for number in range(40)]
    with pytest.raises(EngineError, match="while it ran"):
        killer.get(10)
    for call in waiting:
        with pytest.raises(EngineError, match="before task"):
            call.get(10)
        assert call.attempts == []


def test_a_balanced_call_that_ends_its_engine_is_blamed_and_those_sent_with_it_run(rc):
    view = rc.load_balanced_view(targets=[0, 1])
    view.map_sync(abs, range(200))

    def end(number):
        if number == 50:
            os._exit(3)
        return number

    calls = [view.apply_async(end, number) for number in range(200)]
    with pytest.raises(EngineError):
        calls.pop(50).get(20)
    assert [call.get(20) for call in calls] == [n for n in range(200) if n != 50]


def test_a_cancelled_call_that_was_sent_ahead_has_not_run(rc, quick):
    running = quick.apply_async(nap, 60)
    waiting = [quick.apply_async(nap, 60) for _ in range(10)]
    wait_until(lambda: running.stdout)
    for call in waiting:
        call.cancel()
    for call in waiting:
        assert isinstance(call.exception(10), TaskAborted)
        assert (call.attempts, call.stdout) == ([], "")
    assert not running.done()
    running.cancel()
