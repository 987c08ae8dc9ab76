"""What the benchmarks have in common on the side of the measured systems: work, clocks, memory.

Runs in each system's own environment, so it needs nothing but the standard library (and numpy for
arrays). Durations are in seconds, memory is in bytes; each result is checked.
"""

from __future__ import annotations

import os
import random
import sys
import time
import types
from pathlib import Path
from statistics import median, quantiles

#: Engines, workers or kernels of every measurement but the start.
ENGINES = 4

#: Of the tasks that sleep: the mean [s], and how uneven they are.
MEAN_S, SIGMA = 0.010, 1.0


def clock(function, calls):
    """Time single calls, after some that do not count; median and 99th percentile [s]."""
    for _ in range(max(20, calls // 10)):
        function()
    times = [took(function) for _ in range(calls)]
    return {"median": median(times), "p99": quantiles(times, n=100)[98]}


def took(function):
    """Time one call [s]."""
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def flat(measured):
    """Name figures ``what.figure``."""
    return {f"{what}.{name}": x for what, each in measured.items() for name, x in each.items()}


def check(found, expected):
    """Refuse to time what is wrong."""
    if found != expected:
        raise AssertionError(f"found {str(found)[:200]}, expected {str(expected)[:200]}")


def durations(count):
    """Return the same uneven durations for everyone [s]."""
    chance = random.Random(7)
    shift = -SIGMA * SIGMA / 2
    return [MEAN_S * chance.lognormvariate(shift, SIGMA) for _ in range(count)]


def ideal(times):
    """Return the shortest time in which the engines can sleep all of these [s]."""
    return max(sum(times) / ENGINES, *times)


def tasks(run, submit, count, functions=None):
    """Measure many small tasks.

    Parameters
    ----------
    run
        Maps a function over items, each item a task of its own, and returns the results.
    submit
        Submits a function with one argument and returns what gives its result when called.
    count
        Tasks of the map and of the submission [count].
    functions
        What the tasks run, of those who cannot take `by_value`.

    Returns
    -------
    dict
        Seconds for each task, and of the sleeping tasks the time in proportion to the ideal.
    """
    same, busy, sleep = functions or by_value()
    numbers = list(range(count))
    run(same, range(100))
    figures = {"map": took(lambda: check(list(run(same, numbers)), numbers)) / count}

    def one_by_one():
        waiting = [submit(same, number) for number in numbers]
        check([wait() for wait in waiting], numbers)

    figures["submit"] = took(one_by_one) / count
    some = max(200, count // 5)
    figures["busy"] = took(lambda: check(sum(run(busy, range(some))), some)) / some
    times = durations(max(100, count // 25))
    figures["sleeps"] = took(lambda: run(sleep, times)) / ideal(times)
    return figures


def by_value():
    """Return functions that travel by value, as those typed into a notebook do."""

    def same(x):
        return x

    def busy(_):
        import time

        end = time.thread_time() + 0.001
        while time.thread_time() < end:
            pass
        return 1

    def sleep(seconds):
        import time

        time.sleep(seconds)

    return typed(same), typed(busy), typed(sleep)


def typed(function):
    """Make a function one of the notebook's: in no module that others could import."""
    home = vars(sys.modules["__main__"])
    made = types.FunctionType(function.__code__, home, function.__name__)
    made.__module__, made.__qualname__ = "__main__", function.__name__
    return made


def arrays(megabytes):
    """Return an array of so many MB (10^6 bytes)."""
    import numpy as np

    return np.arange(megabytes * 125_000, dtype=np.float64)


def family(pid=None):
    """List the process ids of a process and of all it started, directly or not."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            parents[int(entry.name)] = int(fields[1])
    found = [pid or os.getpid()]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return found


def pss(pids):
    """Sum the proportional set sizes of processes [bytes]."""
    total = 0
    for pid in pids:
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
    return total


def held(pids, prefix):
    """Sum what processes have for themselves and the files of shared memory so named [bytes]."""
    total = 0
    for pid in pids:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        sizes = {name: int(size) * 1024 for name, size, *_ in map(str.split, lines[1:])}
        total += sizes["Pss:"] - sizes["Pss_Shmem:"]
    files = Path("/dev/shm").glob(f"{prefix}*")
    return total + sum(file.stat().st_blocks * 512 for file in files)
