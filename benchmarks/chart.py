"""Draw what `run.py` has measured: the time of each system for each kind of work.

``python chart.py figures.json chart.svg``, where the first is what ``run.py --json`` has written.
Needs matplotlib.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

#: Kinds of work, and how `run.py` calls their figures.
WORK = {
    "four engines start": "start.seconds",
    "a call to one engine": "calls.apply.median",
    "a load-balanced call": "calls.balanced.median",
    "an item of a map of no-ops": "calls.map",
    "one of many single calls": "calls.submit",
    "a call of 1 ms": "calls.busy",
    "a call that waits for another": "calls.graph",
    "push 100 MB to all": "arrays.push.first",
    "push 1 GB to all": "gigabyte.push.first",
    "scatter 400 MB": "arrays.scatter",
    "gather 400 MB": "arrays.gather",
    "pull 100 MB": "arrays.pull",
}

#: Systems by their words, with name, colour and mark.
SYSTEMS = {
    "ipyviews": ("ipyviews", "tab:red", "D"),
    "ipyparallel_fast": ("ipyparallel", "tab:blue", "o"),
    "distributed": ("Dask distributed", "tab:orange", "s"),
    "ray": ("Ray", "tab:purple", "^"),
    "loky": ("loky", "tab:green", "v"),
    "futures": ("concurrent.futures", "tab:gray", "P"),
}


def draw(measured: dict[str, Any], path: Path) -> None:
    """Draw one line for each kind of work, with a mark for each system."""
    from matplotlib.figure import Figure

    medians = {(one["system"], one["figure"]): one["median"] for one in measured["figures"]}
    figure = Figure(figsize=(8, 0.36 * len(WORK) + 1.4), layout="constrained")
    axes = figure.subplots()
    for system, (name, colour, mark) in SYSTEMS.items():
        points = [
            (medians[system, work], place)
            for place, work in enumerate(WORK.values())
            if (system, work) in medians
        ]
        if points:
            times, places = zip(*points, strict=True)
            size = 70 if system == "ipyviews" else 36
            axes.scatter(times, places, size, colour, marker=mark, label=name, zorder=3)
    axes.set_xscale("log")
    axes.set_xticks(
        [1e-4, 1e-3, 1e-2, 1e-1, 1, 10], ["0.1 ms", "1 ms", "10 ms", "0.1 s", "1 s", "10 s"]
    )
    axes.set_yticks(range(len(WORK)), WORK)
    axes.invert_yaxis()
    axes.grid(visible=True, color="0.85", zorder=0)
    axes.set_xlabel("median time, 4 engines or workers on 2 cores (less is better)")
    figure.legend(loc="outside upper center", ncols=6, frameon=False, fontsize="small")
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def main() -> None:
    """Read, draw."""
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    draw(json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2]))


if __name__ == "__main__":
    main()
