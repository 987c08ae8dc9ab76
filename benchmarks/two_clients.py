"""What one client's calls feel of another client's flood, and what a small call costs.

One client calls engine 0 a thousand times, one by one: first alone; then beside a client in a
process of its own that once maps 10,000 items, fails a cell on all engines and cancels a call; then
beside one that does so again and again. Then a map of 10,000 items alone: its time, and the
processor time of all processes for each call. Four engines. Prints a table for people on standard
error and JSON on standard output.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path
from statistics import quantiles
from typing import TYPE_CHECKING, Any

import common
import psutil

import ipyviews

if TYPE_CHECKING:
    from collections.abc import Iterator

ENGINES = 4
ITEMS = 10_000

#: The other client: its map, cell and cancel, so many times or until it is told to stop.
TROUBLE = """
import json, select, sys, time, ipyviews
client = ipyviews.Client(sys.argv[1])
balanced = client.load_balanced_view()
rounds, most = 0, float(sys.argv[2])
while rounds < most and not select.select([sys.stdin], [], [], 0)[0]:
    mapped = balanced.map_async(lambda x: x + 1, range(10_000))
    if not rounds:
        print(json.dumps("started"), flush=True)
    cell = client[:].execute("1 / 0", block=False)
    cancelled = client[1].apply_async(time.sleep, 30)
    cancelled.cancel()
    assert isinstance(cell.exception(120), ipyviews.CompositeError), cell
    assert isinstance(cancelled.exception(120), ipyviews.TaskAborted), cancelled
    assert mapped.get(300) == list(range(1, 10_001))
    rounds += 1
print(json.dumps(rounds), flush=True)
client.close()
"""

#: Figure: title, factor for the table, its unit.
WHAT = {
    "idle.p50": ("a call alone, median", 1e3, "ms"),
    "idle.p99": ("a call alone, 99th percentile", 1e3, "ms"),
    "once.p50": ("a call beside one map, cell, cancel: median", 1e3, "ms"),
    "once.p99": ("a call beside one map, cell, cancel: 99th percentile", 1e3, "ms"),
    "once.ratio": ("99th percentiles: beside one map, cell, cancel / alone", 1.0, "x"),
    "always.p50": ("a call beside maps, cells, cancels without end: median", 1e3, "ms"),
    "always.p99": ("a call beside maps, cells, cancels without end: 99th percentile", 1e3, "ms"),
    "always.ratio": ("99th percentiles: beside those without end / alone", 1.0, "x"),
    "map": (f"a map of {ITEMS:,} items", 1.0, "s"),
    "cpu.all": ("processor time for each item, all processes", 1e6, "us"),
    "cpu.client": ("of it in the client", 1e6, "us"),
    "cpu.controller": ("of it in the controller", 1e6, "us"),
    "cpu.engines": ("of it in the engines", 1e6, "us"),
}


def main() -> None:
    """Measure, print, publish."""
    chosen = common.options(__doc__.splitlines()[0])
    calls = 200 if chosen.quick else 1000
    samples: dict[str, list[float]] = defaultdict(list)
    with ipyviews.Cluster(n=ENGINES) as client:
        timed(client, 100)
        for number in range(chosen.rounds):
            figures = {**slowdown(client, calls), **flood(client)}
            for name, figure in figures.items():
                samples[name].append(figure)
            ratios = f"{figures['once.ratio']:.1f} and {figures['always.ratio']:.1f} x"
            common.tell(f"round {number + 1}: {ratios}, map {figures['map']:.2f} s")
    figures = {name: common.summary(values) for name, values in samples.items()}
    rows = [
        [title, f"{figures[name]['median'] * factor:.2f} {unit}"]
        for name, (title, factor, unit) in WHAT.items()
    ]
    common.table("Two clients", ["", "median of rounds"], rows)
    rows = [{"what": name, **figure} for name, figure in figures.items()]
    common.publish({"benchmark": "two_clients", "calls": calls, "figures": rows}, chosen.json)


def slowdown(client: Any, calls: int) -> dict[str, float]:
    """Time calls alone and beside the other client."""
    idle = timed(client, calls)
    figures = {"idle.p50": idle[49], "idle.p99": idle[98]}
    for name, most in (("once", "1"), ("always", "inf")):
        busy = beside(client, calls, most)
        figures[f"{name}.p50"], figures[f"{name}.p99"] = busy[49], busy[98]
        figures[f"{name}.ratio"] = busy[98] / idle[98]
    return figures


def beside(client: Any, calls: int, most: str) -> list[float]:
    """Time calls from when the other client begins."""
    command = [sys.executable, "-c", TROUBLE, str(client.cluster.cluster_file), most]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, text=True, **pipes) as other:
        assert other.stdout is not None
        other.stdout.readline()
        busy = timed(client, calls)
        if json.loads(other.communicate("stop\n")[0]) < 1:
            raise AssertionError("the other client did nothing")
    return busy


def timed(client: Any, calls: int) -> list[float]:
    """Call engine 0 one by one, check each answer; the 99 percentiles [s]."""
    view, times = client[0], []
    for number in range(calls):
        started = time.perf_counter()
        answer = view.apply_sync(lambda x: x * 2, number)
        times.append(time.perf_counter() - started)
        if answer != 2 * number:
            raise AssertionError(f"call {number} answered {answer}")
    return quantiles(times, n=100)


def flood(client: Any) -> dict[str, float]:
    """Map many small items; seconds in all, and of processors for each item."""
    view = client.load_balanced_view()
    before, started = dict(processors(client)), time.perf_counter()
    if view.map_sync(lambda x: x + 1, range(ITEMS)) != list(range(1, ITEMS + 1)):
        raise AssertionError("the map is wrong")
    seconds = time.perf_counter() - started
    used = {name: (spent - before[name]) / ITEMS for name, spent in processors(client)}
    rest = sum(used.values()) - used["client"] - used["controller"]
    figures = {"client": used["client"], "controller": used["controller"], "engines": rest}
    return {
        "map": seconds,
        "cpu.all": sum(used.values()),
        **{f"cpu.{name}": figure for name, figure in figures.items()},
    }


def processors(client: Any) -> Iterator[tuple[str, float]]:
    """Name the processes of the cluster, and their processor time [s]."""
    me = psutil.Process()
    controller = json.loads(Path(client.cluster.cluster_file).read_text())["ipyviews"]["pid"]
    yield "client", sum(me.cpu_times()[:2])
    for process in me.children(recursive=True):
        name = "controller" if process.pid == controller else str(process.pid)
        yield name, sum(process.cpu_times()[:2])


if __name__ == "__main__":
    main()
