"""Two clients on one cluster: what one does, the other does not notice."""

from __future__ import annotations

import threading
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


class Trouble(threading.Thread):
    """A client that fails cells, cancels calls and maps, again and again until told to stop."""

    def __init__(self, client):
        super().__init__()
        self.client = client
        self.stop = threading.Event()
        self.started = threading.Event()
        self.maps = 0
        self.error = None

    def run(self):
        try:
            while not self.stop.is_set():
                self.round()
        except BaseException as error:
            self.error = error
            raise

    def round(self):
        mapped = self.client.load_balanced_view().map_async(lambda x: x + 1, range(10_000))
        self.started.set()
        cell = self.client[:].execute("1 / 0", block=False)
        cancelled = self.client[1].apply_async(lambda: __import__("time").sleep(30))
        cancelled.cancel()
        with pytest.raises(ipyviews.CompositeError):
            cell.get(60)
        with pytest.raises(ipyviews.TaskAborted):
            cancelled.get(60)
        assert mapped.get(120) == list(range(1, 10_001))
        self.maps += 1


@pytest.mark.heavy
def test_trouble_of_one_client_leaves_the_other_right_and_quick(rc, other):
    timed_calls(other, 50)
    idle = percentile(timed_calls(other, CALLS))
    trouble = Trouble(rc)
    trouble.start()
    trouble.started.wait(30)
    busy = percentile(timed_calls(other, CALLS))
    trouble.stop.set()
    trouble.join(120)
    assert trouble.error is None
    assert trouble.maps >= 1
    assert busy < 5 * idle, f"p99 {1000 * busy:.1f} ms, idle {1000 * idle:.1f} ms"


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
    assert time.monotonic() - started < 2
