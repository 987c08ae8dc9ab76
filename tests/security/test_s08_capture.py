"""S8: who sees every packet reads nothing of it."""

from __future__ import annotations

import secrets

import pytest

from tests.netns import CLUSTER, NEAR, network

__all__ = ["network"]

pytestmark = pytest.mark.kernels

#: Writes every packet on every interface, also those of controller and engines, into a file.
CAPTURE = """
import json, select, socket, sys
sniffer = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
sniffer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 20)
print(json.dumps("listens"), flush=True)
with open(sys.argv[1], "wb") as file:
    while True:
        ready, _, _ = select.select([sniffer, sys.stdin], [], [])
        if sniffer in ready:
            file.write(sniffer.recv(1 << 18))
        elif sys.stdin in ready:
            break
print(json.dumps("done"), flush=True)
"""

CLIENT = """
import json, sys, ipyviews
file, mark = sys.argv[1:]
with ipyviews.Client(file) as rc:
    view = rc[:]
    told = view.apply_sync(eval(f"lambda text: (print({mark + 'code'!r} + text), text)[1]",
                                {"__name__": "__main__"}), mark + "argument")
    view["name"] = mark + "value"
    cell = view.execute(f"print('{mark}cell'); name", block=False)
    cell.get(30)
    large = rc[0].apply_sync(bytes.count, (mark + "large").encode() * 100_000, b"large")
    try:
        view.apply_sync(eval(f"lambda: 1 / ({mark!r} == 0)", {"__name__": "__main__"}))
    except ipyviews.RemoteError:
        pass
    print(json.dumps([told, cell.stdout, large]), flush=True)
"""


def test_s08_no_marker_is_seen_in_captured_packets(network, run_root):
    mark, packets = f"MARK{secrets.token_hex(6)}", run_root / "packets"
    sniffer = network.script("near", CAPTURE, packets)
    assert sniffer.read() == "listens"
    cluster = network.script("near", CLUSTER, NEAR, 0)
    file = cluster.read()
    told, printed, large = network.script("far", CLIENT, file, mark).read()
    assert told == [f"{mark}argument"] * 2
    assert printed == [f"{mark}cell\n"] * 2
    assert large == 100_000
    cluster.tell()
    cluster.process.wait(30)
    sniffer.tell()
    assert sniffer.read() == "done"
    seen = packets.read_bytes()
    # The greeting of each connection, in clear; and all that was sent.
    assert seen.count(b"CURVE") > 10
    assert len(seen) > 1_500_000
    assert b"NULL\0" not in seen
    for secret in (mark, "<IDS|MSG>", "apply_request", "hello_request", "msg_id"):
        assert secret.encode() not in seen, secret
