"""Measures one system in the environment it is installed in; run by the benchmarks, not by hand.

``python systems.py <system> startup <engines>`` and ``python systems.py <system> latency <calls>``
print one line of JSON: figures by name, in seconds.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from contextlib import contextmanager
from statistics import median, quantiles

#: Engines of a latency measurement.
ENGINES = 4


def clock(function, calls):
    """Time single calls, after some that do not count; median and 99th percentile [s]."""
    for _ in range(max(20, calls // 10)):
        function()
    times = []
    for _ in range(calls):
        started = time.perf_counter()
        function()
        times.append(time.perf_counter() - started)
    return {"median": median(times), "p99": quantiles(times, n=100)[98]}


def flat(measured):
    """Name figures ``what.figure``."""
    return {f"{what}.{name}": x for what, each in measured.items() for name, x in each.items()}


def nothing():
    """Do nothing, on an engine."""


class Ours:
    @contextmanager
    def cluster(self, n):
        import ipyviews

        started = time.perf_counter()
        cluster = ipyviews.Cluster(n=n)
        with cluster as client:
            client[:].apply_sync(os.getpid)
            yield client, time.perf_counter() - started

    def latency(self, client, calls):
        one, balanced = client[0], client.load_balanced_view()
        return {
            "apply": clock(lambda: one.apply_sync(nothing), calls),
            "balanced": clock(lambda: balanced.apply_sync(nothing), calls),
            "execute": clock(lambda: one.execute("pass", block=True), calls),
        }


class IPyParallel(Ours):
    arguments = ()

    @contextmanager
    def cluster(self, n):
        import logging

        import ipyparallel

        started = time.perf_counter()
        cluster = ipyparallel.Cluster(
            n=n, controller_args=list(self.arguments), log_level=logging.ERROR
        )
        client = cluster.start_and_connect_sync()
        try:
            client[:].apply_sync(os.getpid)
            yield client, time.perf_counter() - started
        finally:
            client.close()
            cluster.stop_cluster_sync()


class IPyParallelFast(IPyParallel):
    arguments = ("--HeartMonitor.period=300",)


class Distributed:
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
        return {
            "apply": clock(
                lambda: client.submit(nothing, pure=False, workers=[worker]).result(), calls
            ),
            "balanced": clock(lambda: client.submit(nothing, pure=False).result(), calls),
        }


class JupyterClient:
    @contextmanager
    def cluster(self, n):
        loop = asyncio.new_event_loop()
        started = time.perf_counter()
        kernels = loop.run_until_complete(self.start(n))
        try:
            yield kernels, time.perf_counter() - started
        finally:
            loop.run_until_complete(self.stop(kernels))
            loop.close()

    async def start(self, n):
        """Start kernels together and ask each for its kernel info."""
        from jupyter_client.manager import AsyncKernelManager

        managers = [AsyncKernelManager() for _ in range(n)]
        await asyncio.gather(*(manager.start_kernel() for manager in managers))
        clients = [manager.client() for manager in managers]
        for client in clients:
            client.start_channels(iopub=False, stdin=False, hb=False, control=False)
            client.kernel_info()
        await asyncio.gather(*(client.get_shell_msg(timeout=60) for client in clients))
        return list(zip(managers, clients, strict=True))

    async def stop(self, kernels):
        for _, client in kernels:
            client.stop_channels()
        await asyncio.gather(*(manager.shutdown_kernel(now=True) for manager, _ in kernels))

    def latency(self, kernels, calls):
        from jupyter_client.blocking import BlockingKernelClient

        client = BlockingKernelClient()
        client.load_connection_info(kernels[0][0].get_connection_info())
        client.start_channels(stdin=False, hb=False, control=False)
        client.wait_for_ready(timeout=60)

        def execute():
            client.execute("pass", silent=True, reply=True, timeout=60)

        try:
            return {"execute": clock(execute, calls)}
        finally:
            client.stop_channels()


SYSTEMS = {
    "ipyviews": Ours,
    "jupyter_client": JupyterClient,
    "ipyparallel": IPyParallel,
    "ipyparallel_fast": IPyParallelFast,
    "distributed": Distributed,
}


def main(word, what, count):
    system = SYSTEMS[word]()
    if what == "startup":
        with system.cluster(count) as (_, seconds):
            figures = {"seconds": seconds}
    else:
        with system.cluster(ENGINES) as (client, _):
            figures = flat(system.latency(client, count))
    print(json.dumps(figures))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
