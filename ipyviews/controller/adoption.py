"""The engines of a controller that died, taken over by the next one.

Kernels are the agent's children: they go on without a controller. What must be known of them to
reach them again, to restart them, and to tell which are gone is written down as it changes.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from typing import TYPE_CHECKING, Any

from ipyviews.controller.config import read_limit
from ipyviews.controller.deaths import describe
from ipyviews.controller.fleet import Engine
from ipyviews.controller.joining import Joined
from ipyviews.ids import EngineId
from ipyviews.launching.kernels import KernelRequest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ipyviews.controller.fleet import Fleet
    from ipyviews.launching.exits import ExitReport
    from ipyviews.launching.kernels import LaunchedKernel
    from ipyviews.launching.link import Running
    from ipyviews.store.journal import Journal

    Fields = dict[str, Any]

log = logging.getLogger(__name__)

#: Clients are answered when all engines are back, after so long in any case [s].
PATIENCE_S = 2.0

#: Kinds of notes.
ENGINE, FLEET, DEATH = "engine", "fleet", "death"


def note(journal: Journal, fleet: Fleet, engine: Engine | None) -> None:
    """Write down what is to be known of the fleet, and of one of its engines, soon."""
    journal.put(FLEET, "wanted", {"n": fleet.wanted, "restart": fleet.revival.limit})
    if engine is None:
        return
    kernel, joined = engine.kernel, engine.joined or engine.former
    value = {
        "incarnation": engine.incarnation,
        "state": engine.state,
        "reason": engine.reason,
        "request": dataclasses.asdict(engine.request),
        "pid": kernel.pid if kernel else None,
        "joined": dataclasses.asdict(joined) if joined else None,
    }
    journal.put(ENGINE, str(engine.id), value)


def note_death(journal: Journal, name: str, report: Fields | None) -> None:
    """Write down how an engine died, soon; None to forget it."""
    if report is None:
        journal.drop(DEATH, name)
    else:
        journal.put(DEATH, name, report)


async def adopt(fleet: Fleet, journal: Journal) -> None:
    """Bring back the engines that are written down; returns when that has been done or is late.

    Those that had not been joined are joined now, those whose kernel is gone are told as lost, and
    kernels that nobody knows are killed.
    """
    notes = journal.read(ENGINE)
    fleet.deaths.restore(journal.read(DEATH).values())
    if (known := journal.read(FLEET).get("wanted")) is not None:
        fleet.wanted = known["n"]
        fleet.revival.limit = read_limit(known["restart"])
    running, ended = await fleet.launcher.running()
    for name in sorted(notes, key=int):
        kernel = f"e{name}"
        process = running.get(kernel)
        if process is not None and process.pid == notes[name]["pid"]:
            del running[kernel]
        else:
            process = None
        _take_over(fleet, EngineId(int(name)), notes[name], process, ended.get(kernel))
    for unknown in running.values():
        await fleet.launcher.kill(unknown.pid)
    work = [engine.work for engine in fleet if engine.work is not None]
    if work:
        await asyncio.wait(work, timeout=PATIENCE_S)


def _take_over(
    fleet: Fleet,
    name: EngineId,
    known: Mapping[str, Any],
    process: Running | None,
    ended: ExitReport | None,
) -> None:
    engine = Engine(name, KernelRequest(**known["request"]), incarnation=known["incarnation"])
    if known["joined"] is not None:
        engine.former = Joined(**known["joined"])

    async def take(engine: Engine) -> LaunchedKernel:
        return fleet.launcher.adopt(engine.id, engine.incarnation, engine.request, process)

    if process is not None and known["state"] != "lost":
        log.info("engine %s.%s is taken over", name, engine.incarnation)
        fleet.take_over(engine, take)
    elif known["state"] == "starting":
        # It was about to be started; what did start is nobody's.
        engine.former = None
        fleet.take_over(engine, fleet.launch)
    else:
        is_news = known["state"] != "lost"
        reason = _loss(ended) if is_news else known["reason"] or "it was lost"
        if is_news:
            fleet.returns.missed(name, engine.incarnation, reason)
        if engine.former is not None:
            engine.joined = engine.former
        engine.kernel = fleet.launcher.adopt(name, engine.incarnation, engine.request, None)
        fleet.take_over_lost(engine, reason, ended if is_news else None)


def _loss(ended: ExitReport | None) -> str:
    why = "its process is gone" if ended is None else describe(ended)
    return f"it ended while the controller was away: {why}"
