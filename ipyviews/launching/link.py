"""The asyncio end of the agent's socket; the protocol is in `agent`."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import itertools
import json
import signal
from typing import TYPE_CHECKING, Any, NamedTuple

from ipyviews.errors import ClusterError
from ipyviews.launching.exits import ExitReport

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

#: Longest line [bytes]; an environment is the longest part of one.
_LINE_LIMIT = 1 << 24
_GONE = "the agent of the cluster is gone."


class Running(NamedTuple):
    """A kernel that the agent runs."""

    pid: int
    #: "fork" or "exec".
    way: str
    #: Its exit report, to come.
    exit: asyncio.Future[ExitReport]


class AgentLink:
    """One connection to the agent, used from one event loop.

    It connects at the first use. Once the agent is gone every `ask` raises, and every kernel it ran
    is reported as killed: it dies with its agent.

    Parameters
    ----------
    path
        The agent's socket, ``<run folder>/agent.sock``.
    on_push
        Called with what the agent says unasked, for example ``{"push": "end", "reason": …}``.
    on_close
        Called once when the agent has closed the connection; not after `close`.
    """

    def __init__(
        self,
        path: Path,
        on_push: Callable[[dict[str, Any]], None] = lambda _message: None,
        on_close: Callable[[], None] = lambda: None,
    ) -> None:
        self._path = path
        self._on_push = on_push
        self._on_close = on_close
        self._opening = asyncio.Lock()
        self._writer: asyncio.StreamWriter | None = None
        self._reading: asyncio.Task[None] | None = None
        self._numbers = itertools.count()
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._exits: dict[int, asyncio.Future[ExitReport]] = {}
        self._is_gone = False

    async def open(self) -> None:
        """Connect, if that has not been done.

        Raises
        ------
        ClusterError
            If the agent is not there (any more).
        """
        # Two callers at once would make two connections.
        async with self._opening:
            if self._is_gone:
                raise ClusterError(_GONE)
            if self._writer is not None:
                return
            try:
                reader, self._writer = await asyncio.open_unix_connection(
                    str(self._path), limit=_LINE_LIMIT
                )
            except OSError:
                raise ClusterError(_GONE) from None
            self._reading = asyncio.create_task(self._read(reader))

    async def ask(self, op: str, **fields: Any) -> dict[str, Any]:
        """Send a request and wait for its answer.

        Raises
        ------
        ClusterError
            If the agent refuses, with its sentence, or is gone.
        """
        await self.open()
        assert self._writer is not None  # noqa: S101 - opened above
        number = next(self._numbers)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        self._writer.write(json.dumps({"id": number, "op": op, **fields}).encode() + b"\n")
        result: dict[str, Any] = await answer
        if "error" in result:
            raise ClusterError(result["error"])
        return result

    async def start(
        self, kernel: str, argv: list[str], env: dict[str, str], cwd: str | None
    ) -> tuple[dict[str, Any], asyncio.Future[ExitReport]]:
        """Start a kernel; returns the agent's answer and the future of its exit report."""
        answer = await self.ask("start", kernel=kernel, argv=argv, env=env, cwd=cwd)
        return answer, answer.pop("exit")

    async def kernels(self) -> tuple[dict[str, Running], dict[str, ExitReport]]:
        """Return the kernels that run, and how others ended last, by name."""
        answer = await self.ask("list")
        running = {
            one["kernel"]: Running(one["pid"], one["way"], one["exit"]) for one in answer["kernels"]
        }
        return running, {one["kernel"]: _report(one) for one in answer["ended"]}

    async def close(self) -> None:
        """Disconnect; the kernels go on."""
        self._is_gone = True
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait([self._reading])
        if self._writer is not None:
            self._writer.close()
            with contextlib.suppress(OSError):
                await self._writer.wait_closed()

    async def _read(self, reader: asyncio.StreamReader) -> None:
        try:
            while line := await reader.readline():
                self._take(json.loads(line))
        except (OSError, ValueError):
            pass
        except asyncio.CancelledError:
            self._fail()
            raise
        self._is_gone = True
        self._fail()
        self._on_close()

    def _take(self, message: dict[str, Any]) -> None:
        if "push" not in message:
            # Made here and not by the asker: the exit may be the next line.
            for one in [message] if "pid" in message else message.get("kernels", ()):
                fresh = asyncio.get_running_loop().create_future()
                one["exit"] = self._exits.setdefault(one["pid"], fresh)
            answer = self._answers.pop(message["id"], None)
            if answer is not None and not answer.done():
                answer.set_result(message)
            return
        if message["push"] == "exit":
            report = _report(message)
            future = self._exits.pop(report.pid, None)
            if future is not None and not future.done():
                future.set_result(report)
        # On its own, so that a mistake in it is logged and does not end the reading.
        asyncio.get_running_loop().call_soon(self._on_push, message)

    def _fail(self) -> None:
        for answer in self._answers.values():
            if not answer.done():
                answer.set_result({"error": _GONE})
        for pid, future in self._exits.items():
            if not future.done():
                sentence = "killed: the agent that ran it is gone"
                future.set_result(ExitReport(pid, -signal.SIGKILL, sentence, self_inflicted=False))
        self._answers.clear()
        self._exits.clear()


def _report(told: dict[str, Any]) -> ExitReport:
    names = {field.name for field in dataclasses.fields(ExitReport)}
    return ExitReport(**{name: told[name] for name in names})
