"""The engines of a controller that died, taken over by the next one.

Kernels are the agent's children: they go on without a controller. What must be known of them to
reach them again, to restart them, and to tell which are gone is written down as it changes.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
from typing import TYPE_CHECKING, Any

from ipyviews.controller.config import read_limit
from ipyviews.controller.deaths import describe
from ipyviews.controller.engines import Engine
from ipyviews.controller.joining import Joined
from ipyviews.errors import UsageError
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

#: Engines wait so long for the journal [s]; a disk may hang.
WRITING_S = 1.0

#: Kinds of notes.
ENGINE, FLEET, DEATH, SETUPS = "engine", "fleet", "death", "setups"


def note(journal: Journal, fleet: Fleet, engine: Engine | None) -> None:
    """Write down what is to be known of the fleet, and of one of its engines, soon."""
    wanted = {"n": fleet.wanted, "restart": fleet.revival.limit}
    if engine is None:
        journal.put(FLEET, "wanted", wanted)
        return
    joined = engine.joined or engine.former
    value = {
        "incarnation": engine.incarnation,
        "state": engine.state,
        "reason": engine.reason,
        "begun": [attempt.msg_id for attempt in engine.begun],
        "request": dataclasses.asdict(engine.request),
        "pid": _pid(engine),
        "joined": dataclasses.asdict(joined) if joined else None,
        "deaths": fleet.revival.deaths(engine.id),
    }
    journal.put_all([(ENGINE, str(engine.id), value), (FLEET, "wanted", wanted)])


def _pid(engine: Engine) -> int | None:
    """Return the process of this life of an engine, if there is one already."""
    kernel = engine.kernel
    return None if kernel is None or kernel.incarnation != engine.incarnation else kernel.pid


async def written(journal: Journal) -> None:
    """Wait until all that was noted is written; not for long where that is not possible."""
    loop, done = asyncio.get_running_loop(), asyncio.Event()

    def tell() -> None:
        # The loop may have ended meanwhile.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(done.set)

    journal.when_written(tell)
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(done.wait(), WRITING_S)


def note_death(journal: Journal, name: str, report: Fields | None) -> None:
    """Write down how an engine died, soon; None to forget it."""
    if report is None:
        journal.drop(DEATH, name)
    else:
        journal.put(DEATH, name, report)


def note_setups(journal: Journal, engine: EngineId, cells: list[str]) -> None:
    """Write down the set-up cells of an engine, soon."""
    if cells:
        journal.put(SETUPS, str(engine), {"cells": cells})
    else:
        journal.drop(SETUPS, str(engine))


async def adopt(fleet: Fleet, journal: Journal, n: int) -> None:
    """Bring back the engines that are written down; returns when that has been done or is late.

    Those that had not been joined are joined now, those whose kernel is gone are told as lost, and
    kernels that nobody knows are killed. Where nothing is written down, `n` engines are started.
    """
    notes = journal.read(ENGINE)
    fleet.deaths.restore(journal.read(DEATH).values())
    for name, kept in journal.read(SETUPS).items():
        fleet.setups.restore(EngineId(int(name)), kept["cells"])
    known = journal.read(FLEET).get("wanted")
    running, ended = await fleet.launcher.running()
    ours = {f"e{name}": one["pid"] for name, one in notes.items() if one["state"] != "lost"}
    unknown = {name: one for name, one in running.items() if one.pid != ours.get(name)}
    # First, for what is started next may have their names.
    for one in unknown.values():
        await fleet.launcher.kill(one.pid)
    if known is None:
        fleet.start(n)
        return
    fleet.wanted = known["n"]
    fleet.revival.limit = read_limit(known["restart"])
    for name in sorted(notes, key=int):
        kernel = f"e{name}"
        if kernel in unknown and notes[name]["state"] == "live":
            # A later life could not be written down, and its end is not what is known of this one.
            notes[name]["incarnation"] += 1
            ended.pop(kernel, None)
        process = None if kernel in unknown else running.get(kernel)
        try:
            _take_over(fleet, EngineId(int(name)), notes[name], process, ended.get(kernel))
        except Exception as error:
            # One engine must not take the others with it.
            log.exception("engine %s cannot be taken over", name)
            lost = Engine(EngineId(int(name)), KernelRequest())
            fleet.take_over_lost(lost, f"it could not be taken over: {error}", None)
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
    fleet.revival.restore(name, known["deaths"])
    if known["joined"] is not None:
        engine.former = Joined(**known["joined"])
    # Their clients may not have heard of it.
    engine.begun = fleet.returns.were_lost(known["begun"], known["reason"] or "it was restarted")

    async def take(engine: Engine) -> LaunchedKernel:
        return fleet.launcher.adopt(engine.id, engine.incarnation, engine.request, process)

    if process is not None and known["state"] != "lost":
        log.info("engine %s.%s is taken over", name, engine.incarnation)
        fleet.take_over(engine, take)
    elif known["state"] == "starting" and engine.former is None:
        # It was about to be started; what did start is nobody's.
        if (name, engine.incarnation) in fleet.deaths:
            # It died before it was ready, and clients were told of that life.
            engine.incarnation += 1
        fleet.take_over(engine, fleet.launch)
    else:
        is_news = known["state"] != "lost"
        reason = _loss(ended) if is_news else known["reason"] or "it was lost"
        if is_news:
            fleet.returns.missed(name, engine.incarnation, reason)
        if engine.former is not None:
            engine.joined = engine.former
        try:
            engine.kernel = fleet.launcher.adopt(name, engine.incarnation, engine.request, None)
        except UsageError as error:
            # Its kernelspec is gone, and with it the way to another life.
            reason = f"{reason}; it cannot be started again: {error}"
        fleet.take_over_lost(engine, reason, ended if is_news else None)


def _loss(ended: ExitReport | None) -> str:
    why = "its process is gone" if ended is None else describe(ended)
    return f"it ended while the controller was away: {why}"
