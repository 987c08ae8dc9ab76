"""S6: every file and folder is private from the moment it is made, whatever the umask."""

from __future__ import annotations

import json
import re
import shutil
import stat
import subprocess
import sys

import pytest

from tests.chaos.scale import scale

pytestmark = [
    pytest.mark.kernels,
    pytest.mark.skipif(shutil.which("strace") is None, reason="strace shows what is made, and how"),
]

#: Uses what makes files: engines in both ways, a history, a restart, shared memory, sources.
JOB = """
import os, sys, ipyviews, numpy
os.umask(int(sys.argv[1], 8))
from pathlib import Path
root = Path(sys.argv[2])
with ipyviews.Cluster(
    n=1, history_file=root / "history.db", cluster_file=root / "file.json",
    provisioner=sys.argv[3],
) as rc:
    assert rc[0].apply_sync(len, numpy.zeros(3_000_000)) == 3_000_000
    assert len(rc[0].apply_sync(numpy.zeros, 3_000_000)) == 3_000_000
    rc[0].execute("print(1)", block=True)
    rc.restart(0)
    rc[0].apply_sync(len, "")
    made = oct(os.stat(rc[0].apply_sync(user_file, str(root / "user"))).st_mode & 0o777)
    print(made)
"""
JOB = "def user_file(path):\n    open(path, 'w').close()\n    return path\n" + JOB

#: What the system was asked for, in the order of its answers; what failed is left out.
CALL = re.compile(
    r"(?P<name>open|openat|creat|mkdir|mkdirat|rename|renameat2?|unlink|unlinkat|rmdir|mknod\w*)"
    r"\((?P<words>.*)\) += (?P<result>\d+)"
)
PATH = re.compile(r'"((?:[^"\\]|\\.)*)"')
MODE = re.compile(r", (0[0-7]*) *$")


def whole(trace):
    """Yield calls; of those during which other processes did something, both halves together."""
    begun = {}
    for line in trace.splitlines():
        pid, _, rest = line.partition(" ")
        if rest.endswith("<unfinished ...>"):
            begun[pid] = rest.removesuffix("<unfinished ...>")
        elif "resumed>" in rest:
            yield begun.pop(pid) + rest.partition("resumed>")[2]
        else:
            yield rest


def creations(trace, ours):
    """Yield path and mode of everything that was made below our places."""
    there = set()
    for line in whole(trace):
        call = CALL.search(line)
        if call is None:
            continue
        name, words = call["name"], call["words"]
        paths = PATH.findall(words)
        if name.startswith(("unlink", "rmdir")):
            there.discard(paths[0])
        elif name.startswith("rename"):
            there.discard(paths[0])
            there.add(paths[1])
        elif "O_CREAT" in words or name.startswith(("creat", "mkdir", "mknod")):
            is_new = paths[0] not in there and paths[0].startswith(ours)
            there.add(paths[0])
            if is_new:
                yield paths[0], name, int(MODE.search(words)[1], 8)


@pytest.mark.parametrize(
    ("umask", "provisioner"),
    [("000", "agent"), ("077", "agent"), *scale([], [("000", "plain"), ("077", "plain")])],
)
def test_s06_files_are_private_when_they_are_made(run_root, umask, provisioner):
    log, ours = run_root / "trace", run_root / "ours"
    ours.mkdir()
    calls = "open,openat,creat,mkdir,mkdirat,rename,renameat,renameat2,unlink,unlinkat,rmdir"
    strace = ["strace", "-f", "--seccomp-bpf", "-qq", "-s", "500", "-e", "signal=none"]
    strace += ["-e", f"trace={calls}"]
    done = subprocess.run(
        [*strace, "-o", log, sys.executable, "-c", JOB, umask, ours, provisioner],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    # What users' code makes follows their umask.
    if provisioner == "agent":
        assert done.stdout.strip() == oct(0o666 & ~int(umask, 8))
    places = (f"{run_root}/ipv", f"{ours}/", "/dev/shm/ipv-")
    found = [
        (path, name, mode)
        for path, name, mode in creations(log.read_text(errors="replace"), places)
        if path != f"{ours}/user"
    ]
    for path, name, mode in found:
        assert mode & (0o077 if name.startswith("mkdir") else 0o177) == 0, (path, name, oct(mode))
    kinds = {re.sub(r"[0-9a-f]{8,}|\d+", "#", path.rpartition("/")[2]) for path, *_ in found}
    expected = {"ipv", "lock", "log", "controller.log", "history.db", ".file.json.#"}
    assert expected <= kinds, kinds
    assert any(path.startswith("/dev/shm/ipv-") for path, *_ in found)
    assert any(name.startswith("mkdir") for _, name, _ in found)


@pytest.mark.parametrize("umask", scale(["000"], ["000", "077"]))
def test_s06_nothing_there_can_be_used_by_others(start, script, run_root, umask):
    job = JOB.partition("with ipyviews")[0] + (
        "import json\nwith ipyviews.Cluster(n=2) as rc:\n"
        "    rc[:].apply_sync(len, '')\n"
        "    print(json.dumps(str(rc.cluster.connection_file.parent)), flush=True)\n"
        "    sys.stdin.readline()\n"
    )
    running = script(job, umask, run_root)
    folder = type(run_root)(running.read())
    for private in (folder, folder.parent):
        assert private.stat().st_mode & 0o777 == 0o700
    files = list(folder.rglob("*"))
    assert len(files) > 10
    own = {"agent.sock", "c-1", "c-4", *(f"e{n}-ipc-apply" for n in (0, 1))}
    assert own <= {path.name for path in files}
    for path in files:
        # Sockets that a stock kernel makes let in whoever can enter the folder: nobody else.
        if path.name in own or not stat.S_ISSOCK(path.stat().st_mode):
            assert path.stat().st_mode & 0o077 == 0, path
    running.tell()
    running.process.wait(30)


def test_s06_secrets_are_in_no_command_line_and_no_environment(rc, members):
    key = json.loads(rc.cluster.cluster_file.read_text())["key"]
    for process in members(rc).all():
        assert key not in " ".join(process.cmdline())
        assert not any(key in value for value in process.environ().values())
