"""Memory comes back by itself: much is sent and returned, the results are dropped."""

from __future__ import annotations

import gc

import psutil
import pytest

from tests.chaos.scale import HANGS_S, count, most, scale
from tests.waiting import wait_until

pytestmark = pytest.mark.kernels

#: Calls, each with so much data: 1 GB in the long form. [count], [bytes]
CALLS = scale(150, 1000)
SIZE = 1_000_000

#: What a process may keep of it, and how long it may take to let go of the rest. [bytes], [s]
MOST = 50_000_000
SOON_S = 30.0


def private(process):
    """Return what a process has for itself. [bytes]."""
    return process.memory_full_info().uss


def everybody(rc, members):
    found = members(rc)
    engines = {f"engine {number}": one for number, one in enumerate(found.engines)}
    return {
        "client": psutil.Process(),
        "controller": found.controller,
        "agent": found.agent,
        **engines,
    }


def push(rc, data):
    for _ in range(CALLS):
        rc[:].push({"data": data}, block=True)
    rc[:].execute("del data", block=True)


def call(rc, data):
    results = []
    for _ in range(CALLS):
        results.append(rc.load_balanced_view().apply_async(bytes, data))
        if len(results) == 10:
            assert all(len(result.get(HANGS_S)) == SIZE for result in results)
            results.clear()


def call_all_at_once(rc, data):
    view = rc.load_balanced_view()
    results = view.map_async(len, (data + bytes(1) for _ in range(CALLS)))
    assert results.get(HANGS_S * 3) == [SIZE + 1] * CALLS


@pytest.mark.parametrize("work", [push, call, call_all_at_once])
def test_each_process_is_back_without_a_purge(start, members, work):
    rc = start(2)
    rc.load_balanced_view().map_sync(abs, range(100))
    processes = everybody(rc, members)
    data = bytes(SIZE)
    gc.collect()
    before = {name: private(process) for name, process in processes.items()}

    def kept():
        return {name: private(one) - before[name] for name, one in processes.items()}

    work(rc, data)
    wait_until(lambda: max(kept().values()) < MOST, SOON_S, "everybody back")
    count("bounds", calls=CALLS, bytes=CALLS * SIZE)
    most("bounds", bytes_kept=max(kept().values()))
    numbers = rc.status()["bounds"]
    assert numbers["client"]["unanswered_bytes"]["now"] == 0
    for part in (numbers["client"], numbers["controller"], *numbers["engines"].values()):
        for name, bound in part.items():
            assert bound["most"] is None or bound["now"] <= bound["most"], name


def test_many_calls_leave_no_more_than_the_bounds_say(start):
    rc = start(2)
    view = rc.load_balanced_view()
    # More than are remembered anywhere, in the long form.
    for _ in range(scale(3, 43)):
        assert view.map_sync(abs, range(7_000)) == list(range(7_000))
    numbers = rc.status()["bounds"]
    records = numbers["controller"]["records"]
    assert records["now"] == records["most"] == 20_000
    assert records["dropped"] == scale(21_000, 301_000) - 20_000
    assert numbers["client"]["history"]["now"] <= numbers["client"]["history"]["most"]
    assert numbers["controller"]["ends"]["now"] <= 100_000
    for engine in numbers["engines"].values():
        assert engine["attempts"]["now"] <= engine["attempts"]["most"]


def test_what_an_engine_without_an_agent_writes_is_shortened(start, wait_until):
    rc = start(1, provisioner="plain")
    path = rc.cluster.connection_file.parent / "e0.log"
    rc[0].execute(
        f"import os; os.write(os.open({str(path)!r}, os.O_WRONLY | os.O_APPEND), b'x' * 9_000_000)",
        block=True,
    )
    wait_until(lambda: path.stat().st_size < 5_000_000, 20.0)
