"""What large arrays cost, by shared memory and by messages, in turn, in one run.

Four engines. Pushes of one array to all of them, the first and later ones; pulls from one; scatter
and gather of an array four times as large; arguments and results of calls; what a push adds to the
memory of the whole cluster, as a part of the array. Prints a table for people on standard error and
JSON on standard output. `run.py` compares with peers.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections import defaultdict

import common

WAYS = {"shared memory": "1", "messages": "0"}
WHAT = {
    "push.first": "push, first [s]",
    "push.again": "push, again [s]",
    "pull.first": "pull from one engine, first [s]",
    "pull.again": "pull from one engine, again [s]",
    "scatter": "scatter 4 x [s]",
    "gather": "gather 4 x [s]",
    "apply": "apply(f, array) on one engine, array back [s]",
    "push.cpu": "push, again: CPU of all processes [s]",
    "memory": "memory of a push and a sum [array sizes]",
    "controller": "the controller's part of it [array sizes]",
}
#: Each that is repeated counts with its median of so many.
TIMES = 5


def main() -> None:
    """Measure, print, publish; or, for itself, measure one way once."""
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(measure(int(sys.argv[2]))))
        return
    chosen = common.options(__doc__.splitlines()[0])
    megabytes = 20 if chosen.quick else 100
    samples: dict[tuple[str, str], list[float]] = defaultdict(list)
    for number in range(chosen.rounds):
        for way, value in WAYS.items():
            common.tell(f"round {number + 1}: {way}")
            command = [sys.executable, __file__, "--one", str(megabytes)]
            environment = {**os.environ, "IPYVIEWS_SHARED_MEMORY": value}
            done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE)
            for name, figure in json.loads(done.stdout).items():
                samples[way, name].append(figure)
    figures = {case: common.summary(found) for case, found in samples.items()}
    rows = []
    for name, title in WHAT.items():
        shared, messages = (figures[way, name]["median"] for way in WAYS)
        rows.append([title, f"{shared:.3f}", f"{messages:.3f}", f"{messages / shared:.1f}"])
    common.table(f"{megabytes} MB", ["", *WAYS, "factor"], rows)
    told = [{"way": way, "what": name, **figure} for (way, name), figure in figures.items()]
    common.publish({"benchmark": "arrays", "megabytes": megabytes, "figures": told}, chosen.json)


def measure(megabytes: int) -> dict[str, float]:
    """Measure one cluster; IPYVIEWS_SHARED_MEMORY says which way it takes."""
    import numpy as np
    import psutil

    import ipyviews

    array = np.random.default_rng(0).random(megabytes * 125_000)
    large = np.concatenate([array] * 4)
    with ipyviews.Cluster(n=4) as client:
        view, one = client[:], client[0]
        controller = psutil.Process(client.connection.address.pid)
        everybody = [psutil.Process(), *(psutil.Process(controller.ppid()).children())]
        view.execute("import numpy", block=True)
        before, own = memory(everybody), memory([controller])
        figures = {"push.first": took(lambda: view.push({"a": array}, block=True))}
        view.execute("total = a.sum()", block=True)
        figures["memory"] = (memory(everybody) - before) / array.nbytes
        figures["controller"] = (memory([controller]) - own) / array.nbytes
        again, cpu = [], []
        for _ in range(TIMES):
            used = cpu_seconds(everybody)
            again.append(took(lambda: view.push({"a": array}, block=True)))
            cpu.append(cpu_seconds(everybody) - used)
        figures |= {"push.again": statistics.median(again), "push.cpu": statistics.median(cpu)}
        pulls, kept = [], []
        for _ in range(TIMES):
            pulls.append(took(lambda: kept.append(one.pull("a", block=True))))
            del kept[:-1]
        assert np.array_equal(kept.pop(), array)
        figures |= {"pull.first": pulls[0], "pull.again": statistics.median(pulls)}
        times = [took(lambda: view.scatter("part", large, block=True)) for _ in range(TIMES)]
        figures["scatter"] = statistics.median(times)
        times = [took(lambda: view.gather("part", block=True)) for _ in range(TIMES)]
        figures["gather"] = statistics.median(times)
        times = [took(lambda: one.apply_sync(lambda x: x, array)) for _ in range(TIMES)]
        figures["apply"] = statistics.median(times)
    return figures


def took(work: object) -> float:
    """Return how long it takes [s]."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def memory(processes: list[object]) -> int:
    """Return what processes have in memory, what they share counted once [bytes]."""
    return sum(process.memory_full_info().pss for process in processes)


def cpu_seconds(processes: list[object]) -> float:
    """Return what processes have computed so far [s]."""
    return sum(sum(process.cpu_times()[:2]) for process in processes)


if __name__ == "__main__":
    main()
