"""Plain kernels, driven by jupyter_client alone."""

from __future__ import annotations

import asyncio
import time
from contextlib import contextmanager

import work


class JupyterClient:
    """What there is without any of us."""

    @contextmanager
    def cluster(self, n):
        loop = asyncio.new_event_loop()
        started = time.perf_counter()
        kernels = loop.run_until_complete(self.start(n))
        try:
            yield kernels, time.perf_counter() - started
        finally:
            loop.run_until_complete(self.stop(kernels))
            loop.close()

    async def start(self, n):
        """Start kernels together and ask each for its kernel info."""
        from jupyter_client.manager import AsyncKernelManager

        managers = [AsyncKernelManager() for _ in range(n)]
        await asyncio.gather(*(manager.start_kernel() for manager in managers))
        clients = [manager.client() for manager in managers]
        for client in clients:
            client.start_channels(iopub=False, stdin=False, hb=False, control=False)
            client.kernel_info()
        await asyncio.gather(*(client.get_shell_msg(timeout=60) for client in clients))
        return list(zip(managers, clients, strict=True))

    async def stop(self, kernels):
        for _, client in kernels:
            client.stop_channels()
        await asyncio.gather(*(manager.shutdown_kernel(now=True) for manager, _ in kernels))

    def latency(self, kernels, calls):
        from jupyter_client.blocking import BlockingKernelClient

        client = BlockingKernelClient()
        client.load_connection_info(kernels[0][0].get_connection_info())
        client.start_channels(stdin=False, hb=False, control=False)
        client.wait_for_ready(timeout=60)

        def execute():
            client.execute("pass", silent=True, reply=True, timeout=60)

        try:
            return work.flat({"execute": work.clock(execute, calls)})
        finally:
            client.stop_channels()

    def idle(self, _kernels, _count):
        """Memory of all processes with nothing to do [bytes]."""
        return {"idle": work.pss(work.family())}
