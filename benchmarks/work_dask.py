"""Dask's distributed on this host."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager

import work


class Distributed:
    """A LocalCluster with one thread for each worker process."""

    @contextmanager
    def cluster(self, n):
        import distributed

        started = time.perf_counter()
        local = distributed.LocalCluster(
            n_workers=n, threads_per_worker=1, processes=True, dashboard_address=None
        )
        with local as cluster, distributed.Client(cluster) as client:
            client.run(os.getpid)
            yield client, time.perf_counter() - started

    def latency(self, client, calls):
        worker = next(iter(client.scheduler_info()["workers"]))

        def one():
            client.submit(lambda: None, pure=False, workers=[worker]).result()

        def balanced():
            client.submit(lambda: None, pure=False).result()

        return work.flat({"apply": work.clock(one, calls), "balanced": work.clock(balanced, calls)})

    def tasks(self, client, count):
        figures = work.tasks(
            lambda function, items: client.gather(client.map(function, items, pure=False)),
            lambda function, item: client.submit(function, item, pure=False).result,
            count,
        )
        return {**figures, "graph": self.graph(client, max(5, count // 100), 20)}

    def graph(self, client, chains, length):
        def run():
            ends = [0] * chains
            for _ in range(length):
                ends = [client.submit(lambda x: x + 1, end, pure=False) for end in ends]
            work.check(client.gather(ends), [length] * chains)

        return work.took(run) / (chains * length)
