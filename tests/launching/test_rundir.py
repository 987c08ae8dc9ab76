"""The run folder: private, short, found again, swept."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from ipyviews.errors import ClusterError, UsageError
from ipyviews.launching import rundir


@pytest.fixture
def make_cluster():
    """Make a run folder with a cluster file, locked unless `dead`; unlocks at the end."""
    locks = []

    def make(cluster_id, *, dead=False, owner=None):
        folder = rundir.create_folder()
        if not dead:
            locks.append(rundir.take_lock(folder, wait=True))
        info = {"cluster_id": cluster_id, "folder": str(folder), "n": 4, "pid": 1, "owner": owner}
        rundir.write_private(folder / "cluster.json", json.dumps({"key": "k", "ipyviews": info}))
        return folder

    yield make
    for lock in locks:
        os.close(lock)
    for folder in rundir.base_folder().glob("*"):
        rundir.remove_folder(folder)


def test_folder_is_private_below_the_runtime_folder(run_root):
    folder = rundir.create_folder()
    assert folder.parent == run_root / "ipv"
    assert len(folder.name) == 8
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(folder.parent.stat().st_mode) == 0o700
    rundir.remove_folder(folder)


def test_folder_is_private_whatever_the_umask(run_root):
    old = os.umask(0)
    try:
        folder = rundir.create_folder()
    finally:
        os.umask(old)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    rundir.remove_folder(folder)


def test_base_without_runtime_folder_is_in_tmp(monkeypatch):
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    assert rundir.base_folder() == Path(f"/tmp/ipv-{os.getuid()}")


def test_relative_runtime_folder_is_not_used(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", "here")
    assert rundir.base_folder() == Path(f"/tmp/ipv-{os.getuid()}")


def test_base_that_others_can_enter_is_refused(run_root):
    (run_root / "ipv").mkdir(mode=0o755)
    with pytest.raises(ClusterError, match=r"others can enter .*chmod 700"):
        rundir.create_folder()


def test_base_that_is_a_link_is_refused(run_root, tmp_path):
    (run_root / "ipv").symlink_to(tmp_path)
    with pytest.raises(ClusterError, match="not a link"):
        rundir.create_folder()


def test_path_too_long_for_sockets_is_refused(run_root, monkeypatch):
    deep = run_root / ("x" * 70)
    deep.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(deep))
    with pytest.raises(ClusterError, match=r"bytes too long for sockets.*XDG_RUNTIME_DIR"):
        rundir.create_folder()


def test_longest_allowed_path_is_the_longest_of_zeromq(run_root, monkeypatch):
    import zmq

    assert rundir.LONGEST_PATH == zmq.IPC_PATH_MAX_LEN
    longest = f"/ipv/01234567/{rundir.LONGEST_NAME}"
    deep = run_root / ("x" * (rundir.LONGEST_PATH - len(f"{run_root}/{longest}")))
    deep.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(deep))
    folder = rundir.create_folder()
    assert len(str(folder / rundir.LONGEST_NAME)) == rundir.LONGEST_PATH
    rundir.remove_folder(folder)


def test_private_file_replaces_the_old_one_whole(tmp_path):
    path = tmp_path / "file"
    rundir.write_private(path, "old")
    rundir.write_private(path, "new")
    assert path.read_text() == "new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_cluster_lives_while_its_lock_is_held(make_cluster):
    assert rundir.is_running(make_cluster("a"))
    assert not rundir.is_running(make_cluster("b", dead=True))


def test_lock_is_held_once(make_cluster):
    with pytest.raises(BlockingIOError):
        rundir.take_lock(make_cluster("a"))


def test_only_running_clusters_are_listed(make_cluster):
    make_cluster("a")
    make_cluster("b")
    make_cluster("dead", dead=True)
    assert {file.cluster_id for file in rundir.list_clusters()} == {"a", "b"}


def test_cluster_that_has_no_file_yet_is_not_listed(make_cluster):
    (make_cluster("a") / "cluster.json").unlink()
    assert rundir.list_clusters() == []


def test_without_a_name_the_default_is_found(make_cluster):
    make_cluster("a")
    make_cluster("default")
    assert rundir.find_cluster().cluster_id == "default"


def test_without_a_name_the_only_one_is_found(make_cluster):
    folder = make_cluster("a")
    found = rundir.find_cluster()
    assert (found.folder, found.n, found.path) == (folder, 4, folder / "cluster.json")


def test_without_a_name_one_s_own_newest_goes_before_the_default(make_cluster):
    make_cluster("default")
    make_cluster("old", owner=os.getpid())
    make_cluster("new", owner=os.getpid())
    assert rundir.find_cluster().cluster_id == "new"


def test_another_program_s_own_cluster_must_be_named(make_cluster):
    make_cluster("theirs", owner=os.getppid())
    with pytest.raises(ClusterError, match=r"no cluster is running \(other programs have theirs"):
        rundir.find_cluster()
    assert rundir.find_cluster("theirs").cluster_id == "theirs"
    assert rundir.find_cluster(anybodys=True).cluster_id == "theirs"


def test_a_cluster_whose_owner_is_gone_is_free(make_cluster):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    make_cluster("orphan", owner=gone.pid)
    assert rundir.find_cluster().cluster_id == "orphan"


def test_several_without_a_default_are_named(make_cluster):
    make_cluster("b")
    make_cluster("a")
    with pytest.raises(ClusterError, match=r"several clusters .*cluster_id: a, b"):
        rundir.find_cluster()


def test_none_running_says_how_to_start_one():
    with pytest.raises(ClusterError, match=r"`ipyviews start`, or `Cluster\(n=4\)`"):
        rundir.find_cluster()


def test_unknown_name_lists_the_running_ones(make_cluster):
    make_cluster("a")
    with pytest.raises(ClusterError, match="no cluster named 'x' is running; running: a"):
        rundir.find_cluster("x")


@pytest.mark.parametrize("form", [str, Path, lambda folder: folder / "cluster.json"])
def test_cluster_is_found_by_path(make_cluster, form):
    make_cluster("other")
    folder = make_cluster("a")
    assert rundir.find_cluster(form(folder)).cluster_id == "a"


def test_path_of_a_dead_cluster_says_so(make_cluster):
    folder = make_cluster("a", dead=True)
    with pytest.raises(ClusterError, match="is not running any more"):
        rundir.find_cluster(folder)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"key": "k", "shell_port": 1}'])
def test_other_files_are_not_cluster_files(tmp_path, content):
    path = tmp_path / "kernel.json"
    path.write_text(content)
    with pytest.raises(UsageError, match="is not a cluster file"):
        rundir.find_cluster(path)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(UsageError, match=r"absent\.json does not exist"):
        rundir.find_cluster(tmp_path / "absent.json")


def test_name_is_not_looked_up_in_the_current_directory(make_cluster, monkeypatch, tmp_path):
    folder = make_cluster("a")
    (tmp_path / "b").write_text((folder / "cluster.json").read_text())
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ClusterError, match="no cluster named 'b'"):
        rundir.find_cluster("b")


def age(folder):
    os.utime(folder, (0, 0))


def test_sweep_removes_dead_folders_only(make_cluster):
    dead, living, young = make_cluster("a", dead=True), make_cluster("b"), make_cluster("c", dead=1)
    age(dead)
    age(living)
    assert rundir.sweep() == [dead]
    assert living.exists()
    assert young.exists()
    assert not dead.exists()


def test_sweep_leaves_what_is_not_a_run_folder(make_cluster):
    other = make_cluster("a").parent / "notes"
    other.mkdir()
    age(other)
    assert rundir.sweep() == []
    assert other.exists()
