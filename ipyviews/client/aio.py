"""The client for programs that run an asyncio loop: the same verbs, awaited."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Self

from ipyviews.client import control, options, waits
from ipyviews.client.connection import Connection
from ipyviews.client.legacy import LegacyNames
from ipyviews.client.recordverbs import AsyncRecordVerbs
from ipyviews.client.waiting import limit_s

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping
    from types import TracebackType

    from ipyviews.client.session import Targets
    from ipyviews.client.table import EngineTable
    from ipyviews.deaths import DeathReport
    from ipyviews.launching.rundir import ClusterFile
    from ipyviews.transport.base import Transport


class AsyncClient(AsyncRecordVerbs, LegacyNames):
    """A connection to a running cluster that never blocks the loop.

    Calls of its views return results that are awaited; too many unanswered ones raise
    `TooManyPending`. What asks the controller is a coroutine; its ``block`` means nothing.

    Parameters
    ----------
    connection_info
        As for `Client`, and so are all others. The connection is ready inside ``async with``.

    Examples
    --------
    >>> async def main():
    ...     async with AsyncClient() as rc:
    ...         return await rc[:].apply(pow, 2, 5)
    """

    may_block = False

    def __init__(
        self,
        connection_info: str | os.PathLike[str] | Mapping[str, Any] | ClusterFile | None = None,
        *,
        url_file: str | os.PathLike[str] | None = None,
        profile: str | None = None,
        profile_dir: str | os.PathLike[str] | None = None,
        ipython_dir: str | os.PathLike[str] | None = None,
        context: Any = None,
        debug: bool = False,
        timeout: float = 10.0,
        cluster_id: str | None = None,
        cluster: Any = None,
        transport: Callable[[Any], Transport] | None = None,
        **session_kwargs: Any,
    ) -> None:
        del ipython_dir, context
        options.check_options(session_kwargs)
        named = options.name_of_profile(profile, profile_dir)
        old_name = url_file or session_kwargs.get("url_or_file")
        # No patience: waiting for a cluster that is starting would block the loop.
        source = options.find_source(connection_info, old_name, cluster_id, named, 0.0)
        super().__init__(
            Connection(source, timeout=timeout, blocks=False, transport=transport, debug=debug)
        )
        self.cluster = cluster
        self.profile = named or self.connection.address.profile

    async def connect(self) -> Self:
        """Wait until the controller has answered; see `Client` for the errors."""
        try:
            await self.connection.ready
        except BaseException:
            await self.aclose()
            raise
        return self

    async def aclose(self) -> None:
        """Close the connection; results that are not there yet fail."""
        await asyncio.to_thread(self.close)

    async def __aenter__(self) -> Self:
        return await self.connect()

    async def __aexit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def wait(self, jobs: Any = None, timeout: float | None = -1) -> bool:  # noqa: ASYNC109
        """Wait for results; see `Client.wait`."""
        return await waits.Jobs(self, jobs).awaited(limit_s(timeout))

    async def wait_interactive(
        self,
        jobs: Any = None,
        interval: float = 1.0,
        timeout: float | None = -1.0,  # noqa: ASYNC109 - the name is the seeds'
    ) -> None:
        """Wait for results with a progress bar; see `Client.wait_interactive`."""
        await waits.awaited_interactive(self, jobs, interval, limit_s(timeout))

    async def wait_for_engines(
        self,
        n: int | None = None,
        *,
        timeout: float | None = 60.0,  # noqa: ASYNC109 - the name is the seeds'
    ) -> None:
        """Wait until `n` engines can be used; see `Client.wait_for_engines`."""
        await waits.engines_ready(self, n, timeout)

    async def abort(
        self, jobs: Any = None, targets: Targets = None, block: bool | None = None
    ) -> None:
        """Stop tasks; see `Client.abort`."""
        del block
        await control.abort(self, jobs, targets)

    cancel = abort

    async def status(self) -> dict[str, Any]:
        """Return what the controller knows of engines and clients."""
        return await control.status(self)

    async def deaths(self) -> list[DeathReport]:
        """Tell why engines died, the latest last; see `Client.deaths`."""
        return await control.deaths(self)

    async def interrupt(self, targets: Targets = None) -> int:
        """Interrupt what this client runs on the engines; see `Client.interrupt`."""
        return await control.interrupt(self, targets)

    async def send_signal(
        self, sig: int | str, targets: Targets = None, block: bool | None = None
    ) -> None:
        """Send a signal to the processes of engines; see `Client.send_signal`."""
        del block
        await control.send_signal(self, sig, targets)

    async def table(self) -> EngineTable:
        """Return the engines as a table; see `Client.table`."""
        return await control.table(self)

    async def clear(self, targets: Targets = None, block: bool | None = None) -> None:
        """Empty the namespaces of engines; see `Client.clear`."""
        del block
        await control.clear(self, targets)

    async def start_engines(self, n: int = 1, kernel: str | None = None) -> list[int]:
        """Start more engines; see `Client.start_engines`."""
        return await control.start(self, n, kernel)

    async def restart(
        self, targets: Targets = "all", *, now: bool = False, setup: bool = True
    ) -> None:
        """Restart engines; see `Client.restart`."""
        await control.restart(self, targets, now=now, setup=setup)

    async def auto_restart(self, limit: bool | int | tuple[int, float] | None = True) -> None:
        """Decide whether engines that die are started again; see `Client.auto_restart`."""
        await control.auto_restart(self, limit)

    async def shutdown(
        self,
        targets: Targets = "all",
        restart: bool = False,
        hub: bool = False,
        block: bool | None = None,
    ) -> None:
        """Stop engines, or the whole cluster; see `Client.shutdown`."""
        del block
        await control.shutdown(self, targets, restart_them=restart, hub=hub)
        if hub:
            await self.aclose()
