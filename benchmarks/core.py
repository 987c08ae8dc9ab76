"""What the scheduler alone costs, with few and with many engines, beside one that scans lists.

The scan is how a least-load scheduler is written first: for each task, look at every engine. Both
are given the same work: submit tasks, then answer each in the order they were sent. The best of the
rounds counts. Prints a table for people on standard error and JSON on standard output.
"""

from __future__ import annotations

import sys
from collections import deque
from pathlib import Path
from time import process_time

import common

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.sim.throughput import measure

FEW, MANY = 100, 10_000


class Scan:
    """A least-load scheduler that looks at every engine for every task."""

    def __init__(self, engines: int) -> None:
        # All busy, so that each event has to look at all.
        self.loads = [1] * engines
        self.tasks = {f"busy.{engine}": engine for engine in range(engines)}
        self.waiting: deque[str] = deque()

    def submit(self, task: str) -> str | None:
        """Send a task to the least loaded engine; return it if there was one with room."""
        engine = min(range(len(self.loads)), key=self.loads.__getitem__)
        if self.loads[engine] >= 1:
            self.waiting.append(task)
            return None
        self.loads[engine] += 1
        self.tasks[task] = engine
        return task

    def reply(self, task: str) -> str | None:
        """Take an answer; return the task that is sent next."""
        self.loads[self.tasks.pop(task)] -= 1
        return self.submit(self.waiting.popleft()) if self.waiting else None


def scan(engines: int, tasks: int) -> float:
    """Count the events of the scan for each second of processor time [1/s]."""
    scheduler = Scan(engines)
    began = process_time()
    for number in range(tasks):
        scheduler.submit(f"c-1.{number}")
    for number in range(tasks):
        scheduler.reply(f"busy.{number}")
    return 2 * tasks / (process_time() - began)


def figures(rounds: int, tasks: int) -> dict[str, float]:
    """Measure all, taking turns; the best of each counts."""
    few, many, scanned = (
        max(rates)
        for rates in zip(
            *((measure(FEW, tasks), measure(MANY, tasks), scan(MANY, 500)) for _ in range(rounds)),
            strict=True,
        )
    )
    return {
        "core.few": few,
        "core.many": many,
        "core.scan": scanned,
        "core.faster": many / scanned,
        "core.cost": few / many,
    }


def main() -> None:
    """Measure, print, publish."""
    chosen = common.options(__doc__.splitlines()[0])
    found = figures(chosen.rounds, 20_000 if chosen.quick else 50_000)
    rows = [
        [f"core, {FEW} engines", f"{found['core.few']:,.0f} events/s"],
        [f"core, {MANY:,} engines", f"{found['core.many']:,.0f} events/s"],
        [f"list scan, {MANY:,} engines", f"{found['core.scan']:,.0f} events/s"],
    ]
    common.table("The scheduler alone", ["", "rate"], rows)
    common.publish({"benchmark": "core", "figures": found}, chosen.json)


if __name__ == "__main__":
    main()
