"""A controller and its engines as one object."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self, TypeVar

from ipyviews.enginesets import EngineSet, EngineVerbs, new_name
from ipyviews.errors import NotRunning, UsageError
from ipyviews.launching import options, rundir
from ipyviews.launching.options import absolute, check_count, count_cores
from ipyviews.launching.rundir import ClusterFile, find_cluster
from ipyviews.launching.start import AgentProcess, ClusterConfig, end_cluster, start_agent

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from types import TracebackType

    from ipyviews.client.client import Client
    from ipyviews.client.session import Session

    T = TypeVar("T")

#: Longest end of a cluster [s]; then it is killed.
_STOP_TIMEOUT = 10.0

log = logging.getLogger(__name__)


class Controller(NamedTuple):
    """The controller of a running cluster."""

    pid: int | None
    folder: Path

    @property
    def state(self) -> str:
        """Whether it lives: ``running`` or ``after``."""
        return "running" if rundir.is_running(self.folder) else "after"


class Cluster(EngineVerbs):
    """A local cluster: start it, connect to it, stop it.

    As a context manager it gives a connected client and stops the cluster at the end. Every verb is
    a coroutine and has a blocking twin ``…_sync``, which also works where a loop is running.

    Parameters
    ----------
    n
        Engines [count]; None for one per core, or one per name in `kernel`.
    kernel
        Name of a kernelspec, or a list of names, one per engine; None for engines of this
        interpreter.
    env
        Added to this process's environment for the engines.
    cwd
        Working directory of the engines; None for the one of this process.
    cluster_id
        Its name, by which ``Client(cluster_id=…)`` finds it; None for a random one.
    provisioner
        "agent" to fork engines from a warm image where that is safe, "plain" to start every engine
        as jupyter_client does.
    engine_timeout
        How long the controller, and then the engines, may take to be ready [s].
    detached
        False to end with this process, True to go on until it is stopped or idle.
    shutdown_atexit
        False means `detached`.
    idle_limit
        How long a detached cluster lives without a client [s]; None for ever.
    grace
        How long an attached cluster waits for another client once this process is gone [s].
    profile, profile_dir
        A name, or a folder that is called after it, by which ``Client(profile=…)`` finds it too.
    cluster_file
        Where `write_cluster_file` writes, at the start too; None or "" for nowhere.
    scheme
        How an engine is chosen for a load-balanced call: ``leastload``, ``lru``, ``plainrandom``,
        ``twobin``, ``weighted`` or ``pure``; None for the first.
    prefetch
        Most calls in flight on one engine [count]; 0 for what suits the calls. `hwm` is its name
        in ipyparallel.
    keep_results
        Whether the controller keeps what calls are sent and return, so that they can be asked for
        later and sent again.
    history_file
        Where records of tasks are written too, an SQLite file; None for memory only.
    shared_memory
        Whether large arrays go by shared memory; None for yes unless ``IPYVIEWS_SHARED_MEMORY=0``.
    restart
        Whether engines that die are started again, under their ids: True for 3 times in 60 s each,
        a number of times, or ``(times, seconds)``. See `Client.auto_restart`.
    transport, controller_ip
        "ipc" for files only this user can reach, or "tcp", always encrypted, and where it listens.
    others
        ``delay, send_engines_connection_env, controller_location, load_profile, log_level`` are
        accepted and change nothing; ``engines``, ``controller`` and their launcher classes may be
        "local", ``controller_args`` empty.

    Raises
    ------
    UsageError
        If the options do not fit together.

    Examples
    --------
    >>> with Cluster(n=2) as rc:
    ...     rc[:].apply_sync(lambda: 6 * 7)
    [42, 42]
    """

    def __init__(
        self,
        n: int | None = None,
        *,
        kernel: str | Sequence[str | None] | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str | os.PathLike[str] | None = None,
        cluster_id: str | None = None,
        provisioner: str = "agent",
        engine_timeout: float = 60.0,
        detached: bool = False,
        shutdown_atexit: bool = True,
        idle_limit: float | None = None,
        grace: float = 5.0,
        profile: str | None = None,
        profile_dir: str | os.PathLike[str] | None = None,
        cluster_file: str | os.PathLike[str] | None = None,
        scheme: str | None = None,
        prefetch: int = 0,
        hwm: int | None = None,
        keep_results: bool = False,
        history_file: str | os.PathLike[str] | None = None,
        shared_memory: bool | None = None,
        restart: bool | int | tuple[int, float] | None = None,
        transport: str = "ipc",
        controller_ip: str | None = None,
        **others: Any,
    ) -> None:
        super().__init__()
        detached = detached or not shutdown_atexit
        options.check_others(others)
        options.check_names(provisioner, cluster_id)
        options.check_lifetime(idle_limit, detached=detached)
        check_count(n)
        #: Engines [count]; None for one per core, or one per name in `kernel`.
        self.n = n
        #: Its name, by which ``Client(cluster_id=…)`` finds it.
        self.cluster_id = cluster_id or new_name()
        folder_name = "" if profile_dir is None else Path(profile_dir).name
        #: Its other name, by which ``Client(profile=…)`` finds it.
        self.profile = profile or folder_name.removeprefix("profile_") or "default"
        self._kernel = kernel
        self._env = {str(name): str(value) for name, value in (env or {}).items()}
        self._cwd = absolute(cwd)
        self._provisioner = provisioner
        self._timeout = engine_timeout
        self._detached = detached
        self._idle_limit = idle_limit
        self._grace = grace
        self._file = None if not cluster_file else Path(cluster_file).absolute()
        self._records: dict[str, Any] = {
            "scheme": options.check_scheme(scheme),
            "prefetch": options.check_prefetch(prefetch if hwm is None else hwm),
            "keep_results": bool(keep_results),
            "history_file": absolute(history_file),
            "shared_memory": options.shares_memory(shared_memory),
            "restart": options.restart_limit(restart),
            **options.transport(transport, controller_ip),
        }
        self._agent: AgentProcess | None = None
        self._folder: Path | None = None
        self._state = "before"
        self._client: Client | None = None

    # -- what it is ------------------------------------------------------------------------------

    def __repr__(self) -> str:
        parts = [f"cluster_id={self.cluster_id!r}", f"profile={self.profile!r}"]
        if self._state != "before":
            parts.append(f"controller=<{self._state}>")
        if self.engines:
            parts.append(f"engine_sets={list(self.engines)}")
        return f"<{type(self).__name__}({', '.join(parts)})>"

    @property
    def controller(self) -> Controller | None:
        """The controller; None when the cluster is not running."""
        if self._folder is None:
            return None
        return Controller(rundir.controller_pid(self._folder), self._folder)

    @property
    def connection_file(self) -> Path:
        """The connection file of the running cluster.

        Raises `NotRunning`, a `ClusterError`, if it does not run.
        """
        if self._folder is None:
            raise NotRunning("this cluster is not running; call start_cluster_sync() first.")
        return self._folder / "cluster.json"

    @property
    def cluster_file(self) -> Path:
        """The file that was asked for, else the `connection_file`."""
        return self._file or self.connection_file

    def to_dict(self) -> dict[str, Any]:
        """Describe the cluster, so that another program can take hold of it."""
        folder = None if self._folder is None else str(self._folder)
        return {
            "class": "ipyviews.Cluster",
            "cluster": {"cluster_id": self.cluster_id, "profile": self.profile, "n": self.n},
            "controller": None if folder is None else {"folder": folder},
            "engines": {"sets": {one.id: one.engines for one in self.engines.values()}},
        }

    @classmethod
    def from_dict(cls, description: Mapping[str, Any]) -> Self:
        """Take hold of a cluster that `to_dict` described; a dead one is as one not started."""
        try:
            cluster = cls(**description["cluster"], detached=True)
            controller = description.get("controller") or {}
            sets = dict((description.get("engines") or {}).get("sets") or {})
        except (KeyError, TypeError, ValueError, AttributeError):
            raise UsageError("that is not what Cluster.to_dict() returns.") from None
        folder = Path(controller["folder"]) if "folder" in controller else None
        if folder is not None and rundir.is_running(folder):
            cluster._folder, cluster._state = folder, "running"
            cluster.engines = {name: EngineSet(name, engines) for name, engines in sets.items()}
        elif folder is not None:
            log.warning("cluster %s is not running any more", cluster.cluster_id)
        return cluster

    @classmethod
    def from_file(
        cls,
        cluster_file: str | os.PathLike[str] | ClusterFile | None = None,
        *,
        profile: str | None = None,
        profile_dir: str | os.PathLike[str] | None = None,
        cluster_id: str = "",
    ) -> Self:
        """Take hold of a running cluster, which somebody else may have started.

        Parameters
        ----------
        cluster_file
            Its name, its file or folder, or None for the default one; see `Client`.
        profile, profile_dir, cluster_id
            Its names, instead of a file.

        Raises
        ------
        ClusterError, UsageError
            If there is no such cluster; also a FileNotFoundError.
        """
        if isinstance(cluster_file, ClusterFile):
            file = cluster_file
        elif (description := rundir.read_description(cluster_file)) is not None:
            return cls.from_dict(description)
        else:
            name = Path(profile_dir).name.removeprefix("profile_") if profile_dir else None
            file = find_cluster(cluster_file or cluster_id or None, profile=profile or name)
        cluster = cls(file.n, cluster_id=file.cluster_id, profile=file.profile, detached=True)
        cluster._folder, cluster._state = file.folder, "running"
        cluster.engines = {file.cluster_id: EngineSet(file.cluster_id, None)}
        return cluster

    def write_cluster_file(self) -> None:
        """Write what `to_dict` says to the file that was asked for, if any."""
        if self._file is not None:
            rundir.write_private(self._file, json.dumps(self.to_dict()))

    def update_cluster_file(self) -> None:
        """Write the file again; without a running cluster remove it."""
        if self._folder is None:
            self.remove_cluster_file()
        else:
            self.write_cluster_file()

    def remove_cluster_file(self) -> None:
        """Remove the file that was asked for, if any."""
        if self._file is not None:
            self._file.unlink(missing_ok=True)

    # -- blocking --------------------------------------------------------------------------------

    def start_cluster_sync(self, n: int | None = None) -> Self:
        """Start controller and engines; engines may not be ready yet.

        Parameters
        ----------
        n
            Engines [count], instead of what the cluster was made with.

        Raises
        ------
        RuntimeError
            If it is running.
        UsageError
            If a kernel name is unknown, or their number differs from `n`.
        ClusterError
            If it could not be started, with the last lines of its log.
        """
        config = self._config(self.n if n is None else n)
        self._start_agent(config)
        self.n = config.n
        first = new_name()
        self.engines[first] = EngineSet(first, list(range(config.n)))
        self.update_cluster_file()
        return self

    def start_controller_sync(self) -> None:
        """Start the controller alone; see `start_engines_sync`.

        Raises
        ------
        RuntimeError, UsageError, ClusterError
            As `start_cluster_sync`.
        """
        self._start_agent(self._config(0))
        self.update_cluster_file()

    def _start_agent(self, config: ClusterConfig) -> None:
        if self._state == "running":
            raise RuntimeError(f"{self!r} is running already; make another Cluster.")
        self._agent = start_agent(
            config, detached=self._detached, timeout=self._timeout, meanwhile=_client_class
        )
        self._folder, self._state = self._agent.folder, "running"
        if not self._detached:
            atexit.register(self.stop_cluster_sync)

    def connect_client_sync(self, **options: Any) -> Client:
        """Connect a new client; `options` are those of `Client`."""
        return _client_class()(self.connection_file, cluster=self, **options)

    def start_and_connect_sync(self, n: int | None = None, activate: bool = False) -> Client:
        """Start the cluster, wait for all engines and return a client.

        Parameters
        ----------
        n
            Engines [count], instead of what the cluster was made with.
        activate
            True to make it the target of ``%px``.

        Raises
        ------
        EngineError, ClusterError, TimeoutError
            If an engine died or was late; then the cluster is stopped. Else as
            `start_cluster_sync`.
        """
        self.start_cluster_sync(n)
        client = None
        try:
            client = self.connect_client_sync()
            client.wait_for_engines(self.n, timeout=self._timeout, interactive=False)
            if activate:
                client.activate()
        except BaseException:
            if client is not None:
                client.close()
            self.stop_cluster_sync()
            raise
        return client

    def stop_cluster_sync(self) -> None:
        """End the cluster and wait until nothing of it is left; one that is not running is fine."""
        atexit.unregister(self.stop_cluster_sync)
        agent, folder = self._agent, self._folder
        if folder is None:
            return
        self._agent, self._folder, self._state = None, None, "after"
        self.engines.clear()
        self.update_cluster_file()
        if agent is not None:
            agent.stop(_STOP_TIMEOUT)
        else:
            end_cluster(folder, _STOP_TIMEOUT)

    def stop_controller_sync(self) -> None:
        """End the controller, and with it all engines."""
        self.stop_cluster_sync()

    @contextlib.contextmanager
    def _asking(self) -> Iterator[Session]:
        from ipyviews.client.connection import Connection  # noqa: PLC0415 - see _client_class
        from ipyviews.client.session import Session  # noqa: PLC0415

        connection = Connection(self.connection_file, timeout=self._timeout)
        connection.wait_ready()
        session = Session(connection)
        try:
            yield session
        finally:
            session.close()

    def __enter__(self) -> Client:
        self._client = self.start_and_connect_sync()
        return self._client

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        client, self._client = self._client, None
        try:
            if client is not None:
                client.close()
        finally:
            self.stop_cluster_sync()

    # -- coroutines ------------------------------------------------------------------------------

    async def start_cluster(self, n: int | None = None) -> Self:
        """Start controller and engines; see `start_cluster_sync`."""
        return await self._start(lambda: self.start_cluster_sync(n))

    async def start_controller(self) -> None:
        """Start the controller alone; see `start_controller_sync`."""
        await self._start(self.start_controller_sync)

    async def stop_controller(self) -> None:
        """End the controller; see `stop_controller_sync`."""
        await asyncio.to_thread(self.stop_controller_sync)

    async def connect_client(self, **options: Any) -> Client:
        """Connect a new client; see `connect_client_sync`."""
        return await asyncio.to_thread(self.connect_client_sync, **options)

    async def start_and_connect(self, n: int | None = None, activate: bool = False) -> Client:
        """Start, wait for all engines, return a client; see `start_and_connect_sync`."""
        return await self._start(lambda: self.start_and_connect_sync(n, activate))

    async def stop_cluster(self) -> None:
        """End the cluster; see `stop_cluster_sync`."""
        await asyncio.to_thread(self.stop_cluster_sync)

    async def __aenter__(self) -> Client:
        self._client = await self.start_and_connect()
        return self._client

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await asyncio.to_thread(self.__exit__, kind, error, traceback)

    async def _start(self, start: Callable[[], T]) -> T:
        work = asyncio.ensure_future(asyncio.to_thread(start))
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            # A thread cannot be cancelled; what it has started must not stay.
            with contextlib.suppress(Exception):
                await work
            await self.stop_cluster()
            raise

    def _config(self, n: int | None) -> ClusterConfig:
        kernel = self._kernel
        names: list[str | None] = [kernel] if isinstance(kernel, str) else list(kernel or [])
        if n is None:
            n = len(names) if names and not isinstance(kernel, str) else count_cores()
        check_count(n)
        if n and len(names) > 1 and len(names) != n:
            raise UsageError(f"{len(names)} kernels were named for {n} engines; name one for each.")
        options.check_kernels(names)
        return ClusterConfig(
            n=n,
            cluster_id=self.cluster_id,
            profile=self.profile,
            kernels=names * max(1, n) if len(names) == 1 else names,
            env=self._env,
            cwd=self._cwd,
            provisioner=self._provisioner,
            grace=self._grace,
            idle_limit=self._idle_limit,
            **self._records,
        )


def _client_class() -> type[Client]:
    # Loaded while the cluster comes up, not before it is started.
    from ipyviews.client.client import Client  # noqa: PLC0415

    return Client
