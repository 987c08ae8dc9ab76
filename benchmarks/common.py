"""What the benchmarks share: environments for the peers, interleaved rounds, tables.

Every system is measured by `systems.py` in a process of its own, one alive at a time, in turn
within each round, so that a slow moment of the machine hits all of them.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import venv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import work

HERE = Path(__file__).parent
#: Longest time for one system in one round [s].
LIMIT_S = 300


@dataclass(frozen=True)
class System:
    """Something to measure."""

    #: As the table calls it, and the word `systems.py` knows it by.
    name: str
    word: str
    #: What pip installs into its environment; nothing for ourselves.
    requirements: tuple[str, ...] = ()


OURS = System("ipyviews", "ipyviews")
SYSTEMS = [
    OURS,
    System("jupyter_client, plain kernels", "jupyter_client", ("jupyter_client", "ipykernel")),
    System("ipyparallel", "ipyparallel", ("ipyparallel", "numpy")),
    System("ipyparallel, heartbeat 300 ms", "ipyparallel_fast", ("ipyparallel", "numpy")),
    System("distributed", "distributed", ("distributed",)),
]
#: Those that only `run.py` compares with.
OTHERS = [
    System("Ray", "ray", ("ray", "numpy")),
    System("loky", "loky", ("loky",)),
    System("concurrent.futures", "futures"),
]


def options(about: str, groups: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--quick", action="store_true", help="few rounds: shows that it works")
    parser.add_argument("--rounds", type=int, help="rounds (default: 5; 1 with --quick)")
    parser.add_argument("--json", type=Path, help="write the figures there too")
    if groups:
        parser.add_argument("--only", nargs="+", choices=groups, help="these groups only")
        parser.add_argument("--chart", type=Path, help="draw the promises into this file")
    chosen = parser.parse_args()
    chosen.rounds = chosen.rounds or (1 if chosen.quick else 5)
    return chosen


def interpreter(system: System) -> str | None:
    """Return the Python of a system's environment, made if missing; None if it cannot be."""
    if not system.requirements:
        return sys.executable
    root = Path(os.environ.get("IPYVIEWS_BENCHMARK_VENVS", HERE))
    folder = root / f".venv-{system.requirements[0]}"
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
    command = [python, "-m", "pip", "install", "-q", *system.requirements]
    made = subprocess.run(command, check=False, stdout=sys.stderr)
    if made.returncode:
        tell(f"{system.name}: left out, its environment could not be made")
        return None
    return str(python)


def interpreters(systems: list[System] = SYSTEMS) -> dict[System, str]:
    """Make the environments of these systems."""
    found = {system: interpreter(system) for system in systems}
    return {system: python for system, python in found.items() if python}


def measure(
    system: System, python: str, *words: object, script: str = "systems.py"
) -> dict[str, float] | None:
    """Measure one system once; figures by name, None when it failed or has nothing to measure."""
    with tempfile.TemporaryDirectory() as home:
        # Nobody's profile is read or written.
        own = {"IPYTHONDIR": home, "JUPYTER_CONFIG_DIR": home, "PYTHONWARNINGS": "ignore"}
        command = [python, str(HERE / script), system.word, *map(str, words)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        environment = {**os.environ, **own}
        with subprocess.Popen(command, env=environment, cwd=home, text=True, **pipes) as process:
            try:
                output, errors = process.communicate(timeout=LIMIT_S)
            except subprocess.TimeoutExpired:
                tell(f"{system.name}: no answer in {LIMIT_S} s")
                # What it started would go on, and disturb all that is measured later.
                for pid in work.family(process.pid):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                return None
    try:
        figures: dict[str, float] = json.loads(output.splitlines()[-1])
    except (IndexError, ValueError):
        tell(f"{system.name}: failed\n{errors[-2000:]}")
        return None
    return figures


def summary(samples: list[float]) -> dict[str, Any]:
    """Median and range of the rounds."""
    middle = statistics.median(samples)
    return {"median": middle, "min": min(samples), "max": max(samples), "rounds": len(samples)}


def machine() -> dict[str, Any]:
    """Say where the figures come from."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {"python": platform.python_version(), "system": platform.platform(), "cores": cores}


def tell(text: str) -> None:
    """Print for people; the JSON alone goes to standard output."""
    print(text, file=sys.stderr, flush=True)


def table(title: str, columns: list[str], rows: list[list[str]]) -> None:
    """Print a table for people."""
    lines = [columns, *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    tell(f"\n{title}")
    for line in lines:
        first, *rest = (cell for cell in line)
        numbers = (cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True))
        tell("  ".join([first.ljust(widths[0]), *numbers]))


def publish(figures: dict[str, Any], path: Path | None) -> None:
    """Print the figures as JSON, and write them to a file when asked to."""
    text = json.dumps({"machine": machine(), **figures}, indent=2)
    print(text)
    if path is not None:
        path.write_text(text + "\n")
