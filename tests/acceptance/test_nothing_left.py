"""However a cluster ends, nothing of it is left ten seconds later."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import psutil
import pytest

import ipyviews
from ipyviews.engine import segments

pytestmark = pytest.mark.kernels

GONE_S = 10.0

OWNER = """
import json, os, sys, ipyviews
cluster = ipyviews.Cluster(n=3)
client = cluster.start_and_connect_sync()
engines = [engine["pid"] for engine in client.status()["engines"]]
# Segments of shared memory of the client, and of an engine.
large = memoryview(bytearray(2**21))
client[:].push({"large": large}, block=True)
result = client[1].pull("large", block=True)
print(json.dumps([str(cluster.cluster_file.parent), engines]), flush=True)
client[0].apply_async(lambda: __import__("time").sleep(100))
sys.stdin.readline()
"""


class Owned:
    """A cluster owned by another process."""

    def __init__(self, owner):
        folder, engines = owner.read()
        info = json.loads((Path(folder) / "cluster.json").read_text())
        self.folder = Path(folder)
        self.owner = owner.pid
        self.controller = info["ipyviews"]["pid"]
        self.agent = psutil.Process(self.controller).ppid()
        self.engines = engines

    def kill(self, *names):
        for name in names:
            os.kill(getattr(self, name), signal.SIGKILL)

    def is_gone(self):
        left = filter(psutil.pid_exists, [self.agent, self.controller, *self.engines])
        has_memory = segments.names(self.folder.name)
        return not self.folder.exists() and not has_memory and not any(map(is_alive, left))


def is_alive(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.fixture
def owned(script):
    owner = script(OWNER)
    cluster = Owned(owner)
    cluster.tell = owner.tell
    return cluster


@pytest.mark.parametrize(
    "killed",
    [
        ("owner",),
        ("owner", "controller"),
        ("agent",),
        ("owner", "agent"),
    ],
    ids="+".join,
)
def test_after_killing(owned, wait_until, killed):
    owned.kill(*killed)
    wait_until(owned.is_gone, GONE_S, f"the end of {vars(owned)}")


def test_the_folder_of_a_cluster_killed_at_a_blow_is_removed_by_the_next_one(owned, wait_until):
    owned.kill("owner", "controller", "agent")
    wait_until(lambda: not any(map(is_alive, owned.engines)), GONE_S, "the end of the engines")
    assert owned.folder.exists()
    assert bool(segments.names(owned.folder.name)) is bool(segments.place())
    long_ago = owned.folder.stat().st_mtime - 60
    os.utime(owned.folder, (long_ago, long_ago))
    with ipyviews.Cluster(n=1):
        assert not owned.folder.exists()
        assert not segments.names(owned.folder.name)


def test_no_engine_outlives_its_agent_for_long(owned, wait_until):
    owned.kill("agent")
    wait_until(lambda: not any(map(is_alive, owned.engines)), 3.0, "the end of the engines")


def test_after_the_owner_ended_by_itself(owned, wait_until):
    owned.tell("go on to your end")
    wait_until(owned.is_gone, GONE_S)


def test_after_a_stop(run_root, members):
    cluster = ipyviews.Cluster(n=3)
    client = cluster.start_and_connect_sync()
    processes = members(client).all()
    folder = cluster.cluster_file.parent
    client.close()
    cluster.stop_cluster_sync()
    assert not folder.exists()
    assert not [p for p in processes if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


def test_after_an_error_in_the_block(run_root):
    folders = []

    def use_it():
        with ipyviews.Cluster(n=2) as client:
            folders.append(client.cluster.cluster_file.parent)
            client[0].apply_sync(lambda: 1 / 0)

    with pytest.raises(ZeroDivisionError):
        use_it()
    assert not folders[0].exists()


def test_another_client_keeps_an_attached_cluster_for_its_own_time(owned, wait_until):
    with ipyviews.Client(owned.folder) as second:
        owned.kill("owner")
        # Longer than the grace of 5 s: the cluster is wanted.
        results = [second[1].apply_sync(lambda: __import__("time").sleep(1) or 1) for _ in range(7)]
        assert results == [1] * 7
    wait_until(owned.is_gone, GONE_S)


def test_there_is_one_controller_process(rc, members):
    found = members(rc)
    children = found.agent.children()
    assert {p.pid for p in children} == {p.pid for p in [found.controller, *found.engines]}
    assert found.controller.children() == []
