"""D1: full and read-only disks, little shared memory: a sentence at once, or it works all the same.

Each program runs where small file systems are mounted over the real ones, for itself only.
"""

from __future__ import annotations

import pytest

from tests.chaos import mounts
from tests.chaos.scale import HANGS_S

pytestmark = pytest.mark.kernels

START = """
import json, os, sys, ipyviews
try:
    ipyviews.Cluster(n=2).start_and_connect_sync()
except ipyviews.ClusterError as error:
    sentence = str(error)
base = os.path.join(os.environ["XDG_RUNTIME_DIR"], "ipv")
left = os.listdir(base) if os.path.isdir(base) else []
print(json.dumps([sentence, left]))
"""


@pytest.mark.parametrize("options", ["size=256k,full", "size=1m,nr_inodes=3"])
def test_without_room_for_a_run_folder_the_start_says_so(run_root, options):
    folder = run_root / "run"
    env = {"XDG_RUNTIME_DIR": str(folder), "TMPDIR": str(folder)}
    (sentence, left), _ = mounts.run({folder: options}, START, HANGS_S, **env)
    assert "Make room there, or set XDG_RUNTIME_DIR" in sentence
    assert left == []


FILLED = """
import json, os, time, ipyviews
def fill(folder):
    with open(os.path.join(folder, "fill"), "wb", buffering=0) as file:
        for size in (4096, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                pass
folder = os.environ["XDG_RUNTIME_DIR"]
with ipyviews.Cluster(n=2, history_file=os.path.join(folder, "history")) as rc:
    fill(folder)
    calls = rc.load_balanced_view().map_sync(abs, range(500))
    cell = rc[0].execute("print('still here')", block=False)
    cell.get(20)
    rc.cluster.start_engines_sync(1)
    while not rc.connection.failed and len(rc) == 2:
        time.sleep(0.05)
    failed = rc.connection.failed
    after = rc[:].apply_sync(abs, -1)
left = os.listdir(os.path.join(folder, "ipv"))
print(json.dumps([calls, cell.stdout, failed, after, left]))
"""


def test_a_cluster_whose_disk_fills_up_goes_on_and_new_engines_say_why_they_cannot(run_root):
    """Log, history and connection files are on that disk."""
    folder = run_root / "run"
    env = {"XDG_RUNTIME_DIR": str(folder)}
    found, _ = mounts.run({folder: "size=4m"}, FILLED, HANGS_S, **env)
    calls, text, failed, after, left = found
    assert calls == list(range(500))
    assert text == "still here\n"
    assert [(engine, "No space left" in why) for engine, why in failed] == [(2, True)]
    assert after == [1, 1]
    assert left == []


WORK = """
import json, ipyviews
with ipyviews.Cluster(n=2) as rc:
    rc[:].push({"data": DATA}, block=True)
    sizes = rc[:].apply_sync(lambda: len(data))
    back = len(rc[1].pull("data", block=True))
    rc[0].execute("print('cell')", block=True)
    print(json.dumps([sizes, back]))
"""


def test_a_full_temporary_folder_does_not_matter(run_root):
    folder = run_root / "tmp"
    code = WORK.replace("DATA", "bytes(1000)")
    found, _ = mounts.run({folder: "size=64k,full"}, code, HANGS_S, TMPDIR=str(folder))
    assert found == [[1000, 1000], 1000]


def test_a_read_only_home_does_not_matter(run_root):
    folder = run_root / "home"
    env = {"HOME": str(folder), "IPYTHONDIR": None, "JUPYTER_CONFIG_DIR": None}
    code = WORK.replace("DATA", "bytes(1000)")
    found, _ = mounts.run({folder: "size=64k,ro"}, code, HANGS_S, **env)
    assert found == [[1000, 1000], 1000]


def test_with_little_shared_memory_large_data_goes_as_messages_and_one_warning_says_so():
    code = WORK.replace("DATA", "memoryview(bytearray(80 * 2**20))")
    found, stderr = mounts.run({"/dev/shm": "size=64m"}, code, HANGS_S)
    assert found == [[80 * 2**20] * 2, 80 * 2**20]
    assert stderr.count("Large arrays are sent as messages") == 1
