"""A proxy between a client and its controller, on sockets: it loses, repeats, delays, reorders."""

from __future__ import annotations

import heapq
import itertools
import json
import threading
import time
from collections import Counter
from dataclasses import dataclass

import zmq


@dataclass
class Faults:
    """Probabilities for each message, and the longest time it is kept [s]."""

    loss: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    delay: float = 0.0


class Proxy:
    """Stands in for the controller of a connection file; use as a context manager.

    Parameters
    ----------
    cluster_file
        Of the real cluster.
    folder
        Where the proxy listens and writes a connection file of its own.
    chance
        Decides what goes wrong.
    """

    def __init__(self, cluster_file, folder, chance):
        self.faults = Faults()
        #: Messages by what was done with them, and the frames of the last ones, either way.
        self.seen = Counter()
        self.last = {"up": [], "down": []}
        self._chance = chance
        self._info = json.loads(cluster_file.read_text())
        self._real = self._info["ip"]
        self._folder = folder
        self._context = zmq.Context()
        self._poller = zmq.Poller()
        self._fronts = {}
        self._backs = {}
        self._late = []
        self._ticket = itertools.count()
        self._asked = []
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="proxy")

    def __enter__(self):
        for name in ("shell_port", "control_port"):
            front = self._socket(zmq.ROUTER)
            front.bind(f"ipc://{self._folder}/p-{self._info[name]}")
            self._fronts[front] = self._info[name]
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._closing.set()
        self._thread.join()
        self._context.destroy(linger=0)

    @property
    def info(self):
        """A connection file in which the proxy is the controller."""
        return {**self._info, "ip": f"{self._folder}/p"}

    def send_again(self, way):
        """Send the last message in one direction once more."""
        self._asked.append(self.last[way])

    def _socket(self, kind, identity=b""):
        socket = self._context.socket(kind)
        for option in (zmq.SNDHWM, zmq.RCVHWM, zmq.LINGER):
            socket.setsockopt(option, 0)
        if identity:
            socket.setsockopt(zmq.ROUTING_ID, identity)
        self._poller.register(socket, zmq.POLLIN)
        return socket

    def _run(self):
        while not self._closing.is_set():
            for socket, _ in self._poller.poll(5):
                frames = socket.recv_multipart()
                if socket in self._fronts:
                    self._pass("up", self._back(socket, frames[0]), frames[1:])
                else:
                    front, identity = self._backs[socket]
                    self._pass("down", front, [identity, *frames])
            now = time.monotonic()
            while self._late and self._late[0][0] <= now:
                _, _, socket, frames = heapq.heappop(self._late)
                socket.send_multipart(frames)
            while self._asked:
                socket, frames = self._asked.pop()
                socket.send_multipart(frames)

    def _back(self, front, identity):
        for back, found in self._backs.items():
            if found == (front, identity):
                return back
        back = self._socket(zmq.DEALER, identity)
        back.connect(f"ipc://{self._real}-{self._fronts[front]}")
        self._backs[back] = front, identity
        return back

    def _pass(self, way, socket, frames):
        self.last[way] = socket, frames
        chance, faults = self._chance, self.faults
        self.seen["messages"] += 1
        if chance.random() < faults.loss:
            self.seen["lost"] += 1
            return
        copies = 1 + (chance.random() < faults.duplicate)
        self.seen["duplicated"] += copies - 1
        for _ in range(copies):
            wait = chance.uniform(0, faults.delay)
            if chance.random() < faults.reorder:
                self.seen["reordered"] += 1
                wait += 0.02
            if wait:
                entry = (time.monotonic() + wait, next(self._ticket), socket, frames)
                heapq.heappush(self._late, entry)
            else:
                socket.send_multipart(frames)
