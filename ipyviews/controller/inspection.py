"""What an engine says of code while it is typed: completions and help, also while it computes.

These are no tasks, and the core never hears of them. A kernel with subshells answers in one that is
made at the first question to each of its lives; other kernels are asked only while nothing of ours
runs there, for they answer in their main thread.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from ipyviews.errors import ClusterError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from ipyviews.controller.engines import Engine
    from ipyviews.controller.fleet import Fleet
    from ipyviews.controller.links import Link, Links
    from ipyviews.ids import ClientId, EngineId
    from ipyviews.protocol.wire import Message

    Fields = dict[str, Any]

#: Longest wait for an engine [s]; whoever types does not wait that long.
LIMIT_S = 10.0

#: So many questions an engine may leave unanswered before it gets no more. [count]
MOST_OPEN = 4

#: A kernel never answers a question at which it fails; it is not held against it for longer [s].
FORGET_S = 60.0


@dataclass
class _Asked:
    """What one life of an engine was asked."""

    #: The reply that names its subshell.
    subshell: asyncio.Future[Message] | None = None
    #: When the questions were asked that have no answer yet [s].
    unanswered: list[float] = field(default_factory=list)


class Inspection:
    """Questions of clients about code, put to engines.

    Parameters
    ----------
    links
        The sockets.
    fleet
        The engines.
    is_busy
        Whether a task runs on an engine.
    """

    def __init__(self, links: Links, fleet: Fleet, is_busy: Callable[[EngineId], bool]) -> None:
        self._links = links
        self._fleet = fleet
        self._is_busy = is_busy
        self._loop = asyncio.get_running_loop()
        self._asked: WeakKeyDictionary[Link, _Asked] = WeakKeyDictionary()

    async def complete(self, _client: ClientId, content: Fields) -> Fields:
        """Ask what may stand at the cursor."""
        return await self._ask("complete_request", content, _question(content))

    async def inspect(self, _client: ClientId, content: Fields) -> Fields:
        """Ask what is known of the name at the cursor."""
        level = content.get("detail_level", 0)
        if type(level) is not int or level not in (0, 1):
            raise UsageError("`detail_level` must be 0 or 1")
        question = {**_question(content), "detail_level": level}
        return await self._ask("inspect_request", content, question)

    async def _ask(self, msg_type: str, content: Fields, question: Fields) -> Fields:
        number = content.get("engine")
        if type(number) is not int:
            raise UsageError("`engine` must be the id of an engine")
        (engine,) = self._fleet.find([number])
        try:
            reply = await self._reply(engine, msg_type, question)
        except ClusterError as error:
            return {"reply": None, "reason": f"engine {number} has no answer: {error}"}
        return {"reply": reply}

    async def _reply(self, engine: Engine, msg_type: str, question: Fields) -> Fields:
        link, joined = engine.link, engine.joined
        if engine.state != "live" or link is None or joined is None:
            raise ClusterError(f"it is {engine.state}")
        asked, now = self._asked.setdefault(link, _Asked()), self._loop.time()
        asked.unanswered = [when for when in asked.unanswered if when > now - FORGET_S]
        if len(asked.unanswered) >= MOST_OPEN:
            raise ClusterError(f"it has not answered {MOST_OPEN} earlier questions")
        subshell = await self._subshell(link, asked) if joined.has_subshells else None
        if subshell is None and self._is_busy(engine.id):
            raise ClusterError("it is busy, and its kernel has no subshells (ipykernel 7 has)")
        _, answer = self._links.request(link, "shell", msg_type, question, subshell)
        asked.unanswered.append(now)
        # Also a late one; it answers in order, so those before are of no interest any more.
        answer.add_done_callback(lambda _: asked.unanswered.clear())
        reply = await self._wait(answer)
        if reply.get("ename") == "UnknownSubshellError":
            asked.subshell = None
        if reply.get("status") != "ok":
            raise ClusterError(str(reply.get("evalue") or "it refused the question"))
        return reply

    async def _subshell(self, link: Link, asked: _Asked) -> str | None:
        """Return the name of the link's subshell; None when its kernel made none."""
        if asked.subshell is None:
            request = self._links.request(link, "control", "create_subshell_request", {})
            _, asked.subshell = request
        name = (await self._wait(asked.subshell)).get("subshell_id")
        return None if name is None else str(name)

    async def _wait(self, answer: asyncio.Future[Message]) -> Fields:
        await asyncio.wait({answer}, timeout=LIMIT_S)
        if not answer.done():
            raise ClusterError(f"it did not answer within {LIMIT_S:g} s")
        return answer.result().read()


def _question(content: Fields) -> Fields:
    code, cursor = content.get("code"), content.get("cursor_pos")
    if not isinstance(code, str):
        raise UsageError("`code` must be a text")
    if type(cursor) is not int or not 0 <= cursor <= len(code):
        raise UsageError(f"`cursor_pos` must be a place in the code, from 0 to {len(code)}")
    return {"code": code, "cursor_pos": cursor}
