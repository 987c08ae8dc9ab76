"""The controller as a process, with real kernels."""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import signal
import stat
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from ipyviews.launching import rundir
from ipyviews.launching.start import ClusterConfig, start_agent
from ipyviews.transport.zeromq import ZmqTransport
from ipyviews.version import __version__
from tests.controller.world import FakeClient
from tests.waiting import eventually

pytestmark = pytest.mark.kernels

#: A controller in which unpickling raises.
WITHOUT_PICKLE = """
import pickle, sys
def refuse(*_, **__):
    raise AssertionError("the controller unpickled")
pickle.load = pickle.loads = pickle.Unpickler = pickle._load = pickle._loads = refuse
from ipyviews.controller.main import main
sys.exit(main(sys.argv[1:]))
"""


#: A controller that fails when a client says goodbye, whose successor fails too, at once.
BROKEN = """
import sys
from pathlib import Path
from ipyviews.controller.driver import Driver
from ipyviews.controller.main import main
from ipyviews.core.events import ClientLeft
from ipyviews.core.state import ControllerState
handle, mark = ControllerState.handle, Path(sys.argv[1]) / "broken"
def fail_once(self, event):
    if isinstance(event, ClientLeft) and not mark.exists():
        mark.write_text("once")
        raise ZeroDivisionError("a bug")
    return handle(self, event)
take_over = Driver.take_over
async def fail_to_take_over(self):
    await take_over(self)
    if mark.read_text() == "once":
        mark.write_text("twice")
        raise ValueError("another")
ControllerState.handle, Driver.take_over = fail_once, fail_to_take_over
sys.exit(main(sys.argv[1:]))
"""


def functions(*called):
    """Pickle functions of importable modules, and calls of them, as a client would."""
    function, *arguments = called
    return pickle.dumps(function), [pickle.dumps((one, {})) for one in arguments]


def call(client, function, *arguments, **ours):
    index = [[len(argument), 0] for argument in arguments]
    return client.send(
        "shell",
        "apply_request",
        {"index": index},
        metadata={"ipyviews": {"name": "f", **ours}},
        buffers=[function, b"".join(arguments)],
    )


@pytest.fixture
async def connect():
    """Connect a client to the controller of a folder."""
    clients = []
    transport = ZmqTransport(asyncio.get_running_loop())

    async def connect(folder: Path, engines: int) -> FakeClient:
        await eventually((folder / "cluster.json").exists)
        client = FakeClient(transport, json.loads((folder / "cluster.json").read_bytes()))
        clients.append(client)
        told = await client.hello()
        await client.until(lambda: count(client, told) == engines, 30)
        return client

    def count(client, told):
        latest = [content for kind, content in client.notices if kind == "engines_notice"]
        engines = (latest or [told])[-1]["engines"]
        return sum(engine["state"] == "live" for engine in engines)

    yield connect
    transport.close()


async def test_real_kernels_run_cells_and_calls_without_the_controller_unpickling(connect):
    command = [sys.executable, "-c", WITHOUT_PICKLE]
    config = ClusterConfig(n=2, controller=command)
    agent = await asyncio.to_thread(lambda: start_agent(config, detached=True))
    try:
        client = await connect(agent.folder, 2)
        cell = client.execute("print('hello'); x = 5; x", targets=[0, 1])
        for index in range(2):
            assert (await client.reply(f"{cell}.{index}")).content["status"] == "ok"
            types = client.types(f"{cell}.{index}")
            assert types == ["execute_input", "stream", "execute_result", "execute_reply"]
        function, arguments = functions(abs, *[(-i,) for i in range(50)])
        request = call(client, function, *arguments, any=None)
        replies = [await client.reply(f"{request}.{i}") for i in range(50)]
        assert [pickle.loads(reply.buffers[0]) for reply in replies] == list(range(50))
        assert {reply.ours["engine"] for reply in replies} == {0, 1}
        function, arguments = functions(print, ("written",))
        request = call(client, function, *arguments, targets=[1])
        await client.reply(f"{request}.0")
        assert client.types(f"{request}.0") == ["stream", "apply_reply"]
    finally:
        await asyncio.to_thread(agent.stop)


async def test_a_bug_in_the_controller_costs_no_engine(connect):
    config = ClusterConfig(n=1, controller=[sys.executable, "-c", BROKEN])
    agent = await asyncio.to_thread(lambda: start_agent(config, detached=True))
    try:
        client = await connect(agent.folder, 1)
        cell = client.execute("x = 5", targets=[0])
        await client.reply(f"{cell}.0")
        client.send("control", "bye_request", {})
        kept = agent.folder / "controller.log"
        await eventually(lambda: kept.read_text().count("taking over from") == 2, 60)
        client = await connect(agent.folder, 1)
        cell = client.execute("print(x)", targets=[0]) + ".0"
        await client.reply(cell)
        assert client.text(cell) == "5\n"
        told = kept.read_text()
        assert "the controller failed: ZeroDivisionError('a bug')" in told
        assert "the controller could not take over: ValueError('another')" in told
        assert "Traceback" in told
    finally:
        await asyncio.to_thread(agent.stop)


async def test_real_kernels_are_interrupted_killed_and_restarted(connect):
    agent = await asyncio.to_thread(lambda: start_agent(ClusterConfig(n=2), detached=True))
    try:
        client = await connect(agent.folder, 2)
        cell = client.execute("while True: pass", targets=[0]) + ".0"
        await client.until(lambda: "execute_input" in client.types(cell))
        assert (await client.ask("cancel", tasks=[cell]))["interrupted"] == 1
        assert (await client.reply(cell)).ours["verdict"] == "cancelled"
        function, arguments = functions(os._exit, (3,))
        lost = await client.reply(call(client, function, *arguments, any=[1]) + ".0")
        assert lost.ours["verdict"] == "engine_lost"
        assert "exit code 3" in lost.content["evalue"]
        answer = await client.ask("restart", engines=[0, 1], now=False)
        assert [engine["state"] for engine in answer["engines"]] == ["live", "live"]
        function, arguments = functions(os.getpid, ())
        replies = call(client, function, *arguments, targets=[0, 1])
        pids = [pickle.loads((await client.reply(f"{replies}.{i}")).buffers[0]) for i in range(2)]
        assert pids == [engine["pid"] for engine in answer["engines"]]
        await client.ask("shutdown", cluster=True)
        await client.until(lambda: client.notices[-1][0] == "bye_notice")
        await eventually(lambda: not agent.folder.exists())
    finally:
        await asyncio.to_thread(agent.stop)


async def test_a_controller_alone_starts_plain_kernels_and_ends_on_sigterm(connect):
    folder = rundir.create_folder()
    settings = {
        "cluster_id": "alone",
        "n": 1,
        "kernels": [],
        "env": {"FROM_TEST": "yes"},
        "cwd": str(folder),
        "provisioner": "plain",
        "version": __version__,
    }
    rundir.write_private(folder / "config.json", json.dumps(settings))
    command = [sys.executable, "-m", "ipyviews.controller", str(folder)]
    process = await asyncio.to_thread(subprocess.Popen, command)
    try:
        client = await connect(folder, 1)
        cell = client.execute("import os; print(os.environ['FROM_TEST'], os.getcwd())", targets=[0])
        await client.reply(f"{cell}.0")
        assert client.text(f"{cell}.0") == f"yes {folder}\n"
        for name in ("cluster.json", "controller.log", "c-1", "c-4"):
            assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600
        kernels = psutil.Process(process.pid).children()
        process.send_signal(signal.SIGINT)
        assert (await client.ask("ping"))["status"] == "ok"
        process.terminate()
        await client.until(lambda: client.notices[-1][0] == "bye_notice")
        assert await asyncio.to_thread(process.wait, 10) == 0
        assert not any(kernel.is_running() for kernel in kernels)
    finally:
        process.kill()
        process.wait()
        rundir.remove_folder(folder)


async def test_when_its_agent_is_killed_the_controller_leaves_nothing(connect):
    agent = await asyncio.to_thread(lambda: start_agent(ClusterConfig(n=1), detached=True))
    try:
        client = await connect(agent.folder, 1)
        controller = psutil.Process(
            json.loads((agent.folder / "cluster.json").read_bytes())["ipyviews"]["pid"]
        )
        os.kill(agent.pid, signal.SIGKILL)
        await client.until(lambda: client.notices[-1][0] == "bye_notice")
        assert "agent" in client.notices[-1][1]["reason"]
        await eventually(lambda: not controller.is_running())
        assert not agent.folder.exists()
    finally:
        await asyncio.to_thread(agent.stop)
