"""Two network namespaces with a cable between them: a cluster on one host, a client on another."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.clusters import Script
from tests.encryption import CAN_ENCRYPT

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Addresses of the two ends.
NEAR, FAR = "10.213.7.1", "10.213.7.2"


class Network:
    """Programs run ``near`` or ``far``; the cable is there until it is `cut`."""

    def __init__(self) -> None:
        tag = f"ipv{secrets.token_hex(4)}"
        self.spaces = {"near": f"{tag}n", "far": f"{tag}f"}
        self._running: list[Script] = []

    def open(self) -> None:
        """Make both."""
        near, far = self.spaces.values()
        for space in (near, far):
            ip("netns", "add", space)
        ip("link", "add", "cable", "netns", near, "type", "veth", "peer", "cable", "netns", far)
        for space, address in ((near, NEAR), (far, FAR)):
            ip("-n", space, "address", "add", f"{address}/24", "dev", "cable")
            ip("-n", space, "link", "set", "lo", "up")
            ip("-n", space, "link", "set", "cable", "up")

    def close(self) -> None:
        """End the programs, the last first, then remove both."""
        for one in reversed(self._running):
            one.close()
        for space in self.spaces.values():
            with contextlib.suppress(subprocess.CalledProcessError):
                ip("netns", "delete", space)

    def script(self, where: str, code: str, *arguments: object) -> Script:
        """Run Python code there; see `tests.clusters.Script`."""
        command = ("ip", "netns", "exec", self.spaces[where], sys.executable, "-c")
        self._running.append(Script(code, *arguments, command=command))
        return self._running[-1]

    def cut(self) -> None:
        """Pull the cable."""
        ip("-n", self.spaces["far"], "link", "set", "cable", "down")

    def mend(self) -> None:
        """Plug it in."""
        ip("-n", self.spaces["far"], "link", "set", "cable", "up")


def ip(*words: str) -> None:
    """Run iproute2."""
    subprocess.run(["ip", *words], check=True, capture_output=True)


@pytest.fixture
def network(run_root: object) -> Iterator[Network]:
    """A network of the test's own."""
    if not CAN_ENCRYPT:
        pytest.skip("this ipykernel cannot encrypt")
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("network namespaces need root and iproute2")
    made = Network()
    try:
        made.open()
    except subprocess.CalledProcessError as error:
        made.close()
        pytest.skip(f"no network namespaces here: {error.stderr.decode().strip()}")
    yield made
    made.close()


#: Starts a cluster, tells where its file is, and ends with a line.
CLUSTER = """
import json, sys, ipyviews
cluster = ipyviews.Cluster(
    n=2, transport="tcp", controller_ip=sys.argv[1], shared_memory=False, prefetch=int(sys.argv[2])
)
with cluster:
    print(json.dumps(str(cluster.connection_file)), flush=True)
    sys.stdin.readline()
"""
