"""Ray on this host."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager

import work


class Ray:
    """Tasks on four workers; four actors for what has to happen on one of them."""

    @contextmanager
    def cluster(self, n):
        import ray

        started = time.perf_counter()
        ray.init(num_cpus=n, include_dashboard=False, logging_level="error", log_to_driver=False)
        try:
            actors = [self.actor(ray).remote() for _ in range(n)]
            ray.get([actor.pid.remote() for actor in actors])
            yield actors, time.perf_counter() - started
        finally:
            ray.shutdown()

    @staticmethod
    def actor(ray):
        @ray.remote(num_cpus=0)
        class Engine:
            def pid(self):
                return os.getpid()

            def nothing(self):
                return None

            def load(self):
                import numpy as np

                return np.__version__

            def take(self, part):
                self.part = part
                return part.nbytes

            def give(self):
                return self.part

            def make(self, megabytes):
                self.part = work.arrays(megabytes)

        return Engine

    def latency(self, actors, calls):
        import ray

        nothing = ray.remote(lambda: None)
        return work.flat(
            {
                "apply": work.clock(lambda: ray.get(actors[0].nothing.remote()), calls),
                "balanced": work.clock(lambda: ray.get(nothing.remote()), calls),
            }
        )

    def tasks(self, _, count):
        import ray

        remote = {}

        def submit(function, item):
            if function not in remote:
                remote[function] = ray.remote(function)
            return remote[function].remote(item)

        def later(function, item):
            reference = submit(function, item)
            return lambda: ray.get(reference)

        figures = work.tasks(
            lambda function, items: ray.get([submit(function, item) for item in items]),
            later,
            count,
        )
        return {**figures, "graph": self.graph(max(5, count // 100), 20)}

    def graph(self, chains, length):
        import ray

        step = ray.remote(lambda x: x + 1)

        def run():
            ends = [0] * chains
            for _ in range(length):
                ends = [step.remote(end) for end in ends]
            work.check(ray.get(ends), [length] * chains)

        return work.took(run) / (chains * length)

    def pushes(self, actors, megabytes):
        import ray

        array = work.arrays(megabytes)
        # To import it takes longer than to push.
        ray.get([actor.load.remote() for actor in actors])

        def push():
            reference = ray.put(array)
            found = ray.get([actor.take.remote(reference) for actor in actors])
            work.check(found, [array.nbytes] * len(actors))

        return {f"push.{which}": work.took(push) for which in ("first", "again", "third")}

    def arrays(self, actors, megabytes):
        import numpy as np
        import ray

        figures = self.pushes(actors, megabytes)
        big = work.arrays(4 * megabytes)

        def scatter():
            parts = [ray.put(part) for part in np.array_split(big, len(actors))]
            ray.get([actor.take.remote(part) for actor, part in zip(actors, parts, strict=True)])

        def gather():
            parts = ray.get([actor.give.remote() for actor in actors])
            work.check(np.concatenate(parts).nbytes, big.nbytes)

        figures |= {"scatter": work.took(scatter), "gather": work.took(gather)}
        ray.get(actors[0].make.remote(megabytes))
        # What it gets can be read only, and is not copied; ours may be written to.
        figures["pull"] = work.took(
            lambda: work.check(ray.get(actors[0].give.remote()).nbytes, big.nbytes // 4)
        )
        return figures
