"""Measures one system in the environment it is installed in; run by the benchmarks, not by hand.

``python systems.py <system> startup <engines>`` prints how long a start took, and
``python systems.py <system> <work> <size> [<work> <size> ...]`` does several pieces of work on four
engines one after the other. One line of JSON: figures by name. What a system cannot do is left out.
"""

from __future__ import annotations

import importlib
import json
import sys

import work

#: Module and class of each system: only the one that is measured is loaded.
SYSTEMS = {
    "ipyviews": ("work_views", "Ours"),
    "ipyparallel": ("work_views", "IPyParallel"),
    "ipyparallel_fast": ("work_views", "IPyParallelFast"),
    "distributed": ("work_dask", "Distributed"),
    "ray": ("work_ray", "Ray"),
    "loky": ("work_pools", "Loky"),
    "futures": ("work_pools", "Futures"),
    "jupyter_client": ("work_kernels", "JupyterClient"),
}


def main(word, *words):
    module, name = SYSTEMS[word]
    system = getattr(importlib.import_module(module), name)()
    wanted = list(zip(words[::2], map(int, words[1::2]), strict=True))
    if wanted[0][0] == "startup":
        with system.cluster(wanted[0][1]) as (_, seconds):
            print(json.dumps({"seconds": seconds}))
        return
    figures = {}
    with system.cluster(work.ENGINES) as (client, _):
        for what, size in wanted:
            if hasattr(system, what):
                figures |= getattr(system, what)(client, size)
    print(json.dumps(figures))


if __name__ == "__main__":
    main(*sys.argv[1:])
