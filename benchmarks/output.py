"""How soon output of engines is seen in a notebook: ours and ipyparallel's, in turn, in one run.

Four engines, and a front end of a real kernel. ``%%px print(…)`` on all engines: until all have
printed, and until the cell has ended. Lines of a cell that goes on: from being printed on the
engine, by its own time stamp, to their arrival at the front end. Prints a table for people on
standard error and JSON on standard output.
"""

from __future__ import annotations

from collections import defaultdict

import common

WHAT = {
    "seen": "%%px print(1) on all engines, until seen of all",
    "ended": "%%px print(1) on all engines, until the cell has ended",
    "first": "the first line of a cell that goes on, from print to page",
    "line": "each line of a cell that goes on, from print to page",
}

SYSTEMS = [system for system in common.SYSTEMS if system.word in ("ipyviews", "ipyparallel")]


def main() -> None:
    """Measure, print, publish."""
    chosen = common.options(__doc__.splitlines()[0])
    cells = 25 if chosen.quick else 100
    pythons = common.interpreters(SYSTEMS)
    samples: dict[tuple[common.System, str], list[float]] = defaultdict(list)
    for number in range(chosen.rounds):
        for system, python in pythons.items():
            common.tell(f"round {number + 1}: {system.name}")
            found = common.measure(system, python, cells, script="frontend.py") or {}
            for name, seconds in found.items():
                samples[system, name].append(seconds)
    figures = {case: common.summary(times) for case, times in samples.items()}
    for word, title in WHAT.items():
        show(title, word, figures)
    rows = [
        {"system": system.name, "what": name, **figure}
        for (system, name), figure in figures.items()
    ]
    common.publish(
        {"benchmark": "output", "unit": "s", "cells": cells, "figures": rows}, chosen.json
    )


def show(title: str, word: str, figures: dict[tuple[common.System, str], dict[str, float]]) -> None:
    """Print one table, with the medians of ours in proportion."""
    ours = figures.get((common.OURS, f"{word}.median"))
    rows = []
    for system in SYSTEMS:
        middle, slow = (figures.get((system, f"{word}.{name}")) for name in ("median", "p95"))
        if middle and slow:
            ratio = f"{ours['median'] / middle['median']:.2f}" if ours else "-"
            cells = [f"{1000 * figure['median']:.1f}" for figure in (middle, slow)]
            rows.append([system.name, *cells, ratio])
    common.table(title, ["", "median ms", "p95 ms", "ours / this"], rows)


if __name__ == "__main__":
    main()
