"""An agent with a controller that only says it is ready, and kernels started through it."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import subprocess
import sys

import pytest
import pytest_asyncio

from ipyviews.launching import rundir
from ipyviews.launching.kernels import KernelLauncher, KernelRequest
from ipyviews.launching.link import AgentLink
from ipyviews.launching.start import ClusterConfig, start_agent

#: A controller that connects, says it is ready, and ends when it is told to or its agent is gone.
OBEDIENT = """
import json, socket, sys
agent = socket.socket(socket.AF_UNIX)
agent.connect(sys.argv[1] + "/agent.sock")
agent.sendall(b'{"id": 0, "op": "ready"}\\n')
for line in agent.makefile():
    if json.loads(line).get("push") == "end":
        break
"""


def settings(program: str = OBEDIENT, *, warm=False, **options) -> ClusterConfig:
    """Describe a cluster whose controller is a few lines of Python; a cold agent starts faster."""
    controller = [sys.executable, "-P", "-c", program]
    provisioner = "agent" if warm else "plain"
    return ClusterConfig(n=0, controller=controller, provisioner=provisioner, **options)


@pytest.fixture
def start():
    """Start agents like `start_agent`; ends them at the end of the test."""
    with contextlib.ExitStack() as stack:

        def starter(program=OBEDIENT, *, detached=False, **options):
            process = start_agent(settings(program, **options), detached=detached, timeout=20)
            stack.callback(process.stop)
            return process

        yield starter


@pytest.fixture
def agent(start):
    """An attached agent that forks nothing."""
    return start()


@pytest_asyncio.fixture
async def link(agent):
    """A connection to `agent`; what it pushes is in `link.pushes`."""
    pushes: asyncio.Queue = asyncio.Queue()
    connection = AgentLink(agent.folder / "agent.sock", pushes.put_nowait)
    connection.pushes = pushes
    yield connection
    await connection.close()


@pytest.fixture
def bash(run_root, monkeypatch):
    """Install the kernelspec "bash" for this test."""
    prefix = run_root / "prefix"
    install = [sys.executable, "-m", "bash_kernel.install", "--prefix", str(prefix)]
    subprocess.run(install, check=True, capture_output=True)
    monkeypatch.setenv("JUPYTER_PATH", str(prefix / "share/jupyter"))


class Box:
    """Kernels and their clients."""

    def __init__(self, launcher, exits):
        self.launcher = launcher
        #: (engine, incarnation, report) of each unexpected exit.
        self.exits: asyncio.Queue = exits
        self._clients: list = []

    async def start(self, engine=0, kernel="python3", **request):
        return await self.launcher.start(engine, 1, KernelRequest(kernel, **request))

    def client(self, kernel):
        """Connect jupyter_client's own client through the connection file."""
        from jupyter_client.asynchronous import AsyncKernelClient

        client = AsyncKernelClient(connection_file=str(kernel.connection_file))
        client.load_connection_file()
        client.start_channels(hb=False)
        self._clients.append(client)
        return client

    async def answers(self, kernel, client=None):
        """Wait until a kernel has answered and its output arrives; returns its client."""
        client = client or self.client(kernel)
        while True:
            await self._reply(client, client.kernel_info())
            # Its iopub may be connected later than its shell.
            with contextlib.suppress(queue.Empty):
                await client.get_iopub_msg(timeout=0.2)
                return client

    async def run(self, client, code):
        """Run a cell and return the reply's content."""
        return (await self._reply(client, client.execute(code, stop_on_error=False)))["content"]

    async def evaluate(self, client, expression):
        """Return the `repr` of an expression's value."""
        wanted = client.execute("", user_expressions={"it": expression})
        content = (await self._reply(client, wanted))["content"]
        return content["user_expressions"]["it"]["data"]["text/plain"]

    async def exit(self):
        """Wait for the next unexpected exit."""
        return await asyncio.wait_for(self.exits.get(), 10)

    async def close(self):
        for client in self._clients:
            client.stop_channels()
            client.context.destroy(linger=0)
        await self.launcher.close(politely=False)

    @staticmethod
    async def _reply(client, wanted):
        while True:
            reply = await client.get_shell_msg(timeout=20)
            if reply["parent_header"].get("msg_id") == wanted:
                return reply


@contextlib.asynccontextmanager
async def make_box(folder, socket):
    exits: asyncio.Queue = asyncio.Queue()
    launcher = KernelLauncher(folder, socket, lambda *exit_: exits.put_nowait(exit_))
    box = Box(launcher, exits)
    try:
        yield box
    finally:
        await box.close()


@pytest_asyncio.fixture
async def box(start):
    """Kernels that are children of `box.agent`, which forks where it may."""
    agent = start(warm=True)
    async with make_box(agent.folder, agent.folder / "agent.sock") as box:
        box.agent = agent
        yield box


@pytest_asyncio.fixture(params=["agent", "plain"])
async def either(request):
    """Kernels that are children of an agent, or of this process."""
    if request.param == "agent":
        # Only now, so that the other variant starts none.
        agent = request.getfixturevalue("start")(warm=True)
        async with make_box(agent.folder, agent.folder / "agent.sock") as box:
            yield box
        return
    folder = rundir.create_folder()
    async with make_box(folder, None) as box:
        yield box
    rundir.remove_folder(folder)
