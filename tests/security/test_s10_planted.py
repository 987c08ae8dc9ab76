"""S10: what somebody has put into the folder one works in is not read, nor run."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import IPython
import pytest

from tests.chaos.scale import scale

pytestmark = pytest.mark.kernels

#: Tells who ran it.
TRAP = "import sys\nopen({path!r}, 'a').write({name!r} + str(sys.orig_argv) + chr(10))\n"

CONFIGS = [
    "ipython_config.py",
    "ipython_kernel_config.py",
    "ipyviews_config.py",
    "ipcluster_config.py",
    "jupyter_config.py",
    "jupyter_client_config.py",
    "profile_default/ipython_config.py",
    "profile_default/startup/00-start.py",
    ".ipython/profile_default/startup/00-start.py",
    ".jupyter/jupyter_config.py",
    # Modules that the agent, the controller and kernels import.
    *("sitecustomize.py", "usercustomize.py", "zmq.py", "ipykernel.py", "ipykernel_launcher.py"),
    *("jupyter_client.py", "tornado.py", "cloudpickle.py", "json.py", "selectors.py", "orjson.py"),
    # (What a stock kernel imports later, psutil for one, it looks for there as any notebook does.)
    *("traitlets.py", "IPython.py", "ipyviews/__init__.py", "comm.py", "debugpy.py"),
]

JOB = """
import sys
sys.path[:1] = filter(None, sys.path[:1])
import json, ipyviews
with ipyviews.Cluster(n=2, provisioner=sys.argv[1], kernel=json.loads(sys.argv[2])) as rc:
    assert rc[:].apply_sync(lambda x: x + 1, 1) == [2, 2]
    rc[:].execute("1 + 1", block=True)
    rc.restart(0)
    rc[0].apply_sync(lambda: 1)
    print(json.dumps([rc.cluster_id, rc[:].apply_sync(__import__("os").getcwd)]))
"""


def plant(folder):
    """Put everything into a folder, and return the file that a trap writes to."""
    sprung = folder.parent / "sprung"
    for name in CONFIGS:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(TRAP.format(path=str(sprung), name=name))
    argv = [sys.executable, "-c", TRAP.format(path=str(sprung), name="kernel")]
    spec = {"argv": argv, "display_name": "x", "language": "python"}
    for place in ("kernels", "share/jupyter/kernels", ".local/share/jupyter/kernels"):
        for name in ("ipyviews-engine", "python3", "planted"):
            kernel = folder / place / name
            kernel.mkdir(parents=True)
            (kernel / "kernel.json").write_text(json.dumps(spec))
    for name in ("cluster.json", "config.json", "kernel.json", "default"):
        (folder / name).write_text("{}")
    return sprung


@pytest.fixture
def planted(tmp_path):
    """A folder full of traps, and the file they write to."""
    folder = tmp_path / "here"
    folder.mkdir()
    return folder, plant(folder)


WAYS = [["agent", "null"], ["plain", "null"], *scale([], [["agent", '"python3"']])]


@pytest.mark.parametrize("way", WAYS)
def test_s10_nothing_planted_is_read(planted, run_root, way):
    if way[0] == "plain" and IPython.version_info[:2] < (9, 7):
        pytest.skip(
            "IPython before 9.7 looks there before the extension is loaded, whatever one says"
        )
    folder, sprung = planted
    done = subprocess.run(
        [sys.executable, "-c", JOB, *way],
        cwd=folder,
        env={**os.environ, "PYTHONWARNINGS": ""},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    cluster, folders = json.loads(done.stdout)
    assert folders == [str(folder)] * 2
    assert cluster != "default"
    assert not sprung.exists(), sprung.read_text()


def test_s10_a_kernelspec_planted_is_not_found(planted, run_root, monkeypatch):
    import ipyviews

    monkeypatch.chdir(planted[0])
    with pytest.raises(ipyviews.UsageError, match="there is no kernel 'planted'"):
        ipyviews.Cluster(n=1, kernel="planted").start_cluster_sync()
    with pytest.raises(ipyviews.ClusterError, match="no cluster is running"):
        ipyviews.Client()
