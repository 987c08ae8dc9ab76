"""The client for programs that run an asyncio loop: the same verbs, awaited."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Self

from ipyviews.client import control
from ipyviews.client.connection import Connection
from ipyviews.client.factory import ViewFactory
from ipyviews.launching.rundir import find_cluster

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping
    from types import TracebackType

    from ipyviews.client.session import Targets
    from ipyviews.launching.rundir import ClusterFile
    from ipyviews.transport.base import Transport


class AsyncClient(ViewFactory):
    """A connection to a running cluster that never blocks the loop.

    Calls of its views return results that are awaited; too many unanswered ones raise
    `TooManyPending`. What asks the controller is a coroutine.

    Parameters
    ----------
    connection_info, cluster_id, timeout, cluster, transport
        As for `Client`. The connection is ready inside ``async with``.

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
        cluster_id: str | None = None,
        timeout: float = 10.0,
        cluster: Any = None,
        transport: Callable[[Any], Transport] | None = None,
    ) -> None:
        source = find_cluster(cluster_id) if connection_info is None else connection_info
        super().__init__(Connection(source, timeout=timeout, blocks=False, transport=transport))
        self.cluster = cluster

    async def connect(self) -> Self:
        """Wait until the controller has answered; see `Client` for the errors."""
        try:
            await asyncio.wrap_future(self.connection.ready)
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
        return await asyncio.to_thread(control.wait, self, jobs, timeout)

    async def wait_for_engines(
        self,
        n: int | None = None,
        *,
        timeout: float | None = 60.0,  # noqa: ASYNC109 - the name is the seeds'
    ) -> None:
        """Wait until `n` engines can be used; see `Client.wait_for_engines`."""
        await asyncio.to_thread(control.wait_for_engines, self, n, timeout)

    def get_result(self, job: Any = None) -> Any:
        """Return the result of an earlier call, to be awaited; see `Client.get_result`."""
        return control.find_result(self, job)

    async def abort(self, jobs: Any = None) -> None:
        """Stop tasks; see `Client.abort`."""
        await asyncio.to_thread(control.cancel, self, jobs)

    async def status(self) -> dict[str, Any]:
        """Return what the controller knows of engines and clients."""
        return await asyncio.to_thread(control.status, self)

    async def queue_status(self, targets: Targets = "all") -> dict[Any, Any]:
        """Return how many tasks run and wait on each engine; see `Client.queue_status`."""
        return await asyncio.to_thread(control.queue_status, self, targets)

    async def interrupt(self, targets: Targets = None) -> int:
        """Interrupt what this client runs on the engines; see `Client.interrupt`."""
        return await asyncio.to_thread(control.interrupt, self, targets)

    async def send_signal(self, sig: int | str, targets: Targets = None) -> None:
        """Send a signal to the processes of engines; see `Client.send_signal`."""
        await asyncio.to_thread(control.send_signal, self, sig, targets)

    async def start_engines(self, n: int = 1, kernel: str | None = None) -> list[int]:
        """Start more engines; see `Client.start_engines`."""
        return await asyncio.to_thread(control.start, self, n, kernel)

    async def restart(self, targets: Targets = "all", *, now: bool = False) -> None:
        """Restart engines; see `Client.restart`."""
        await asyncio.to_thread(control.restart, self, targets, now=now)

    async def shutdown(
        self, targets: Targets = "all", restart: bool = False, hub: bool = False
    ) -> None:
        """Stop engines, or the whole cluster; see `Client.shutdown`."""
        await asyncio.to_thread(control.shutdown, self, targets, restart_them=restart, hub=hub)
        if hub:
            await self.aclose()
