"""Engines die and restart: every call gets its answer, none gets another's."""

from __future__ import annotations

import os
import signal
import time

import pytest

import ipyviews

pytestmark = pytest.mark.kernels

#: Longest time until a death is told [s].
TOLD_S = 2.0


def test_a_direct_call_on_a_killed_engine_fails_at_once(start, members, wait_until):
    rc = start(2)
    result = rc[1].apply_async(lambda: __import__("time").sleep(60))
    wait_until(lambda: rc.status()["engines"][1]["running"])
    killed = time.monotonic()
    members(rc).engines[1].kill()
    with pytest.raises(ipyviews.EngineError) as caught:
        result.get(10)
    assert time.monotonic() - killed < TOLD_S
    sentence = str(caught.value)
    assert "engine 1" in sentence
    assert result.msg_ids[0] in sentence
    assert "SIGKILL" in sentence
    assert rc[0].apply_sync(lambda: "alive") == "alive"
    wait_until(lambda: rc.ids == [0])


@pytest.mark.parametrize(
    ("code", "word"),
    [
        ("import os; os._exit(3)", "3"),
        ("import ctypes; ctypes.string_at(0)", "SIGSEGV"),
        ("import os; os.abort()", "SIGABRT"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", "SIGTERM"),
    ],
)
def test_the_error_says_how_an_engine_died(start, code, word):
    rc = start(1)
    with pytest.raises(ipyviews.EngineError, match=word):
        rc[0].execute(code, block=False).get(10)


@pytest.mark.row("1.6-engine-death-balanced")
def test_a_balanced_map_survives_a_killed_engine(start, members):
    rc = start(4)
    view = rc.load_balanced_view()
    result = view.map_async(lambda x: (__import__("time").sleep(0.01), x**2)[1], range(400))
    members(rc).engines[2].kill()
    assert result.get(60) == [x**2 for x in range(400)]


@pytest.mark.row("1.6-engine-death-balanced")
def test_a_task_that_kills_its_engine_is_not_given_to_the_others(start, wait_until):
    rc = start(3)
    with pytest.raises(ipyviews.EngineError):
        rc.load_balanced_view().apply_async(lambda: __import__("os")._exit(1)).get(10)
    wait_until(lambda: len(rc.ids) == 2)
    assert rc[:].apply_sync(lambda: 1) == [1, 1]


def test_a_stopped_engine_is_not_dead(start, members):
    rc = start(2)
    engine = members(rc).engines[0]
    engine.suspend()
    result = rc[0].apply_async(lambda: "back")
    with pytest.raises(TimeoutError):
        result.get(3)
    engine.resume()
    assert result.get(10) == "back"


@pytest.mark.heavy
@pytest.mark.timeout(600)
def test_two_hundred_restarts_under_load(start, interactive, wait_until, tmp_path):
    def begin(sign):
        sign.touch()
        __import__("time").sleep(60)

    rc = start(2)
    balanced = rc.load_balanced_view([1])
    load = balanced.map_async(lambda x: (__import__("time").sleep(0.005), x)[1], range(4_000))
    pid = rc[0].apply_sync(os.getpid)
    for number in range(200):
        rc[0].push({"life": number}, block=True)
        sign = tmp_path / str(number)
        running = rc[0].apply_async(begin, sign)
        # What has not begun when the engine is restarted runs on the next life.
        wait_until(sign.exists)
        rc.restart(0, now=True)
        with pytest.raises(ipyviews.EngineError):
            running.get(10)
        assert rc[0].apply_sync(interactive("lambda: 'life' in globals()")) is False
        assert rc[0].apply_sync(os.getpid) != pid
        pid = rc[0].apply_sync(os.getpid)
    assert load.get(120) == list(range(4_000))
    assert rc.ids == [0, 1]


def test_signals_are_relayed(start, wait_until):
    rc = start(1)
    code = "import signal; got = []; signal.signal(signal.SIGUSR1, lambda s, _: got.append(s))"
    rc[0].execute(code, block=True)
    rc.send_signal(signal.SIGUSR1, 0)
    wait_until(lambda: rc[0]["got"] == [signal.SIGUSR1])
