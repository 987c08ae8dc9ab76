"""Client, controller and engines in one thread, over a network that loses, delays and reorders.

Client and controller are the real ones. Engines speak the engine's side of docs/protocol.md; what a
call returns is its own arguments. Time is virtual: when nothing is left to do, the clock goes to
the next thing to come, so ten seconds on the way cost nothing.
"""

from __future__ import annotations

import asyncio
import selectors
from random import Random
from types import SimpleNamespace

from ipyviews.client.client import Client
from ipyviews.controller.driver import Driver
from ipyviews.errors import ProtocolError
from ipyviews.transport.memory import Faults, MemoryNetwork, MemoryTransport
from ipyviews.version import __version__
from tests.controller.conftest import make_config
from tests.controller.fakes import FakeKernel, FakeLauncher, Job, cut
from tests.waiting import wait_until

#: Real time for other threads before the clock goes on [s].
PAUSE_S = 0.0005


class HastySelector(selectors.DefaultSelector):
    """Does not wait for a time to come: it makes it come."""

    def __init__(self):
        super().__init__()
        self.now = 0.0

    def select(self, timeout=None):
        if not timeout:
            return super().select(timeout)
        found = super().select(min(timeout, PAUSE_S))
        if not found:
            self.now += timeout
        return found


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop with a clock of its own."""

    def __init__(self):
        self.clock = HastySelector()
        super().__init__(self.clock)

    def time(self):
        return self.clock.now


class Worker(FakeKernel):
    """An engine whose calls take a while and return their arguments."""

    #: Longest time of a call [s].
    task_s = 0.05

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.chance = Random(self.name)
        self.dropped = 0
        self._taken = set()

    def _arrived(self, channel, frames):
        try:
            message = (self._own if channel == "apply" else self._stock).decode(frames)
        except ProtocolError:
            self.dropped += 1
            return
        # A stock kernel does not take the same signature twice.
        if channel == "apply" or message.msg_id not in self._taken:
            self._taken.add(message.msg_id)
            self._obey(channel, message)

    def _obey(self, channel, message):
        if message.msg_type != "apply_request":
            super()._obey(channel, message)
            return
        for call in cut(message):
            self.calls.add(call.msg_id)
            self._add(Job("apply", call, "work", ""))

    def _run(self, job):
        if job.word != "work":
            super()._run(job)
            return
        self.running = job
        delay = self.chance.uniform(0, self.task_s)
        asyncio.get_running_loop().call_later(delay, self._work_ends, job)

    def _work_ends(self, job):
        if self.running is job:
            self.finish()


class Launcher(FakeLauncher):
    """Makes workers."""

    kind = Worker


class WholeStack:
    """A client, its controller and `n` engines.

    Parameters
    ----------
    folder
        What addresses begin with.
    monkeypatch
        Undoes what is changed here.
    seed
        Of what the network does.
    """

    def __init__(self, folder, monkeypatch, n=4, seed=0):
        made = SimpleNamespace(token_hex=lambda size: "ab" * size)
        monkeypatch.setattr("ipyviews.controller.driver.secrets", made)
        monkeypatch.setattr(asyncio, "new_event_loop", VirtualLoop)
        self._folder, self._n, self._seed = folder, n, seed
        #: Where something goes wrong now.
        self.disturbed = ()
        info = {"version": __version__, "cluster_id": "test", "life": "ab" * 8, "pid": 1, "n": n}
        ports = {"shell_port": 1, "control_port": 4}
        key = {"transport": "ipc", "ip": str(folder / "c"), "key": "ab" * 32}
        self.client = Client(
            {**key, **ports, "ipyviews": {**info, "folder": str(folder), "segments": ""}},
            transport=self._make,
        )
        wait_until(lambda: len(self.client.ids) == n)

    def _make(self, loop):
        self.loop, self.network = loop, MemoryNetwork(loop, self._seed)
        self.driver = Driver(
            make_config(self._folder, 0, shared_memory=False),
            MemoryTransport(self.network),
            lambda exited: Launcher(self.network, self._folder, exited),
        )
        self.driver.fleet.start(self._n)
        return MemoryTransport(self.network)

    @property
    def counters(self):
        return self.driver.counters

    def do(self, action):
        """Do something in the loop and return what comes of it."""

        async def run():
            return action()

        return asyncio.run_coroutine_threadsafe(run(), self.loop).result(60)

    def disturb(self, *hops, **faults):
        """Set what goes wrong from now on: with requests of the client, with calls, with cells."""
        self.disturbed = hops if faults else ()
        urls = {"client": [f"ipc://{self._folder / 'c'}-1"]}
        kernels = self.driver.fleet.launcher.kernels.values()
        urls |= {hop: [kernel.url(hop) for kernel in kernels] for hop in ("apply", "shell")}

        def change():
            for url in [url for hop in hops for url in urls[hop]]:
                for connection in self.network.connections(url):
                    connection.out.faults = Faults(**faults)
                    connection.back.faults = Faults(**faults)

        self.do(change)

    def close(self):
        """End everything; the client's loop, which is everybody's, last."""
        self.do(lambda: self.driver.clients.leave(self.client.connection.session, "the end"))
        closing = self.driver.close("the test is over", politely=False)
        asyncio.run_coroutine_threadsafe(closing, self.loop).result(60)
        self.client.close()
