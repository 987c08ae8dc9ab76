"""R9 on sockets: a proxy between a client and its controller, and real engines."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict

import pytest

import ipyviews
from tests.chaos.proxy import Faults, Proxy
from tests.chaos.scale import HANGS_S, count, scale

pytestmark = pytest.mark.kernels

TASKS = scale(150, 10_000)


@pytest.fixture
def proxy(cluster4, module_root, chance):
    with Proxy(cluster4.cluster_file, module_root, chance) as proxy:
        yield proxy


@pytest.fixture
def distant(proxy, monkeypatch):
    """A client that looks more often than people need."""
    monkeypatch.setattr("ipyviews.client.silence.LOOK_S", 0.5)
    with ipyviews.Client(proxy.info) as client:
        yield client
        proxy.faults = Faults()


def run(client):
    """Make calls one by one and a map; return how many ended how."""
    view, ends = client.load_balanced_view(), Counter()
    calls = []
    for number in range(TASKS):
        calls.append(view.apply_async(lambda x: x**2, number))
        # One message each, and not one for all.
        calls[-1].wait_for_send()
    for number, call in enumerate(calls):
        assert call.wait(HANGS_S), f"call {number} has no answer"
        error = call.exception()
        assert error is None or isinstance(error, ipyviews.TaskError), error
        assert error is not None or call.result() == number**2
        ends["right" if error is None else "told_lost"] += 1
    return ends


FAULTS = {
    "loss": Faults(loss=0.02),
    "duplicates": Faults(duplicate=0.3),
    "disorder": Faults(reorder=0.02),
    "delay": Faults(delay=0.0, reorder=1.0),
    "everything": Faults(loss=0.01, duplicate=0.1, reorder=0.01),
}


@pytest.mark.parametrize("kind", FAULTS)
def test_no_wrong_result_and_no_endless_wait(proxy, distant, kind):
    proxy.faults = FAULTS[kind]
    ends = run(distant)
    assert ends.total() == TASKS
    if not (FAULTS[kind].loss or 0 < FAULTS[kind].reorder < 1):
        assert ends == {"right": TASKS}
    proxy.faults = Faults()
    assert run(distant) == {"right": TASKS}
    count("R9 on sockets", tasks=2 * TASKS, **ends, **proxy.seen)
    assert asdict(proxy.faults) == asdict(Faults())
