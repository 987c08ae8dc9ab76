"""Shared memory as the controller sees it: word of mouth, and what the dead leave behind.

References pass through here like any other buffer. The controller passes on who has let go of what,
reads a segment only where it has to keep a result for somebody who has not come yet, and removes
the segments of clients and engines that are gone, once nobody can need them any more.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from ipyviews.engine import segments
from ipyviews.errors import ProtocolError, UsageError
from ipyviews.ids import ClientId, EngineId

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ipyviews.controller.clients import Clients
    from ipyviews.controller.fleet import Fleet
    from ipyviews.controller.links import Link, Links
    from ipyviews.controller.requests import Store
    from ipyviews.protocol.wire import Frame, Message

log = logging.getLogger(__name__)


class Sharing:
    """Shared memory of one cluster.

    Parameters
    ----------
    cluster
        How names of segments begin; empty where none are used.
    clients, links, fleet, store
        Who may own segments, and whose tasks may need them.
    """

    def __init__(
        self, cluster: str, clients: Clients, links: Links, fleet: Fleet, store: Store
    ) -> None:
        self._cluster = cluster
        self._clients = clients
        self._links = links
        self._fleet = fleet
        self._store = store
        # Owners that are gone, and what each client had been sent when that was noticed.
        self._gone: dict[str, dict[ClientId, int]] = {}

    def engine_released(self, link: Link, message: Message) -> None:
        """Tell a client that an engine has let go of its segments."""
        try:
            content = message.read()
        except ProtocolError as error:
            log.warning("an engine sent a %s that cannot be read: %s", message.msg_type, error)
            return
        client, held = content.get("client"), content.get("segments")
        if isinstance(client, str) and client in self._clients:
            notice = {"holder": link.name, "segments": held}
            self._clients.tell(ClientId(client), "segments_notice", notice)

    def client_released(self, client: ClientId, content: dict[str, Any]) -> None:
        """Tell an engine that a client has let go of its segments; a dead one needs no word."""
        owner, held = content.get("owner"), content.get("segments")
        if not isinstance(owner, str) or not isinstance(held, list):
            raise UsageError("released_request: `owner` must be a name and `segments` a list")
        engine, _, incarnation = owner.removeprefix("e").partition(".")
        if not (engine.isdecimal() and incarnation.isdecimal()) or len(owner) > 40:
            raise UsageError(f"released_request: there was no engine {owner[:80]!r}")
        link = self._fleet.link(EngineId(int(engine)), int(incarnation))
        if link is not None and link.can_apply:
            told = {"client": client, "segments": held}
            self._links.send(link, "apply", "segments_released", link.new_id(), told)

    def whole(self, buffers: Sequence[Frame]) -> Sequence[Frame]:
        """Return the buffers of a result with what is in shared memory read from there."""
        if not self._cluster:
            return buffers
        return [*buffers[:1], *segments.whole(buffers[1:], self._cluster)]

    def look(self) -> None:
        """Remove what owners that are gone have left; called every few seconds."""
        names = segments.names(self._cluster) if self._cluster else []
        if not names:
            self._gone = {}
            return
        owners = {segments.owner_of(name) for name in names}
        links = {engine.link.name for engine in self._fleet if engine.link is not None}
        gone = {owner for owner in owners - links if owner not in self._clients}
        sent = {client.id: client.credit.sent for client in self._clients}
        self._gone = {owner: self._gone.get(owner, sent) for owner in gone}
        done = [owner for owner in gone if not self._is_needed(owner)]
        if done:
            log.info("removing the segments of %s", ", ".join(done))
            loop = asyncio.get_running_loop()
            for owner in done:
                loop.run_in_executor(None, segments.sweep, self._cluster, owner)

    def _is_needed(self, owner: str) -> bool:
        """Whether a task may still map what a client left, or a client what an engine sent it.

        Clients map results when they arrive.
        """
        if self._store.has_tasks_of(owner):
            return True
        sent = self._gone[owner]
        return any(c.credit.acknowledged < sent.get(c.id, 0) for c in self._clients)
