"""Engines as kernels: `jupyter_client` starts, restarts, interrupts and ends them."""

from __future__ import annotations

import asyncio
import functools
import os
import resource
import signal
import sys
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import zmq.asyncio
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager, NoSuchKernel
from jupyter_client.manager import AsyncKernelManager
from jupyter_client.provisioning.local_provisioner import LocalProvisioner

from ipyviews.errors import UsageError
from ipyviews.launching.exits import TAIL_SIZE, ExitReport, OutOfMemoryWatch, report_exit
from ipyviews.launching.link import AgentLink
from ipyviews.launching.memory import limit_bytes
from ipyviews.launching.provisioner import AgentProvisioner

if TYPE_CHECKING:
    from collections.abc import Callable

    from jupyter_client.provisioning.provisioner_base import KernelProvisionerBase

    from ipyviews.ids import EngineId
    from ipyviews.launching.link import Running

    ExitHandler = Callable[[EngineId, int, ExitReport], None]

__all__ = ["ExitReport", "KernelLauncher", "KernelRequest", "LaunchedKernel"]

#: Name of the kernelspec that is an engine of this interpreter.
ENGINE_KERNEL = "ipyviews-engine"
#: Half of it for a polite end, half for the end after SIGTERM [s]; then SIGKILL.
SHUTDOWN_TIME = 2.0
#: Between two looks at a process that cannot be waited for [s].
POLL_INTERVAL = 0.2

#: Many engines would lock one history file. And ipykernel's rest after each cell is for clients to
#: which its reply may come before the output; the controller puts them in order.
ENGINE_OPTIONS = ("--HistoryManager.enabled=False", "--Kernel._execute_sleep=0")


@dataclass(frozen=True)
class KernelRequest:
    """What an engine should be."""

    #: Name of a kernelspec; None for an engine of this interpreter.
    kernel: str | None = None
    #: Added to this process's environment.
    env: dict[str, str] = field(default_factory=dict)
    #: Working directory; None for this process's.
    cwd: str | None = None


class EngineSpecs(KernelSpecManager):
    """All installed kernelspecs, and the engine's, which need not be installed."""

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        """Return a kernelspec by its name.

        Raises
        ------
        UsageError
            If there is none of that name.
        """
        if kernel_name == ENGINE_KERNEL:
            return _engine_spec()
        try:
            with warnings.catch_warnings():
                # About keys of other programs in kernel.json, which nobody here can change.
                warnings.simplefilter("ignore", DeprecationWarning)
                return super().get_kernel_spec(kernel_name)
        except NoSuchKernel:
            known = ", ".join(sorted({ENGINE_KERNEL, *self.find_kernel_specs()}))
            raise UsageError(f"there is no kernel {kernel_name!r}; there are: {known}.") from None


class KernelLauncher:
    """Starts the kernels of one cluster; used from one event loop.

    Parameters
    ----------
    folder
        The run folder, where connection files and sockets go.
    agent_socket
        The agent's socket; None to start kernels as children of this process.
    on_exit
        Called in the loop with engine, incarnation and report when a kernel ends that was not asked
        to by `LaunchedKernel.restart`, `LaunchedKernel.shutdown` or `close`.
    transport
        "ipc", or "tcp" with encryption.
    """

    def __init__(
        self,
        folder: Path,
        agent_socket: Path | None,
        on_exit: ExitHandler,
        *,
        transport: str = "ipc",
    ) -> None:
        self._folder = folder
        # jupyter_client knows no better word for it than a second option.
        self._transport = {"transport": transport}
        if transport == "tcp":
            self._transport["transport_encryption"] = "required"
        self._on_exit = on_exit
        self._link = None if agent_socket is None else AgentLink(agent_socket)
        self._specs = EngineSpecs()
        self._context = zmq.asyncio.Context()
        self._kernels: set[LaunchedKernel] = set()

    async def start(
        self, engine_id: EngineId, incarnation: int, request: KernelRequest
    ) -> LaunchedKernel:
        """Start a kernel; it may not answer yet.

        Parameters
        ----------
        engine_id
            The engine it is.
        incarnation
            The how-manieth start of that engine; `LaunchedKernel.restart` counts on.
        request
            What it should be.

        Raises
        ------
        UsageError
            If there is no such kernelspec.
        ClusterError
            If the agent refuses: no such program, no such folder.
        """
        kernel = self._make(engine_id, incarnation, request)
        await kernel.launch()
        return kernel

    def adopt(
        self, engine_id: EngineId, incarnation: int, request: KernelRequest, process: Running | None
    ) -> LaunchedKernel:
        """Take over a kernel that another controller of this cluster has started.

        Parameters
        ----------
        engine_id, incarnation, request
            As for `start`.
        process
            What the agent says of it; None for one that has ended and can only be restarted.

        Raises
        ------
        UsageError
            If there is no such kernelspec any more.
        """
        kernel = self._make(engine_id, incarnation, request)
        kernel.adopt(process)
        return kernel

    async def running(self) -> tuple[dict[str, Running], dict[str, ExitReport]]:
        """Return the kernels that another controller left with the agent, and how others ended.

        By name: "e" and the number of the engine.
        """
        return ({}, {}) if self._link is None else await self._link.kernels()

    async def kill(self, pid: int) -> None:
        """Kill a kernel that nobody knows."""
        if self._link is not None:
            await self._link.ask("signal", pid=pid, signal=signal.SIGKILL)

    def _make(
        self, engine_id: EngineId, incarnation: int, request: KernelRequest
    ) -> LaunchedKernel:
        name = request.kernel or ENGINE_KERNEL
        spec = self._specs.get_kernel_spec(name)
        if "transport_encryption" in self._transport:
            check_encryption(name, spec)
        make = functools.partial(self._manager, engine_id, request, spec)
        kernel = LaunchedKernel(
            engine_id, incarnation, make, spec, self._on_exit, folder=self._folder, request=request
        )
        self._kernels.add(kernel)
        return kernel

    def _manager(
        self, engine_id: EngineId, request: KernelRequest, spec: KernelSpec
    ) -> AsyncKernelManager:
        manager = AsyncKernelManager(
            kernel_name=request.kernel or ENGINE_KERNEL,
            kernel_spec_manager=self._specs,
            **self._transport,
            connection_file=str(self._folder / f"e{engine_id}.json"),
            context=self._context,
            shutdown_wait_time=SHUTDOWN_TIME,
        )
        if self._link is not None and "kernel_provisioner" not in spec.metadata:
            manager.provisioner = AgentProvisioner(
                parent=manager, kernel_id=f"e{engine_id}", kernel_spec=spec, link=self._link
            )
        return manager

    def forget(self, kernel: LaunchedKernel) -> None:
        """Let go of a kernel that was ended for good."""
        self._kernels.discard(kernel)

    async def close(self, politely: bool) -> None:
        """End all kernels and let go of the agent.

        Parameters
        ----------
        politely
            True to ask each kernel to end and give it `SHUTDOWN_TIME`; False to kill it.
        """
        ends = (kernel.shutdown(now=not politely) for kernel in self._kernels)
        await asyncio.gather(*ends, return_exceptions=True)
        self._context.destroy(linger=0)
        if self._link is not None:
            await self._link.close()


class LaunchedKernel:
    """One kernel, through all its restarts; made by `KernelLauncher`."""

    def __init__(
        self,
        engine_id: EngineId,
        incarnation: int,
        make_manager: Callable[[], AsyncKernelManager],
        spec: KernelSpec,
        on_exit: ExitHandler,
        *,
        folder: Path,
        request: KernelRequest,
    ) -> None:
        self.engine_id = engine_id
        #: Counts on with each restart.
        self.incarnation = incarnation
        #: Name of its kernelspec, and the language that names.
        self.kernel_name = request.kernel or ENGINE_KERNEL
        self.language = str(spec.language)
        #: "signal" or "message".
        self.interrupt_mode = str(spec.interrupt_mode)
        self._make_manager = make_manager
        self._manager = make_manager()
        self._spec = spec
        self._on_exit = on_exit
        self._folder = folder
        self._request = request
        self._is_adopted = False
        self._watching: asyncio.Task[None] | None = None
        self._last_words: Path | None = None
        #: True once its end was asked for, or seen.
        self._is_over = False

    @property
    def info(self) -> dict[str, Any]:
        """The connection info, as in a connection file but with the key as bytes."""
        return dict(self._manager.get_connection_info())

    @property
    def connection_file(self) -> Path:
        """Where any Jupyter client finds it."""
        return Path(self._manager.connection_file)

    @property
    def pid(self) -> int | None:
        """Its process id, None where the provisioner does not tell."""
        return getattr(self._manager.provisioner, "pid", None)

    @property
    def way(self) -> str:
        """How it was started: "fork", "exec", or "plain" without the agent."""
        return getattr(self._manager.provisioner, "way", None) or "plain"

    def url(self, channel: str) -> str:
        """Return the address of a channel: shell, control, iopub, stdin, hb or apply."""
        info = self.info
        if info["transport"] == "tcp":
            return f"tcp://{info['ip']}:{info[f'{channel}_port']}"
        last = channel if channel == "apply" else info[f"{channel}_port"]
        return f"ipc://{info['ip']}-{last}"

    async def launch(self) -> None:
        """Start its process for the first time; called by the launcher."""
        request = self._request
        options: dict[str, Any] = {"env": {**os.environ, **request.env}}
        if request.cwd is not None:
            options["cwd"] = request.cwd
        if "ipykernel_launcher" in self._spec.argv:
            options["extra_arguments"] = list(ENGINE_OPTIONS)
        if self._manager.provisioner is None:
            self._last_words = self._folder / f"e{self.engine_id}.log"
        await self._start(functools.partial(self._manager.start_kernel, **options))

    def adopt(self, process: Running | None) -> None:
        """Take over its process, if it has one; called by the launcher."""
        self._is_adopted = True
        if self.connection_file.exists():
            self._manager.load_connection_file()
        self._is_over = process is None
        provisioner = self._manager.provisioner
        if process is not None and isinstance(provisioner, AgentProvisioner):
            provisioner.adopt(process)
            self._watching = asyncio.create_task(self._watch())

    async def interrupt(self) -> None:
        """Interrupt what it runs, by signal or by message as its kernelspec says."""
        await self._manager.interrupt_kernel()

    async def signal(self, signum: int) -> None:
        """Send a signal to its process group."""
        await self._manager.signal_kernel(signum)

    async def restart(self, now: bool = False) -> None:
        """End it and start it again, with the same keys and, over ipc, at the same addresses.

        Parameters
        ----------
        now
            True to kill it instead of asking it to end.
        """
        # A message to a dead kernel would wait for its successor and end that one.
        now = now or self._is_over
        await self._unwatch()
        self.incarnation += 1
        if not self._is_adopted:
            await self._start(functools.partial(self._manager.restart_kernel, now=now))
            return
        # Its manager does not know how it was started, and cannot be told in public.
        await self._manager.shutdown_kernel(now=now, restart=True)
        self._manager, self._is_adopted = self._make_manager(), False
        if self.connection_file.exists():
            self._manager.load_connection_file()
        await self.launch()

    async def shutdown(self, now: bool = False) -> None:
        """End it for good.

        Parameters
        ----------
        now
            True to kill it instead of asking it to end.
        """
        now = now or self._is_over
        await self._unwatch()
        await self._manager.shutdown_kernel(now=now)

    async def _start(self, start: Callable[..., Any]) -> None:
        try:
            if self._last_words is None:
                await start()
            else:
                with _open_log(self._last_words) as file:
                    await start(stdout=file, stderr=file)
        except Exception:
            # Else asyncio complains that nobody asked the manager's future.
            self._manager.ready.exception()
            self._tell_early_exit()
            raise
        self._is_over = False
        self._watching = asyncio.create_task(self._watch())

    def _tell_early_exit(self) -> None:
        """Tell of a process that ended before it could be watched: it had not chosen its ports."""
        ended = getattr(self._manager.provisioner, "exit", None)
        if ended is not None and ended.done():
            self._on_exit(self.engine_id, self.incarnation, ended.result())

    async def _unwatch(self) -> None:
        self._is_over = True
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.wait([self._watching])

    async def _watch(self) -> None:
        provisioner = self._manager.provisioner
        if isinstance(provisioner, AgentProvisioner) and provisioner.exit is not None:
            report = await asyncio.shield(provisioner.exit)
        else:
            report = await self._watch_alone()
        if not self._is_over:
            self._is_over = True
            self._on_exit(self.engine_id, self.incarnation, report)

    async def _watch_alone(self) -> ExitReport:
        provisioner = self._manager.provisioner
        assert provisioner is not None  # noqa: S101 - it was started
        memory = OutOfMemoryWatch()
        if isinstance(provisioner, LocalProvisioner) and provisioner.pid is not None:
            await _process_end(provisioner.pid)
        limit, peak = limit_bytes(self.pid or 0), _reap(provisioner)
        while (returncode := await provisioner.poll()) is None:
            await asyncio.sleep(POLL_INTERVAL)
            peak = _reap(provisioner)
        return report_exit(
            self.pid or 0,
            returncode,
            tail=self._tail(),
            peak_memory_kb=peak,
            out_of_memory=memory.is_evident(),
            memory_limit=limit,
        )

    def _tail(self) -> bytes:
        if self._last_words is None:
            return b""
        try:
            return self._last_words.read_bytes()[-TAIL_SIZE:]
        except OSError:
            return b""


def check_encryption(name: str, spec: KernelSpec) -> None:
    """Raise `UsageError` if a kernel does not say that it can encrypt what it sends over TCP."""
    if "curve" not in spec.metadata.get("supported_encryption", ()):
        raise UsageError(
            f"the kernel {name!r} cannot be an engine of a cluster with transport='tcp': its "
            'kernel.json does not have "curve" in metadata.supported_encryption.'
        )


async def _process_end(pid: int) -> None:
    """Wait for the end of a process; returns at once where the system cannot tell it."""
    if sys.platform != "linux":
        return
    try:
        fd = os.pidfd_open(pid)
    except OSError:
        return
    loop = asyncio.get_running_loop()
    ended = loop.create_future()
    loop.add_reader(fd, _resolve, ended)
    try:
        await ended
    finally:
        loop.remove_reader(fd)
        os.close(fd)


def _reap(provisioner: KernelProvisionerBase) -> int | None:
    """Wait for a child of this process that has ended.

    Returns
    -------
    int or None
        The most memory it ever held [KB]; None if it goes on, or that cannot be told.
    """
    process = provisioner.process if isinstance(provisioner, LocalProvisioner) else None
    if process is None or process.returncode is not None:
        return None
    try:
        gone, status, usage = os.wait4(process.pid, os.WNOHANG)
    except ChildProcessError:
        return None
    if not gone:
        return None
    # Nobody can wait for it again.
    process.returncode = os.waitstatus_to_exitcode(status)
    # A child is said to have held what its parent did when it was started.
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    peak = usage.ru_maxrss if sys.platform == "linux" else usage.ru_maxrss // 1024
    return peak if usage.ru_maxrss > own else None


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _engine_spec() -> KernelSpec:
    """Describe an engine of this interpreter."""
    return KernelSpec(
        argv=[
            # -P: nothing in the working folder runs before the kernel does. The extension puts the
            # folder on the path for its user.
            sys.executable, "-P", "-m", "ipykernel_launcher",
            "-f", "{connection_file}", "--ext=ipyviews.engine",
        ],
        display_name="Python 3 (ipyviews engine)",
        language="python",
        metadata={"debugger": True, "supported_encryption": ["curve"]},
    )  # fmt: skip


def _open_log(path: Path) -> IO[bytes]:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab")
