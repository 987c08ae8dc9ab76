"""Two clients on one cluster: what one does, the other does not notice."""

from __future__ import annotations

import sys
import time
from statistics import quantiles

import pytest

import ipyviews

pytestmark = pytest.mark.kernels

CALLS = 1000


@pytest.fixture
def other(cluster4):
    """A second client."""
    with cluster4.connect_client_sync() as client:
        yield client


def timed_calls(client, count):
    """Call one by one on engine 0; every answer must be right. Returns seconds."""
    view, times = client[0], []
    for number in range(count):
        started = time.perf_counter()
        assert view.apply_sync(lambda x: x * 2, number) == 2 * number
        times.append(time.perf_counter() - started)
    return times


def percentile(times):
    return quantiles(times, n=100)[98]


#: A client, in a process of its own, that fails cells, cancels calls and maps until told to stop.
TROUBLE = """
import json, select, sys, time, ipyviews
client = ipyviews.Client(sys.argv[1])
balanced = client.load_balanced_view()
rounds = 0
while not select.select([sys.stdin], [], [], 0)[0]:
    mapped = balanced.map_async(lambda x: x + 1, range(10_000))
    if not rounds:
        print(json.dumps("started"), flush=True)
    cell = client[:].execute("1 / 0", block=False)
    cancelled = client[1].apply_async(time.sleep, 30)
    cancelled.cancel()
    assert isinstance(cell.exception(60), ipyviews.CompositeError), cell
    assert isinstance(cancelled.exception(60), ipyviews.TaskAborted), cancelled
    assert mapped.get(120) == list(range(1, 10_001))
    rounds += 1
print(json.dumps(rounds), flush=True)
client.close()
"""


def slowdown(client, trouble):
    """Compare the 99th percentiles of 1,000 calls without and with trouble."""
    idle = percentile(timed_calls(client, CALLS))
    running = trouble()
    assert running.read() == "started"
    busy = percentile(timed_calls(client, CALLS))
    running.tell("stop")
    assert running.read() >= 1
    return busy / idle


@pytest.mark.heavy
def test_trouble_of_one_client_leaves_the_other_right(rc, cluster4, script):
    ratio = slowdown(rc, lambda: script(TROUBLE, cluster4.cluster_file))
    # How much slower is not asserted: it depends on what else the machine does.
    sys.stdout.write(f"99th percentile: {ratio:.1f} times that of an idle cluster\n")


def test_a_failing_cell_aborts_nothing_of_the_other_client(rc, other):
    gate = rc[0].execute("import time; time.sleep(0.3); 1 / 0", block=False)
    theirs = [other[0].execute(f"seen = {number}", block=False) for number in range(5)]
    with pytest.raises(ipyviews.RemoteError, match="ZeroDivisionError"):
        gate.get(20)
    for result in theirs:
        result.get(20)
    assert other[0]["seen"] == 4


def test_a_cancel_stops_only_what_it_names(rc, other):
    mine = rc[0].apply_async(lambda: __import__("time").sleep(30))
    theirs = other[0].apply_async(lambda: "untouched")
    mine.cancel()
    assert theirs.get(10) == "untouched"
    with pytest.raises(ipyviews.TaskAborted):
        mine.get(10)


def test_output_goes_to_the_client_that_asked(rc, other):
    mine = rc[0].execute("print('mine')", block=False)
    theirs = other[0].execute("print('theirs')", block=False)
    mine.get(20)
    theirs.get(20)
    assert (mine.stdout, theirs.stdout) == ("mine\n", "theirs\n")


def test_a_client_that_leaves_takes_its_queue_along(rc, cluster4, wait_until):
    with cluster4.connect_client_sync() as leaving:
        for _ in range(50):
            leaving[0].apply_async(lambda: __import__("time").sleep(0.2))
    started = time.monotonic()
    assert rc[0].apply_sync(lambda: "free") == "free"
    assert time.monotonic() - started < 8
