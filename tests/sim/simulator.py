"""A cluster in virtual time: the real core, engines that are a few lines.

`World` performs effects as the controller's performer does, but onto engines that only take time,
die, and reply twice, late or never. A reply is lost only when its engine is lost later, as in life.
"""

from __future__ import annotations

import heapq
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from random import Random

from ipyviews.core.effects import (
    Dispatch,
    Effect,
    Interrupt,
    Recall,
    Reply,
    Verdict,
    WakeAt,
)
from ipyviews.core.events import (
    AttemptsMissing,
    EngineExpected,
    EngineJoined,
    EngineLost,
    Event,
    Status,
    TaskReplied,
    TasksReturned,
    TaskSubmitted,
    Woke,
)
from ipyviews.core.schemes import DEFAULT
from ipyviews.core.state import ControllerState
from ipyviews.ids import Attempt

#: A call that runs for longer makes its engine give back those that wait behind it [s].
LATE_S = 0.02

#: Longest time until an engine is asked for what it was sent and is silent about [s].
ASK_S = 5.0


@dataclass(frozen=True)
class Weather:
    """How rough it is; probabilities from 0 to 1, times in seconds of the virtual clock."""

    #: Longest time of a task, of the way to or from an engine, and of a start.
    task_s: float = 1.0
    way_s: float = 0.01
    start_s: float = 2.0
    #: Of a run: it raises, its engine dies in it, its reply is lost (and its engine, later).
    failing: float = 0.0
    deadly: float = 0.0
    lost: float = 0.0
    #: Of a call on its way to an engine that lives, and of its reply: it gets lost.
    missing: float = 0.0
    #: Of a run: what the task requires is not on its engine.
    unmet: float = 0.0
    #: Of a reply: it comes twice, or much later than its engine's loss.
    twice: float = 0.0
    late: float = 0.0
    #: Of a death: the engine is started again; it is known what it had started.
    restarting: float = 0.8
    known: float = 0.5


@dataclass
class FakeEngine:
    """One life of an engine: runs what it is sent, in order, one at a time, direct calls first."""

    incarnation: int
    queue: deque[Attempt] = field(default_factory=deque)
    direct: deque[Attempt] = field(default_factory=deque)
    #: What it ever began.
    begun: set[Attempt] = field(default_factory=set)
    #: The attempt it works on; a finished or interrupted one is no longer this.
    current: Attempt | None = None
    #: When it began that one.
    began: float = 0.0


class World:
    """Everything outside the core, on one heap of things to come."""

    def __init__(
        self,
        weather: Weather,
        *,
        seed: int = 0,
        bundle: int | None = None,
        scheme: str = DEFAULT,
    ) -> None:
        self.state = ControllerState(bundle=bundle, scheme=scheme, chance=Random(seed))
        self.weather = weather
        self.chance = Random(seed)
        self.now = 0.0
        self.engines: dict[int, FakeEngine] = {}
        self.born: Counter[int] = Counter()
        #: Every reply, by task; the frames a driver would hold.
        self.replies: dict[str, list[Reply]] = {}
        self.frames: set[str] = set()
        #: Direct tasks, which are never run again, and how often tasks were begun.
        self.direct: set[str] = set()
        self.begun: Counter[str] = Counter()
        self.events = 0
        self.seen: Counter[str] = Counter()
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self._ticket = count()

    # -- what a script does --------------------------------------------------------------------

    def at(self, when: float, happen: Callable[[], None]) -> None:
        """Let something happen at a time."""
        heapq.heappush(self._agenda, (when, next(self._ticket), happen))

    def start(self, engine: int) -> None:
        """Start an engine, for the first time or again."""
        self.feed(EngineExpected(self.now, engine))
        self._soon(self.weather.start_s, lambda: self._join(engine))

    def submit(self, event: TaskSubmitted) -> None:
        """Submit a task."""
        self.frames.add(event.task)
        if event.engine is not None and not event.retries:
            self.direct.add(event.task)
        self.replies.setdefault(event.task, [])
        self.feed(event)

    def kill(self, engine: int, *, self_inflicted: bool = False) -> None:
        """Let a living engine die now; what it sent before may still arrive."""
        fake = self.engines.pop(engine, None)
        if fake is None:
            return
        self.seen["deaths"] += 1
        restarting = self.chance.random() < self.weather.restarting
        reason, life = "killed by SIGKILL", fake.incarnation
        sent = [task.attempt for task in self.state.engines[engine].running.values()]
        known = sent if self.chance.random() < self.weather.known else ()
        self.feed(
            EngineLost(
                self.now,
                engine,
                life,
                reason,
                self_inflicted,
                restarting,
                untouched=frozenset(one for one in known if one not in fake.begun),
                ended=frozenset(one for one in known if one in fake.begun and one != fake.current),
            )
        )
        if restarting:
            self._soon(self.weather.start_s, lambda: self._join(engine))

    def run(self, each: Callable[[], None] = lambda: None) -> None:
        """Let time pass until nothing is left to happen; call `each` after every step."""
        while self._agenda:
            self.now, _, happen = heapq.heappop(self._agenda)
            happen()
            each()

    # -- the core and its effects --------------------------------------------------------------

    def feed(self, event: Event) -> None:
        """Tell the core, and do what it says."""
        self.events += 1
        for effect in self.state.handle(event):
            self.perform(effect)

    def perform(self, effect: Effect) -> None:
        """Do one effect."""
        match effect:
            case Dispatch(attempt) if self._gets_lost():
                self._soon(ASK_S, lambda: self._miss(attempt, untouched=True))
            case Dispatch(attempt, _, urgent):
                self._soon(self.weather.way_s, lambda: self._arrive(attempt, urgent))
            case Recall(attempts):
                self._soon(self.weather.way_s, lambda: self._give_back(attempts))
            case Interrupt(attempt):
                self._soon(self.weather.way_s, lambda: self._interrupt(attempt))
            case Reply(task):
                self.replies[task].append(effect)
                self.frames.remove(task)
                self.seen[effect.verdict] += 1
            case WakeAt(when):
                self.at(when, lambda: self.feed(Woke(self.now)))

    def verdicts(self) -> dict[str, Verdict]:
        """How each task ended; fails unless each has exactly one reply and no frames left."""
        assert not self.frames
        return {task: reply.verdict for task, (reply,) in self.replies.items()}

    # -- engines -------------------------------------------------------------------------------

    def _soon(self, longest: float, happen: Callable[[], None]) -> None:
        self.at(self.now + self.chance.uniform(0.0, longest), happen)

    def _join(self, engine: int) -> None:
        self.born[engine] += 1
        self.engines[engine] = FakeEngine(self.born[engine])
        self.feed(EngineJoined(self.now, engine, self.born[engine], can_apply=True))

    def _life(self, attempt: Attempt) -> FakeEngine | None:
        fake = self.engines.get(attempt.engine)
        return fake if fake and fake.incarnation == attempt.incarnation else None

    def _arrive(self, attempt: Attempt, urgent: bool) -> None:
        if fake := self._life(attempt):
            if attempt.task in self.direct:
                fake.direct.append(attempt)
            else:
                (fake.queue.appendleft if urgent else fake.queue.append)(attempt)
            self._work(fake)

    def _give_back(self, attempts: tuple[Attempt, ...]) -> None:
        if fake := self._life(attempts[0]):
            returned = tuple(one for one in attempts if one in (*fake.direct, *fake.queue))
            for attempt in returned:
                (fake.direct if attempt in fake.direct else fake.queue).remove(attempt)
            self.seen["given back"] += len(returned)
            self._soon(self.weather.way_s, lambda: self.feed(TasksReturned(self.now, returned)))

    def _look_at(self, attempt: Attempt) -> None:
        fake = self._life(attempt)
        if fake and fake.current == attempt and fake.queue:
            self._give_back(tuple(fake.queue))

    def _work(self, fake: FakeEngine) -> None:
        if fake.current is None and (fake.direct or fake.queue):
            attempt = fake.current = (fake.direct or fake.queue).popleft()
            fake.begun.add(attempt)
            self.begun[attempt.task] += 1
            assert attempt.task not in self.direct or self.begun[attempt.task] == 1
            fake.began = self.now
            self.at(self.now + LATE_S, lambda: self._look_at(attempt))
            self._soon(self.weather.task_s, lambda: self._end(attempt))

    def _end(self, attempt: Attempt, status: Status = Status.OK) -> None:
        fake = self._life(attempt)
        if fake is None or fake.current != attempt:
            return
        ran_s = self.now - fake.began
        luck = self.chance.random()
        if luck < self.weather.deadly:
            self.kill(attempt.engine, self_inflicted=luck < self.weather.deadly / 2)
            return
        fake.current = None
        if self.chance.random() < self.weather.failing:
            status = Status.ERROR
        elif self.weather.unmet and self.chance.random() < self.weather.unmet:
            status = Status.UNMET
        self._send(attempt, status, ran_s)
        self._work(fake)

    def _interrupt(self, attempt: Attempt) -> None:
        fake = self._life(attempt)
        if fake and attempt in (*fake.direct, *fake.queue):
            self._give_back((attempt,))
        elif fake and fake.current == attempt:
            fake.current = None
            self._send(attempt, Status.ERROR)
            self._work(fake)

    def _gets_lost(self) -> bool:
        lost = bool(self.weather.missing) and self.chance.random() < self.weather.missing
        self.seen["messages lost"] += lost
        return lost

    def _miss(self, attempt: Attempt, *, untouched: bool) -> None:
        """Let the engine, if it still lives, be asked for what it does not hold."""
        if self._life(attempt):
            gone = (attempt,)
            self.feed(AttemptsMissing(self.now, gone, frozenset(gone if untouched else ())))

    def _send(self, attempt: Attempt, status: Status, ran_s: float | None = None) -> None:
        if self._gets_lost():
            self._soon(ASK_S, lambda: self._miss(attempt, untouched=False))
            return

        def deliver() -> None:
            self.feed(TaskReplied(self.now, attempt, status, ran_s))

        if self.chance.random() < self.weather.lost:
            self.seen["replies lost"] += 1
            self._soon(10 * self.weather.task_s, lambda: self._kill_life(attempt))
            return
        if self.chance.random() < self.weather.twice:
            self.seen["replies twice"] += 1
            self._soon(5 * self.weather.task_s, deliver)
        if self.chance.random() < self.weather.late:
            self.seen["replies late"] += 1
            self._soon(self.weather.way_s, lambda: self._kill_life(attempt))
            self.at(self.now + 5 * self.weather.task_s, deliver)
            return
        self._soon(self.weather.way_s, deliver)

    def _kill_life(self, attempt: Attempt) -> None:
        if self._life(attempt):
            self.kill(attempt.engine)
