"""R9: messages get lost, come late, twice, or in another order: no wrong result, bounded waits."""

from __future__ import annotations

from collections import Counter

import pytest

import ipyviews
from tests.chaos.scale import HANGS_S, count, scale
from tests.chaos.wholestack import WholeStack

#: Of each kind.
TASKS = scale(60, 1000)
#: How many of a hundred messages meet a fault, in turn.
SHARES = scale([2], [2, 5, 10, 20, 40])

ALL = 3 * TASKS + TASKS // 10
HOPS = [("client",), ("apply",), ("client", "apply", "shell")]

#: What a task may end with when one of its messages is lost.
LOST = (ipyviews.EngineError, ipyviews.TaskError)


@pytest.fixture
def stack(run_root, monkeypatch, chance):
    stack = WholeStack(run_root, monkeypatch, seed=chance.randrange(2**32))
    yield stack
    stack.close()


def ask(client):
    """Make calls of all kinds, and cells; return them and what they are to end with."""
    view, calls = client.load_balanced_view(), []
    for number in range(TASKS):
        calls.append((view.apply_async(pow, number, 7), ((number, 7), {})))
        calls.append((client[number % 4].apply_async(pow, number, 8), ((number, 8), {})))
    mapped = view.map_async(pow, range(TASKS), range(TASKS))
    calls += [(part, [((n, n), {})]) for n, part in enumerate(mapped.split())]
    cells = [client[n % 4].execute(f"print {n}", block=False) for n in range(TASKS // 10)]
    return calls, cells


def run(stack):
    """Return how many ended how, after a look at each of them."""
    ends = Counter()
    calls, cells = ask(stack.client)
    for call in [*[call for call, _ in calls], *cells]:
        assert call.wait(HANGS_S), f"no answer; so far {ends}, {stack.counters}"
        error = call.exception()
        assert error is None or isinstance(error, LOST), error
        ends["right" if error is None else type(error).__name__] += 1
    for call, exact in calls:
        assert call.exception() is not None or call.result() == exact
    seen = ("attempts_missing", "unverified", "stale")
    count("R9", rounds=1, **ends, **{name: stack.counters[name] for name in seen})
    for number, cell in enumerate(cells):
        # Output that a connection has lost is not missed: see docs/guarantees.md.
        assert cell.stdout in (f"{number}\n", "")
        assert cell.stdout or cell.exception() is not None or "client" in stack.disturbed
    return ends


def test_without_faults_all_are_right(stack):
    assert run(stack) == {"right": ALL}


@pytest.mark.parametrize("hops", HOPS, ids="+".join)
def test_what_comes_ten_seconds_late_is_right(stack, hops):
    stack.disturb(*hops, delay=10.0)
    assert run(stack) == {"right": ALL}


@pytest.mark.parametrize("hops", HOPS, ids="+".join)
def test_what_comes_twice_is_taken_once(stack, hops):
    stack.disturb(*hops, duplicate=0.3)
    assert run(stack) == {"right": ALL}


@pytest.mark.parametrize("fault", ["loss", "reorder"])
@pytest.mark.parametrize("hops", HOPS, ids="+".join)
def test_what_is_lost_or_out_of_order_never_makes_a_wrong_result_nor_a_hang(stack, hops, fault):
    for share in SHARES:
        stack.disturb(*hops, **{fault: share / 100})
        assert run(stack).total() == ALL
    stack.disturb(*hops)
    assert run(stack) == {"right": ALL}


def test_everything_at_once(stack):
    for _ in SHARES:
        stack.disturb(*HOPS[-1], delay=1.0, loss=0.05, duplicate=0.1, reorder=0.1)
        assert run(stack).total() == ALL
    stack.disturb(*HOPS[-1])
    assert run(stack) == {"right": ALL}
