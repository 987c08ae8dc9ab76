"""The default cluster is its user's alone: no network, no readable file."""

from __future__ import annotations

import os
import stat

import psutil
import pytest

pytestmark = pytest.mark.kernels


def test_no_process_has_an_internet_socket(rc, members):
    rc[:].apply_sync(lambda: 1)
    rc[:].execute("print(1)", block=True)
    for process in members(rc).all():
        assert process.net_connections(kind="inet") == [], process.cmdline()


def test_there_is_one_controller_process(rc, members, run_root):
    found = members(rc)
    children = found.agent.children()
    assert {p.pid for p in children} == {p.pid for p in [found.controller, *found.engines]}
    assert found.controller.children() == []


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_nothing_can_be_read_by_others(start, umask):
    before = os.umask(umask)
    try:
        rc = start(2)
    finally:
        os.umask(before)
    rc[:].apply_sync(lambda: 1)
    folder = rc.cluster.cluster_file.parent
    for private in (folder, folder.parent):
        assert private.stat().st_mode & 0o777 == 0o700
    files = list(folder.rglob("*"))
    assert len(files) > 10
    for path in files:
        # A socket lets in whoever can enter its folder; nobody else can.
        if not stat.S_ISSOCK(path.stat().st_mode):
            assert path.stat().st_mode & 0o077 == 0, path


def test_secrets_are_in_no_command_line(rc, members):
    import json

    key = json.loads(rc.cluster.cluster_file.read_text())["key"]
    for process in members(rc).all():
        assert key not in " ".join(process.cmdline())
        assert not any(key in value for value in psutil.Process(process.pid).environ().values())
