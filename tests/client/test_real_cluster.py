"""The same verbs against a real controller and real kernels."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import psutil
import pytest

import ipyviews
from ipyviews.errors import ClusterError, ControllerLost, EngineError
from tests.waiting import wait_until

pytestmark = pytest.mark.kernels


@pytest.fixture
def client(cluster4):
    with cluster4.connect_client_sync() as connected:
        yield connected


def test_code_travels_and_data_is_what_was_pushed(client):
    view = client[:]
    space = {"__name__": "__main__"}
    exec("def read():\n    return a", space)
    view["a"] = 5
    assert view.apply_sync(space["read"]) == [5] * 4


def test_maps_and_scattered_arrays_come_back(client):
    assert client[:].map_sync(abs, range(-9, 0)) == list(range(9, 0, -1))
    assert client.load_balanced_view().map_sync(pow, range(500), [2] * 500) == [
        x * x for x in range(500)
    ]
    values = np.arange(100_000.0)
    client[:].scatter("x", values, block=True)
    back = client[:].gather("x", block=True)
    assert np.array_equal(back, values)
    back[0] = 1


def test_output_precedes_the_reply_and_has_utc_times(client):
    result = client[:].execute("print('hello')\n6 * 7", silent=False, block=True)
    assert result.stdout == ["hello\n"] * 4
    assert [reply.data["text/plain"] for reply in result.get()] == ["42"] * 4
    called = client[0].apply_async(print, "from a call")
    called.get()
    known = called.metadata
    assert known.stdout == "from a call\n"
    assert known.submitted <= known.started <= known.completed <= known.received


def test_live_output_arrives_while_the_cell_runs(client):
    result = client[0].execute("import time; print('early', flush=True); time.sleep(30)")
    wait_until(lambda: result.stdout == "early\n")
    assert not result.done()
    result.cancel()
    assert result.wait(5)


@pytest.mark.parametrize("verb", ["apply", "cell", "map"])
def test_ctrl_c_frees_the_engines(client, verb):
    calls = {
        "apply": lambda: client[:].apply_sync(time.sleep, 60),
        "cell": lambda: client[:].execute("while True: pass", block=True),
        "map": lambda: client.load_balanced_view().map_sync(time.sleep, [60] * 20),
    }
    client[:].push({"kept": 1}, block=True)
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        calls[verb]()
    started = time.monotonic()
    assert client[:]["kept"] == [1] * 4
    assert time.monotonic() - started < 10


async def test_the_async_client_speaks_to_it_too(cluster4, client):
    async with ipyviews.AsyncClient(cluster_id=client.connection.address.cluster_id) as rc:
        assert await rc[:].apply(pow, 2, 5) == [32] * 4
        assert len((await rc.status())["clients"]) == 2


def test_a_script_that_forgets_to_close_ends_quickly(client):
    code = (
        "import ipyviews, sys, time\n"
        "rc = ipyviews.Client(sys.argv[1])\n"
        "ar = rc[0].apply_async(time.sleep, 2)\n"
        "print(rc.ids)\n"
    )
    command = [sys.executable, "-W", "error", "-c", code, client.connection.address.origin]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert (ended.stdout, ended.stderr, ended.returncode) == ("[0, 1, 2, 3]\n", "", 0)


def test_a_killed_engine_fails_its_call_and_comes_back_by_restart():
    with ipyviews.Cluster(n=2) as rc:
        result = rc[1].apply_async(time.sleep, 60)
        wait_until(lambda: rc.status()["engines"][1]["running"] == 1)
        os.kill(rc.connection.engines[1]["pid"], signal.SIGKILL)
        with pytest.raises(EngineError, match=r"(?i)engine 1 .*SIGKILL"):
            result.get(2)
        wait_until(lambda: rc.ids == [0])
        rc.restart(1)
        rc.wait_for_engines(2)
        assert rc[:].apply_sync(pow, 2, 2) == [4, 4]


def test_a_killed_controller_is_replaced_and_its_calls_go_on():
    with ipyviews.Cluster(n=1) as rc:
        result = rc[0].apply_async(lambda: __import__("time").sleep(1.5) or 5)
        wait_until(lambda: rc.status()["engines"][0]["running"] == 1)
        killed = rc.cluster.controller.pid
        os.kill(killed, signal.SIGKILL)
        assert result.get(20) == 5
        assert rc.cluster.controller.pid != killed


def test_a_controller_killed_with_its_agent_ends_every_wait_within_two_seconds():
    with ipyviews.Cluster(n=1) as rc:
        result = rc[0].apply_async(time.sleep, 60)
        wait_until(lambda: rc.status()["engines"][0]["running"] == 1)
        agent = psutil.Process(rc.connection.address.pid).ppid()
        for pid in (agent, rc.connection.address.pid):
            os.kill(pid, signal.SIGKILL)
        with pytest.raises(ControllerLost, match="it has died"):
            result.get(2)
        with pytest.raises(ClusterError):
            rc[:]
