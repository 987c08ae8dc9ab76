"""The agent: parent of the controller and of the kernels on this host.

One single-threaded program around one selector. It starts the controller, then warms up
(`forkserver`), starts kernels on request, reports exits, relays signals, and ends everything when
the cluster ends. Run by `start.start_agent`; reads ``<folder>/config.json``.

The socket ``<folder>/agent.sock`` (0600) takes JSON lines. Every request has an ``id`` of the
asker's choice and gets ``{"id": …, "ok": true, …}`` or ``{"id": …, "error": sentence}``:

=========== ======================================== ==========================================
op          fields                                   answer
=========== ======================================== ==========================================
``start``   ``kernel`` (any name), ``argv``,          ``pid, way`` ("fork" or "exec"), ``why`` (not
            ``env`` (whole), ``cwd`` (or null)        forked; null)
``signal``  ``pid, signal`` (number)                  - (to the process group; a gone one is fine)
``list``    -                                         ``kernels: [{kernel, pid, way, …}]``, and
                                                     ``ended``: the last exit of each, as pushed
``clients`` ``n`` connected to the controller         -
``ready``   - (the controller: sockets are bound)     -
``end``     ``reason`` (optional)                     - (the cluster ends)
=========== ======================================== ==========================================

It pushes to all who are connected:

* ``{"push": "exit", "kernel", …}`` with the fields of `ExitReport`, for each kernel that ends;
* ``{"push": "owner"}`` when the owner of an attached cluster is gone: whoever counts clients
  should look now which of them are still there;
* ``{"push": "end", "reason"}`` when the cluster ends: the controller shuts its kernels down
  politely and exits, within 2 s; then come SIGTERM and, 1 s later, SIGKILL for what is left.

Lifetimes: an attached cluster's owner holds the other end of stdin. After its end, and while no
client is connected, the grace runs; then the cluster ends. A detached one has no owner; its idle
limit runs while no client is connected.

A controller that dies is started again: it takes over the kernels, which are this program's
children, and clients come back by themselves. One that dies again and again ends the cluster.
"""

from __future__ import annotations

import contextlib
import dataclasses
import faulthandler
import functools
import json
import os
import selectors
import signal
import socket
import sys
import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ipyviews.launching import rundir
from ipyviews.launching.children import Child, Forked, Order, complaint, start_child
from ipyviews.launching.exits import TAIL_SIZE, OutOfMemoryWatch, keep_exit, report_exit
from ipyviews.launching.forkserver import CONTROLLER, WarmImage, become
from ipyviews.launching.memory import limit_bytes
from ipyviews.launching.peer import Peer, is_this_user

if TYPE_CHECKING:
    from collections.abc import Callable

#: How long a polite end may take, then the end after SIGTERM, then that after SIGKILL [s].
POLITE, TERMINATE, KILL = 2.0, 1.0, 2.0

#: A controller that dies is started again, but only so often [count] in so long [s].
MOST_RETURNS, RETURNS_TIME = 3, 60.0
#: When it is not, clients have so long to read why the cluster ends [s].
READING = 0.5


class Agent:
    """State and handlers; `run` is the loop.

    Parameters
    ----------
    folder
        The run folder, locked by a descriptor this process has inherited.
    config
        The content of ``config.json``.
    umask
        The umask that kernels get.
    """

    def __init__(self, folder: Path, config: dict[str, Any], umask: int) -> None:
        self._folder = folder
        self._config = config
        self._umask = umask
        self._image = WarmImage()
        self._watch = OutOfMemoryWatch()
        self._selector = selectors.DefaultSelector()
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._wake_read, self._wake_write = socket.socketpair()
        self._peers: set[Peer] = set()
        self._children: dict[int, Child] = {}
        self._controller = 0
        #: When controllers that had died were started again, by the monotonic clock [s].
        self._returns: deque[float] = deque(maxlen=MOST_RETURNS)
        #: How each kernel ended last, for a controller that was not there.
        self._exits: dict[str, dict[str, Any]] = {}
        self._is_ready = False
        #: Whether a controller has died and the next is not ready.
        self._is_away = False
        self._has_owner = not config["detached"]
        self._clients = 0
        #: What is to be done when: name -> (time of the monotonic clock, action).
        self._timers: dict[str, tuple[float, Callable[[], None]]] = {}
        self._is_ending = False
        self._is_done = False

    # -- the loop ------------------------------------------------------------------------------

    def run(self) -> None:
        """Work until the cluster has ended; in a forked child raises `Forked`."""
        self._open()
        # First, so that both go on at the same time; and it has no use for what kernels import.
        self._start_controller()
        if self._config["provisioner"] == "agent":
            self._image.warm_up()
        while not self._is_done:
            for key, _ in self._selector.select(self._patience()):
                key.data()
            self._do_what_is_due()
        rundir.remove_folder(self._folder)

    def _open(self) -> None:
        path = self._folder / "agent.sock"
        self._listener.bind(str(path))
        path.chmod(0o600)
        self._listener.listen(64)
        for sock in (self._listener, self._wake_read, self._wake_write):
            sock.setblocking(False)
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        self._selector.register(self._wake_read, selectors.EVENT_READ, self._on_signals)
        if self._has_owner:
            self._selector.register(0, selectors.EVENT_READ, self._on_owner)
        signal.set_wakeup_fd(self._wake_write.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        for signum in (signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP):
            signal.signal(signum, lambda *_: None)

    def _patience(self) -> float | None:
        if not self._timers:
            return None
        return max(0.0, min(when for when, _ in self._timers.values()) - time.monotonic())

    def _do_what_is_due(self) -> None:
        now = time.monotonic()
        for name, (when, action) in list(self._timers.items()):
            if when <= now and name in self._timers:
                del self._timers[name]
                action()

    def _after(self, seconds: float, name: str, action: Callable[[], None]) -> None:
        self._timers[name] = (time.monotonic() + seconds, action)

    def _forget(self) -> None:
        """In a child: let go of every descriptor object without closing its number."""
        for sock in (self._listener, self._wake_read, self._wake_write):
            sock.detach()
        for peer in self._peers:
            peer.detach()
        self._selector.close()

    # -- sockets -------------------------------------------------------------------------------

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            sock, _ = self._listener.accept()
            if not is_this_user(sock):
                sock.close()
                return
            self._peers.add(Peer(sock, self._selector, self._on_line, self._peers.discard))

    def _on_line(self, peer: Peer, line: bytes) -> None:
        number = None
        try:
            request = json.loads(line)
            number = request["id"]
            answer = self._handlers[request["op"]](self, request)
        except Forked:
            raise
        except Exception as error:  # noqa: BLE001 - a bad request must not end the agent
            peer.send({"id": number, "error": f"bad request: {error!r}"})
            return
        peer.send({"id": number, **answer})

    def _push(self, **fields: Any) -> None:
        for peer in list(self._peers):
            peer.send(fields)

    # -- requests ------------------------------------------------------------------------------

    def _on_start(self, request: dict[str, Any]) -> dict[str, Any]:
        order = Order(request["kernel"], request["argv"], request["env"], request["cwd"])
        problem = "the cluster is ending." if self._is_ending else complaint(order)
        if problem:
            return {"error": problem}
        why = self._image.refusal(order.argv, order.env)
        try:
            child = self._start(order, fork=why is None, umask=self._umask)
        except OSError as error:
            return {"error": f"no process could be started: {error.strerror}."}
        return {"ok": True, "pid": child.pid, "way": child.way, "why": why}

    def _on_signal(self, request: dict[str, Any]) -> dict[str, Any]:
        child = self._children.get(request["pid"])
        if child is not None:
            child.signal(request["signal"])
        return {"ok": True}

    def _on_list(self, _request: dict[str, Any]) -> dict[str, Any]:
        kernels = [
            {
                "kernel": child.order.name,
                "pid": child.pid,
                "way": child.way,
                "started": child.started,
                "cwd": child.order.cwd,
            }
            for child in self._children.values()
            if child.pid != self._controller
        ]
        return {"ok": True, "kernels": kernels, "ended": list(self._exits.values())}

    def _on_clients(self, request: dict[str, Any]) -> dict[str, Any]:
        self._clients = int(request["n"])
        self._review_lifetime()
        return {"ok": True}

    def _on_ready(self, _request: dict[str, Any]) -> dict[str, Any]:
        if not self._is_ready:
            self._is_ready = True
            self._tell_starter(ready=True, pid=os.getpid(), controller=self._controller)
        if self._is_away:
            # From now on there is somebody to come back to.
            self._is_away = False
            self._timers.pop("deserted", None)
        self._review_lifetime()
        return {"ok": True}

    def _on_end(self, request: dict[str, Any]) -> dict[str, Any]:
        # After the answer has gone out, so that the asker gets it.
        reason = request.get("reason") or "it was stopped"
        self._after(0.0, "end", functools.partial(self._end, reason))
        return {"ok": True}

    _handlers: dict[str, Callable[[Agent, dict[str, Any]], dict[str, Any]]] = {  # noqa: RUF012
        "start": _on_start,
        "signal": _on_signal,
        "list": _on_list,
        "clients": _on_clients,
        "ready": _on_ready,
        "end": _on_end,
    }

    # -- children ------------------------------------------------------------------------------

    def _start(self, order: Order, *, fork: bool, umask: int, log: int | None = None) -> Child:
        child = start_child(order, fork=fork, umask=umask, forget=self._forget, log=log)
        self._children[child.pid] = child
        if child.output is not None:
            read = functools.partial(self._on_output, child)
            self._selector.register(child.output, selectors.EVENT_READ, read)
        return child

    def _start_controller(self) -> None:
        given = self._config.get("controller")
        argv = [*(given or [sys.executable, "-P", "-m", CONTROLLER]), str(self._folder)]
        # It outlives the agent for the moment it takes to clean up.
        order = Order(CONTROLLER, argv, dict(os.environ), None, dies_with_parent=False)
        fork = not given and self._image.take_in_common()
        self._controller = self._start(order, fork=fork, umask=0o077, log=2).pid

    def _on_output(self, child: Child) -> None:
        if not child.read_output():
            self._close_output(child)

    def _close_output(self, child: Child) -> None:
        if child.output is not None:
            self._selector.unregister(child.output)
            os.close(child.output)
            child.output = None

    def _on_signals(self) -> None:
        with contextlib.suppress(BlockingIOError):
            signals = set(self._wake_read.recv(4096))
            if signals & {signal.SIGTERM, signal.SIGHUP}:
                self._end("the agent was told to end")
            if signal.SIGCHLD in signals:
                self._reap()

    def _reap(self) -> None:
        for pid in list(self._children):
            if sys.platform == "linux" and not _has_ended(pid):
                continue
            # Told only until it was waited for.
            limit = limit_bytes(pid)
            gone, status, usage = os.wait4(pid, os.WNOHANG)
            if not gone:
                continue
            child = self._children.pop(pid)
            # Its own subprocesses end with a kernel.
            child.sweep()
            child.read_output()
            self._close_output(child)
            returncode = os.waitstatus_to_exitcode(status)
            if pid == self._controller:
                self._on_controller_exit(returncode)
            else:
                self._on_kernel_exit(child, returncode, usage.ru_maxrss, limit)

    def _on_kernel_exit(
        self, child: Child, returncode: int, peak_memory: int, limit: int | None
    ) -> None:
        report = report_exit(
            child.pid,
            returncode,
            tail=bytes(child.tail),
            peak_memory_kb=peak_memory if sys.platform == "linux" else peak_memory // 1024,
            out_of_memory=returncode == -signal.SIGKILL and self._watch.is_evident(),
            memory_limit=limit,
        )
        told = {"kernel": child.order.name, **dataclasses.asdict(report)}
        self._push(push="exit", **told)
        keep_exit(self._exits, told)
        self._finish_if_empty()

    def _on_controller_exit(self, returncode: int) -> None:
        reason = f"the controller died: {report_exit(self._controller, returncode).sentence}"
        self._controller = 0
        if not self._is_ready:
            self._tell_starter(error=reason, tail=self._log_tail())
        elif returncode and not self._is_ending and self._config["provisioner"] == "agent":
            self._replace_controller(reason)
            return
        if self._is_ending:
            self._after(0.0, "terminate", self._terminate)
        self._end(reason)
        self._finish_if_empty()

    def _replace_controller(self, reason: str) -> None:
        """Start another one, unless they die too often."""
        now = time.monotonic()
        if len(self._returns) == MOST_RETURNS and now - self._returns[0] < RETURNS_TIME:
            self._give_up(f"{reason}, after {MOST_RETURNS} others within {RETURNS_TIME:.0f} s")
            return
        self._returns.append(now)
        # Whoever comes back is counted again.
        self._clients = 0
        self._is_away = True
        self._timers.pop("deserted", None)
        self._review_lifetime()
        try:
            self._start_controller()
        except OSError as error:
            self._give_up(f"{reason}, and no other could be started: {error.strerror}")

    def _give_up(self, reason: str) -> None:
        """End the cluster without a controller that could tell why."""
        # Without room on the disk nobody can read it, but all must end the same.
        with contextlib.suppress(OSError):
            rundir.write_private(self._folder / rundir.END_FILE, reason)
        self._after(READING, "end", functools.partial(self._end, reason))

    # -- the end -------------------------------------------------------------------------------

    def _on_owner(self) -> None:
        if os.read(0, 4096):
            return
        self._selector.unregister(0)
        self._has_owner = False
        self._push(push="owner")
        self._review_lifetime()

    def _review_lifetime(self) -> None:
        limit = self._config["idle_limit" if self._config["detached"] else "grace"]
        if self._has_owner or self._clients or limit is None:
            self._timers.pop("deserted", None)
        elif "deserted" not in self._timers:
            # A takeover takes its time, but one that never ends must not keep the cluster.
            limit += RETURNS_TIME if self._is_away else 0.0
            self._after(limit, "deserted", lambda: self._end("nobody uses it any more"))

    def _end(self, reason: str) -> None:
        if self._is_ending:
            return
        self._is_ending = True
        self._timers.clear()
        self._push(push="end", reason=reason)
        self._after(POLITE if self._controller else 0.0, "terminate", self._terminate)
        self._finish_if_empty()

    def _terminate(self) -> None:
        for child in self._children.values():
            child.signal(signal.SIGTERM)
        self._after(TERMINATE, "kill", self._kill)

    def _kill(self) -> None:
        for child in self._children.values():
            child.signal(signal.SIGKILL)
        self._after(KILL, "give up", self._finish)

    def _finish_if_empty(self) -> None:
        if self._is_ending and not self._children:
            self._finish()

    def _finish(self) -> None:
        self._is_done = True

    # -- the starter ---------------------------------------------------------------------------

    def _tell_starter(self, **fields: Any) -> None:
        """Write the one line the starter waits for; from then on stdout is the log."""
        with contextlib.suppress(OSError):
            os.write(1, json.dumps(fields).encode() + b"\n")
        os.dup2(2, 1)

    def _log_tail(self) -> str:
        with contextlib.suppress(OSError):
            return (self._folder / "log").read_bytes()[-TAIL_SIZE:].decode("utf-8", "replace")
        return ""


def _has_ended(pid: int) -> bool:
    """Tell whether a child can be waited for."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def main() -> None:
    """Run the agent of the run folder named on the command line."""
    # Every process that is forked here has it from its first instruction.
    faulthandler.enable(2)
    folder = Path(sys.argv[1])
    umask = os.umask(0o077)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if config["detached"] and os.fork():
        # The starter waits for this process only; the agent has no parent that must reap it.
        os._exit(0)
    agent = Agent(folder, config, umask)
    order = None
    try:
        agent.run()
    except Forked as forked:
        order = forked.order
    if order is not None:
        del agent
        become(order)
