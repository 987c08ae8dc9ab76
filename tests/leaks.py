"""What a test left behind: processes, file descriptors, shared memory, run folders.

A process counts as started by a test when it descends from this one, or when its environment
names the test's run root: an agent and its kernels leave our process tree, not their environment.
"""

from __future__ import annotations

import gc
import os
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from tests.waiting import steps, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterable

SHARED_MEMORY = Path("/dev/shm")


@dataclass(frozen=True)
class Snapshot:
    """What exists at one moment."""

    #: (pid, start time): a pid alone may be used again.
    processes: frozenset[tuple[int, float]]
    #: (number, what it points to).
    fds: frozenset[tuple[int, str]]
    shared: frozenset[str]
    folders: frozenset[str]


@dataclass
class Leaks:
    """What is there now and was not before; false when there is nothing."""

    processes: list[psutil.Process] = field(default_factory=list)
    others: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.processes or self.others)

    def describe(self) -> str:
        """One line for each thing."""
        lines = [f"process {p.pid}: {command(p)}" for p in self.processes]
        return "\n".join(lines + self.others)


def command(process: psutil.Process) -> str:
    """Name a process for people, also one that is just ending."""
    try:
        return " ".join(process.cmdline()) or process.name()
    except psutil.Error:
        return "(ended meanwhile)"


def has_children() -> bool:
    """Whether this process has any child; costs one system call."""
    if not hasattr(os, "waitid"):
        return True
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def names_root(process: psutil.Process, root: Path) -> bool:
    """Whether the environment a process was started with names the run root."""
    try:
        return any(value.startswith(str(root)) for value in process.environ().values())
    except (psutil.Error, OSError):
        return False


def processes_of(root: Path, *, detached: bool) -> frozenset[psutil.Process]:
    """Find our descendants, and with `detached` also those that left our tree."""
    me = psutil.Process()
    found = set(me.children(recursive=True)) if has_children() else set()
    if detached:
        found |= {p for p in psutil.process_iter() if p != me and names_root(p, root)}
    return frozenset(found)


def open_fds() -> frozenset[tuple[int, str]]:
    """List our file descriptors and what they point to."""
    folder = Path("/proc/self/fd")
    found = set()
    for entry in (folder if folder.is_dir() else Path("/dev/fd")).iterdir():
        try:
            target = str(entry.readlink())
            # A mapping lives as long as the result it is the memory of, which the test may keep.
            if not target.startswith(f"{SHARED_MEMORY}/ipv-"):
                found.add((int(entry.name), target))
        except OSError:
            # The descriptor of this very listing, or (macOS) one that is no link.
            continue
    return frozenset(found)


def names_in(folder: Path, prefix: str = "") -> frozenset[str]:
    """List a folder that may not exist."""
    try:
        return frozenset(p.name for p in folder.iterdir() if p.name.startswith(prefix))
    except FileNotFoundError:
        return frozenset()


def snapshot(root: Path, *, detached: bool) -> Snapshot:
    """Look at everything now."""
    return Snapshot(
        frozenset((p.pid, p.create_time()) for p in alive(processes_of(root, detached=detached))),
        open_fds(),
        shared_memory(),
        names_in(root / "ipv"),
    )


def shared_memory() -> frozenset[str]:
    """List segments but those of clusters that run, anybody's: their engines keep some a while."""
    found = names_in(SHARED_MEMORY, "ipv-")
    running = [command(process) for process in psutil.process_iter()] if found else []
    return frozenset(n for n in found if not any(n.split("-")[1] in line for line in running))


def is_there(process: psutil.Process) -> bool:
    """Whether a process still runs, or is a dead child that we have not waited for."""
    try:
        dead = process.status() == psutil.STATUS_ZOMBIE
        return process.is_running() and not (dead and process.ppid() != os.getpid())
    except psutil.NoSuchProcess:
        return False


def alive(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    """Leave out those that have ended, in the order of their start."""
    return sorted(filter(is_there, processes), key=lambda p: (p.create_time(), p.pid))


def compare(before: Snapshot, root: Path, *, detached: bool) -> Leaks:
    """Return what is there now and was not `before`."""
    found = Leaks()
    for process in alive(processes_of(root, detached=detached)):
        if (process.pid, process.create_time()) not in before.processes:
            found.processes.append(process)
    found.others += [f"fd {n}: {target}" for n, target in sorted(open_fds() - before.fds)]
    shared = shared_memory() - before.shared
    found.others += [f"shared memory: {name}" for name in sorted(shared)]
    folders = names_in(root / "ipv") - before.folders
    found.others += [f"run folder: {name}" for name in sorted(folders)]
    return found


def find_leaks(before: Snapshot, root: Path, *, patience_s: float) -> Leaks:
    """Compare with `before`; with patience, wait up to that long for things to end.

    Parameters
    ----------
    before
        What was there when the test began.
    root
        The run root of the test: ``XDG_RUNTIME_DIR``.
    patience_s
        Longest time to wait [s]. 0 looks once, at our own process tree only.
    """
    detached = patience_s > 0
    if not compare(before, root, detached=detached):
        return Leaks()
    # Sockets in reference cycles are nobody's leak.
    gc.collect()
    pause = threading.Event()
    for step in steps(patience_s) if detached else ():
        if not compare(before, root, detached=detached):
            return Leaks()
        pause.wait(step)
    return compare(before, root, detached=detached)


def end(processes: list[psutil.Process]) -> None:
    """Kill what a failed test left, so that the next one starts clean."""
    for process in processes:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs([p for p in alive(processes) if p.ppid() == os.getpid()], timeout=5)
    wait_until(lambda: not alive(processes), 5, "the end of killed processes")
