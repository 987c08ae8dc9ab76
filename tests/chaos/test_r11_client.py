"""R11: the client of a detached cluster is killed; another one fetches all it had asked for."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

import ipyviews
from tests.chaos.scale import count

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.chaos, pytest.mark.kernels]

#: Asks for calls that are done, read and never used; that run; that wait; and for cells.
LEAVER = """
import json, sys, ipyviews

def work(number, seconds=0.0):
    import time
    time.sleep(seconds)
    print("call", number)
    return number * 2

rc = ipyviews.Client(sys.argv[1])
view, balanced = rc[:], rc.load_balanced_view()
done = balanced.map_async(work, range(10))
done.get()
cell = view.execute("print('cell'); here = 5", block=False)
cell.get()
slow = [rc[one].apply_async(work, 100 + one, 1.0) for one in (0, 1)]
queued = balanced.map_async(work, range(200, 230))
later = view.execute("print('later', here)", block=False)
rc.connection.let_leave()
rc.status()
print(json.dumps({
    "calls": [task.id for task in (*done.tasks, *slow[0].tasks, *slow[1].tasks, *queued.tasks)],
    "cells": [task.id for task in (*cell.tasks, *later.tasks)],
}), flush=True)
sys.stdin.readline()
"""

NUMBERS = [*range(10), 100, 101, *range(200, 230)]


@pytest.fixture
def cluster() -> Iterator[ipyviews.Cluster]:
    """Two engines that nobody owns."""
    cluster = ipyviews.Cluster(n=2, detached=True)
    cluster.start_cluster_sync()
    yield cluster
    cluster.stop_cluster_sync()


@pytest.fixture
def leave(cluster: ipyviews.Cluster) -> Iterator[Any]:
    """Let a client ask for things and be killed; returns the names of its tasks."""
    processes = []

    def leave() -> dict[str, list[str]]:
        process = subprocess.Popen(
            [sys.executable, "-c", LEAVER, str(cluster.connection_file)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        processes.append(process)
        told: dict[str, list[str]] = json.loads(process.stdout.readline())
        process.kill()
        process.wait()
        return told

    yield leave
    for process in processes:
        process.stdin.close()
        process.stdout.close()


def check(rc: ipyviews.Client, told: dict[str, list[str]]) -> None:
    """Fetch everything, with its output."""
    names = [*told["calls"], *told["cells"]]
    assert set(names) <= set(rc.hub_history())
    calls = [rc.get_result(name) for name in told["calls"]]
    assert [ar.get(60) for ar in calls] == [2 * number for number in NUMBERS]
    assert [ar.stdout for ar in calls] == [f"call {number}\n" for number in NUMBERS]
    cells = [rc.get_result(name) for name in told["cells"]]
    for ar in cells:
        ar.get(60)
    assert [ar.stdout for ar in cells] == ["cell\n"] * 2 + ["later 5\n"] * 2
    count("R11", kills=1, results=len(names))


def unfinished(rc: ipyviews.Client) -> set[str]:
    """Name the requests with tasks that have not ended."""
    found = rc.db_query({"completed": None}, keys=["msg_id"])
    return {one["msg_id"].rpartition(".")[0] for one in found}


def written(cluster: ipyviews.Cluster) -> set[str]:
    """Name the requests that are written down."""
    with contextlib.closing(sqlite3.connect(cluster.connection_file.parent / "state.db")) as db:
        rows = db.execute("SELECT name FROM notes WHERE kind = 'request'").fetchall()
    return {name for (name,) in rows}


def test_r11_everything_a_killed_client_had_asked_for_is_fetched(cluster, leave):
    told = leave()
    with cluster.connect_client_sync() as rc:
        check(rc, told)
        done = rc.db_query({"completed": {"$ne": None}}, keys=["msg_id", "submitted", "completed"])
        assert {one["msg_id"] for one in done} >= {*told["calls"], *told["cells"]}
        assert all(one["submitted"] < one["completed"] for one in done)


def test_r11_even_when_the_controller_is_killed_after_it(cluster, leave, wait_until):
    told = leave()
    with cluster.connect_client_sync() as rc:
        wait_until(lambda: len(rc.status()["clients"]) == 1, 20)
        # Written behind: a moment after the client's end was noticed.
        wait_until(lambda: unfinished(rc) <= written(cluster), 20)
    os.kill(cluster.controller.pid, signal.SIGKILL)
    with cluster.connect_client_sync() as rc:
        check(rc, told)
