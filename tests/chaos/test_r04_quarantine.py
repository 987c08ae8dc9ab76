"""R4: a task that kills its engines is stopped after so many, and nothing else suffers."""

from __future__ import annotations

import pytest

import ipyviews
from tests.chaos.scale import HANGS_S, count, scale

pytestmark = pytest.mark.kernels

kill = lambda: __import__("os").kill(__import__("os").getpid(), 9)
leave = lambda: __import__("os")._exit(3)
crash = lambda: __import__("ctypes").string_at(0)
square = lambda x: (__import__("time").sleep(0.002), x**2)[1]

#: Calls that go on beside the one that kills.
OTHERS = scale(300, 3000)


def run_beside_others(rc, killer, **flags):
    """Run a call that kills its engines among others; return its error."""
    view = rc.load_balanced_view()
    others = view.map_async(square, range(OTHERS // 2))
    with view.temp_flags(**flags):
        result = view.apply_async(killer)
    more = view.map_async(square, range(OTHERS // 2))
    with pytest.raises(ipyviews.EngineError) as caught:
        result.get(HANGS_S)
    expected = [x**2 for x in range(OTHERS // 2)]
    assert others.get(HANGS_S) == more.get(HANGS_S) == expected
    assert caught.value.task == result.msg_ids[0]
    count("R4", deaths=len(caught.value.reports), tasks=OTHERS)
    return caught.value


def test_r04_with_two_reruns_a_task_is_stopped_after_three_deaths(start):
    rc = start(4)
    error = run_beside_others(rc, kill, reruns=2)
    assert [report.verdict for report in error.reports] == ["killed"] * 3
    assert len({report.engine for report in error.reports}) == 3
    assert error.report.task == error.task
    assert "the last of 3 engines" in str(error)
    assert len(rc.ids) == 1
    assert rc.deaths() == list(error.reports)


def test_r04_by_default_a_task_is_stopped_after_two_deaths(start):
    rc = start(4)
    error = run_beside_others(rc, kill)
    assert [report.verdict for report in error.reports] == ["killed"] * 2
    assert len(rc.ids) == 2


@pytest.mark.parametrize(
    ("killer", "verdict"), [(leave, "exit"), (crash, "segmentation fault")], ids=["exit", "crash"]
)
def test_r04_by_default_a_task_is_stopped_after_its_own_exit_or_crash(start, killer, verdict):
    rc = start(3)
    # Which of several calls did it is known: the engine notes what it begins.
    error = run_beside_others(rc, killer)
    assert [report.verdict for report in error.reports] == [verdict]
    assert error.report.task == error.task
    assert len(rc.ids) == 2
