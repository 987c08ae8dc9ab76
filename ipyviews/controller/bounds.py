"""What grows in a controller, what it may grow to, and what was dropped for that: numbers."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ipyviews.controller import clients, deaths, logs, setups
from ipyviews.errors import ClusterError, ProtocolError
from ipyviews.store import journal

if TYPE_CHECKING:
    from collections import Counter

    from ipyviews.controller.links import Link
    from ipyviews.controller.performer import Performer

    #: ``now``, ``most`` (None for what the others limit), ``dropped``; by name.
    Bounds = dict[str, dict[str, int | None]]

#: How long engines may take to tell theirs [s]; one that is stopped does not.
ENGINES_S = 0.5


def bound(now: int, most: int | None, dropped: int = 0) -> dict[str, int | None]:
    """Describe one thing that grows."""
    return {"now": now, "most": most, "dropped": dropped}


def of_controller(performer: Performer, counters: Counter[str]) -> Bounds:
    """Tell what the controller keeps; names that end in ``bytes`` are sizes, others counts."""
    records, fleet = performer.records, performer.fleet
    unread = [client.credit.unread for client in performer.clients]
    ends = performer.state.holding.graph.ends
    found = {
        "tasks": bound(len(performer.state.tasks), None),
        "clients": bound(len(performer.clients), None),
        "unread_bytes": bound(
            max(unread, default=0), clients.FOLD_BYTES, counters["output_folded"]
        ),
        "ends": bound(len(ends), 2 * ends.most),
        "deaths": bound(
            len(fleet.deaths), deaths.MOST_DEATHS, fleet.deaths.count - len(fleet.deaths)
        ),
        "found_bytes": bound(fleet.returns.size, None),
        "setup_bytes": bound(fleet.setups.size, setups.MOST_BYTES),
        "journal_bytes": bound(journal.size(fleet.folder), None),
        "log_bytes": bound(logs.size(fleet.folder), logs.MOST_BYTES * logs.FILES),
    }
    for name, numbers in records.bounds().items():
        found[name] = bound(*numbers)
    return found


async def of_engines(performer: Performer) -> dict[str, Bounds | None]:
    """Ask engines what they keep, by id; None where there is no answer."""
    found: dict[str, Bounds | None] = {}
    asked = {}
    for engine in performer.fleet:
        if engine.state != "live":
            continue
        found[str(engine.id)] = None
        if engine.link is not None and engine.link.can_apply:
            asked[str(engine.id)] = asyncio.ensure_future(_ask(performer, engine.link))
    if asked:
        done, _ = await asyncio.wait(asked.values(), timeout=ENGINES_S)
        found |= {name: one.result() for name, one in asked.items() if one in done}
        for one in asked.values():
            one.cancel()
    return found


async def _ask(performer: Performer, link: Link) -> Bounds | None:
    with suppress(ClusterError, ProtocolError):
        _, answer = performer.links.request(link, "apply", "ping_request", {})
        told: Any = (await asyncio.shield(answer)).read().get("bounds")
        return told if isinstance(told, dict) else None
    return None
