"""A controller and its engines as one object."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

from ipyviews.errors import ClusterError, UsageError
from ipyviews.launching.rundir import ClusterFile, find_cluster
from ipyviews.launching.start import AgentProcess, ClusterConfig, end_cluster, start_agent

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType

    from ipyviews.client.client import Client

    T = TypeVar("T")

_CLUSTER_ID = re.compile(r"[\w.-]{1,64}")
#: Longest end of a cluster [s]; then it is killed.
_STOP_TIMEOUT = 10.0


class Cluster:
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
    idle_limit
        How long a detached cluster lives without a client [s]; None for ever.
    grace
        How long an attached cluster waits for another client once this process is gone [s].

    Raises
    ------
    UsageError
        If the options do not fit together.

    Examples
    --------
    >>> with Cluster(n=4) as rc:  # doctest: +SKIP
    ...     rc[:].apply_sync(os.getpid)
    [2041, 2042, 2043, 2044]
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
        idle_limit: float | None = None,
        grace: float = 5.0,
        **unknown: Any,
    ) -> None:
        for option in unknown:
            raise TypeError(f"Cluster has no option {option!r}; see help(ipyviews.Cluster).")
        if provisioner not in {"agent", "plain"}:
            raise UsageError(f'provisioner must be "agent" or "plain", not {provisioner!r}.')
        if cluster_id is not None and not _CLUSTER_ID.fullmatch(cluster_id):
            raise UsageError(
                f"cluster_id {cluster_id[:80]!r} must be at most 64 letters, digits, and any of _.-"
            )
        if idle_limit is not None and not detached:
            raise UsageError("idle_limit is for detached clusters; this one ends with its owner.")
        if idle_limit is not None and not idle_limit > 0:
            raise UsageError(f"idle_limit must be a number of seconds above 0, not {idle_limit!r}.")
        _check_count(n)
        self._kernel = kernel
        self._n = n
        self._env = {str(name): str(value) for name, value in (env or {}).items()}
        self._cwd = None if cwd is None else str(Path(cwd).absolute())
        self._cluster_id = cluster_id
        self._provisioner = provisioner
        self._timeout = engine_timeout
        self._detached = detached
        self._idle_limit = idle_limit
        self._grace = grace
        self._agent: AgentProcess | None = None
        self._folder: Path | None = None
        self._state = "before"
        self._client: Client | None = None

    @classmethod
    def from_file(cls, which: str | os.PathLike[str] | ClusterFile | None = None) -> Self:
        """Take hold of a running cluster, which somebody else may have started.

        Parameters
        ----------
        which
            Its name, its file or folder, or None for the default one; see `Client`.

        Raises
        ------
        ClusterError, UsageError
            If there is no such cluster.
        """
        file = which if isinstance(which, ClusterFile) else find_cluster(which)
        cluster = cls(file.n, cluster_id=file.cluster_id, detached=True)
        cluster._folder = file.folder
        cluster._state = "running"
        return cluster

    def __repr__(self) -> str:
        name = self._cluster_id or (self._folder.name if self._folder else None)
        n = "" if self._n is None else f", n={self._n}"
        return f"<{type(self).__name__}(cluster_id={name!r}, controller=<{self._state}>{n})>"

    @property
    def cluster_id(self) -> str | None:
        """Its name; None before a start without a given one."""
        return self._cluster_id or (self._folder.name if self._folder else None)

    @property
    def cluster_file(self) -> Path:
        """The connection file of the running cluster.

        Raises
        ------
        ClusterError
            If it is not running.
        """
        if self._folder is None:
            raise ClusterError("this cluster is not running; call start_cluster_sync() first.")
        return self._folder / "cluster.json"

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
        if self._state == "running":
            raise RuntimeError(f"{self!r} is running already; make another Cluster.")
        config = self._config(self._n if n is None else n)
        self._agent = start_agent(
            config, detached=self._detached, timeout=self._timeout, meanwhile=_client_class
        )
        self._n, self._folder, self._state = config.n, self._agent.folder, "running"
        if not self._detached:
            atexit.register(self.stop_cluster_sync)
        return self

    def connect_client_sync(self, **options: Any) -> Client:
        """Connect a new client; `options` are those of `Client`."""
        return _client_class()(self.cluster_file, cluster=self, **options)

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
            client.wait_for_engines(self._n, timeout=self._timeout)
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
        if agent is not None:
            agent.stop(_STOP_TIMEOUT)
        else:
            end_cluster(folder, _STOP_TIMEOUT)

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
            n = len(names) if names and not isinstance(kernel, str) else _count_cores()
        _check_count(n)
        if len(names) > 1 and len(names) != n:
            raise UsageError(f"{len(names)} kernels were named for {n} engines; name one for each.")
        _check_kernels(names)
        return ClusterConfig(
            n=n,
            cluster_id=self._cluster_id,
            kernels=names * n if len(names) == 1 else names,
            env=self._env,
            cwd=self._cwd,
            provisioner=self._provisioner,
            grace=self._grace,
            idle_limit=self._idle_limit,
        )


def _client_class() -> type[Client]:
    # Loaded while the cluster comes up, not before it is started.
    from ipyviews.client.client import Client  # noqa: PLC0415

    return Client


def _check_count(n: object) -> None:
    if n is not None and (not isinstance(n, int) or n < 0):
        raise UsageError(f"n must be a number of engines, not {n!r}.")


def _check_kernels(names: Sequence[str | None]) -> None:
    """Raise `UsageError`, which lists the known ones, if a kernel name is unknown."""
    if any(names):
        # Loads jupyter_client, which a cluster of plain engines does not need in this process.
        from ipyviews.launching.kernels import EngineSpecs  # noqa: PLC0415

        specs = EngineSpecs()
        for name in {name for name in names if name is not None}:
            specs.get_kernel_spec(name)


def _count_cores() -> int:
    """Count the cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
