"""The parts of an engine, put together."""

from __future__ import annotations

import atexit
import importlib.util
import json
import os
import threading
from typing import Any

from . import crashes, names
from .adapter import Kernel
from .backlog import MEMORY, Backlog
from .begun import Begun
from .binding import bind_kernel
from .channel import Channel
from .interrupts import Interrupts
from .runner import MOST_FUNCTIONS, TASK_CODE, Runner
from .segments import place
from .sharing import Sharing
from .shown import tell_errors
from .version import VERSION


class Extension:
    """What `load_ipython_extension` makes and `unload_ipython_extension` closes."""

    def __init__(self, shell: Any) -> None:
        self._pid = os.getpid()
        self._kernel = Kernel(shell)
        self._connection_file = bind_kernel()
        self._begun = Begun(self._connection_file)
        self._backlog = Backlog(begun=self._begun)
        self._interrupts = Interrupts(
            self._backlog, self._kernel.call_soon, TASK_CODE, self._kernel.cell_code
        )
        self._channel = Channel(self._kernel, self._backlog, self._interrupts)
        self._sharing = Sharing(self._channel, self._backlog)
        self._runner = Runner(
            self._kernel,
            self._backlog,
            self._interrupts,
            self._channel.replies,
            self._channel.look,
            sharing=self._sharing,
        )
        self._channel.on_call = self._runner.wake
        self._channel.on_arrival = self._runner.take_turn
        self._channel.on_refused = self._runner.refuse
        self._channel.on_client_left = self._client_left
        self._channel.on_released = self._sharing.released
        self._channel.bounds = self._bounds
        self._channel.on_look = self._sharing.tell_when_idle
        self._interrupts.poke = self._channel.poke
        self._ignore_cells = self._kernel.on_cells(self._cell_begins, self._cell_ended)
        self._hide_errors = tell_errors(shell)
        self._forget_cells = self._kernel.on_send(
            self._channel.cells.sent, self._channel.printed.sent
        )
        self._channel.start()
        # Registered after the kernel's own, so it runs before the kernel ends its zmq context.
        atexit.register(self._exit)

    def join(self, name: str) -> str:
        """Take a name, lift the iopub send limit, and report as JSON."""
        self._begun.open(name)
        names.find_modules_here()
        crashes.watch(self._connection_file)
        self._channel.name = name
        self._kernel.lift_send_limit()
        return json.dumps(
            {
                "apply_url": self._channel.url,
                "python": names.implementation(),
                "version": VERSION,
                "has_cloudpickle": any(map(importlib.util.find_spec, names.CLOUDPICKLE)),
                "place": place(),
                **self._kernel.describe(),
            }
        )

    def _bounds(self) -> dict[str, Any]:
        """Tell what is kept here and what may be; in the I/O thread."""
        functions = len(self._runner.scope.functions)
        return {
            "functions": {"now": functions, "most": MOST_FUNCTIONS, "dropped": 0},
            "attempts": {"now": self._backlog.remembered, "most": MEMORY, "dropped": 0},
            "reply_bytes": self._channel.replies.bounds(),
            "output_bytes": self._channel.printed.bounds(),
        }

    @property
    def running(self) -> str | None:
        """The attempt that the main thread is at: a call, else a cell."""
        return self._backlog.running or self._backlog.cell

    def publish(self, msg_type: str, content: dict[str, Any], buffers: list[bytes]) -> None:
        """Send a message of our own beside the output of what runs."""
        if os.getpid() != self._pid:
            raise RuntimeError("this process was forked by an engine and is none itself")
        self._kernel.publish(msg_type, content, buffers)

    def close(self) -> None:
        """Undo everything."""
        atexit.unregister(self._exit)
        if os.getpid() != self._pid:
            return  # A forked child of a task: nothing here is its own.
        self._ignore_cells()
        self._hide_errors()
        self._forget_cells()
        self._runner.close()
        self._sharing.close()
        self._channel.close()
        self._begun.close()
        crashes.stop()
        self._interrupts.uninstall()
        self._kernel.close()

    def _exit(self) -> None:
        self.close()
        self._kernel.end_control_thread()

    def _client_left(self, client: str) -> None:
        self._runner.scope.let_go(client)
        self._sharing.client_left(client)

    def _cell_begins(self) -> None:
        # A subshell's cells are none of ours, and neither is a cell that a task runs.
        if self._is_main() and not self._in_sync_task():
            self._interrupts.begin_cell(self._kernel.cell)

    def _cell_ended(self) -> None:
        if self._is_main() and not self._in_sync_task() and self._interrupts.end_cell():
            self._runner.remember_context()
            self._runner.wake()

    def _in_sync_task(self) -> bool:
        return self._backlog.running is not None and self._interrupts.awaiting is None

    @staticmethod
    def _is_main() -> bool:
        return threading.current_thread() is threading.main_thread()
