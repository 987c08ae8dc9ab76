"""The engines of the cluster: starting, joining, dying, restarting, ending.

Every engine goes ``starting -> live -> lost`` and, when restarted, round again under the next
incarnation. Whatever happens to its process ends in one event for the core.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any

from ipyviews.controller.deaths import Deaths, describe, sort_calls
from ipyviews.controller.engines import Engine
from ipyviews.controller.joining import Joining
from ipyviews.controller.links import Link
from ipyviews.controller.setups import Revival, Setups
from ipyviews.core.events import EngineExpected, EngineJoined, EngineLost, Kind
from ipyviews.engine import crashes
from ipyviews.errors import ClusterError, UsageError
from ipyviews.ids import Attempt, ClientId, EngineId
from ipyviews.launching.kernels import KernelRequest

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence
    from pathlib import Path

    from ipyviews.controller.config import Config
    from ipyviews.controller.joining import Joined
    from ipyviews.controller.links import Links
    from ipyviews.controller.outputs import Gate
    from ipyviews.controller.returns import Returns
    from ipyviews.core.events import Event
    from ipyviews.launching.kernels import ExitReport, KernelLauncher, LaunchedKernel
    from ipyviews.protocol.wire import Message

log = logging.getLogger(__name__)

#: Between the report of an exit and its verdict [s]: what the kernel sent last is still arriving.
LAST_WORDS_S = 0.05


class Fleet:
    """All engines.

    Parameters
    ----------
    config
        Kernels, environment and working directory of engines.
    life
        The controller's name, in every message to an engine.
    links
        The sockets.
    gate
        Where replies and output of engines go.
    feed
        Takes events for the core.
    """

    def __init__(
        self,
        config: Config,
        life: str,
        links: Links,
        gate: Gate,
        feed: Callable[[Event], object],
    ) -> None:
        self._config = config
        self._life = life
        self._links = links
        self._gate = gate
        self._feed = feed
        self._loop = asyncio.get_running_loop()
        self._engines: dict[EngineId, Engine] = {}
        #: Those that nobody asked for.
        self.deaths = Deaths()
        #: Where second starts are counted.
        self.counters: Counter[str] = Counter()
        self.revival = Revival(config.restart)
        self.setups = Setups()
        self._is_closing = False
        #: Makes kernels; set before the first start.
        self.launcher: KernelLauncher
        #: Engines that there may be: open files are limited. [count]
        self.most = sys.maxsize
        #: Takes what engines hold for a controller before this one.
        self.returns: Returns
        #: Engines that should be there. [count]
        self.wanted = 0
        #: Called whenever what clients are told of engines has changed.
        self.on_change: Callable[[], None] = lambda: None
        #: Called whenever what a later controller must know has changed: with an engine, or None.
        self.on_news: Callable[[Engine | None], None] = lambda _engine: None
        #: Waits until that is written down, if it ever is.
        self.written: Callable[[], Awaitable[None]] = _nothing
        links.on_reply = gate.replied
        links.on_output = self._published

    # -- what there is ---------------------------------------------------------------------------

    def link(self, engine: EngineId, incarnation: int) -> Link | None:
        """Return the link of one life of an engine; None when that life is over."""
        known = self._engines.get(engine)
        if known is None or known.link is None or known.link.incarnation != incarnation:
            return None
        return known.link

    def find(self, ids: Sequence[int]) -> list[Engine]:
        """Return engines by id.

        Raises
        ------
        UsageError
            Naming an id that no engine ever had.
        """
        for engine in ids:
            if engine not in self._engines:
                raise UsageError(f"there is no engine {engine}; there are {self._names()}")
        return [self._engines[EngineId(engine)] for engine in dict.fromkeys(ids)]

    @property
    def folder(self) -> Path:
        """The run folder."""
        return self._config.folder

    def __iter__(self) -> Iterator[Engine]:
        return iter(self._engines.values())

    def infos(self) -> list[dict[str, Any]]:
        """Return what clients are told of every engine."""
        return [engine.info() for engine in self._engines.values()]

    def failed(self) -> list[tuple[int, str]]:
        """Return the engines that never came up, with the reason."""
        return [
            (engine.id, engine.reason or "")
            for engine in self._engines.values()
            if engine.state == "lost" and engine.joined is None
        ]

    # -- commands --------------------------------------------------------------------------------

    def start(self, n: int, kernel: str | None = None) -> list[EngineId]:
        """Start `n` more engines, all at once; they join when they are ready."""
        first = max(self._engines, default=-1) + 1
        started = []
        for number in range(first, first + n):
            self.wanted += 1
            name = kernel or self._config.kernel(number)
            request = KernelRequest(kernel=name, env=self._config.env, cwd=self._config.cwd)
            engine = Engine(EngineId(number), request)
            self._engines[engine.id] = engine
            self._feed(EngineExpected(self._loop.time(), engine.id))
            self.begin(engine, self.launch)
            started.append(engine.id)
        self.on_change()
        return started

    async def restart(self, ids: Sequence[int], *, now: bool, setup: bool = True) -> None:
        """Restart engines; returns when all have joined again or failed to.

        Without `setup` their set-up cells are not run there, and forgotten.

        Raises
        ------
        UsageError
            When one of them is not there, coming up or gone for good; then none is restarted.
        """
        engines = self.find(ids)
        for engine in engines:
            if engine.kernel is None or engine.work is not None:
                raise UsageError(
                    f"engine {engine.id} cannot be restarted now: it is {engine.state}"
                )
        for engine in engines:
            self.revival.forgive(engine.id)
            if not setup:
                self.setups.forget(engine.id)
            if engine.state == "live":
                self._lose(engine, "it was restarted", restarting=True)
            else:
                self._feed(EngineExpected(self._loop.time(), engine.id))
            self.begin(engine, lambda engine: self._relaunch(engine, now=now))
        await asyncio.gather(*(engine.work for engine in engines if engine.work is not None))

    def tell_left(self, client: ClientId) -> None:
        """Tell engines that a client has left: what its functions brought may be replaced."""
        for engine in self:
            if engine.link is not None and engine.link.can_apply:
                link, content = engine.link, {"client": client}
                self._links.send(link, "apply", "client_left", link.new_id(), content)

    async def signal(self, ids: Sequence[int], number: int) -> None:
        """Send a signal to the processes of engines."""
        engines = [engine for engine in self.find(ids) if engine.state != "lost"]
        for engine in engines:
            engine.has_spare = False
        kernels = [engine.kernel for engine in engines if engine.kernel is not None]
        await asyncio.gather(*(kernel.signal(number) for kernel in kernels))

    async def shutdown(self, ids: Sequence[int]) -> None:
        """End engines for good."""
        engines = [engine for engine in self.find(ids) if engine.state != "lost"]
        for engine in engines:
            self.wanted -= 1
            self._lose(engine, "it was shut down")
        await asyncio.gather(*map(self._put_down, engines))

    async def close(self, *, politely: bool) -> None:
        """Let go of all engines, then end their kernels at once."""
        self._is_closing = True
        work = [engine.work for engine in self._engines.values() if engine.work is not None]
        for task in work:
            task.cancel()
        await asyncio.gather(*work, return_exceptions=True)
        # Before the kernels end: sockets that lost their peer would linger.
        self._links.close()
        await self.launcher.close(politely=politely)

    # -- engines of the controller before this one ----------------------------------------------

    def take_over(
        self, engine: Engine, launch: Callable[[Engine], Awaitable[LaunchedKernel]]
    ) -> None:
        """Add an engine and bring it back, in the life it is in."""
        self._engines[engine.id] = engine
        self._feed(EngineExpected(self._loop.time(), engine.id))
        if engine.former is not None:
            self.returns.expect(engine.id)
        engine.work = self._loop.create_task(self._bring_up(engine, launch))

    def take_over_lost(self, engine: Engine, reason: str, report: ExitReport | None) -> None:
        """Add an engine that is gone; one that has just died may come back."""
        self._engines[engine.id] = engine
        self._feed(EngineExpected(self._loop.time(), engine.id))
        if self._lose_former(engine, reason, report):
            self._revive(engine)

    def _lose_former(self, engine: Engine, reason: str, report: ExitReport | None) -> bool:
        """Lose an engine before it has joined again; returns whether it may come back."""
        revives, refusal = False, ""
        if report is not None and engine.kernel is not None:
            revives, refusal = self.revival.judge(engine.id, self._loop.time())
        name = (engine.id, engine.incarnation)
        # One that the controller before had noted already knows more.
        if report is not None and name not in self.deaths:
            crash = crashes.read(str(engine.kernel.connection_file)) if engine.kernel else ""
            self.deaths.note(name, report, crash=crash, restarted=revives, refusal=refusal)
        self._lose(engine, f"{reason}; {refusal}" if refusal else reason, restarting=revives)
        return revives

    # -- what happens ----------------------------------------------------------------------------

    def exited(self, engine_id: EngineId, incarnation: int, report: ExitReport) -> None:
        """Take the report that a kernel's process has ended."""
        engine = self._engines[engine_id]
        if incarnation != engine.incarnation or engine.state == "lost":
            return
        sentence = describe(report)
        log.warning("engine %s.%s ended: %s", engine_id, incarnation, report.sentence)
        if engine.state == "live":
            self._loop.call_later(LAST_WORDS_S, self._verdict, engine, incarnation, report)
        else:
            engine.reason = sentence
            if engine.former is None:
                engine.is_stillborn = engine.has_spare and not engine.has_served
                self._note_death(engine, report, restarted=engine.is_stillborn)
            else:
                engine.report = report
            if engine.link is not None:
                self._links.disconnect(engine.link, sentence)

    def _published(self, link: Link, message: Message) -> None:
        engine = self._engines[link.engine]
        if engine.joining is not None:
            engine.joining.heard(message)
        if engine.joining is None or engine.former is not None:
            self._gate.published(link, message)

    def _verdict(self, engine: Engine, incarnation: int, report: ExitReport) -> None:
        if self._is_closing or engine.state != "live" or engine.incarnation != incarnation:
            return
        revives, refusal = self.revival.judge(engine.id, self._loop.time())
        reason = f"{describe(report)}; {refusal}" if refusal else describe(report)
        self._lose(engine, reason, report=report, restarting=revives, refusal=refusal)
        if revives:
            self._revive(engine)

    def _revive(self, engine: Engine) -> None:
        self.begin(engine, lambda engine: self._relaunch(engine, now=True))
        self.on_change()

    def _lose(
        self,
        engine: Engine,
        reason: str,
        *,
        report: ExitReport | None = None,
        restarting: bool = False,
        refusal: str = "",
    ) -> None:
        incarnation = engine.incarnation if engine.state == "live" else 0
        untouched: set[Attempt] = set()
        ended: set[Attempt] = set()
        if engine.link is not None:
            flights = self._gate.engine_lost(engine.link)
            self._links.disconnect(engine.link, reason)
            calls = [flight for flight in flights if flight.kind is Kind.APPLY]
            untouched, ended = sort_calls(engine.kernel, engine.link, calls)
            engine.begun = tuple(one.attempt for one in flights if one.attempt not in untouched)
            if report is not None:
                over = untouched | ended
                running = [one.attempt.task for one in flights if one.attempt not in over]
                self._note_death(engine, report, running, restarting, refusal)
            self.returns.engine_lost(engine.link, reason)
            engine.link = None
        engine.enter("lost", reason)
        lost = EngineLost(
            self._loop.time(),
            engine.id,
            incarnation,
            reason,
            self_inflicted=report is not None and report.self_inflicted,
            restarting=restarting,
            untouched=frozenset(untouched),
            ended=frozenset(ended),
        )
        self._feed(lost)
        self.on_news(engine)
        self.on_change()

    def _note_death(
        self,
        engine: Engine,
        report: ExitReport,
        running: Sequence[str] = (),
        restarted: bool = False,
        refusal: str = "",
    ) -> None:
        kernel = engine.kernel
        self.deaths.note(
            (engine.id, engine.incarnation),
            report,
            running=running,
            words=engine.link.words if engine.link else None,
            crash=crashes.read(str(kernel.connection_file)) if kernel else "",
            restarted=restarted,
            refusal=refusal,
        )

    # -- bringing an engine up -------------------------------------------------------------------

    def begin(self, engine: Engine, launch: Callable[[Engine], Awaitable[LaunchedKernel]]) -> None:
        """Begin the next life of an engine."""
        self._enter_life(engine, has_spare=True)
        engine.work = self._loop.create_task(self._bring_up(engine, launch))

    def _enter_life(self, engine: Engine, *, has_spare: bool) -> None:
        engine.incarnation += 1
        engine.enter("starting")
        engine.has_spare, engine.is_stillborn = has_spare, False
        engine.joined = engine.former = engine.joining = engine.link = None
        self.on_news(engine)

    def _check_room(self, engine: Engine) -> None:
        before = [one for one in self if one.id < engine.id and one.state != "lost"]
        if len(before) >= self.most:
            raise ClusterError(
                f"the limit of open files leaves room for {self.most} engines; raise it with "
                "`ulimit -n` where the cluster is started"
            )

    async def launch(self, engine: Engine) -> LaunchedKernel:
        """Start the kernel of an engine for the first time."""
        self._check_room(engine)
        return await self.launcher.start(engine.id, engine.incarnation, engine.request)

    async def _relaunch(self, engine: Engine, *, now: bool) -> LaunchedKernel:
        self._check_room(engine)
        assert engine.kernel is not None  # noqa: S101 - checked in restart
        await engine.kernel.restart(now=now)
        return engine.kernel

    async def _bring_up(
        self, engine: Engine, launch: Callable[[Engine], Awaitable[LaunchedKernel]]
    ) -> None:
        revives = False
        try:
            try:
                joined = await self._come_up(engine, launch)
            except Exception:
                if not engine.is_stillborn or engine.state != "starting":
                    raise
                joined = await self._come_up(engine, self._second_start(engine))
        except Exception as error:  # noqa: BLE001 - whatever it is, its tasks must not wait
            reason = engine.reason or str(error) or type(error).__name__
            log.warning("engine %s did not come up: %s", engine.id, reason)
            revives = self._lose_unjoined(engine, reason)
            if engine.kernel is not None and not revives:
                await engine.kernel.shutdown(now=True)
        else:
            self._welcome(engine, joined)
        finally:
            former = engine.former
            engine.joining = engine.former = engine.stray = engine.work = None
        if revives:
            self._revive(engine)
        if former is not None:
            self.returns.told(engine.id)

    def _lose_unjoined(self, engine: Engine, reason: str) -> bool:
        """Lose an engine that could not join, or not again; returns whether it may come back."""
        if engine.former is not None:
            self.returns.missed(engine.id, engine.incarnation, reason)
            engine.joined = engine.former
            return engine.state == "starting" and self._lose_former(engine, reason, engine.report)
        if engine.state == "starting":
            self._lose(engine, f"it did not start: {reason}")
        return False

    def _second_start(self, engine: Engine) -> Callable[[Engine], Awaitable[LaunchedKernel]]:
        """Begin the life after one that ended before it was ready: no fault of its user's."""
        log.warning("engine %s is started once more: it did not start", engine.id)
        self.counters["second_starts"] += 1
        self._enter_life(engine, has_spare=False)
        return partial(self._relaunch, now=True) if engine.kernel else self.launch

    async def _come_up(
        self, engine: Engine, launch: Callable[[Engine], Awaitable[LaunchedKernel]]
    ) -> Joined:
        # Each step is known to a later controller before anything can follow from it.
        await self.written()
        engine.kernel = await launch(engine)
        self.on_news(engine)
        joined = engine.joined = await self._join(engine, engine.kernel)
        self.on_news(engine)
        await self.written()
        _check(engine)
        return joined

    async def _join(self, engine: Engine, kernel: LaunchedKernel) -> Joined:
        _check(engine)
        engine.link = Link(engine.id, engine.incarnation, kernel, self._life)
        engine.joining = Joining(self._links, engine.link, self.setups.of(engine.id))
        if engine.former is None:
            return await engine.joining.run()
        told = await engine.joining.again(engine.former)
        engine.stray = self.returns.resumed(engine.link, told)
        return engine.former

    def _welcome(self, engine: Engine, joined: Joined) -> None:
        engine.joining = None
        log.info(
            "engine %s.%s joined %.2f s after its start",
            engine.id,
            engine.incarnation,
            time.time() - engine.since,
        )
        engine.enter("live", joined.remark or None)
        event = EngineJoined(
            self._loop.time(),
            engine.id,
            engine.incarnation,
            can_apply=joined.can_apply,
            stray=engine.stray,
        )
        self._feed(event)
        self.on_news(engine)
        self.on_change()

    async def _put_down(self, engine: Engine) -> None:
        """End the process of an engine that was lost on purpose, for good."""
        if engine.work is not None:
            # Losing it has ended its joining, and what fails to join is removed.
            await engine.work
        elif engine.kernel is not None:
            kernel, engine.kernel = engine.kernel, None
            await kernel.shutdown()
            self.launcher.forget(kernel)

    def _names(self) -> str:
        return ", ".join(map(str, self._engines)) or "none"


def _check(engine: Engine) -> None:
    """Raise if an engine has ended, or was shut down, before it could join."""
    if engine.reason is not None:
        raise ClusterError(engine.reason)


async def _nothing() -> None:
    return
