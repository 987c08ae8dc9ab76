"""S5: another user of the host reaches nothing, whether the cluster is on ipc or on TCP."""

from __future__ import annotations

import json
import os

import numpy as np
import psutil
import pytest

from ipyviews.engine import segments
from ipyviews.launching.peer import is_this_user
from tests.encryption import needs_encryption

pytestmark = [
    pytest.mark.kernels,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else"),
]

#: Becomes somebody else, tries everything with what it was told, and tells what worked.
STRANGER = """
import json, os, signal, socket, sys, zmq
from pathlib import Path
from ipyviews.engine import segments
folder, pids, names, ports, keys = json.loads(sys.argv[1])
worked = []

def attempt(what, action):
    try:
        if action():
            worked.append(what)
    except (OSError, zmq.ZMQError):
        pass

def connects(path):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(path)
        return True

def knock(port, kind, server):
    sock = context.socket(kind)
    if server:
        sock.curve_publickey, sock.curve_secretkey = zmq.curve_keypair()
        sock.curve_serverkey = server
    monitor = sock.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED)
    if kind == zmq.SUB:
        sock.subscribe(b"")
    sock.connect(f"tcp://127.0.0.1:{port}")
    sockets.append(sock)
    return monitor

os.setgroups([])
os.setgid(65534)
os.setuid(65534)
context = zmq.Context()
for name in names:
    path = str(Path(folder) / name)
    attempt(f"stat {name}", lambda: os.stat(path))
    attempt(f"read {name}", lambda: open(path).read(1))
    attempt(f"write {name}", lambda: open(path, "a"))
    attempt(f"connect {name}", lambda: connects(path))
for place in (folder, str(Path(folder).parent)):
    attempt(f"list {place}", lambda: os.listdir(place))
    attempt(f"make a file in {place}", lambda: open(f"{place}/new", "w"))
for segment in segments.names(Path(folder).name):
    attempt(f"read {segment}", lambda: open(segments.FOLDER / segment).read(1))
for pid in pids:
    attempt(f"signal {pid}", lambda: os.kill(pid, signal.SIGCONT) is None)
    attempt(f"environment of {pid}", lambda: Path(f"/proc/{pid}/environ").read_bytes())
    attempt(f"memory of {pid}", lambda: open(f"/proc/{pid}/mem"))
    words = Path(f"/proc/{pid}/cmdline").read_bytes().decode()
    attempt(f"command line of {pid}", lambda: any(key in words for key in keys))
own = zmq.curve_keypair()[0]
knocks = [(port, kind, server) for port in ports for kind in (zmq.DEALER, zmq.SUB)
          for server in (None, own)]
poller, sockets = zmq.Poller(), []
monitors = {knock(*one): one for one in knocks}
for monitor in monitors:
    poller.register(monitor, zmq.POLLIN)
worked += [str(monitors[monitor]) for monitor, _ in poller.poll(1000)]
print(json.dumps([os.getuid(), worked]), flush=True)
context.destroy(linger=0)
"""


@pytest.mark.parametrize("transport", ["ipc", pytest.param("tcp", marks=needs_encryption)])
def test_s05_a_second_user_can_do_nothing(start, script, members, run_root, transport):
    # Everything above the folders of ours is open to all.
    for folder in (run_root, run_root.parent):
        folder.chmod(0o755)
    rc = start(2, transport=transport)
    held = rc[:].apply_sync(np.zeros, 3_000_000)
    assert len(segments.names(rc.cluster.connection_file.parent.name)) == 2
    rc[:].execute("print('written')", block=True)
    folder = rc.cluster.connection_file.parent
    found = members(rc).all()
    ports = [
        connection.laddr.port
        for process in found
        for connection in process.net_connections(kind="tcp")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert bool(ports) == (transport == "tcp")
    files = {path.name: path for path in folder.iterdir()}
    infos = [json.loads(path.read_text()) for name, path in files.items() if name[-5:] == ".json"]
    keys = [info[name] for info in infos for name in ("key", "curve_secretkey") if name in info]
    # Each engine has keys of its own: a message for one is rubbish to another.
    assert len(set(keys)) == len(keys) >= 3
    told = [str(folder), [p.pid for p in found], list(files), ports, keys]
    uid, worked = script(STRANGER, json.dumps(told)).read()
    assert uid == 65534
    assert worked == []
    assert rc[:].apply_sync(len, held[0]) == [3_000_000] * 2


def test_s05_the_agent_asks_the_system_who_connects(monkeypatch):
    import socket

    here, there = socket.socketpair()
    with here, there:
        assert is_this_user(here)
        monkeypatch.setattr(os, "geteuid", lambda: 12345)
        assert not is_this_user(here)
