"""S7: by default nothing listens on a network; with TCP on one address, and encrypted."""

from __future__ import annotations

import json
import socket

import psutil
import pytest

import ipyviews
from ipyviews.errors import ClusterError, UsageError
from ipyviews.transport.zeromq import ZmqTransport, new_curve
from tests.encryption import CAN_ENCRYPT, needs_encryption
from tests.security.raw import GREETING


@pytest.mark.kernels
def test_s07_by_default_no_process_has_an_internet_socket(rc, members):
    rc[:].apply_sync(lambda: 1)
    rc[:].execute("print(1)", block=True)
    for process in members(rc).all():
        assert process.net_connections(kind="inet") == [], process.cmdline()


FORK = """
import os, warnings
warnings.simplefilter("ignore", DeprecationWarning)
pid = os.fork()
if not pid:
    print("child", flush=True)
    os._exit(0)
status = os.waitpid(pid, 0)
"""


def mechanism_of(port):
    """What a peer says of itself when it is greeted."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
        sock.sendall(GREETING[:12])
        said = b""
        while len(said) < 32 and (more := sock.recv(64)):
            said += more
    return said[12:32].rstrip(b"\0")


@needs_encryption
@pytest.mark.kernels
def test_s07_over_tcp_all_sockets_are_on_one_address_and_encrypted(start, members):
    rc = start(2, transport="tcp")
    rc[:].apply_sync(lambda: 1)
    found = members(rc)
    assert found.agent.net_connections(kind="inet") == []
    for process in [found.controller, *found.engines]:
        listening = [
            connection.laddr
            for connection in process.net_connections(kind="inet")
            if connection.status == psutil.CONN_LISTEN
        ]
        assert len(listening) == (2 if process == found.controller else 6)
        assert {address.ip for address in listening} == {"127.0.0.1"}
        assert {mechanism_of(address.port) for address in listening} == {b"CURVE"}
    files = rc.cluster.connection_file.parent.glob("*.json")
    infos = [json.loads(file.read_text()) for file in files if file.name != "config.json"]
    assert {(info["transport"], info["ip"]) for info in infos} == {("tcp", "127.0.0.1")}
    assert len({info["curve_secretkey"] for info in infos}) == 3
    # A forked child of an engine prints through a socket in the folder.
    assert rc[0].execute(FORK, block=True).stdout == "child\n"


@needs_encryption
@pytest.mark.kernels
def test_s07_an_engine_restarted_over_tcp_is_reached_again(start):
    rc = start(1, transport="tcp")
    rc[0].push({"name": 1}, block=True)
    rc.restart(0)
    assert rc[0].apply_sync(lambda: 6 * 7) == 42
    with pytest.raises(ipyviews.RemoteError):
        rc[0].pull("name", block=True)


@needs_encryption
@pytest.mark.kernels
def test_s07_engines_over_tcp_start_as_jupyter_starts_them_too(start):
    rc = start(1, transport="tcp", provisioner="plain")
    assert rc[0].apply_sync(lambda: 6 * 7) == 42


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"transport": "udp"}, 'transport must be "ipc" or "tcp"'),
        ({"transport": "tcp", "controller_ip": "*"}, "one IPv4 address of this host"),
        ({"transport": "tcp", "controller_ip": "0.0.0.0"}, "one IPv4 address of this host"),
        ({"transport": "tcp", "controller_ip": "host"}, "one IPv4 address of this host"),
        ({"controller_ip": "10.0.0.1"}, "is for transport='tcp'"),
    ],
)
def test_s07_addresses_that_mean_everybody_are_refused(options, sentence):
    with pytest.raises(UsageError, match=sentence.replace("(", r"\(")):
        ipyviews.Cluster(n=1, **options)


def test_s07_versions_that_cannot_encrypt_are_named(monkeypatch):
    from ipykernel.kernelapp import IPKernelApp

    if "curve_secretkey" in vars(IPKernelApp):
        monkeypatch.delattr(IPKernelApp, "curve_secretkey")
    with pytest.raises(UsageError, match=r"encryption, which ipykernel \S+ \(7\.4 can\) cannot do"):
        ipyviews.Cluster(n=1, transport="tcp")


def test_s07_a_kernel_that_cannot_encrypt_is_refused(run_root):
    from jupyter_client.kernelspec import KernelSpec

    from ipyviews.launching.kernels import check_encryption

    with pytest.raises(UsageError, match="the kernel 'old' cannot be an engine"):
        check_encryption("old", KernelSpec(argv=["x"]))


async def test_s07_no_port_of_ours_speaks_tcp_without_keys():
    import asyncio

    transport, curve = ZmqTransport(asyncio.get_running_loop()), new_curve()
    here = "tcp://127.0.0.1:0"
    for attach in (
        lambda: transport.bind_router(here, b"c"),
        lambda: transport.connect_dealer("tcp://127.0.0.1:1", b"c"),
        lambda: transport.connect_sub("tcp://127.0.0.1:1"),
        lambda: transport.engine_router(b"c").connect(b"e0.1", "tcp://127.0.0.1:1"),
    ):
        with pytest.raises(ClusterError, match="over TCP everything is encrypted"):
            attach()
    assert transport.bind_router(here, b"c", curve=curve).url.startswith("tcp://127.0.0.1:")
    transport.close()


def test_s07_a_kernel_that_listens_in_the_clear_takes_no_calls(monkeypatch):
    from types import SimpleNamespace

    from ipyviews import engine
    from ipyviews.engine import adapter

    def shell(transport, curve_secretkey=None):
        app = SimpleNamespace(transport=transport, curve_secretkey=curve_secretkey)
        return SimpleNamespace(kernel=SimpleNamespace(parent=app))

    assert adapter.is_plain(shell(transport="tcp"))
    assert adapter.is_plain(shell(transport="tcp", curve_secretkey=b"key")) is not CAN_ENCRYPT
    assert not adapter.is_plain(shell(transport="ipc"))
    engine.load_ipython_extension(shell(transport="tcp"))
    assert engine.extension_here() is None
