"""How long until engines answer: ours and the peers', in turn, in one run.

From the call that starts them to the first answers of all of them; imports do not count. Prints a
table for people on standard error and JSON on standard output.
"""

from __future__ import annotations

from collections import defaultdict

import common

#: (system's word, engines) that are compared with four plain kernels.
MANY = 64


def main() -> None:
    """Measure, print, publish."""
    chosen = common.options(__doc__.splitlines()[0])
    pythons = common.interpreters()
    cases = [(system, 4) for system in pythons] + [(common.OURS, 16), (common.OURS, MANY)]
    samples: dict[tuple[common.System, int], list[float]] = defaultdict(list)
    for number in range(chosen.rounds):
        for system, n in cases:
            figures = common.measure(system, pythons[system], "startup", n)
            if figures is not None:
                samples[system, n].append(figures["seconds"])
                common.tell(f"round {number + 1}: {system.name}, {n}: {figures['seconds']:.2f} s")
    figures = {case: common.summary(times) for case, times in samples.items()}
    show(figures)
    rows = [{"system": s.name, "engines": n, **figure} for (s, n), figure in figures.items()]
    common.publish({"benchmark": "startup", "unit": "s", "figures": rows}, chosen.json)


def show(figures: dict[tuple[common.System, int], dict[str, float]]) -> None:
    """Print the table, with the time of ours in proportion to each."""
    ours = {n: figure["median"] for (system, n), figure in figures.items() if system is common.OURS}

    def ratio(n: int, other: float) -> str:
        return f"{ours[n] / other:.2f}" if n in ours else "-"

    rows = [
        [
            system.name,
            str(n),
            f"{figure['median']:.2f}",
            f"{figure['min']:.2f}-{figure['max']:.2f}",
            ratio(4, figure["median"]),
            ratio(MANY, figure["median"]),
        ]
        for (system, n), figure in figures.items()
    ]
    columns = ["", "engines", "median s", "range s", "our 4 / this", f"our {MANY} / this"]
    common.table("Start to first answers of all engines", columns, rows)


if __name__ == "__main__":
    main()
