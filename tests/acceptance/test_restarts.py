"""Engines that die come back by themselves, set up as before."""

from __future__ import annotations

import os

import pytest

import ipyviews

pytestmark = pytest.mark.kernels


def test_a_killed_engine_comes_back_set_up_and_what_waited_runs(start, wait_until):
    rc = start(2, restart=(2, 60))
    rc[:].execute("base = 40", block=True, setup=True)
    rc[0].execute("more = base + 2", block=True, setup=True)
    rc[:].push({"lost": 1})
    pids = rc[:].apply_sync(os.getpid)
    for _ in range(2):
        kills = rc[0].execute("import os; os.kill(os.getpid(), 9)", block=False)
        waits = rc[0].execute("said = more", block=False)
        with pytest.raises(ipyviews.EngineError) as caught:
            kills.get(10)
        assert caught.value.report.restarted
        waits.get(30)
        assert rc[0]["said"] == 42
    assert rc[0].apply_sync(lambda: "lost" in get_ipython().user_ns) is False  # noqa: F821
    assert rc[1]["lost"] == 1
    assert rc[1].apply_sync(os.getpid) == pids[1]
    rc[0].execute("import os; os._exit(7)", block=False).wait(10)
    wait_until(lambda: rc.ids == [1])
    with pytest.raises(ipyviews.EngineError, match=r"not started again.*client.restart\(0\)"):
        rc[0].apply_sync(abs, -1)
    rc.restart(0)
    assert rc[0]["more"] == 42


def test_auto_restart_is_switched_on_and_a_restart_may_forget_the_set_up(start, wait_until):
    rc = start(1)
    rc[0].execute("x = 1", block=True, setup=True)
    rc.auto_restart()
    rc[0].kill()
    wait_until(lambda: rc.ids == [0])
    assert rc[0]["x"] == 1
    rc.auto_restart(False)
    rc.restart(0, now=True, setup=False)
    with pytest.raises(ipyviews.RemoteError, match="'x' is not defined"):
        rc[0].pull("x", block=True)
    rc[0].kill()
    wait_until(lambda: rc.ids == [])
    assert [report.restarted for report in rc.deaths()] == [True, False]
