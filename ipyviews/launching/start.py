"""Starting a cluster's agent, and ending it, from a user's process."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import time
import weakref
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ipyviews.errors import ClusterError, LauncherError
from ipyviews.launching import rundir
from ipyviews.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

#: Lines of a log that an error shows. [count]
_LINES_SHOWN = 15

#: Not ``-m``: that would put the current directory first on the path, where any file may hide a
#: module; and not ``-P``: kernels forked from the agent would inherit that flag.
_AGENT = (
    "import sys; sys.path[:1] = filter(None, sys.path[:1]); "
    "from ipyviews.launching.agent import main; main()"
)


@dataclass(frozen=True)
class ClusterConfig:
    """What a cluster is; becomes ``config.json`` of its run folder."""

    #: Engines to start. [count]
    n: int
    #: The cluster's name; None for the name of its folder.
    cluster_id: str | None = None
    #: A kernelspec's name for each engine, None for an engine of this interpreter.
    kernels: list[str | None] = field(default_factory=list)
    #: Added to the environment of the engines.
    env: dict[str, str] = field(default_factory=dict)
    #: Working directory of the engines; None for the one of this process.
    cwd: str | None = None
    #: "agent" or "plain".
    provisioner: str = "agent"
    #: How long an attached cluster waits for another client when its owner is gone [s].
    grace: float = 5.0
    #: How long a detached cluster lives without a client [s]; None for ever.
    idle_limit: float | None = None
    #: A name clients may look for it by, besides its id.
    profile: str = "default"
    #: How an engine is chosen for a load-balanced call; None for the default.
    scheme: str | None = None
    #: Most calls in flight on one engine [count]; 0 for what suits the calls.
    prefetch: int = 0
    #: Whether the controller keeps what calls are sent and return.
    keep_results: bool = False
    #: Where records of tasks are written too.
    history_file: str | None = None
    #: Whether large arrays go by shared memory where that is possible.
    shared_memory: bool = True
    #: How often an engine that dies is started again, and in how much time [s]; None for never.
    restart: tuple[int, float] | None = None
    #: "ipc", or "tcp" with encryption; and then the address at which the controller listens.
    transport: str = "ipc"
    ip: str = "127.0.0.1"
    #: The controller's command, to which the run folder is added; None for the real one.
    controller: list[str] | None = None


class AgentProcess:
    """The agent of a running cluster; while an attached one's owner lives, so does the cluster."""

    def __init__(self, folder: Path, process: subprocess.Popen[bytes]) -> None:
        self.folder = folder
        #: Process ids of the agent and of the controller, once they are ready.
        self.pid = process.pid
        self.controller_pid: int | None = None
        self._process = process
        self._owner_pid = os.getpid()
        _ALL.add(self)

    def is_running(self) -> bool:
        """Tell whether the cluster lives."""
        return rundir.is_running(self.folder)

    def wait_until_ready(self, timeout: float) -> None:
        """Wait for the controller.

        Parameters
        ----------
        timeout
            How long to wait [s].

        Raises
        ------
        LauncherError
            If it could not be started, with the last lines of its log, or takes too long.
        """
        line = self._read_line(time.monotonic() + timeout)
        answer: dict[str, Any] = json.loads(line) if line.endswith(b"\n") else {}
        if answer.get("ready"):
            self.pid, self.controller_pid = answer["pid"], answer["controller"]
            return
        if line or self._process.poll() is not None:
            reason, log = answer.get("error", "its agent died"), answer.get("tail", self._log())
        else:
            reason, log = f"it was not ready after {timeout:g} s", self._log()
        lines = "\n".join(log.splitlines()[-_LINES_SHOWN:])
        raise LauncherError(f"the cluster did not start: {reason}.\n{lines}".rstrip())

    def stop(self, timeout: float = 10.0) -> None:
        """End the cluster and wait until nothing of it is left.

        Parameters
        ----------
        timeout
            How long it may take [s]; then it is killed.
        """
        if os.getpid() == self._owner_pid:
            end_cluster(self.folder, timeout)
            self.let_go()
            self.wait()

    def wait(self, timeout: float | None = None) -> None:
        """Wait for the end of the agent of an attached cluster.

        Raises
        ------
        subprocess.TimeoutExpired
            If it still lives after `timeout` seconds.
        """
        self._process.wait(timeout)

    def let_go(self) -> None:
        """Close this process's ends of the pipes: an attached cluster has no owner any more."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def _read_line(self, deadline: float) -> bytes:
        assert self._process.stdout is not None  # noqa: S101 - made with a pipe
        line = b""
        while not line.endswith(b"\n"):
            left = max(0.0, deadline - time.monotonic())
            if not select.select([self._process.stdout], [], [], left)[0]:
                break
            chunk = os.read(self._process.stdout.fileno(), 65536)
            if not chunk:
                break
            line += chunk
        return line

    def _log(self) -> str:
        with contextlib.suppress(OSError):
            return (self.folder / "log").read_text(errors="replace")
        return ""


#: A forked child must not hold its parent's clusters alive.
_ALL: weakref.WeakSet[AgentProcess] = weakref.WeakSet()


def _let_all_go() -> None:
    for process in _ALL:
        process.let_go()


os.register_at_fork(after_in_child=_let_all_go)


def start_agent(
    config: ClusterConfig,
    *,
    detached: bool,
    timeout: float = 60.0,
    meanwhile: Callable[[], object] = lambda: None,
) -> AgentProcess:
    """Start a cluster: its agent, which starts the controller, which starts the engines.

    Parameters
    ----------
    config
        What it is to be.
    detached
        False if it ends with this process, True if it goes on.
    timeout
        How long the controller may take to be ready [s]. Engines may come later.
    meanwhile
        Called while the processes come up.

    Raises
    ------
    ClusterError
        If the name is taken or the cluster cannot be started, with the log's last lines.
    """
    rundir.sweep()
    names = {file.cluster_id for file in rundir.list_clusters()}
    if config.cluster_id in names:
        raise ClusterError(
            f"a cluster named {config.cluster_id!r} is running already; stop it, or give this one "
            "another cluster id."
        )
    process = _launch_in_folder(config, detached=detached)
    try:
        meanwhile()
        process.wait_until_ready(timeout)
    except BaseException:
        process.stop()
        raise
    if detached:
        process.wait()
        process.let_go()
    return process


def end_cluster(folder: Path, timeout: float = 10.0) -> None:
    """End the cluster of a run folder and wait until nothing of it is left.

    Parameters
    ----------
    folder
        Its run folder.
    timeout
        How long it may take [s]; then its agent is killed, and with it the engines.
    """
    deadline = time.monotonic() + timeout
    is_told = _tell_to_end(folder, timeout)
    while rundir.is_running(folder) and time.monotonic() < deadline:
        time.sleep(0.01)
        # One that is just starting does not listen yet.
        is_told = is_told or _tell_to_end(folder, timeout)
    rundir.remove_folder(folder)


def _tell_to_end(folder: Path, timeout: float) -> bool:
    """Tell an agent to end, and wait until it has or is killed; False if it does not listen."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(timeout)
        try:
            sock.connect(str(folder / "agent.sock"))
            sock.sendall(b'{"id": 0, "op": "end"}\n')
            while sock.recv(65536):
                pass
        except TimeoutError:
            _kill_peer(sock)
        except OSError:
            return False
    return True


def _kill_peer(sock: socket.socket) -> None:
    if sys.platform == "linux":
        size = struct.calcsize("3i")
        credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
        with contextlib.suppress(ProcessLookupError):
            os.kill(struct.unpack("3i", credentials)[0], signal.SIGKILL)


def _launch_in_folder(config: ClusterConfig, *, detached: bool) -> AgentProcess:
    base = rundir.base_folder()
    try:
        folder = rundir.create_folder()
    except OSError as error:
        raise _no_folder(base, error) from None
    try:
        return _launch(folder, config, detached=detached)
    except OSError as error:
        rundir.remove_folder(folder)
        raise _no_folder(base, error) from None


def _no_folder(base: Path, error: OSError) -> ClusterError:
    return ClusterError(
        f"the cluster cannot be started in {base}: {error.strerror or error}. Make room there, or "
        "set XDG_RUNTIME_DIR to another folder that is yours alone."
    )


def _launch(folder: Path, config: ClusterConfig, *, detached: bool) -> AgentProcess:
    settings = dataclasses.asdict(config) | {
        "cluster_id": config.cluster_id or folder.name,
        "detached": detached,
        "owner": None if detached else os.getpid(),
        "version": __version__,
    }
    lock = rundir.take_lock(folder, wait=True)
    log = os.open(folder / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        rundir.write_private(folder / "config.json", json.dumps(settings))
        process = subprocess.Popen(  # noqa: S603 - our own interpreter and program
            [sys.executable, "-c", _AGENT, str(folder)],
            stdin=subprocess.DEVNULL if detached else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,
            pass_fds=[lock],
        )
    finally:
        os.close(lock)
        os.close(log)
    return AgentProcess(folder, process)
