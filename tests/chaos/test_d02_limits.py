"""D2: no more files, or processes, half-way through the engines: told, and the others work."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest

from tests.chaos.scale import HANGS_S, count, scale

pytestmark = pytest.mark.kernels

#: Engines asked for, limits that most of them fit into, and how many at least. [count]
ENGINES = scale(12, 64)
FILES = scale(96, 383)
TASKS = scale(90, 580)
USABLE = scale(6, 49)

PROGRAM = """
import json, os, resource, sys, time, ipyviews
n, files, group = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
if files:
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
if group:
    with open(os.path.join(group, "cgroup.procs"), "w") as file:
        file.write(str(os.getpid()))
cluster = ipyviews.Cluster(n=n)
cluster.start_cluster_sync()
with cluster.connect_client_sync() as client:
    while not client.connection.failed or not client.ids:
        time.sleep(0.05)
    while int(sys.argv[4]) and len(client.ids) + len(client.connection.failed) < n:
        time.sleep(0.05)
    live, failed = client.ids, client.connection.failed
    done = client.load_balanced_view(live).map_sync(abs, range(100))
    cells = client[live].execute("print('here')", block=False)
    cells.get(30)
    print(json.dumps([live, failed, done, cells.stdout]), flush=True)
    sys.stdin.readline()
cluster.stop_cluster_sync()
"""


def check(program):
    """Every engine is usable or told with a reason."""
    live, failed, done, texts = program.read()
    assert done == list(range(100))
    assert texts == ["here\n"] * len(live)
    assert all(len(sentence) > 20 for _, sentence in failed)
    assert not set(live) & {engine for engine, _ in failed}
    assert failed
    return live, failed


@pytest.mark.timeout(2 * HANGS_S)
def test_engines_for_which_there_are_no_files_are_told_and_the_others_work(script):
    program = script(PROGRAM, ENGINES, FILES, "", 1)
    live, failed = check(program)
    assert len(live) + len(failed) == ENGINES
    assert len(live) >= USABLE
    assert all("limit of open files" in sentence for _, sentence in failed)
    count("D2", usable_for_want_of_files=len(live), told=len(failed))
    program.tell()
    assert program.process.wait(HANGS_S) == 0


@pytest.fixture
def group():
    """A group of processes that may have so many tasks, threads included."""
    folder = Path("/sys/fs/cgroup") / ("pids" if Path("/sys/fs/cgroup/pids").is_dir() else "")
    folder /= f"ipyviews-chaos-{secrets.token_hex(4)}"
    try:
        folder.mkdir()
        (folder / "pids.max").write_text(str(TASKS))
    except OSError as error:
        folder.rmdir() if folder.is_dir() else None
        pytest.skip(f"no group of processes can be made here: {error.strerror}")
    yield folder
    folder.rmdir()


@pytest.mark.timeout(3 * HANGS_S)
def test_engines_for_which_there_are_no_processes_are_told_and_the_others_work(script, group):
    """One that cannot have all its threads may stay silent: it is told a minute later."""
    program = script(PROGRAM, ENGINES, 0, group, scale(0, 1))
    live, failed = check(program)
    # The short form does not wait for all of them.
    assert len(live) >= scale(1, USABLE)
    count("D2", usable_for_want_of_processes=len(live), told=len(failed))
    (group / "pids.max").write_text("max")
    program.tell()
    assert program.process.wait(HANGS_S) == 0
