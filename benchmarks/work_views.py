"""Programs for views: ours, and ipyparallel's, whose interface is the same."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager

import work


class Views:
    """What both can do."""

    def latency(self, client, calls):
        one, balanced = client[0], client.load_balanced_view()
        nothing = work.typed(lambda: None)
        return work.flat(
            {
                "apply": work.clock(lambda: one.apply_sync(nothing), calls),
                "balanced": work.clock(lambda: balanced.apply_sync(nothing), calls),
                "execute": work.clock(lambda: one.execute("pass", block=True), calls),
            }
        )

    def tasks(self, client, count):
        view = client.load_balanced_view()
        figures = work.tasks(
            lambda function, items: list(view.map_sync(function, items, chunksize=1)),
            lambda function, item: view.apply_async(function, item).get,
            count,
        )
        return {**figures, "graph": self.graph(view, max(5, count // 100), 20)}

    def graph(self, view, chains, length):
        one = work.typed(lambda: 1)

        def run():
            ends = [view.apply_async(one) for _ in range(chains)]
            for _ in range(length - 1):
                for place, end in enumerate(ends):
                    with view.temp_flags(after=end):
                        ends[place] = view.apply_async(one)
            work.check([end.get() for end in ends], [1] * chains)

        return work.took(run) / (chains * length)

    def pushes(self, client, megabytes):
        view, array = client[:], work.arrays(megabytes)

        def push():
            view.push({"pushed": array}, block=True)

        # To import it takes longer than to push.
        view.execute("import numpy", block=True)
        before = self.memory(client)
        figures = {"push.first": work.took(push)}
        view.execute(f"assert pushed.nbytes == {array.nbytes} and pushed[-1] > 0", block=True)
        for name, size in self.memory(client).items():
            figures[name] = (size - before[name]) / array.nbytes
        figures["push.again"] = work.took(push)
        # The first that need not use fresh memory.
        return {**figures, "push.third": work.took(push)}

    def arrays(self, client, megabytes):
        figures, view = self.pushes(client, megabytes), client[:]
        big = work.arrays(4 * megabytes)
        figures["scatter"] = work.took(lambda: view.scatter("part", big, block=True))
        figures["gather"] = work.took(
            lambda: work.check(view.gather("part", block=True).nbytes, big.nbytes)
        )
        size = big.size // 4
        client[0].execute(f"import numpy; made = numpy.ones({size})", block=True)
        figures["pull"] = work.took(
            lambda: work.check(client[0].pull("made", block=True).size, size)
        )
        return figures

    def memory(self, _client):
        """Return memory by name [bytes]; of what nobody asks, nothing."""
        return {}


class Ours(Views):
    """ipyviews."""

    @contextmanager
    def cluster(self, n):
        import ipyviews

        started = time.perf_counter()
        cluster = ipyviews.Cluster(n=n)
        with cluster as client:
            client[:].apply_sync(os.getpid)
            yield client, time.perf_counter() - started

    def memory(self, client):
        prefix = f"ipv-{client.connection.address.segments}-"
        host = work.held(work.family(), prefix)
        return {"host": host, "controller": work.pss([client.cluster.controller.pid])}

    def sleeper(self, client, count):
        """Map with one item that sleeps long: the first result, and all but the sleeper's."""
        view = client.load_balanced_view()
        view.map_sync(work.typed(lambda x: x), range(100))

        def item(number):
            import time

            time.sleep(10.0 if number == 1 else 0.001)
            return number

        started = time.perf_counter()
        result = view.map_async(work.typed(item), range(count), chunksize=1, ordered=False)
        seen = [(time.perf_counter() - started, number) for number in result]
        work.check(sorted(number for _, number in seen), list(range(count)))
        others = [moment for moment, number in seen if number != 1]
        return {"first": others[0], "others": others[-1]}

    def idle(self, _client, _count):
        """Memory of all processes with nothing to do [bytes]."""
        return {"idle": work.pss(work.family())}

    def growth(self, client, count):
        """Run many tasks in five parts: rates, and what all processes grow by [bytes]."""
        view, part = client.load_balanced_view(), count // 5
        rates, sizes, same = [], [], work.typed(lambda x: x)
        for _ in range(5):
            seconds = work.took(lambda: view.map_sync(same, range(part), chunksize=1))
            rates.append(part / seconds)
            sizes.append(work.pss(work.family()))
        # The first parts fill what is bounded: records, pools, allocators.
        return {"steady": rates[-1] / rates[0], "growth": (sizes[4] - sizes[2]) / (2 * part)}


class IPyParallel(Views):
    """ipyparallel as it comes: an engine is seen after its first heartbeat, 3 s."""

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
    """The same with a heartbeat of 300 ms."""

    arguments = ("--HeartMonitor.period=300",)
