"""An interrupt stops what it names, and leaves the rest as it was."""

from __future__ import annotations

import signal
import threading
import time

import pytest

import ipyviews

pytestmark = pytest.mark.kernels

#: Longest time until engines that are stopped are free [s].
FREE_S = 1.0


@pytest.fixture
def fresh(rc):
    """All engines, with a variable that must survive."""
    view = rc[:]
    view.push({"kept": "as it was"}, block=True)
    return view


def busy(client):
    return all(engine["running"] for engine in client.status()["engines"])


def assert_free(view, since):
    """Cells and calls run again, soon, and the namespace is as it was."""
    assert view.pull("kept", block=True) == ["as it was"] * len(view)
    view.execute("assert kept == 'as it was'", block=True)
    assert time.monotonic() - since < FREE_S


class PressStop(threading.Thread):
    """Sends the interrupt of a notebook's Stop button once the engines are busy."""

    def __init__(self, client):
        super().__init__()
        self.client = client
        self.pressed = None

    def run(self):
        from tests.waiting import wait_until

        try:
            wait_until(lambda: busy(self.client), 60)
        finally:
            # Nothing else would end the wait of the main thread.
            self.pressed = time.monotonic()
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)


@pytest.mark.parametrize(
    "work",
    [
        pytest.param(lambda v: v.execute("while True: pass", block=True), id="busy cell"),
        pytest.param(
            lambda v: v.execute("import asyncio; await asyncio.sleep(60)", block=True),
            id="async cell",
        ),
        pytest.param(lambda v: v.apply_sync(time.sleep, 60), id="call"),
        pytest.param(
            lambda v: v.map_sync(lambda _: __import__("time").sleep(10), range(40)), id="map"
        ),
        pytest.param(
            lambda v: v.client.load_balanced_view().map_sync(
                lambda _: __import__("time").sleep(10), range(40)
            ),
            id="balanced map",
        ),
    ],
)
def test_stopping_what_one_waits_for_frees_the_engines(rc, fresh, work):
    stop = PressStop(rc)
    stop.start()
    with pytest.raises(KeyboardInterrupt):
        work(fresh)
    stop.join()
    assert_free(fresh, stop.pressed)


@pytest.mark.parametrize(
    "code",
    ["while True: pass", "import time; time.sleep(60)", "import asyncio; await asyncio.sleep(60)"],
)
def test_interrupting_from_a_client_stops_its_cells(rc, fresh, wait_until, code):
    result = fresh.execute(code, block=False)
    wait_until(lambda: busy(rc))
    since = time.monotonic()
    assert rc.interrupt() == len(fresh)
    assert_free(fresh, since)
    with pytest.raises(ipyviews.CompositeError) as caught:
        result.get(5)
    # The latter is what a kernel makes of an interrupt that ends an await.
    assert {error.ename for error in caught.value.exceptions} <= {
        "KeyboardInterrupt",
        "CancelledError",
    }


def test_cancelling_stops_queued_and_running_calls(rc, fresh, wait_until):
    results = [fresh.apply_async(time.sleep, 60) for _ in range(5)]
    wait_until(lambda: busy(rc))
    since = time.monotonic()
    for result in results:
        result.cancel()
    assert_free(fresh, since)
    for result in results:
        with pytest.raises((ipyviews.TaskAborted, ipyviews.CompositeError)):
            result.get(5)
