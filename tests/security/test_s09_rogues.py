"""S9: an engine or a controller that does not know the key is never believed."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from ipyviews.client.connection import Connection
from ipyviews.controller import joining
from ipyviews.errors import ClusterError
from ipyviews.protocol.wire import Wire
from ipyviews.transport.base import PeerGone
from ipyviews.transport.zeromq import ZmqTransport, new_curve
from ipyviews.version import __version__
from tests.waiting import eventually


@pytest.mark.parametrize("key", [b"another key", b""], ids=["wrong key", "no key"])
@pytest.mark.parametrize("channels", ["all", "apply"])
async def test_s09_an_engine_without_the_key_never_joins(start_driver, monkeypatch, key, channels):
    monkeypatch.setattr(joining, "START_LIMIT_S", 0.2)
    monkeypatch.setattr(joining, "STEP_LIMIT_S", 0.2)

    def turn(kernel):
        boot = kernel.boot

        def boot_as_rogue():
            boot()
            wires = [kernel._stock, kernel._own] if channels == "all" else [kernel._own]
            for wire in wires:
                # It knows what it is asked, but cannot sign.
                honest = Wire(wire.key, wire.session, own=wire.own, name=wire.name)
                wire.decode, wire.key = honest.decode, key

        kernel.boot = boot_as_rogue

    world = await start_driver(1, turn, joined=False)
    await eventually(lambda: world.states() == ["lost"])
    assert world.counters["unverified"] > 0
    client = await world.client()
    reply = await client.reply(f"{client.execute('echo', targets=[0])}.0")
    assert reply.content["status"] == "error"


class RogueController:
    """Answers every greeting on an address it has taken, signed with what it has."""

    def __init__(self, transport, info, key, **keys):
        self.heard = []
        self._wire = Wire(key, info["ipyviews"]["life"], own=True)
        self._ports = [
            transport.bind_router(f"ipc://{info['ip']}-{info[f'{name}_port']}", b"c", **keys)
            for name in ("shell", "control")
        ]
        for port in self._ports:
            port.listen(lambda frames, port=port: self._answer(port, frames))

    def _answer(self, port, frames):
        self.heard.append(frames)
        content = {"status": "ok", "version": __version__, "engines": [], "n": 0}
        reply = self._wire.encode(
            "hello_reply", "1", content, parent={"msg_id": "x"}, to=frames[0].decode()
        )
        # Its client may have gone by now.
        with contextlib.suppress(PeerGone):
            port.send([frames[0], *reply])


async def test_s09_a_client_does_not_believe_a_controller_without_the_key(start_driver, run_root):
    info = (await start_driver()).driver.connection_info(1)
    transport = ZmqTransport(asyncio.get_running_loop())
    rogue = RogueController(transport, info, b"not the key")
    connection = Connection(info, timeout=0.5)
    with pytest.raises(ClusterError, match="did not answer"):
        await asyncio.to_thread(connection.wait_ready)
    assert rogue.heard
    assert connection.engines == {}
    transport.close()


async def test_s09_over_tcp_a_controller_without_the_secret_hears_nothing(start_driver):
    transport, real = ZmqTransport(asyncio.get_running_loop()), new_curve()
    got = []
    rogue = transport.bind_router("tcp://127.0.0.1:0", b"c", curve=new_curve())
    rogue.listen(got.append)
    info = (await start_driver()).driver.connection_info(1)
    address = rogue.url.removeprefix("tcp://").partition(":")
    told = {**info, "transport": "tcp", "ip": address[0], "curve_publickey": real.public.decode()}
    told |= dict.fromkeys(("shell_port", "control_port"), int(address[2]))
    connection = Connection(told, timeout=0.5)
    with pytest.raises(ClusterError, match="did not answer"):
        await asyncio.to_thread(connection.wait_ready)
    assert got == []
    transport.close()
