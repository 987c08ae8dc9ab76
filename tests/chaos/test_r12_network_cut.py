"""R12: a network that is gone for a while costs time, and nothing else."""

from __future__ import annotations

import threading

import pytest

from tests.chaos.scale import count, scale
from tests.netns import CLUSTER, NEAR, network

__all__ = ["network"]

pytestmark = [pytest.mark.kernels, pytest.mark.chaos, pytest.mark.timeout(scale(120, 600))]

#: Calls, balanced and direct, and cells that go on while the cable is out; then calls after it.
CLIENT = """
import json, os, sys, time, ipyviews
rc = ipyviews.Client(sys.argv[1])
rc.wait_for_engines(2, timeout=60)
view, calls = rc[:], int(sys.argv[2])
before = view.apply_sync(os.getpid)
balanced = rc.load_balanced_view().map_async(
    lambda x: (__import__("time").sleep(0.01), x * x)[1], range(calls))
direct = view.apply_async(lambda: 7)
cell = view.execute("print('written')", block=False)
print(json.dumps("begun"), flush=True)
sys.stdin.readline()
during = view.apply_async(lambda: 8)
print(json.dumps("sent"), flush=True)
cell.get()
found = [balanced.get() == [x * x for x in range(calls)], direct.get(), during.get(), cell.stdout]
print(json.dumps([*found, before == view.apply_sync(os.getpid), rc.ids]), flush=True)
rc.close()
"""


@pytest.mark.parametrize("gone_s", scale([1], [1, 10, 60]))
def test_r12_nothing_is_lost_when_the_network_is_cut(network, gone_s):
    cluster = network.script("near", CLUSTER, NEAR, 0)
    client = network.script("far", CLIENT, cluster.read(), 100 + 200 * gone_s)
    assert client.read() == "begun"
    network.cut()
    client.tell()
    assert client.read() == "sent"
    # The time without a network is what is tested.
    threading.Event().wait(gone_s)
    network.mend()
    squares, direct, during, printed, same, ids = client.read()
    assert squares is True
    assert (direct, during) == ([7, 7], [8, 8])
    assert printed == ["written\n"] * 2
    assert same is True
    assert ids == [0, 1]
    count("R12", seconds_without_network=gone_s, tasks=104 + 200 * gone_s)
    cluster.tell()
    cluster.process.wait(30)
