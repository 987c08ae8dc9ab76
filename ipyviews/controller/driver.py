"""One controller: its rooms put together, with a loop and sockets, and its orderly end.

::

    client shell   -> requests ->+                       +-> fleet, links -> engines
    client control -> control  ->|  performer <-> core   |
    engines, exits -> gate     ->+                       +-> clients -> client shell
"""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
from collections import Counter
from functools import partial
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from ipyviews.controller import adoption, logs
from ipyviews.controller.absent import Absent
from ipyviews.controller.channels import Channel
from ipyviews.controller.clients import PROBE_AFTER_S, Clients
from ipyviews.controller.control import Control
from ipyviews.controller.fleet import Fleet
from ipyviews.controller.links import Links
from ipyviews.controller.outputs import Gate
from ipyviews.controller.pasts import Pasts
from ipyviews.controller.performer import Performer
from ipyviews.controller.receipts import Receipts
from ipyviews.controller.records import Records
from ipyviews.controller.requests import Requests, Store
from ipyviews.controller.returns import RETURN_S, Returns
from ipyviews.controller.sharing import Sharing
from ipyviews.controller.silence import Silence
from ipyviews.core.state import ControllerState
from ipyviews.ids import client_of
from ipyviews.protocol.wire import JSON_LIMIT
from ipyviews.store.sqlite import FileLimits, HistoryFile
from ipyviews.transport.base import MOST_BYTES
from ipyviews.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable

    from ipyviews.controller.clients import Receipt
    from ipyviews.controller.config import Config
    from ipyviews.controller.links import Link
    from ipyviews.ids import ClientId, EngineId
    from ipyviews.launching.kernels import ExitReport, KernelLauncher
    from ipyviews.store.journal import Journal
    from ipyviews.transport.base import Curve, Transport

    ExitHandler = Callable[[EngineId, int, ExitReport], None]

log = logging.getLogger(__name__)

#: Results of a detached cluster that nobody was there to take outlive its controller, up to so much
#: in the run folder [bytes].
MOST_UNCLAIMED = 256 * 1024 * 1024

#: Numbers of the channels in a connection file, as with kernels over ipc.
PORTS = {"shell_port": 1, "iopub_port": 2, "stdin_port": 3, "control_port": 4, "hb_port": 5}

#: Frames on the control channel are smaller than this [bytes]: there are no users' data. One that
#: is too large to be read is told so.
CONTROL_BYTES = 4 * JSON_LIMIT


class Driver:
    """A controller that runs in the current loop.

    Parameters
    ----------
    config
        The cluster's settings.
    transport
        Makes the sockets.
    make_launcher
        Makes the maker of kernels, given who is to be told of exits.
    curve
        The keys of its sockets; needed with transport "tcp".
    journal
        Where is written down what a controller after this one must know; None for nowhere.
    former
        The connection info of the controller before this one, which died. Then call `take_over`.
    on_broken
        Called with a sentence when an event could not be handled; None to end the cluster.
    """

    def __init__(
        self,
        config: Config,
        transport: Transport,
        make_launcher: Callable[[ExitHandler], KernelLauncher],
        curve: Curve | None = None,
        *,
        journal: Journal | None = None,
        former: dict[str, Any] | None = None,
        on_broken: Callable[[str], None] | None = None,
    ) -> None:
        self.config = config
        self._curve = curve
        #: Where clients find its channels: where they did before.
        self._ports = {name: int((former or {}).get(name, 0)) for name in PORTS}
        # Never that of the controller before: what was sent to it is refused.
        self.life = secrets.token_hex(8)
        #: How many controllers of this cluster have died. [count]
        self.replaced = 1 + int(former["ipyviews"].get("replaced", 0)) if former else 0
        self.key = str(former["key"]) if former else secrets.token_hex(32)
        self._journal = journal
        self.counters: Counter[str] = Counter()
        #: Done, with a sentence, when the cluster is to end.
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.on_broken = on_broken or self.end
        self._loop = asyncio.get_running_loop()
        self._transport = transport
        self._store = Store()
        state = ControllerState(
            bundle=config.prefetch or None, scheme=config.scheme, chance=random.Random()
        )
        self._performer = Performer(state, self._store)
        self._notice: asyncio.Handle | None = None
        # First of all: when it cannot be used, nothing is open yet.
        self._file = self._open_history()
        self._shell = self._bind("shell_port", MOST_BYTES)
        self._control_channel = self._bind("control_port", CONTROL_BYTES)
        self._connect_rooms()
        self.fleet.launcher = make_launcher(self.fleet.exited)
        self.fleet.deaths.announce = self.clients.announce
        self.requests.setups = self.fleet.setups
        if journal is not None:
            self.fleet.on_news = partial(adoption.note, journal, self.fleet)
            self.fleet.written = partial(adoption.written, journal)
            self.fleet.deaths.keep = partial(adoption.note_death, journal)
            self.fleet.setups.keep = partial(adoption.note_setups, journal)
        # What clients share is not to be removed before they had time to come back.
        self._settled = self._loop.time() + (RETURN_S if former else 0.0)
        if former is not None:
            self.returns.open()
            self._performer.pasts.restore()
        self._probe_timer = self._loop.call_later(PROBE_AFTER_S, self._probe)
        if former is None:
            self._listen()

    async def take_over(self) -> None:
        """Take over the engines of the controller before this one, then answer clients."""
        if self._journal is not None:
            await adoption.adopt(self.fleet, self._journal, self.config.n)
        if self.absent is not None:
            done = self.requests.retold.before = await self.records.written_down()
            await self.absent.restore(self.requests, done)
        self._listen()

    def _listen(self) -> None:
        self._shell.listen(self.requests.handle)
        self._control_channel.listen(self.control.handle)

    def _bind(self, port: str, most_bytes: int) -> Channel:
        url = f"ipc://{self.config.folder / 'c'}-{PORTS[port]}"
        if self.config.transport == "tcp":
            url = f"tcp://{self.config.ip}:{self._ports[port]}"
        router = self._transport.bind_router(
            url, self.life.encode(), curve=self._curve, most_bytes=most_bytes
        )
        if self.config.transport == "tcp":
            self._ports[port] = int(router.url.rpartition(":")[2])
        return Channel(router, self.key.encode(), self.life, self.counters)

    def _connect_rooms(self) -> None:
        performer, counters = self._performer, self.counters
        identity = f"ipyviews-{self.config.folder.name}".encode()
        self.clients = Clients(
            self._shell,
            self._control_channel,
            self._loop.time,
            performer.feed,
            counters,
            turns=performer.turns,
            keep_work=self.config.detached,
        )
        self.records = self._make_records()
        self.absent = None
        if self._journal is not None and self.config.detached:
            self.absent = Absent(
                self._journal, self._store, self.records, performer.state.holding.graph.ends
            )
            self.records.on_end = self.absent.ended
        self.links = Links(self._transport, identity, counters)
        self.gate = Gate(
            self._loop,
            self.clients,
            performer.turns,
            counters,
            answered=performer.answered,
            returned=performer.returned,
        )
        self.silence = self._make_silence()
        self.fleet = Fleet(self.config, self.life, self.links, self.gate, performer.feed)
        self.fleet.counters = counters
        self.clients.on_left = self.fleet.tell_left
        self.clients.on_gone = self._client_gone
        self._connect_returns()
        performer.pasts = Pasts(self._journal)
        performer.clients, performer.links = self.clients, self.links
        performer.fleet, performer.gate = self.fleet, self.gate
        performer.records, self.gate.on_output = self.records, self.records.written
        performer.on_broken = self.on_broken
        self.sharing = performer.sharing = Sharing(
            self._segments, self.clients, self.links, self.fleet, self._store
        )
        self.gate.on_released = self.sharing.engine_released
        self.records.whole = self.sharing.whole
        self.fleet.on_change = self._engines_changed
        self._connect_requests()

    def _connect_requests(self) -> None:
        """Put together what clients talk to."""
        performer, counters = self._performer, self.counters
        cluster = {
            "version": __version__,
            "cluster_id": self.config.cluster_id,
            "life": self.life,
            "replaced": self.replaced,
        }
        self.control = Control(cluster, performer, counters, self.end)
        self.requests = Requests(
            self._store,
            self.clients,
            self.records,
            performer.feed,
            counters,
            turns=performer.turns,
            life=self.life,
            returns=self.returns,
            pasts=performer.pasts,
            ends=performer.state.holding.graph.ends,
        )
        self.records.submit_again = self.requests.submit_again
        performer.withheld = self.requests.withheld

    def _make_silence(self) -> Silence:
        return Silence(
            self._loop,
            self.gate,
            self.links,
            self.counters,
            missing=self._performer.missing,
            interrupt=self._performer.interrupt,
        )

    def _connect_returns(self) -> None:
        """Put together what is for the time after the death of a controller."""
        receipts = Receipts(self._loop, self._tell_received)
        feed = self._performer.feed
        self.returns = Returns(self._loop, self.gate, self.fleet, receipts, feed)
        self.gate.receipts, self.clients.on_received = receipts, self._received
        self.gate.on_stray, self.fleet.returns = self.returns.replied, self.returns
        self.gate.on_stray_output = self.returns.published

    def _open_history(self) -> HistoryFile | None:
        path, keep = self.config.history_file, self.config.keep_results
        if path is not None:
            return HistoryFile(path, self.counters, keep_buffers=keep)
        if not self.config.detached:
            return None
        path, limits = self.config.folder / "records.db", FileLimits(size=MOST_UNCLAIMED)
        return HistoryFile(path, self.counters, keep_buffers=True, limits=limits)

    def _make_records(self) -> Records:
        return Records(
            self.clients,
            self.counters,
            keep=self.config.keep_results,
            keep_undelivered=self.config.detached,
            file=self._file,
            for_absent=self.config.history_file is None,
        )

    def connection_info(self, pid: int) -> dict[str, object]:
        """Return the content of the connection file; in form that of a kernel."""
        return {
            **self._address(),
            "key": self.key,
            "signature_scheme": "hmac-sha256",
            "kernel_name": "ipyviews-cluster",
            "ipyviews": {
                "version": __version__,
                "cluster_id": self.config.cluster_id,
                "life": self.life,
                "replaced": self.replaced,
                "scheme": self.config.scheme,
                "profile": self.config.profile,
                "pid": pid,
                "folder": str(self.config.folder),
                "n": self.config.n,
                "owner": self.config.owner,
                "segments": self._segments,
            },
        }

    def _address(self) -> dict[str, object]:
        if self._curve is None:
            return {"transport": "ipc", "ip": str(self.config.folder / "c"), **PORTS}
        return {
            "transport": "tcp",
            "ip": self.config.ip,
            **self._ports,
            "curve_publickey": self._curve.public.decode(),
            "curve_secretkey": self._curve.secret.decode(),
        }

    @property
    def is_idle(self) -> bool:
        """Whether there is no task."""
        return not len(self._store)

    def end(self, why: str) -> None:
        """Ask for the end of the cluster; only the first reason counts."""
        if not self.ended.done():
            self.ended.set_result(why)

    async def close(self, why: str, *, politely: bool = True) -> None:
        """Say goodbye, end the kernels, close the sockets."""
        log.info("ending: %s", why)
        self._probe_timer.cancel()
        if self._notice is not None:
            self._notice.cancel()
        self.clients.tell_all("bye_notice", {"reason": why})
        self.control.close()
        await self.fleet.close(politely=politely)
        self.gate.close()
        self.gate.receipts.close()
        self.returns.close()
        self._performer.close()
        self.clients.close()
        self._transport.close()
        await self.records.close()
        if self._journal is not None:
            self._journal.close()

    @property
    def _segments(self) -> str:
        """How the names of the cluster's segments begin."""
        return self.config.folder.name if self.config.shared_memory else ""

    def _received(self, receipts: list[Receipt]) -> None:
        """Note that a client has read the replies of tasks, or never will."""
        unfetched = self.records.unfetched
        for (link, number), some in groupby(receipts, key=itemgetter(0, 1)):
            tasks = [task for _, _, task in some]
            received = partial(self.gate.receipts.received, link, number, len(tasks))
            if unfetched is None:
                received()
                continue
            client = client_of(tasks[0])
            if client in self.clients:
                received()
            else:
                self.records.when_written(received)
            for task in tasks:
                unfetched.read(client, task)

    def _client_gone(self, client: ClientId, orderly: bool) -> None:
        self.records.gone(client, orderly=orderly)
        if self.absent is not None:
            self.absent.gone(client)

    def _tell_received(self, link: Link, received: list[int | str]) -> None:
        """Tell an engine which of its messages, and of what cells, it need not keep."""
        cells = [one for one in received if isinstance(one, str)]
        content = {"numbers": [one for one in received if isinstance(one, int)], "cells": cells}
        self.links.send(link, "apply", "replies_received", link.new_id(), content)

    def _probe(self) -> None:
        # First: whatever fails below is logged, and looked at again.
        self._probe_timer = self._loop.call_later(PROBE_AFTER_S, self._probe)
        self.clients.probe()
        if self._loop.time() >= self._settled:
            self.sharing.look()
        self.silence.look()
        logs.cap(self.config.folder, engines=not self.config.agent)

    def _engines_changed(self) -> None:
        """Tell clients, once for all changes of one turn of the loop."""
        if self._notice is None:
            self._notice = self._loop.call_soon(self._tell_engines)

    def _tell_engines(self) -> None:
        self._notice = None
        self.clients.tell_all("engines_notice", self.control.engines())
