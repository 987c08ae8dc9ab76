"""``ipyviews demo``: four engines read this machine's own Python standard library.

Every module is parsed with `ast` by a load-balanced map; functions and classes are counted and the
longest function is found. The same map on one engine gives the speed-up, a plain local run the
totals that must come out.
"""

from __future__ import annotations

import ast
import os
import random
import sys
import sysconfig
import tempfile
import time
import warnings
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast

from IPython.core.interactiveshell import InteractiveShell
from IPython.core.profiledir import ProfileDir
from tqdm import tqdm
from traitlets.config import Config

import ipyviews

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from ipyviews import AsyncMapResult, Client, LoadBalancedView
    from ipyviews.client.metadata import Metadata

ENGINES = 4

#: A bar of one width on every terminal, and none in a file.
BAR = {"unit": "module", "ncols": 80, "mininterval": 0.2, "disable": None}

CELL = """\
import os, sys
print(f"process {os.getpid()}, Python {sys.version.split()[0]}")
"""


class Longest(NamedTuple):
    """The longest function of something; the greatest of several is the longest of all."""

    lines: int
    name: str
    module: str


class Survey(NamedTuple):
    """What was found in one module, or in all of them."""

    modules: int
    unreadable: int
    functions: int
    classes: int
    longest: Longest


def library() -> Path:
    """Name the folder of the standard library."""
    return Path(sysconfig.get_path("stdlib"))


def modules(root: Path) -> list[str]:
    """List the modules below a folder, large and small ones mixed so that progress is even."""
    others = {"site-packages", "dist-packages"}
    found = [path for path in root.rglob("*.py") if not others & set(path.parts)]
    mixed = sorted(map(str, found))
    random.Random(0).shuffle(mixed)
    return mixed


def survey(path: str) -> Survey:
    """Parse one module and count what it defines; some of Python's own tests are no valid code."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(Path(path).read_bytes())
    except (SyntaxError, ValueError):
        return Survey(0, 1, 0, 0, Longest(0, "", ""))
    functions = classes = 0
    longest = Longest(0, "", "")
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            classes += 1
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            functions += 1
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            longest = max(longest, Longest(lines, node.name, path))
    return Survey(1, 0, functions, classes, longest)


def total(surveys: Iterable[Survey]) -> Survey:
    """Add up what was found."""
    modules, unreadable, functions, classes, longest = zip(*surveys, strict=True)
    return Survey(sum(modules), sum(unreadable), sum(functions), sum(classes), max(longest))


@dataclass(frozen=True)
class Run:
    """One map over all modules."""

    found: Survey
    #: From the first submission to the last result [s].
    wall: float
    #: Time at work by engine [s].
    busy: dict[int, float]
    #: Tasks by engine [count].
    tasks: dict[int, int]


def main() -> int:
    """Run the demo; the exit code is 1 when a total differs from the local one."""
    paths = modules(library())
    print(f"{len(paths)} modules of the standard library in {library()}")
    cluster = ipyviews.Cluster(n=ENGINES)
    started = time.perf_counter()
    with cluster as client:
        print(f"{ENGINES} engines started in {time.perf_counter() - started:.1f} s\n")
        many = run(client.load_balanced_view(), paths, f"{ENGINES} engines")
        one = run(client.load_balanced_view(client.ids[:1]), paths, "1 engine")
        show_magics(client)
    started = time.perf_counter()
    expected = total(survey(path) for path in tqdm(paths, desc="  plain loop", **BAR))
    local = time.perf_counter() - started
    report(many, one, local)
    return verdict([many.found, one.found], expected)


def run(view: LoadBalancedView, paths: Sequence[str], name: str) -> Run:
    """Map `survey` over the modules with a live bar."""
    started = time.perf_counter()
    result = view.map_async(survey, paths)
    found = total(tqdm(result, desc=f"{name:>12}", total=len(paths), **BAR))
    wall = time.perf_counter() - started
    return Run(found, wall, *work_of(result))


def work_of(result: AsyncMapResult) -> tuple[dict[int, float], dict[int, int]]:
    """Add up seconds at work, and count tasks, by engine."""
    busy: Counter[int] = Counter()
    tasks: Counter[int] = Counter()
    for task in cast("list[Metadata]", result.metadata):
        busy[task.engine_id] += (task.completed - task.started).total_seconds()
        tasks[task.engine_id] += 1
    return dict(sorted(busy.items())), dict(sorted(tasks.items()))


def show_magics(client: Client) -> None:
    """Run one cell on all engines and on those with an even number."""
    with ipython() as shell:
        client.direct_view("all", block=True).activate()
        client.direct_view(client.ids[::2], block=True).activate("_even")
        for magic in ("px", "px_even"):
            print(f"\n%%{magic}\n{CELL}")
            shell.run_cell_magic(magic, "", CELL)


@contextmanager
def ipython() -> Iterator[InteractiveShell]:
    """Give an IPython shell that keeps no history and writes no profile of the user's."""
    with tempfile.TemporaryDirectory() as folder:
        config = Config(HistoryManager={"enabled": False})
        profile = ProfileDir.create_profile_dir(folder)
        shell = InteractiveShell.instance(config=config, ipython_dir=folder, profile_dir=profile)
        try:
            yield shell
        finally:
            shell.restore_sys_module_state()
            InteractiveShell.clear_instance()


def report(many: Run, one: Run, local: float) -> None:
    """Print what was found and how long it took."""
    found = many.found
    longest = found.longest
    print(f"\n{found.modules} modules parsed, {found.unreadable} are no valid Python on purpose")
    print(f"{found.functions} functions and {found.classes} classes")
    where = Path(longest.module).relative_to(library())
    print(f"longest function: {longest.name} in {where}, {longest.lines} lines\n")
    print(f"{'engine':>12} {'tasks':>7} {'at work':>9} {'utilisation':>12}")
    for engine, busy in many.busy.items():
        print(f"{engine:>12} {many.tasks[engine]:>7} {busy:>7.2f} s {busy / many.wall:>11.0%}")
    print(f"\n{'':>12} {'time':>9} {'speed-up':>12}")
    for name, wall in (
        (f"{ENGINES} engines", many.wall),
        ("1 engine", one.wall),
        ("plain loop", local),
    ):
        print(f"{name:>12} {wall:>7.2f} s {one.wall / wall:>11.1f}x")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    print(f"\n{one.wall / many.wall:.1f}x on {cores} cores, {ENGINES} engines")


def verdict(found: Sequence[Survey], expected: Survey) -> int:
    """Compare the totals with the local ones and return the exit code."""
    if all(each == expected for each in found):
        print("The totals are those of a plain local run.")
        return 0
    print(f"The totals differ: {found} on the engines, {expected} here.", file=sys.stderr)
    return 1
