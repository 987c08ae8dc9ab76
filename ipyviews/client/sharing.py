"""Large buffers of calls and results in shared memory: the client's side.

A buffer of a call is copied into a segment by the thread that makes the call, and a small reference
is sent instead. The segment comes back when all tasks it was sent with have ended and no engine
maps it any more: engines say in their replies what they go on mapping, and later that they have let
go. Results are mapped when they arrive, so that whatever happens to their engine, they are there.
"""

from __future__ import annotations

import os
import warnings
from typing import TYPE_CHECKING, Any

from ipyviews.engine import segments
from ipyviews.engine.received import Receiver
from ipyviews.engine.sender import Sender
from ipyviews.ids import routing_id

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager

    from ipyviews.client.tasks import Task
    from ipyviews.engine.received import Told
    from ipyviews.engine.sender import Use
    from ipyviews.protocol.payload import Payload
    from ipyviews.protocol.wire import Message

    Call = Callable[[Payload, Sequence[int | None], Mapping[str, Any]], list[Task]]

#: Set to 0 it keeps a client, or the clusters started, from sharing memory.
VARIABLE = "IPYVIEWS_SHARED_MEMORY"


class Sharing:
    """What one connection shares with the engines of its cluster.

    Parameters
    ----------
    cluster
        How names of segments begin; empty where the cluster shares no memory.
    session
        The client's name.
    lock
        Of the ledger: no reply is looked at while it is held.
    post, tell
        Run something in the I/O thread; and send on the control channel there.
    """

    def __init__(
        self,
        cluster: str,
        session: str,
        lock: AbstractContextManager[Any],
        post: Callable[[Callable[[], None]], None],
        tell: Callable[[str, Mapping[str, Any]], None],
    ) -> None:
        is_on = bool(cluster) and os.environ.get(VARIABLE, "1") != "0"
        self._place = segments.place() if is_on else ""
        self._cluster = cluster
        self._lock = lock
        self._tell = tell
        self._engines: Mapping[int, Mapping[str, Any]] = {}
        self._sender = Sender(cluster, session, _warn, is_alone=True)
        self._receiver = Receiver(lambda: post(self._tell_released))
        self._uses: dict[str, list[Use]] = {}

    def call(
        self,
        payload: Payload,
        engines: Sequence[int | None],
        ours: Mapping[str, Any],
        send: Call,
    ) -> list[Task]:
        """Send calls, their large buffers by shared memory where that is possible."""
        if not self._place:
            return send(payload, engines, ours)
        ours = {**ours, "shared": f"{self._cluster}/{self._place}"}
        if payload.weight < segments.SHARE_FROM or not self._is_shared_by(engines, ours):
            return send(payload, engines, ours)
        uses: list[list[Use]] = [[] for _ in payload.index]
        try:
            self._share(payload, len(engines), uses)
            # Replies wait until it is known what their tasks use.
            with self._lock:
                tasks = send(payload, engines, ours)
                shares = uses if len(uses) == len(tasks) else uses * len(tasks)
                for task, share in zip(tasks, shares, strict=True):
                    if share:
                        self._uses[task.id] = share
        except BaseException:
            for name, use in [use for share in uses for use in share]:
                for _ in engines if len(uses) == 1 else [0]:
                    self._sender.ended(name, use, spoiled=True)
            raise
        return tasks

    def _share(self, payload: Payload, tasks: int, uses: list[list[Use]]) -> None:
        """Replace large buffers by references, and note in `uses` which call uses what."""
        users = tasks if len(uses) == 1 else 1
        of_call = [call for call, (_, count) in enumerate(payload.index) for _ in range(count)]
        large = [
            number
            for number, buffer in enumerate(payload.buffers)
            if memoryview(buffer).nbytes >= segments.SHARE_FROM
        ]
        buffers = [(payload.buffers[number], uses[of_call[number]]) for number in large]
        for number, reference in zip(large, self._sender.put_all(buffers, users), strict=True):
            if reference is not None:
                payload.buffers[number] = reference.pack()

    def _is_shared_by(self, engines: Sequence[int | None], ours: Mapping[str, Any]) -> bool:
        known = self._engines
        chosen = ours.get("any") or known if engines[0] is None else engines
        infos = [known.get(engine, {}) for engine in chosen if engine is not None]
        if engines[0] is None:
            # Those that are not there yet refuse what they cannot map, and it goes elsewhere.
            infos = [info for info in infos if info.get("state") == "live" and info.get("apply")]
        return bool(infos) and all(info.get("place") == self._place for info in infos)

    # -- in the I/O thread ------------------------------------------------------------------------

    def replied(self, task: str, message: Message, content: dict[str, Any]) -> dict[str, Any]:
        """Take a reply in: map what it refers to; its content, or that of an error, is returned."""
        self.ended(task, message.ours, content)
        try:
            problem = self._map(message)
        except segments.SegmentGone as error:
            problem = f"{error}"
        if not problem:
            return content
        message.buffers = []
        sentence = f"The result was made, but {problem}."
        return {**content, "status": "error", "ename": "EngineError", "evalue": sentence}

    def ended(self, task: str, ours: Mapping[str, Any], content: Mapping[str, Any]) -> None:
        """Take in the reply of a task that may have used segments; empty if there is none."""
        uses = self._uses.pop(task, ())
        released = content.get("released", ())
        if not uses and not released:
            return
        runs = ours.get("attempts") or []
        holder = routing_id(*runs[-1][:2]).decode() if runs else ""
        # Who ran it before may map it and has no way to tell this client.
        spoiled = ours.get("verdict") != "replied" or len(runs) != 1 or not self._is_here(holder)
        held = {(str(name), int(use)) for name, use in content.get("held", ())}
        for name, use in uses:
            holds = (name, use) in held and not spoiled
            self._sender.ended(name, use, holder=holder if holds else "", spoiled=spoiled)
        self._sender.released(released, holder)

    def _map(self, message: Message) -> str:
        """Put what references name in their place; returns why that cannot be, if so."""
        if not self._place or not message.buffers:
            return ""
        buffers = list(message.buffers)
        problem = ""
        for number, frame in enumerate(buffers[1:], 1):
            reference = segments.Reference.read(frame)
            if reference is not None:
                owner, mapping = segments.owner_of(reference.name), None
                try:
                    buffers[number], mapping = self._receiver.open(frame, self._cluster, owner)
                except (OSError, MemoryError) as error:
                    problem = _problem(error)  # Its owner is told, and those of the others.
                if mapping is None:
                    self._tell("released_request", _told(owner, [(reference.name, reference.use)]))
                else:
                    self._receiver.settle([mapping])
        message.buffers = buffers
        return problem

    def released(self, content: Mapping[str, Any]) -> None:
        """Take in that an engine has let go of segments."""
        self._sender.released(content.get("segments", ()), str(content.get("holder")))

    def engines_changed(self, engines: Mapping[int, Mapping[str, Any]]) -> None:
        """Forget what engines that are gone have mapped."""
        before, self._engines = self._engines, engines
        for engine, info in before.items():
            holder = _name(engine, info)
            if holder and not self._is_here(holder):
                self._sender.lost(holder)

    def close(self, *, keep_needed: bool) -> None:
        """Remove the segments; what tasks still need is left to the controller, if it lives."""
        self._place = ""
        self._sender.close(lambda segment: keep_needed and segment.users > 0)

    def _is_here(self, holder: str) -> bool:
        engine = int(holder[1:].partition(".")[0]) if holder else -1
        info = self._engines.get(engine, {})
        return info.get("state") == "live" and _name(engine, info) == holder

    def _tell_released(self) -> None:
        by_owner: dict[str, list[Told]] = {}
        for mapping in self._receiver.released():
            by_owner.setdefault(mapping.owner, []).append(mapping.told)
        for owner, told in by_owner.items():
            self._tell("released_request", _told(owner, told))


def _problem(error: OSError | MemoryError) -> str:
    why = getattr(error, "strerror", None) or "no memory"
    return (
        f"it cannot be mapped by this process ({why}): raise its limits (ulimit -n for open "
        "files) or let go of other results"
    )


def _told(owner: str, told: list[Told]) -> dict[str, Any]:
    return {"owner": owner, "segments": told}


def _name(engine: int, info: Mapping[str, Any]) -> str:
    is_live = info.get("state") == "live"
    return routing_id(engine, int(info.get("incarnation", 0))).decode() if is_live else ""


def _warn(why: str) -> None:
    warnings.warn(
        f"Large arrays are sent as messages, for shared memory cannot be used ({why}). It takes "
        "longer; in a container give it more, e.g. docker run --shm-size=8g.",
        RuntimeWarning,
        stacklevel=2,
    )
