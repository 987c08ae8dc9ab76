"""`Cluster` and `ClusterManager` as programs for ipyparallel use them."""

from __future__ import annotations

import asyncio
import json
import os
import signal

import psutil
import pytest

import ipyviews as ipp
from ipyviews.launching import rundir
from tests.waiting import wait_until

row = pytest.mark.row
kernels = pytest.mark.kernels


# -- options ----------------------------------------------------------------------------------


@row("9-options")
def test_every_option_of_ipyparallel_is_accepted(tmp_path):
    cluster = ipp.Cluster(
        n=2,
        cluster_id="mine",
        profile="work",
        profile_dir=tmp_path / "profile_work",
        cluster_file=tmp_path / "cluster.json",
        delay=0.5,
        engine_timeout=30,
        send_engines_connection_env=False,
        controller_args=[],
        controller_ip="127.0.0.1",
        controller_location=None,
        shutdown_atexit=True,
        load_profile=False,
        log_level=10,
    )
    assert (cluster.n, cluster.cluster_id, cluster.profile) == (2, "mine", "work")


@row("9-launcher-options")
def test_local_launchers_are_accepted():
    for name in ("engines", "controller", "engine_launcher_class", "controller_launcher_class"):
        ipp.Cluster(**{name: "local"})
        ipp.Cluster(**{name: "Local"})
        ipp.Cluster(**{name: "ipyparallel.cluster.launcher.LocalEngineSetLauncher"})


@row("9-launcher-options", "9-options")
@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"engines": "mpi"}, "only 'local' clusters are there yet"),
        ({"controller": "ssh"}, "only 'local' clusters are there yet"),
        ({"engines": 4}, "the number of engines is n=4"),
        ({"controller_ip": "*"}, "is for transport"),
        ({"controller_args": ["--scheme=lru"]}, "say scheme="),
        ({"scheme": "magic"}, "there is no scheme 'magic'; there are leastload"),
        ({"prefetch": -1}, "prefetch must be"),
        ({"restart": 0}, "restart must be True"),
        ({"restart": (1, 0)}, "restart must be True"),
        ({"restart": (1, 2, 3)}, "restart must be True"),
        ({"restart": "often"}, "restart must be True"),
        ({"hwm": -1}, "prefetch must be"),
    ],
)
def test_what_cannot_be_honoured_is_one_sentence(options, sentence):
    with pytest.raises(ipp.UsageError, match=sentence) as caught:
        ipp.Cluster(**options)
    assert "\n" not in str(caught.value)


@row("9-n-default", "9-start-cluster", "9-stop-cluster")
@kernels
def test_there_is_one_engine_for_each_core_by_default(monkeypatch):
    monkeypatch.setattr("ipyviews.cluster.count_cores", lambda: 1)
    cluster = ipp.Cluster()
    assert cluster.start_cluster_sync() is cluster
    assert cluster.n == 1
    cluster.stop_cluster_sync()
    assert rundir.list_clusters() == []


@row("9-cluster-id")
def test_each_cluster_has_a_name_of_its_own():
    first, second = ipp.Cluster(), ipp.Cluster()
    assert first.cluster_id != second.cluster_id
    assert first.cluster_id.partition("-")[0].isdigit()


@row("9-repr")
def test_repr_before_the_start_names_cluster_id_and_profile():
    cluster = ipp.Cluster(cluster_id="x")
    assert repr(cluster) == "<Cluster(cluster_id='x', profile='default')>"


# -- one life ---------------------------------------------------------------------------------


@row("9-twins")
def test_every_coroutine_has_a_blocking_twin():
    verbs = [
        name for name in dir(ipp.Cluster) if asyncio.iscoroutinefunction(getattr(ipp.Cluster, name))
    ]
    verbs = [name for name in verbs if not name.startswith("_")]
    assert len(verbs) == 13
    for name in verbs:
        assert callable(getattr(ipp.Cluster, f"{name}_sync"))


@row(
    "9-start-controller",
    "9-start-controller-twice",
    "9-start-engines",
    "9-engines",
    "9-stop-engines",
    "9-one-engine",
    "9-restart-engines",
    "9-signal-engines",
    "9-connect-client",
    "9-stop-controller",
    "9-repr",
    "9-twins",
)
@kernels
async def test_controller_and_engines_are_started_and_ended_one_by_one():
    """Blocking twins and coroutines in turn, in a running loop."""
    cluster = ipp.Cluster(cluster_id="parts", n=1)
    await cluster.start_controller()
    with pytest.raises(RuntimeError, match="running already"):
        cluster.start_controller_sync()
    assert cluster.engine_set is None
    assert cluster.controller.state == "running"
    assert psutil.pid_exists(cluster.controller.pid)
    with await cluster.connect_client() as rc:
        assert (rc.cluster, rc.ids) == (cluster, [])
        first = await cluster.start_engines()
        assert cluster.start_engines_sync(1, "two") == "two"
        rc.wait_for_engines(2)
        assert {name: one.engines for name, one in cluster.engines.items()} == {
            first: [0],
            "two": [1],
        }
        assert cluster.engine_set.id == first
        assert repr(cluster) == (
            "<Cluster(cluster_id='parts', profile='default', controller=<running>, "
            f"engine_sets=[{first!r}, 'two'])>"
        )
        await check_restarts(cluster, rc)
        await check_signals(cluster, rc[0])
        await check_ends(cluster, rc)
    await cluster.stop_controller()
    assert cluster.controller is None
    assert "controller=<after>" in repr(cluster)
    with pytest.raises(ipp.ClusterError, match="not running"):
        cluster.start_engines_sync(1)


async def check_restarts(cluster, rc):
    pids = rc[:].apply_sync(os.getpid)
    await cluster.restart_engine(0)
    assert rc[1].apply_sync(os.getpid) == pids[1]
    assert rc[0].apply_sync(os.getpid) != pids[0]
    cluster.restart_engines_sync("two")
    assert rc[1].apply_sync(os.getpid) != pids[1]


async def check_signals(cluster, view):
    heard = "heard = []; signal.signal(signal.SIGUSR1, lambda *_: heard.append(1))"
    view.execute(f"import signal; {heard}", block=True)
    await cluster.signal_engine(0, signal.SIGUSR1)
    wait_until(lambda: view["heard"] == [1])
    cluster.signal_engines_sync("SIGUSR1", cluster.engine_set.id)
    wait_until(lambda: view["heard"] == [1, 1])


async def check_ends(cluster, rc):
    first = cluster.engine_set.id
    await cluster.stop_engine(0)
    wait_until(lambda: rc.ids == [1])
    await cluster.stop_engines("two")
    wait_until(lambda: rc.ids == [])
    assert list(cluster.engines) == [first]
    with pytest.raises(KeyError, match="no set of engines 'two'"):
        await cluster.stop_engines("two")
    with pytest.raises(ipp.UsageError, match="choose another name"):
        cluster.start_engines_sync(1, first)


@row("9-with", "9-start-and-connect", "9-dict", "9-from-file", "9-cluster-file", "9-atexit")
@kernels
def test_a_running_cluster_is_described_and_found_again(tmp_path):
    file = tmp_path / "mine.json"
    with ipp.Cluster(n=1, cluster_id="found", profile="work", cluster_file=file) as rc:
        cluster = rc.cluster
        description = json.loads(file.read_text())
        assert description == cluster.to_dict()
        assert file.stat().st_mode & 0o777 == 0o600
        ways = [
            ipp.Cluster.from_dict(description),
            ipp.Cluster.from_file(file),
            ipp.Cluster.from_file(cluster.connection_file),
            ipp.Cluster.from_file(profile="work"),
            ipp.Cluster.from_file(profile_dir="/somewhere/profile_work"),
            ipp.Cluster.from_file(cluster_id="found"),
            ipp.Cluster.from_file("found"),
        ]
        for found in ways:
            assert found.cluster_id == "found"
            assert found.profile == "work"
            assert found.controller.state == "running"
            assert len(found.engines) == 1
        with ways[0].connect_client_sync() as other:
            assert other[:].apply_sync(os.getpid) == rc[:].apply_sync(os.getpid)
        with ipp.Client(profile="work") as other:
            assert other.ids == [0]
            assert other.profile == "work"
        with pytest.raises(OSError, match="no cluster of profile 'play'"):
            ipp.Client(profile="play")
        ways[2].signal_engines_sync("SIGINT")
        manager = ipp.ClusterManager()
        assert list(manager.load_clusters(profile="work")) == ["work:found"]
        assert manager.load_clusters(profile="work") == manager.clusters
    assert not file.exists()
    gone = ipp.Cluster.from_dict(description)
    assert gone.controller is None
    assert manager.load_clusters() == {}


@row("9-from-file-missing")
def test_a_missing_cluster_file_is_a_file_not_found_error(tmp_path):
    for how in ({"cluster_file": tmp_path / "none.json"}, {"cluster_id": "none"}, {}):
        with pytest.raises(FileNotFoundError, match="ipyviews start"):
            ipp.Cluster.from_file(**how)


@row("9-dict")
def test_what_is_no_description_is_refused():
    for value in ({}, {"cluster": 3}, {"cluster": {"engines": 4}}):
        with pytest.raises(ipp.UsageError, match="to_dict"):
            ipp.Cluster.from_dict(value)


@row("9-start-and-connect", "9-async-with")
@kernels
async def test_the_asynchronous_way_gives_a_client_and_leaves_nothing():
    async with ipp.Cluster(n=1) as rc:
        assert await rc[0].apply_async(pow, 2, 3) == 8
        folder = rc.cluster.connection_file.parent
    assert not folder.exists()


@kernels
@pytest.mark.parametrize("options", [{"shutdown_atexit": False}, {"detached": True}])
@row("9-atexit")
def test_a_cluster_that_is_not_to_end_at_exit_is_detached(options):
    cluster = ipp.Cluster(n=0, **options)
    cluster.start_cluster_sync()
    try:
        (file,) = rundir.list_clusters()
        assert file.owner is None
    finally:
        cluster.stop_cluster_sync()


# -- several ----------------------------------------------------------------------------------


@row("9-manager-new", "9-manager-get")
def test_a_manager_knows_clusters_by_profile_and_id():
    manager = ipp.ClusterManager()
    key, cluster = manager.new_cluster(n=1, cluster_id="a", profile="work")
    assert key == "work:a"
    assert manager.get_cluster(key) is cluster
    assert manager.clusters == {key: cluster}
    with pytest.raises(ipp.UsageError, match="already"):
        manager.new_cluster(cluster_id="a", profile="work")
    manager.remove_cluster(key)
    for verb in (manager.get_cluster, manager.remove_cluster):
        with pytest.raises(KeyError, match="no cluster 'work:a'"):
            verb(key)


@row("9-manager-load")
def test_profiles_without_a_cluster_get_one_when_asked():
    manager = ipp.ClusterManager()
    assert manager.load_clusters() == {}
    assert [one.profile for one in manager.load_clusters(init_default_clusters=True).values()] == [
        "default"
    ]
    found = manager.load_clusters(
        profiles=["a"], profile_dirs=["/x/profile_b"], init_default_clusters=True
    )
    assert sorted(one.profile for one in found.values()) == ["a", "b", "default"]
