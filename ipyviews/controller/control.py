"""What clients ask of the controller on the control channel.

Every request is checked whole before anything is done, and gets exactly one reply. The handlers
return the reply's fields; those that take time return a coroutine.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from collections.abc import Coroutine
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ipyviews.controller import bounds
from ipyviews.controller.config import read_limit
from ipyviews.controller.inspection import Inspection
from ipyviews.controller.performer import error_content
from ipyviews.core.effects import Interrupt, Reply
from ipyviews.core.events import CancelRequested
from ipyviews.errors import (
    ClusterError,
    IPyViewsError,
    ProtocolError,
    UsageError,
    VersionMismatch,
)
from ipyviews.ids import TaskId
from ipyviews.launching.memory import resident_bytes
from ipyviews.version import __version__

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable

    from ipyviews.controller.performer import Performer
    from ipyviews.ids import ClientId
    from ipyviews.protocol.wire import Message

    Fields = dict[str, Any]
    Handler = Callable[[ClientId, Fields], Fields | Coroutine[Any, Any, Fields] | None]

log = logging.getLogger(__name__)

#: Most engines one request may start; a typing error must not take the machine down.
MOST_ENGINES = 10_000

#: What is asked about requests, which travel on another channel and in turns.
ABOUT_REQUESTS = frozenset(
    f"{name}_request" for name in ("history", "db", "result", "purge", "resubmit", "queue")
)

#: So long such a question waits for the requests that were sent before it [s].
BEHIND_S = 5.0


class Control:
    """The control channel's requests.

    Parameters
    ----------
    cluster
        Told in the answer to a hello: version, name, life, and how often it was replaced.
    performer
        Knows all that the requests are about.
    counters
        Counts for the status reply.
    end
        Called with a sentence to end the cluster.
    """

    def __init__(
        self,
        cluster: Fields,
        performer: Performer,
        counters: Counter[str],
        end: Callable[[str], None],
    ) -> None:
        self._cluster = cluster
        self._performer = performer
        self._clients = performer.clients
        self._fleet = performer.fleet
        self._counters = counters
        self._end = end
        self._loop = asyncio.get_running_loop()
        self._work: set[asyncio.Task[None]] = set()
        inspection = Inspection(performer.links, performer.fleet, performer.is_busy)
        self._handlers: dict[str, Handler] = {
            "bye_request": self._bye,
            "ping_request": lambda _client, _content: {},
            "received_request": self._received,
            "released_request": performer.sharing.client_released,
            "cancel_request": self._cancel,
            "interrupt_request": self._interrupt,
            "status_request": self._status,
            "start_request": self._start,
            "restart_request": self._restart,
            "auto_restart_request": self._auto_restart,
            "signal_request": self._signal,
            "shutdown_request": self._shutdown,
            "queue_request": self._queue,
            "complete_request": inspection.complete,
            "inspect_request": inspection.inspect,
            "history_request": performer.records.history,
            "db_request": performer.records.query,
            "result_request": performer.records.results,
            "purge_request": performer.records.purge,
            "resubmit_request": performer.records.resubmit,
        }

    def handle(self, client: ClientId, message: Message) -> None:
        """Do what one message asks and reply."""
        known = self._clients.heard(client)
        if message.msg_type in ("ping_reply", ""):
            return
        behind = message.ours.get("behind")
        if message.msg_type in ABOUT_REQUESTS and self._clients.is_ahead(client, str(behind)):
            self._work_on(client, message, self._later(client, message, str(behind)))
            return
        try:
            result = self._run(client, message, known=known)
        except IPyViewsError as error:
            self._refuse(client, message, error)
            return
        except Exception as error:
            log.exception("a %s of client %s failed", message.msg_type[:80], client)
            self._refuse(client, message, ClusterError(f"{type(error).__name__}: {error}"))
            return
        if isinstance(result, Coroutine):
            self._work_on(client, message, result)
        elif result is not None:
            self._answer(client, message, result)

    def _work_on(
        self, client: ClientId, message: Message, work: Coroutine[Any, Any, Fields | None]
    ) -> None:
        task = self._loop.create_task(self._finish(client, message, work))
        self._work.add(task)
        task.add_done_callback(self._work.discard)

    async def _later(self, client: ClientId, message: Message, request: str) -> Fields | None:
        """Do what a message asks when the requests that were sent before it have been taken in."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._clients.taken_in(client, request), BEHIND_S)
        result = self._run(client, message, known=self._clients.heard(client))
        return await result if isinstance(result, Coroutine) else result

    def close(self) -> None:
        """Stop what is still being done."""
        for task in self._work:
            task.cancel()

    def _run(
        self, client: ClientId, message: Message, *, known: bool
    ) -> Fields | Coroutine[Any, Any, Fields] | None:
        content = message.read()
        if message.msg_type == "hello_request":
            return self._hello(client, content)
        handler = self._handlers.get(message.msg_type)
        if handler is None:
            raise UsageError(f"the controller knows no {message.msg_type[:80]!r}")
        if not known:
            raise UsageError("say hello_request first: the controller does not know this session")
        return handler(client, content)

    async def _finish(
        self, client: ClientId, message: Message, work: Coroutine[Any, Any, Fields | None]
    ) -> None:
        try:
            fields = await work
        except IPyViewsError as error:
            self._refuse(client, message, error)
        except Exception as error:
            log.exception("a %s of client %s failed", message.msg_type[:80], client)
            self._refuse(client, message, ClusterError(f"{type(error).__name__}: {error}"))
        else:
            if fields is not None:
                self._answer(client, message, fields)

    def _answer(self, client: ClientId, message: Message, fields: Fields) -> None:
        buffers, packed = fields.pop("buffers", ()), fields.pop("packed", None)
        content: Fields | bytes = {"status": "ok", **fields}
        if packed is not None:
            content = b'{"status":"ok",%s}' % packed
        self._clients.tell(client, _reply_type(message), content, message.msg_id, buffers)
        if message.msg_type == "bye_request":
            self._clients.leave(client, "it said bye", orderly=True)

    def _refuse(self, client: ClientId, message: Message, error: IPyViewsError) -> None:
        self._counters["refused"] += 1
        log.warning("refused a %s of client %s: %s", message.msg_type[:80], client, error)
        content = error_content(type(error).__name__, str(error))
        self._clients.tell(client, _reply_type(message), content, parent=message.msg_id)

    # -- sessions --------------------------------------------------------------------------------

    def _hello(self, client: ClientId, content: Fields) -> Fields:
        version = str(content.get("version"))
        if version.split(".")[:2] != __version__.split(".")[:2]:
            raise VersionMismatch(
                f"the controller is ipyviews {__version__} and this client {version}: "
                "use the same version, or stop the cluster and start it anew"
            )
        if content.get("client") != client:
            raise ProtocolError("hello_request: `client` must be the session id of the sender")
        pid = content.get("pid")
        name = str(content.get("name", ""))[:100]
        self._clients.join(client, name, pid if isinstance(pid, int) else None)
        return {**self._cluster, **self.engines(), "deaths": self._fleet.deaths.told()}

    def engines(self) -> Fields:
        """Return what clients are told of the engines."""
        return {
            "engines": self._fleet.infos(),
            "n": self._fleet.wanted,
            "failed": self._fleet.failed(),
        }

    def _bye(self, _client: ClientId, _content: Fields) -> Fields:
        return {}

    def _received(self, client: ClientId, content: Fields) -> None:
        self._clients.acknowledge(client, _number(content, "bytes", least=0))

    # -- tasks -----------------------------------------------------------------------------------

    def _cancel(self, client: ClientId, content: Fields) -> Fields:
        tasks = content.get("tasks")
        if not isinstance(tasks, list) or not all(isinstance(task, str) for task in tasks):
            raise UsageError("cancel_request: `tasks` must be a list of task ids")
        named = tuple(map(TaskId, dict.fromkeys(tasks)))
        early = self._clients.doom(client, self._performer.unknown(named))
        event = CancelRequested(self._loop.time(), client, named)
        effects = self._performer.feed(event)
        held = self._performer.withheld.cancel(client, named)
        interrupted = {effect.attempt.task for effect in effects if isinstance(effect, Interrupt)}
        ended = {effect.task for effect in effects if isinstance(effect, Reply)}
        removed = early + len(ended.difference(interrupted).intersection(named))
        stopped = len(interrupted) + held
        return {"removed": removed, "interrupted": stopped, "done": len(named) - removed - stopped}

    def _interrupt(self, client: ClientId, content: Fields) -> Fields:
        chosen = None
        if content.get("engines") is not None:
            chosen = {engine.id for engine in self._fleet.find(_engine_ids(content))}
        running = [
            flight
            for flight in self._performer.gate.running(client)
            if chosen is None or flight.attempt.engine in chosen
        ]
        for flight in running:
            self._performer.interrupt(flight.attempt, flight.kind)
        return {"interrupted": len(running)}

    # -- the cluster -----------------------------------------------------------------------------

    def _status(self, _client: ClientId, content: Fields) -> Fields | Coroutine[Any, Any, Fields]:
        return self._status_with_bounds() if content.get("bounds") is True else self._told()

    async def _status_with_bounds(self) -> Fields:
        of_engines = await bounds.of_engines(self._performer)
        kept = bounds.of_controller(self._performer, self._counters)
        return {**self._told(), "bounds": {"controller": kept, "engines": of_engines}}

    def _told(self) -> Fields:
        engines, host = [], socket.gethostname()
        for engine in self._fleet:
            load = self._performer.state.engines[engine.id]
            work = {"running": len(load.running), "queued": len(load.queued)}
            info = {**engine.info(), **work, "since": engine.since, "host": host}
            memory = None if engine.state == "lost" else resident_bytes(info["pid"])
            engines.append({**info, "memory": memory})
        clients = [{"id": c.id, "name": c.name, "pid": c.pid} for c in self._clients]
        return {
            "engines": engines,
            "clients": clients,
            "counters": dict(self._counters),
            "replaced": self._cluster["replaced"],
            "deaths": self._fleet.deaths.told(),
        }

    def _queue(self, _client: ClientId, content: Fields) -> Fields:
        """Name the unfinished tasks of each engine, and those without one."""
        chosen = {engine.id for engine in self._fleet.find(_engine_ids(content))}
        tasks = self._performer.state.tasks.values()
        return self._performer.records.queues(tasks, chosen, verbose=content.get("verbose") is True)

    def _start(self, _client: ClientId, content: Fields) -> Fields:
        n = _number(content, "n", least=1, most=MOST_ENGINES)
        kernel = content.get("kernel")
        if kernel is not None and not isinstance(kernel, str):
            raise UsageError("start_request: `kernel` must be the name of a kernelspec")
        return {"engines": self._fleet.start(n, kernel)}

    async def _restart(self, _client: ClientId, content: Fields) -> Fields:
        ids = _engine_ids(content)
        setup = content.get("setup") is not False
        await self._fleet.restart(ids, now=content.get("now") is True, setup=setup)
        return {"engines": [engine.info() for engine in self._fleet.find(ids)]}

    def _auto_restart(self, _client: ClientId, content: Fields) -> Fields:
        self._fleet.revival.limit = read_limit(content.get("limit"))
        self._fleet.on_news(None)
        return {}

    async def _signal(self, _client: ClientId, content: Fields) -> Fields:
        number = _number(content, "signal", least=1, most=signal.NSIG - 1)
        await self._fleet.signal(_engine_ids(content), number)
        return {}

    async def _shutdown(self, client: ClientId, content: Fields) -> Fields:
        if content.get("cluster") is True:
            self._loop.call_soon(self._end, f"client {client} shut the cluster down")
        else:
            await self._fleet.shutdown(_engine_ids(content))
        return {}


def _reply_type(message: Message) -> str:
    return message.msg_type[:80].removesuffix("_request") + "_reply"


def _engine_ids(content: dict[str, Any]) -> list[int]:
    ids = content.get("engines")
    if not isinstance(ids, list) or not ids or not all(type(engine) is int for engine in ids):
        raise UsageError("`engines` must be a list of engine ids, not empty")
    return ids


def _number(content: dict[str, Any], name: str, *, least: int, most: int | None = None) -> int:
    value = content.get(name)
    if type(value) is not int or value < least or (most is not None and value > most):
        limits = f"at least {least}" + ("" if most is None else f" and at most {most}")
        raise UsageError(f"`{name}` must be a whole number, {limits}")
    return value
