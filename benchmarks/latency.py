"""How long one small request takes: ours and the peers', in turn, in one run.

A call on one engine, a load-balanced call, and a cell that does nothing; four engines, one request
at a time. Prints a table for people on standard error and JSON on standard output.
"""

from __future__ import annotations

from collections import defaultdict

import common

WHAT = {
    "apply": "apply on one engine",
    "balanced": "apply, load-balanced",
    "execute": 'execute("pass") on one engine',
}


def main() -> None:
    """Measure, print, publish."""
    chosen = common.options(__doc__.splitlines()[0])
    calls = 100 if chosen.quick else 500
    pythons = common.interpreters()
    samples: dict[tuple[common.System, str], list[float]] = defaultdict(list)
    for number in range(chosen.rounds):
        for system, python in pythons.items():
            common.tell(f"round {number + 1}: {system.name}")
            for name, seconds in (common.measure(system, python, "latency", calls) or {}).items():
                samples[system, name].append(seconds)
    figures = {case: common.summary(times) for case, times in samples.items()}
    for word, title in WHAT.items():
        show(title, word, figures, list(pythons))
    rows = [
        {"system": system.name, "what": name, **figure}
        for (system, name), figure in figures.items()
    ]
    common.publish(
        {"benchmark": "latency", "unit": "s", "calls": calls, "figures": rows}, chosen.json
    )


def show(
    title: str,
    word: str,
    figures: dict[tuple[common.System, str], dict[str, float]],
    systems: list[common.System],
) -> None:
    """Print one table, with the median of ours in proportion to each."""
    ours = figures.get((common.OURS, f"{word}.median"))
    rows = []
    for system in systems:
        middle, slow = (figures.get((system, f"{word}.{name}")) for name in ("median", "p99"))
        if middle and slow:
            ratio = f"{ours['median'] / middle['median']:.2f}" if ours else "-"
            cells = [f"{1000 * figure['median']:.2f}" for figure in (middle, slow)]
            rows.append([system.name, *cells, ratio])
    common.table(title, ["", "median ms", "p99 ms", "ours / this"], rows)


if __name__ == "__main__":
    main()
