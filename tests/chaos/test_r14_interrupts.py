"""R14: interrupts at random times hit their task or nothing."""

from __future__ import annotations

import contextlib
import threading

import pytest

import ipyviews
from tests.chaos.scale import HANGS_S, count, scale

pytestmark = pytest.mark.kernels


def test_the_engine_lives_and_the_next_task_is_correct(rc, chance):
    def spin(seconds):
        import time

        end = time.monotonic() + seconds
        while time.monotonic() < end:
            pass
        return "ran"

    rc[:].push({"kept": "as it was"}, block=True)
    for number in range(scale(100, 10_000)):
        engine = rc[chance.randrange(4)]
        target = engine.apply_async(spin, chance.uniform(0, 0.05))
        after = engine.apply_async(lambda x: x, number)
        threading.Event().wait(chance.uniform(0, 0.05))
        target.cancel()
        assert after.get(HANGS_S) == number
        with contextlib.suppress(ipyviews.TaskAborted):
            assert target.get(HANGS_S) == "ran"
        count("R14", interrupts=1)
    assert rc.ids == [0, 1, 2, 3]
    assert rc[:].pull("kept", block=True) == ["as it was"] * 4
