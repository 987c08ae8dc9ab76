"""The controller's process: its start, its signals, its end.

It ends with its agent, on SIGTERM, or when a client shuts the cluster down. A controller without
an agent, started by hand, is ended by SIGTERM.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import logging
import os
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from ipyviews.controller import logs
from ipyviews.controller.adoption import WRITING_S
from ipyviews.controller.config import read_config
from ipyviews.controller.driver import Driver
from ipyviews.controller.garbage import Collector
from ipyviews.errors import ClusterError, IPyViewsError, UsageError
from ipyviews.launching.kernels import KernelLauncher
from ipyviews.launching.link import AgentLink
from ipyviews.launching.rundir import remove_folder, write_private
from ipyviews.store import journal
from ipyviews.transport.base import Curve
from ipyviews.transport.zeromq import (
    ZmqTransport,
    engines_within,
    new_curve,
    raise_file_limit,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ipyviews.controller.config import Config

log = logging.getLogger(__name__)


def main(arguments: Sequence[str]) -> int:
    """Run a controller until its cluster ends; return the exit code."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m ipyviews.controller <run folder>\n")
        return 2
    try:
        config = read_config(Path(arguments[0]).absolute())
        logs.start(config.folder)
        # A handler, not SIG_IGN: kernels started from here must not inherit it.
        signal.signal(signal.SIGINT, lambda _signal, _frame: None)
        asyncio.run(serve(config))
    except IPyViewsError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


async def serve(config: Config) -> None:
    """Run a cluster from its start to its end."""
    loop = asyncio.get_running_loop()
    agent_socket = config.folder / "agent.sock"
    has_agent = agent_socket.exists()
    if config.agent and not has_agent:
        raise UsageError(f"there is no agent at {agent_socket}; agents start their controllers")
    former = _read_former(config.folder / "cluster.json")
    driver = _make_driver(config, former)
    for number in (signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, driver.end, "the controller was told to end")
    info = json.dumps(driver.connection_info(os.getpid()))
    write_private(config.folder / "cluster.json", info)
    Collector(loop, lambda: driver.is_idle)
    agent = Agent(driver, agent_socket) if has_agent else None
    driver.fleet.most = engines_within(raise_file_limit())
    try:
        if former is None:
            driver.fleet.start(config.n)
            # From "ready" on the agent starts another controller when this one dies.
            await driver.fleet.written()
        else:
            log.info("taking over from controller %s", former["ipyviews"]["pid"])
            await driver.take_over()
        if agent is not None:
            await agent.ready()
        why = await driver.ended
    except BaseException as error:
        if former is not None and isinstance(error, Exception):
            # Closing would end engines that the next one may save.
            driver.on_broken(f"the controller could not take over: {error!r}")
        await driver.close("the controller failed", politely=False)
        raise
    is_orphan = agent is not None and agent.is_gone
    await driver.close(why, politely=not is_orphan)
    if is_orphan:
        remove_folder(config.folder)
    elif agent is not None:
        await agent.close()


def _make_driver(config: Config, former: dict[str, Any] | None) -> Driver:
    socket = config.folder / "agent.sock" if config.agent else None
    kept = journal.Journal(config.folder / journal.NAME)
    return Driver(
        config,
        ZmqTransport(asyncio.get_running_loop()),
        lambda exited: KernelLauncher(config.folder, socket, exited, transport=config.transport),
        _curve(config, former),
        journal=kept,
        former=former,
        # Engines are the agent's, which starts another controller: that takes them over.
        on_broken=functools.partial(_leave, kept) if config.agent else None,
    )


def _leave(kept: journal.Journal, why: str) -> NoReturn:
    """End at once, as if killed, but with all that was noted written."""
    log.critical("%s", why, exc_info=sys.exception())
    written = threading.Event()
    kept.when_written(written.set)
    written.wait(WRITING_S)
    logging.shutdown()
    os._exit(os.EX_SOFTWARE)


def _read_former(path: Path) -> dict[str, Any] | None:
    """Read what the controller before this one has written, if there was one: it has died."""
    try:
        former: dict[str, Any] = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    return former


def _curve(config: Config, former: dict[str, Any] | None) -> Curve | None:
    """Return the keys of its sockets: those that connection files have already, if any."""
    if config.transport != "tcp":
        return None
    if former is None:
        return new_curve()
    return Curve(former["curve_publickey"].encode(), former["curve_secretkey"].encode())


class Agent:
    """What the controller tells its agent, and hears from it.

    Parameters
    ----------
    driver
        Ends with the agent.
    path
        The agent's socket.
    """

    def __init__(self, driver: Driver, path: Path) -> None:
        self.is_gone = False
        self._driver = driver
        self._link = AgentLink(path, self._pushed, self._closed)
        self._asking: set[asyncio.Task[None]] = set()
        driver.clients.on_count = lambda n: self._tell("clients", n=n)

    async def ready(self) -> None:
        """Say that clients may come."""
        await self._link.ask("ready")

    async def close(self) -> None:
        """Disconnect."""
        for task in list(self._asking):
            task.cancel()
        await self._link.close()

    def _tell(self, op: str, **fields: object) -> None:
        async def tell() -> None:
            # An agent that is gone says so by `_closed`.
            with contextlib.suppress(ClusterError):
                await self._link.ask(op, **fields)

        task = asyncio.get_running_loop().create_task(tell())
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)

    def _pushed(self, message: dict[str, object]) -> None:
        if message.get("push") == "end":
            self._driver.end(str(message.get("reason") or "the cluster was stopped"))
        elif message.get("push") == "owner":
            self._driver.clients.probe(everybody=True)

    def _closed(self) -> None:
        self.is_gone = True
        self._driver.end("the agent of the cluster has died")
