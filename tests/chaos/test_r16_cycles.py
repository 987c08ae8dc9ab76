"""R16: clusters start and stop, again and again, and nothing is left of any of them."""

from __future__ import annotations

import gc
from pathlib import Path

import psutil
import pytest

import ipyviews
from tests import leaks
from tests.chaos.scale import count, scale
from tests.encryption import needs_encryption

pytestmark = pytest.mark.kernels

CYCLES = scale(3, 1000)


def held() -> tuple[int, int]:
    """Count the open unix and network sockets of this process, and its threads."""
    gc.collect()
    me = psutil.Process()
    return len(me.net_connections("all")), me.num_threads()


def cycle(transport):
    with ipyviews.Cluster(n=2, transport=transport) as rc:
        large = memoryview(bytearray(2**21))
        rc[:].push({"large": large}, block=True)
        assert rc.load_balanced_view().map_sync(abs, range(20)) == list(range(20))
        return rc.cluster.cluster_file.parent


@pytest.mark.parametrize("transport", ["ipc", pytest.param("tcp", marks=needs_encryption)])
def test_no_process_file_segment_socket_nor_thread_is_left(run_root, transport):
    cycle(transport)
    before, (sockets, threads) = leaks.snapshot(run_root, detached=True), held()
    files = set(Path(run_root).rglob("*"))
    for _ in range(CYCLES):
        folder = cycle(transport)
        assert not folder.exists()
        found = leaks.find_leaks(before, run_root, patience_s=10)
        assert not found, found.describe()
        count("R16", cycles=1)
    assert held()[0] <= sockets
    assert held()[1] <= threads
    assert set(Path(run_root).rglob("*")) <= files
