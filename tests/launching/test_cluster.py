"""`Cluster`: its options, its verbs, and its end."""

import asyncio
import errno
import os
import signal
import subprocess
import sys
import textwrap

import psutil
import pytest

from ipyviews.cluster import Cluster
from ipyviews.errors import ClusterError, EngineError, UsageError
from ipyviews.launching import rundir

kernels = pytest.mark.kernels


@pytest.mark.parametrize(
    ("options", "error", "sentence"),
    [
        ({"engine": 4}, TypeError, "no option 'engine'"),
        ({"provisioner": "magic"}, UsageError, 'must be "agent" or "plain", not \'magic\''),
        ({"n": -1}, UsageError, "n must be a number of engines, not -1"),
        ({"n": "4"}, UsageError, "n must be a number of engines, not '4'"),
        ({"cluster_id": "a/b"}, UsageError, "letters, digits"),
        ({"idle_limit": 5}, UsageError, "for detached clusters"),
    ],
)
def test_options_that_do_not_fit_are_refused_at_once(options, error, sentence):
    with pytest.raises(error, match=sentence):
        Cluster(**options)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"n": 3, "kernel": ["python3", "python3"]}, "2 kernels were named for 3 engines"),
        ({"n": 1, "kernel": "nope"}, "no kernel 'nope'; there are: .*ipyviews-engine"),
    ],
)
def test_kernels_that_do_not_fit_are_refused_before_anything_starts(options, sentence):
    with pytest.raises(UsageError, match=sentence):
        Cluster(**options).start_cluster_sync()
    assert rundir.list_clusters() == []


def test_cluster_that_was_not_started_can_be_stopped():
    cluster = Cluster()
    cluster.stop_cluster_sync()
    with pytest.raises(ClusterError, match="not running"):
        cluster.connect_client_sync()


def test_repr_before_the_start():
    assert repr(Cluster(2, cluster_id="x")) == "<Cluster(cluster_id='x', profile='default')>"


@kernels
def test_context_manager_gives_a_client_and_leaves_nothing():
    cluster = Cluster(n=2)
    with cluster as rc:
        assert repr(cluster) == (
            f"<Cluster(cluster_id={cluster.cluster_id!r}, profile='default', "
            f"controller=<running>, engine_sets=[{cluster.engine_set.id!r}])>"
        )
        folder = cluster.cluster_file.parent
        pids = rc[:].apply_sync(os.getpid)
        assert len(set(pids)) == 2
    assert "<after>" in repr(cluster)
    assert not folder.exists()
    assert not any(psutil.pid_exists(pid) for pid in pids)


@kernels
async def test_async_context_manager_gives_a_client():
    async with Cluster(n=1) as rc:
        assert len(await asyncio.to_thread(rc[:].apply_sync, os.getpid)) == 1


@kernels
async def test_blocking_twins_work_while_a_loop_is_running():
    cluster = Cluster(n=1)
    with cluster.start_and_connect_sync() as rc:
        assert len(rc) == 1
    cluster.stop_cluster_sync()


@kernels
def test_second_start_is_refused_and_a_restart_is_not():
    cluster = Cluster(n=0)
    cluster.start_cluster_sync()
    with pytest.raises(RuntimeError, match="is running already"):
        cluster.start_cluster_sync()
    cluster.stop_cluster_sync()
    cluster.start_cluster_sync()
    cluster.stop_cluster_sync()


@kernels
def test_engines_get_environment_and_folder(tmp_path):
    with Cluster(n=1, env={"MY_OPTION": "5"}, cwd=tmp_path) as rc:
        assert rc[:].apply_sync(os.getcwd) == [str(tmp_path)]
        assert rc[:].apply_sync(os.getenv, "MY_OPTION") == ["5"]


@kernels
def test_plain_provisioner_does_the_same_job():
    with Cluster(n=2, provisioner="plain") as rc:
        assert rc[:].apply_sync(sum, [1, 2]) == [3, 3]
        rc[1].apply_sync(lambda: len(bytearray(300_000_000)))
        with pytest.raises(EngineError) as caught:
            rc[1].apply_sync(lambda: __import__("os")._exit(3))
        assert caught.value.report.exit_code == 3
        assert caught.value.report.peak_memory > 300_000_000


@kernels
def test_one_kernel_for_each_engine(bash):
    with Cluster(kernel=[None, "bash"]) as rc:
        languages = [engine["language"] for engine in rc.status()["engines"]]
    assert languages == ["python", "bash"]


@kernels
def test_engine_that_dies_while_it_starts_fails_the_start(tmp_path):
    (tmp_path / "ipykernel_launcher.py").write_text("raise SystemExit('the reason why')")
    with pytest.raises(EngineError, match=r"(?s)exit code 1.*the reason why"):
        Cluster(n=1, env={"PYTHONPATH": str(tmp_path)}).start_and_connect_sync()


@kernels
def test_engine_that_is_late_fails_the_start(tmp_path):
    (tmp_path / "ipykernel_launcher.py").write_text("import time; time.sleep(60)")
    late = Cluster(n=1, env={"PYTHONPATH": str(tmp_path)}, engine_timeout=4)
    with pytest.raises(TimeoutError):
        late.start_and_connect_sync()
    assert "<after>" in repr(late)


@kernels
def test_cancelled_start_leaves_nothing():
    async def main():
        start = asyncio.ensure_future(Cluster(n=1).start_and_connect())
        await asyncio.sleep(0.1)
        start.cancel()
        with pytest.raises(asyncio.CancelledError):
            await start

    asyncio.run(main())
    assert rundir.list_clusters() == []


@kernels
def test_detached_cluster_is_found_and_stopped_by_somebody_else():
    with Cluster(n=1, cluster_id="mine", detached=True).start_and_connect_sync():
        pass
    found = Cluster.from_file("mine")
    assert found.cluster_id == "mine"
    with found.connect_client_sync() as rc:
        assert len(rc) == 1
    found.stop_cluster_sync()
    with pytest.raises(ClusterError, match="no cluster"):
        Cluster.from_file("mine")


SCRIPT = """
import os, signal, sys
import ipyviews
cluster = ipyviews.Cluster(n=2)
rc = cluster.start_and_connect_sync()
print(*rc[:].apply_sync(os.getpid), flush=True)
{end}
"""


@kernels
@pytest.mark.parametrize("end", ["", "sys.exit(1)", "os.kill(os.getpid(), signal.SIGKILL)"])
def test_cluster_ends_with_the_program_that_made_it(end, wait_until):
    script = textwrap.dedent(SCRIPT.format(end=end))
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    pids = [int(word) for word in done.stdout.split()]
    assert len(pids) == 2
    assert done.stderr == ""
    wait_until(lambda: not any(psutil.pid_exists(pid) for pid in pids), 10)
    wait_until(lambda: list((rundir.base_folder()).iterdir()) == [], 10)


@kernels
def test_nothing_is_left_when_owner_and_controller_are_killed(wait_until):
    script = textwrap.dedent(SCRIPT.format(end="sys.stdin.read()"))
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as owner:
        pids = [int(word) for word in owner.stdout.readline().split()]
        (file,) = rundir.list_clusters()
        os.kill(owner.pid, signal.SIGKILL)
        os.kill(file.pid, signal.SIGKILL)
    wait_until(lambda: not any(psutil.pid_exists(pid) for pid in pids), 10)
    wait_until(lambda: not file.folder.exists(), 10)


@kernels
def test_nothing_is_left_when_the_agent_is_killed(wait_until):
    cluster = Cluster(n=2)
    with cluster.start_and_connect_sync() as rc:
        pids = rc[:].apply_sync(os.getpid)
        folder = cluster.cluster_file.parent
        os.kill(cluster._agent.pid, signal.SIGKILL)
        wait_until(lambda: not any(psutil.pid_exists(pid) for pid in pids), 3)
    wait_until(lambda: not folder.exists(), 10)
    cluster.stop_cluster_sync()


def test_without_room_for_its_folder_the_start_says_so_and_leaves_nothing(run_root, monkeypatch):
    def is_full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("ipyviews.launching.rundir.write_private", is_full)
    with pytest.raises(ClusterError, match=r"No space left on device\. Make room there"):
        Cluster(n=1).start_cluster_sync()
    assert not list((run_root / "ipv").iterdir())
