"""D3: the wall clock is set, and everything stops and goes on: no engine is dropped for it."""

from __future__ import annotations

import os
import threading

import psutil
import pytest

from tests.chaos.kills import outcomes, square
from tests.chaos.scale import count, scale

pytestmark = pytest.mark.kernels

#: Longest stop [s].
STOPPED_S = scale(2.0, 60.0)

#: Gives each Python process a wall clock that can be set.
CLOCK = """
import os, time
def now(real=time.time):
    with open(os.environ["CHAOS_CLOCK"]) as file:
        return real() + float(file.read() or 0)
time.time = now
"""

WORK = """
import json, sys, time, ipyviews
with ipyviews.Cluster(n=2) as rc:
    view = rc.load_balanced_view()
    rc[:].execute("import time; kept = 5", block=True)
    for line in sys.stdin:
        running = rc[:].apply_async(lambda: time.sleep(0.3) or time.time())
        with open(sys.argv[1], "w") as file:
            file.write(line.strip())
        right = view.map_sync(abs, range(200)) == list(range(200))
        times = running.get(30)
        kept = rc[:].pull("kept", block=True)
        cell = rc[:].execute("print('here')", block=False)
        cell.get(30)
        late = view.apply_async(abs, -3)
        late.get(30)
        print(json.dumps([right, times, kept, cell.stdout, late.get(), rc.ids]), flush=True)
"""


def test_an_hour_forwards_and_back_changes_nothing(script, monkeypatch, tmp_path):
    clock, told = tmp_path / "clock", []
    clock.write_text("0")
    (tmp_path / "sitecustomize.py").write_text(CLOCK)
    with monkeypatch.context() as patch:
        patch.setenv("CHAOS_CLOCK", str(clock))
        patch.setenv("PYTHONPATH", str(tmp_path))
        program = script(WORK, clock)
    for offset in ("3600", "-3600", "0", "3600"):
        program.tell(offset)
        right, times, kept, texts, late, ids = program.read()
        told += times
        assert right
        assert (kept, texts, late, ids) == ([5, 5], ["here\n"] * 2, 3, [0, 1])
        count("D3", clock_changes=1)
    # That it was really another time.
    assert max(told) - min(told) > 3000


def pause(processes, seconds):
    for process in processes:
        process.suspend()
    try:
        threading.Event().wait(seconds)
    finally:
        for process in processes:
            process.resume()


def test_when_all_of_a_cluster_stops_for_a_while_nothing_is_lost(start, members):
    rc = start(4)
    ids = [rc[engine].apply_sync(os.getpid) for engine in rc.ids]
    everybody = members(rc).all()
    for _ in range(scale(1, 3)):
        result = rc.load_balanced_view().map_async(square, range(1000))
        # As long as a client waits for a controller that is silent.
        pause(everybody, min(STOPPED_S, 20.0))
        assert outcomes(result) == [x**2 for x in range(1000)]
        assert [rc[engine].apply_sync(os.getpid) for engine in rc.ids] == ids
        count("D3", stops=1, processes=len(everybody))


def test_when_the_client_stops_with_it_nothing_is_lost_either(script):
    program = script(WORK.replace("file.write(line.strip())", "file.write('')"), os.devnull)
    program.tell("begin")
    assert program.read()[0]
    program.tell("go on")
    client = psutil.Process(program.pid)
    pause([client, *client.children(recursive=True)], STOPPED_S)
    right, _, kept, texts, late, ids = program.read()
    assert right
    assert (kept, texts, late, ids) == ([5, 5], ["here\n"] * 2, 3, [0, 1])
    count("D3", stops=1)
