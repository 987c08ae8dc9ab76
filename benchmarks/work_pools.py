"""The executors of the standard library and of loky: floors, for they have no namespaces."""

from __future__ import annotations

import multiprocessing
import time
from contextlib import contextmanager

import work


def same(x):
    """Return the argument; by reference, for a plain pool cannot take functions by value."""
    return x


def busy(_):
    """Use a millisecond of the processor."""
    end = time.thread_time() + 0.001
    while time.thread_time() < end:
        pass
    return 1


class Futures:
    """`concurrent.futures.ProcessPoolExecutor`, forking."""

    @contextmanager
    def cluster(self, n):
        from concurrent.futures import ProcessPoolExecutor

        started = time.perf_counter()
        with ProcessPoolExecutor(n, mp_context=multiprocessing.get_context("fork")) as pool:
            list(pool.map(same, range(n)))
            yield pool, time.perf_counter() - started

    def tasks(self, pool, count):
        return work.tasks(
            lambda function, items: list(pool.map(function, items, chunksize=1)),
            lambda function, item: pool.submit(function, item).result,
            count,
            (same, busy, time.sleep),
        )

    def latency(self, pool, calls):
        return work.flat({"balanced": work.clock(lambda: pool.submit(same, 1).result(), calls)})


class Loky(Futures):
    """loky's reusable executor."""

    @contextmanager
    def cluster(self, n):
        from loky import get_reusable_executor

        started = time.perf_counter()
        pool = get_reusable_executor(max_workers=n, timeout=None)
        try:
            list(pool.map(same, range(n)))
            yield pool, time.perf_counter() - started
        finally:
            pool.shutdown(kill_workers=True)
