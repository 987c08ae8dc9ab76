"""Everything we promise about speed, as ratios to the peers in one run: a table with pass or miss.

In each round every system does the same work in its own environment, in turn, one alive at a time;
who begins changes, for memory that has just been freed is cheaper. Medians of the rounds are
compared. ``--quick`` takes less than five minutes and shows that it works; its figures are of one
round with little work. ``--only calls arrays`` runs some groups, ``--chart FILE`` draws (with
matplotlib). A table on standard error, JSON on standard output.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import common
import core

if TYPE_CHECKING:
    from pathlib import Path

#: Samples of each figure of each system: {(system, figure): [value of each round]}.
Samples = dict[tuple[str, str], list[float]]

OURS, RAY, PARALLEL = "ipyviews", "ray", "ipyparallel_fast"


@dataclass(frozen=True)
class Group:
    """Work that one process of each system does after one start of its cluster."""

    name: str
    #: Systems, by their words.
    systems: tuple[str, ...]
    #: (work, size, size when quick), see `systems.py`.
    work: tuple[tuple[str, int, int], ...]
    #: Slow systems do a part of it only; figures are for each task.
    divided: dict[str, int]

    def words(self, system: str, *, quick: bool) -> list[object]:
        """Return what `systems.py` is asked for."""
        words: list[object] = []
        for name, full, small in self.work:
            size = small if quick else full
            part = self.divided.get(system, 1) if name == "tasks" else 1
            words += [name, max(size // part, small)]
        return words


PEERS = (OURS, "futures", "loky", RAY, "distributed", PARALLEL)
GROUPS = [
    Group("start", (OURS, "distributed", "jupyter_client"), (("startup", 4, 4),), {}),
    Group("many", (OURS,), (("startup", 64, 16),), {}),
    Group("idle", (OURS, "jupyter_client"), (("idle", 1, 1),), {}),
    Group(
        "calls",
        PEERS,
        (("latency", 500, 50), ("tasks", 10_000, 500)),
        {PARALLEL: 10, "distributed": 10, RAY: 4},
    ),
    Group("sleeper", (OURS,), (("sleeper", 500, 200),), {}),
    Group("growth", (OURS,), (("growth", 50_000, 5_000),), {}),
    Group("arrays", (OURS, RAY, PARALLEL), (("arrays", 100, 10),), {}),
    Group("gigabyte", (OURS, RAY, PARALLEL), (("pushes", 1000, 0),), {}),
]


@dataclass(frozen=True)
class Row:
    """One promise: our figure, in proportion to another's, against a bound."""

    title: str
    #: Group and figure.
    figure: str
    #: The system it is compared with, "" for an absolute bound, and its figure if it is another.
    peer: str
    bound: float
    other: str = ""
    #: Whether a ratio below the bound is wanted (times, memory), or one above (rates).
    least: bool = True


def rate(title: str, figure: str, peer: str, factor: float) -> Row:
    """Promise a rate: the times of both are known, so the bound is turned around."""
    return Row(title, figure, peer, 1 / factor)


ROWS = [
    Row("start 4 engines / distributed", "start.seconds", "distributed", 0.5),
    Row("start 64 / four plain kernels", "many.seconds", "jupyter_client", 4.0, "start.seconds"),
    Row("apply, one engine / Ray actor call", "calls.apply.median", RAY, 0.7),
    Row("apply, one engine / ipyparallel", "calls.apply.median", PARALLEL, 0.25),
    Row("apply, balanced / Ray task", "calls.balanced.median", RAY, 0.7),
    Row("apply, balanced / ipyparallel", "calls.balanced.median", PARALLEL, 0.25),
    rate("map of no-ops, at least 2 x ProcessPool", "calls.map", "futures", 2.0),
    rate("map of no-ops, at least 50 x ipyparallel", "calls.map", PARALLEL, 50.0),
    rate("single submits, at least loky", "calls.submit", "loky", 1.0),
    rate("single submits, at least 20 x ipyparallel", "calls.submit", PARALLEL, 20.0),
    rate("1 ms tasks, at least 0.95 x ProcessPool", "calls.busy", "futures", 0.95),
    Row("uneven sleeps: makespan / ideal", "calls.sleeps", "", 1.10),
    Row("first result beside a sleeper [s]", "sleeper.first", "", 0.050),
    Row("all others done beside a sleeper [s]", "sleeper.others", "", 5.0),
    rate("chains of 20 by after=, at least 3 x Ray", "calls.graph", RAY, 3.0),
    rate("push 100 MB, first, at least Ray", "arrays.push.first", RAY, 1.0),
    rate("push 100 MB, again, at least Ray", "arrays.push.again", RAY, 1.0),
    rate("push 100 MB, third, at least Ray", "arrays.push.third", RAY, 1.0),
    rate("push 100 MB, first, at least 20 x ipyparallel", "arrays.push.first", PARALLEL, 20.0),
    rate("push 1 GB, first, at least Ray", "gigabyte.push.first", RAY, 1.0),
    rate("push 1 GB, again, at least Ray", "gigabyte.push.again", RAY, 1.0),
    rate("push 1 GB, third, at least Ray", "gigabyte.push.third", RAY, 1.0),
    rate("push 1 GB, again, at least 20 x ipyparallel", "gigabyte.push.again", PARALLEL, 20.0),
    Row("push 1 GB: host memory / array", "gigabyte.host", "", 1.2),
    Row("push 1 GB: controller's growth / array", "gigabyte.controller", "", 0.005),
    rate("scatter 400 MB, at least Ray", "arrays.scatter", RAY, 1.0),
    rate("gather 400 MB, at least Ray", "arrays.gather", RAY, 1.0),
    rate("pull 100 MB, at least Ray", "arrays.pull", RAY, 1.0),
    Row("idle memory / client and 4 plain kernels", "idle.idle", "jupyter_client", 0.9),
    Row("growth for each task [bytes]", "growth.growth", "", 100.0),
    Row("50,000 tasks: rate of last / first 10,000", "growth.steady", "", 0.95, least=False),
    Row("core / list scan, 10,000 engines", "core.core.faster", "", 30.0, least=False),
    Row("core: an event at 10,000 / at 100 engines", "core.core.cost", "", 1.3),
    Row("import / import zmq", "imports.ratio", "", 1.2),
]


def main() -> int:
    """Measure, judge, print, publish; 1 when something of ours could not be measured."""
    chosen = common.options(__doc__.splitlines()[0], groups=[group.name for group in GROUPS])
    samples: Samples = defaultdict(list)
    wanted = [group for group in GROUPS if not chosen.only or group.name in chosen.only]
    wanted = [group for group in wanted if not chosen.quick or all(w[2] for w in group.work)]
    pythons = environments(wanted)
    for number in range(chosen.rounds):
        for group in wanted:
            measure(group, turned(pythons, number), samples, quick=chosen.quick)
        common.tell(f"round {number + 1} of {chosen.rounds} done")
    if not chosen.only:
        alone(samples, chosen.rounds, quick=chosen.quick)
    judged = [told for row in ROWS if (told := judge(row, samples))]
    common.table("Promises", ["", "found", "bound", ""], [told["cells"] for told in judged])
    if chosen.chart:
        draw(judged, chosen.chart)
    publish(judged, samples, chosen.json)
    measured = {figure.partition(".")[0] for system, figure in samples if system == OURS}
    missing = [group.name for group in wanted if group.name not in measured]
    if missing:
        common.tell(f"ours could not be measured: {', '.join(missing)}")
    return bool(missing)


def environments(groups: list[Group]) -> dict[common.System, str]:
    """Make the environments of the systems these groups need."""
    words = {word for group in groups for word in group.systems}
    every = [*common.SYSTEMS, *common.OTHERS]
    return common.interpreters([system for system in every if system.word in words])


def turned(pythons: dict[common.System, str], by: int) -> dict[common.System, str]:
    """Let another system begin."""
    order = list(pythons.items())
    by %= len(order)
    return dict(order[by:] + order[:by])


def measure(
    group: Group, pythons: dict[common.System, str], samples: Samples, *, quick: bool
) -> None:
    """Let each system do the work of a group once."""
    for system, python in pythons.items():
        if system.word in group.systems:
            started = time.perf_counter()
            words = group.words(system.word, quick=quick)
            figures = common.measure(system, python, *words) or {}
            for name, value in figures.items():
                samples[system.word, f"{group.name}.{name}"].append(value)
            common.tell(f"{group.name}: {system.name}, {time.perf_counter() - started:.0f} s")


def alone(samples: Samples, rounds: int, *, quick: bool) -> None:
    """Measure what needs no cluster: the core, and the import."""
    for name, value in core.figures(rounds, 20_000 if quick else 50_000).items():
        samples[OURS, f"core.{name}"].append(value)
    for _ in range(5 * rounds):
        ours, zmq = (importing(module) for module in ("ipyviews", "zmq"))
        samples[OURS, "imports.ratio"].append(ours / zmq)


def importing(module: str) -> float:
    """Time an interpreter that imports a module and ends [s]."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", f"import {module}"], check=True)
    return time.perf_counter() - started


def judge(row: Row, samples: Samples) -> dict[str, Any] | None:
    """Compare the medians; None when one of them was not measured."""
    ours = samples.get((OURS, row.figure))
    peer = samples.get((row.peer, row.other or row.figure)) if row.peer else [1.0]
    if not ours or not peer:
        return None
    found = statistics.median(ours) / statistics.median(peer)
    passed = found <= row.bound if row.least else found >= row.bound
    sign = "at most" if row.least else "at least"
    cells = [row.title, f"{found:.3g}", f"{sign} {row.bound:.3g}", "pass" if passed else "MISS"]
    return {"row": row, "found": found, "passed": passed, "cells": cells}


def draw(judged: list[dict[str, Any]], path: Path) -> None:
    """Draw how far each promise is kept: bars left of the line are."""
    from matplotlib.figure import Figure

    shares = [
        told["found"] / told["row"].bound
        if told["row"].least
        else told["row"].bound / told["found"]
        for told in judged
    ]
    figure = Figure(figsize=(9, 0.28 * len(judged) + 1), layout="constrained")
    axes = figure.subplots()
    colours = ["tab:green" if told["passed"] else "tab:red" for told in judged]
    axes.barh([told["row"].title for told in judged], shares, color=colours)
    axes.axvline(1.0, color="black")
    axes.set_xscale("log")
    axes.invert_yaxis()
    axes.set_xlabel("share of what is allowed (less is better)")
    figure.savefig(path)


def publish(judged: list[dict[str, Any]], samples: Samples, path: Path | None) -> None:
    """Print the JSON: the promises, and all that was measured."""
    promises = [
        {"what": told["row"].title, "found": told["found"], "bound": told["row"].bound,
         "passed": told["passed"]}
        for told in judged
    ]  # fmt: skip
    measured = [
        {"system": system, "figure": figure, **common.summary(values)}
        for (system, figure), values in samples.items()
    ]
    common.publish({"benchmark": "run", "promises": promises, "figures": measured}, path)


if __name__ == "__main__":
    sys.exit(main())
