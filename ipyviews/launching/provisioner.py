"""Jupyter's view of the agent: a kernel provisioner.

The controller makes it itself, with its link to the agent. For everybody else it is the entry point
``ipyviews-agent``; a kernelspec uses it by::

    "metadata": {"kernel_provisioner": {
        "provisioner_name": "ipyviews-agent",
        "config": {"agent_socket": "/run/user/1000/ipv/01234567/agent.sock"}}}
"""

from __future__ import annotations

import asyncio
import json
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import zmq
from jupyter_client.connect import port_names
from jupyter_client.provisioning.provisioner_base import KernelProvisionerBase
from traitlets import Any as AnyTrait
from traitlets import Unicode

from ipyviews.errors import ClusterError, UsageError
from ipyviews.launching.link import AgentLink
from ipyviews.launching.rundir import write_private

if TYPE_CHECKING:
    from jupyter_client.connect import KernelConnectionInfo

    from ipyviews.launching.exits import ExitReport
    from ipyviews.launching.link import Running

#: How long a kernel may take to say at which TCP ports it listens, and how often to look [s].
PORTS_S = 60.0
LOOK_S = 0.01


class AgentProvisioner(KernelProvisionerBase):
    """Starts kernels as children of the agent."""

    agent_socket = Unicode("", help="Path of the agent's socket.").tag(config=True)
    #: An `AgentLink` to share; without it the provisioner makes its own.
    link = AnyTrait(None, allow_none=True)

    #: The exit report, to come; None before the start and after `wait`.
    exit: asyncio.Future[ExitReport] | None = None
    pid: int | None = None
    #: "fork" or "exec".
    way: str | None = None
    #: Why it was not forked.
    why: str | None = None
    _owns_link = False

    @property
    def has_process(self) -> bool:
        """Whether a kernel is running, or has ended and was not waited for."""
        return self.exit is not None

    async def poll(self) -> int | None:
        """Return the exit code (negative: signal), None while it runs; 0 without a kernel."""
        if self.exit is None:
            return 0
        return self.exit.result().returncode if self.exit.done() else None

    async def wait(self) -> int | None:
        """Wait for the end of the kernel and return its exit code."""
        if self.exit is None:
            return 0
        # Not awaited itself: a cancelled waiter must not cancel the report.
        report = await asyncio.shield(self.exit)
        self.exit = None
        return report.returncode

    async def send_signal(self, signum: int) -> None:
        """Send a signal to the kernel's process group."""
        if self.exit is not None and not self.exit.done():
            await self._agent().ask("signal", pid=self.pid, signal=signum)

    async def kill(self, restart: bool = False) -> None:  # noqa: ARG002 - as in the base class
        """Send SIGKILL."""
        await self.send_signal(signal.SIGKILL)

    async def terminate(self, restart: bool = False) -> None:  # noqa: ARG002 - as above
        """Send SIGTERM."""
        await self.send_signal(signal.SIGTERM)

    async def pre_launch(self, **kwargs: Any) -> dict[str, Any]:
        """Write the connection file and make the command."""
        manager: Any = self.parent
        extra = kwargs.pop("extra_arguments", [])
        if manager.transport == "tcp":
            _ask_for_ports(manager)
        else:
            manager.write_connection_file()
        self.connection_info = manager.get_connection_info()
        command = manager.format_kernel_cmd(extra_arguments=extra)
        return await super().pre_launch(cmd=command, **kwargs)

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> KernelConnectionInfo:
        """Ask the agent for a kernel."""
        cwd = kwargs.get("cwd")
        answer, self.exit = await self._agent().start(
            str(self.kernel_id), cmd, kwargs["env"], None if cwd is None else str(cwd)
        )
        self.pid, self.way, self.why = answer["pid"], answer["way"], answer["why"]
        if self.connection_info["transport"] == "tcp":
            await self._learn_ports()
        return self.connection_info

    async def _learn_ports(self) -> None:
        """Wait until the kernel has chosen its ports and written them down.

        Raises
        ------
        ClusterError
            If it ends before, or takes too long.
        """
        manager: Any = self.parent
        path, deadline = Path(manager.connection_file), time.monotonic() + PORTS_S
        while not _has_ports(path):
            if self.exit is None or self.exit.done():
                raise ClusterError("the kernel ended before it listened")
            if time.monotonic() > deadline:
                raise ClusterError(f"the kernel did not choose its ports within {PORTS_S:.0f} s")
            await asyncio.sleep(LOOK_S)
        manager.load_connection_file()
        self.connection_info = manager.get_connection_info()

    def adopt(self, process: Running) -> None:
        """Take over a kernel that the agent runs already."""
        manager: Any = self.parent
        self.connection_info = manager.get_connection_info()
        self.pid, self.way, self.exit = process

    async def cleanup(self, restart: bool = False) -> None:
        """Let go of the link to the agent, if it is this provisioner's own."""
        if self._owns_link and not restart:
            await self._agent().close()
            self.link = None
            self._owns_link = False

    def _agent(self) -> AgentLink:
        if self.link is None:
            if not self.agent_socket:
                raise UsageError("the ipyviews-agent provisioner needs agent_socket, a path.")
            self.link = AgentLink(Path(self.agent_socket))
            self._owns_link = True
        link: AgentLink = self.link
        return link


def _ask_for_ports(manager: Any) -> None:
    """Write a connection file by which the kernel chooses its ports itself.

    Ports that are looked for in advance may be taken by others before it gets there.
    """
    if manager.transport_encryption != "disabled" and manager.curve_publickey is None:
        manager.curve_publickey, manager.curve_secretkey = zmq.curve_keypair()
    for name in port_names:
        setattr(manager, name, 0)
    info = dict(manager.get_connection_info())
    content = {**info, "key": info["key"].decode(), "kernel_name": manager.kernel_name}
    write_private(Path(manager.connection_file), json.dumps(content))


def _has_ports(path: Path) -> bool:
    try:
        info = json.loads(path.read_bytes())
    except (OSError, ValueError):
        # It is being written at this very moment.
        return False
    return all(info.get(name) for name in port_names)
