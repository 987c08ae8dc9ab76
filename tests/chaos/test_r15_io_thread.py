"""R15: the client's I/O thread raises; every pending result fails with that cause.

That each kind of wait ends so is in `tests.client.test_ends` and `tests.api.test_waits`.
"""

from __future__ import annotations

import threading

import pytest

import ipyviews
from tests.chaos.scale import HANGS_S, count, scale

pytestmark = pytest.mark.kernels

nap = lambda: __import__("time").sleep(0.005)


def forever(client):
    """Ask for work of each kind, again and again; yield the results, unfinished at first."""
    balanced = client.load_balanced_view()
    while True:
        yield client[:].apply_async(nap)
        yield client[0].execute("import time; time.sleep(0.01)", block=False)
        yield balanced.map_async(lambda _: __import__("time").sleep(0.001), range(200))
        for _ in range(50):
            yield balanced.apply_async(nap)


def test_all_pending_results_fail_with_the_cause_and_a_new_client_works(cluster4, chance):
    for number in range(scale(5, 500)):
        client = cluster4.connect_client_sync()
        crash = lambda number=number: [][number]
        asking = forever(client)
        results = [next(asking), next(asking), next(asking)]
        client.connection.later(chance.uniform(0, 0.05), crash)
        with pytest.raises(ipyviews.ClusterError, match="I/O thread failed with IndexError"):
            results.extend(asking)
        for result in results:
            assert result.wait(HANGS_S)
            error = result.exception()
            assert error is None or "IndexError" in str(error)
            count("R15", failed=error is not None)
        assert isinstance(client.connection.failure.__cause__, IndexError)
        client.close()
        count("R15", crashes=1, results=len(results))
    with cluster4.connect_client_sync() as client:
        assert client[:].apply_sync(abs, -1) == [1] * 4
    assert not [one for one in threading.enumerate() if one.name == "ipyviews-io"]
