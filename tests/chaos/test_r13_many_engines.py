"""R13: many engines register at once."""

from __future__ import annotations

import os

import pytest

from tests.chaos.scale import count, scale

pytestmark = pytest.mark.kernels


@pytest.mark.parametrize("n", scale([32], [64, 256]))
def test_all_come_up_and_none_is_dropped(start, n):
    rc = start(n, engine_timeout=300)
    assert rc.ids == list(range(n))
    assert not rc.connection.failed
    count("R13", engines=n)
    assert len(set(rc[:].apply_sync(os.getpid))) == n
    assert rc.load_balanced_view().map_sync(abs, range(10 * n)) == list(range(10 * n))
    assert rc.ids == list(range(n))
