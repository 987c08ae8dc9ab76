"""A client or an engine that stops reading loses nothing and holds up nobody."""

from __future__ import annotations

import os
import signal
import time

import psutil
import pytest

pytestmark = [pytest.mark.kernels, pytest.mark.heavy]

STALL_S = 10.0
LINES = 20_000

READER = f"""
import json, sys, ipyviews
client = ipyviews.Client(sys.argv[1])
result = client[:].execute('''
import time
for number in range({LINES}):
    print("line", number, "of", {LINES})
    if number == 100:
        time.sleep(1)
''', block=False)
print(json.dumps("running"), flush=True)
result.get(90)
print(json.dumps([text.splitlines() for text in result.stdout]), flush=True)
client.close()
"""


def work_for(view, seconds):
    """Call all the time; returns the slowest call [s]."""
    until, slowest, number = time.monotonic() + seconds, 0.0, 0
    while time.monotonic() < until:
        started = time.monotonic()
        assert view.apply_sync(lambda x: x + 1, number) == number + 1
        slowest = max(slowest, time.monotonic() - started)
        number += 1
    return slowest


def test_a_client_that_does_not_read(rc, cluster4, script):
    reader = script(READER, cluster4.cluster_file)
    assert reader.read() == "running"
    os.kill(reader.pid, signal.SIGSTOP)
    try:
        # Its own cells hold the engines for a second or two; after that nothing waits for it.
        work_for(rc.load_balanced_view(), 4)
        slowest = work_for(rc.load_balanced_view(), STALL_S)
    finally:
        os.kill(reader.pid, signal.SIGCONT)
    expected = [f"line {number} of {LINES}" for number in range(LINES)]
    assert reader.read() == [expected] * 4
    assert slowest < 2


def test_an_engine_that_does_not_read(rc):
    stopped = psutil.Process(rc[3].apply_sync(os.getpid))
    stopped.suspend()
    try:
        waiting = [rc[3].apply_async(lambda x: x, bytes(100_000)) for _ in range(200)]
        cell = rc[3].execute("print('late, but here')", block=False)
        slowest = work_for(rc.load_balanced_view([0, 1, 2]), STALL_S)
        assert rc.ids == [0, 1, 2, 3]
    finally:
        stopped.resume()
    assert [len(result.get(60)) for result in waiting] == [100_000] * 200
    cell.get(60)
    assert cell.stdout == "late, but here\n"
    assert slowest < 2
