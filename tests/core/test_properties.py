"""Whatever happens, in whatever order: the invariants, and exactly one reply for each task.

`Desk` checks every effect against its ledger, and `invariants.check` the state, after each step.
"""

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from ipyviews.core.effects import UNANSWERED, Past, Run, Verdict
from ipyviews.core.events import Found, Kind, Status, StrayEnded
from ipyviews.core.schemes import SCHEMES
from ipyviews.ids import Attempt
from tests.core.desk import Desk, fingerprint
from tests.core.needs import needs
from tests.core.strategies import (
    ALLOWED,
    BUNDLES,
    CLIENTS,
    ENGINES,
    FLAGS,
    KINDS,
    LOSSES,
    PICKS,
    RUNS_S,
    STATUSES,
    STEPS_S,
    WISHES,
)


class Cluster(RuleBasedStateMachine):
    """Clients and engines that do whatever they like."""

    def __init__(self) -> None:
        super().__init__()
        self.desk = Desk()
        self.requests = 0
        self.born = [0] * 4
        #: What engines run for a controller before this one, and its kind.
        self.strays: list[tuple[Attempt, Kind]] = []

    @initialize(bundle=BUNDLES, scheme=st.sampled_from(SCHEMES), engines=st.integers(0, 3))
    def start(self, bundle: int | None, scheme: str, engines: int) -> None:
        self.desk = Desk(bundle, scheme=scheme)
        for engine in range(engines):
            self.join(engine, True)

    # -- engines -------------------------------------------------------------------------------

    @rule(engine=ENGINES)
    def expect(self, engine: int) -> None:
        self.desk.expect(engine)

    @rule(engine=ENGINES, can_apply=st.sampled_from([True, True, True, False]))
    def join(self, engine: int, can_apply: bool) -> None:
        self.born[engine] += 1
        self.desk.join(engine, self.born[engine], can_apply)

    @rule(engine=ENGINES, client=CLIENTS, kind=KINDS, number=st.integers(1, 3))
    def take_over(self, engine: int, client: str, kind: Kind, number: int) -> None:
        """An engine is busy for a controller before this one."""
        self.born[engine] += 1
        self.requests += 1
        stray = Attempt(f"{client}-{self.requests}.0", engine, self.born[engine], number)
        self.desk.join(engine, self.born[engine], True, stray)
        self.strays.append((stray, kind))

    @precondition(lambda self: self.strays)
    @rule(pick=PICKS)
    def end_stray(self, pick: int) -> None:
        """Nobody comes for it."""
        stray, _ = self.strays.pop(pick % len(self.strays))
        self.desk.feed(StrayEnded(self.desk.now, stray))

    @rule(engine=ENGINES, how=LOSSES)
    def lose(self, engine: int, how: dict[str, bool]) -> None:
        self.desk.lose(engine, self.desk.lives.get(engine, 0), **how)

    @rule(engine=ENGINES, how=LOSSES, ended=st.integers(0, 3), left=st.integers(0, 3))
    def lose_and_know_what_it_had_started(self, engine: int, how, ended: int, left: int) -> None:
        sent = [attempt for attempt in self.desk.in_flight if attempt.engine == engine]
        known = {"ended": sent[:ended], "untouched": sent[ended:][left:]}
        sets = {name: frozenset(attempts) for name, attempts in known.items()}
        self.desk.lose(engine, self.desk.lives.get(engine, 0), **how, **sets)

    @rule(engine=ENGINES, back=st.integers(1, 3), how=LOSSES)
    def lose_a_past_life(self, engine: int, back: int, how: dict[str, bool]) -> None:
        past = self.born[engine] - back
        if past > 0 and past < self.desk.lives.get(engine, 0):
            self.unchanged(lambda: self.desk.lose(engine, past, **how))

    # -- tasks ---------------------------------------------------------------------------------

    @rule(engine=ENGINES, client=CLIENTS, kinds=st.lists(KINDS, max_size=4), wishes=WISHES)
    def submit_direct(self, engine: int, client: str, kinds: list, wishes: dict) -> None:
        self.requests += 1
        for index, kind in enumerate(kinds):
            task = f"{client}-{self.requests}.{index}"
            self.desk.submit(task, engine, client, kind=kind, **wishes)

    @rule(client=CLIENTS, kind=KINDS, n=st.integers(1, 5), allowed=ALLOWED, wishes=WISHES)
    def submit_balanced(self, client: str, kind, n: int, allowed, wishes: dict) -> None:
        self.requests += 1
        for index in range(n):
            task = f"{client}-{self.requests}.{index}"
            self.desk.submit(task, None, client, kind=kind, allowed=allowed, **wishes)

    @rule(
        client=CLIENTS,
        kind=KINDS,
        n=st.integers(1, 2),
        allowed=ALLOWED,
        wishes=WISHES,
        picks=st.tuples(*[st.lists(PICKS, max_size=3)] * 2),
        flags=st.tuples(FLAGS, FLAGS),
    )
    def submit_dependent(self, client: str, n: int, picks, flags, wishes, **what) -> None:
        self.requests += 1
        # Among them one that nobody knows.
        known = [*self.desk.submitted, "x-1.0"]
        after, follow = (
            needs(*(known[-1 - pick % min(len(known), 12)] for pick in chosen), **how)
            if chosen
            else None
            for chosen, how in zip(picks, flags, strict=True)
        )
        what |= {"after": after, "follow": follow, **wishes}
        for index in range(n):
            self.desk.submit(f"{client}-{self.requests}.{index}", None, client, **what)

    @precondition(lambda self: self.strays)
    @rule(
        pick=PICKS,
        status=st.none() | STATUSES,
        how=st.tuples(st.sampled_from(["", "", "it may have run"]), st.booleans()),
        is_direct=st.booleans(),
        wishes=WISHES,
    )
    def claim(self, pick: int, status, how, is_direct: bool, wishes: dict) -> None:
        """The client of a controller before this one is back: its task runs, has ended, is lost."""
        lost, lives = how
        stray, kind = self.strays.pop(pick % len(self.strays))
        if status is not None or lost:
            self.desk.feed(StrayEnded(self.desk.now, stray))
        # Only a balanced one is run again.
        before = (stray._replace(number=1), "killed") if lives and not is_direct else None
        found = Found(stray, status, before=before)
        if lost:
            found = Found(stray, lost=lost, lives=lives, before=before)
        engine, client = stray.engine if is_direct else None, stray.task[0]
        self.desk.submit(stray.task, engine, client, kind=kind, found=found, **wishes)

    @rule(
        run=st.tuples(st.integers(0, 4), st.integers(0, 3), st.integers(1, 3)),
        told=st.tuples(STATUSES, st.just(""))
        | st.tuples(st.none(), st.sampled_from(["", "?"]), st.booleans()),
        client=CLIENTS,
        place=st.just("direct") | ALLOWED,
        follow=st.sampled_from([None, needs("x-1.0")]),
        wishes=WISHES | KINDS.map(lambda kind: {"kind": kind}),
    )
    def claim_what_ran_anywhere(self, run, told, client, place, **what) -> None:
        """Also on an engine that is lost, was never there, or has another life now."""
        self.requests += 1
        task = f"{client}-{self.requests}.0"
        found = Found(Attempt(task, *run), told[0], None, *told[1:])
        what |= what.pop("wishes")
        if place == "direct":
            self.desk.submit(task, run[0], client, found=found, **what | {"follow": None})
            return
        allowed = None if place is None else place | {run[0]}
        self.desk.submit(task, None, client, allowed=allowed, found=found, **what)

    @rule(
        client=CLIENTS,
        engine=st.none() | ENGINES,
        outcomes=st.lists(st.sampled_from([*Status, "killed", UNANSWERED]), min_size=1, max_size=3),
        left=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    )
    def come_back_with_a_past(self, client: str, engine, outcomes: list, left) -> None:
        """It has run under a controller before this one, and was queued when that died."""
        self.requests += 1
        task = f"{client}-{self.requests}.0"
        runs = tuple(Run(engine or 0, 1, 0.0, 0.0, str(outcome)) for outcome in outcomes)
        past = Past(runs, *left, sent=len(runs) + 1)
        self.desk.submit(task, engine, client, retries=2, reruns=2, past=past)

    @precondition(lambda self: self.desk.state.tasks)
    @rule(pick=PICKS)
    def submit_again(self, pick: int) -> None:
        known = list(self.desk.state.tasks)
        event = self.desk.submitted[known[pick % len(known)]]
        self.unchanged(lambda: self.desk.feed(event))

    @precondition(lambda self: self.desk.in_flight)
    @rule(pick=PICKS, status=STATUSES, after=STEPS_S, ran_s=RUNS_S)
    def reply(self, pick: int, status: Status, after: float, ran_s: float | None) -> None:
        in_flight = list(self.desk.in_flight)
        self.desk.reply(in_flight[pick % len(in_flight)], status, after, ran_s)

    @precondition(lambda self: Kind.APPLY in self.desk.in_flight.values())
    @rule(pick=PICKS, n=st.integers(1, 5))
    def give_back(self, pick: int, n: int) -> None:
        """Whether it was asked to or not, an engine gives back the last calls it was sent."""
        calls = [one for one, kind in self.desk.in_flight.items() if kind is Kind.APPLY]
        engine = calls[pick % len(calls)].engine
        self.desk.give_back(*[one for one in calls if one.engine == engine][-n:])

    @precondition(lambda self: self.desk.in_flight)
    @rule(picks=st.lists(PICKS, min_size=1, max_size=3), untouched=st.integers(0, 3))
    def miss(self, picks: list[int], untouched: int) -> None:
        """Engines that live hold something no more, without a reply."""
        flying = list(self.desk.in_flight)
        chosen = dict.fromkeys(flying[pick % len(flying)] for pick in picks)
        self.desk.miss(*chosen, untouched=untouched)

    @precondition(lambda self: self.desk.sent)
    @rule(pick=PICKS)
    def miss_what_has_ended(self, pick: int) -> None:
        ended = [attempt for attempt in self.desk.sent if attempt not in self.desk.in_flight]
        if ended:
            self.unchanged(lambda: self.desk.miss(ended[pick % len(ended)]))

    @precondition(lambda self: self.desk.sent)
    @rule(pick=PICKS)
    def give_back_late_or_twice(self, pick: int) -> None:
        ended = [attempt for attempt in self.desk.sent if attempt not in self.desk.in_flight]
        if ended:
            self.unchanged(lambda: self.desk.give_back(ended[pick % len(ended)]))

    @precondition(lambda self: self.desk.sent)
    @rule(pick=PICKS, status=STATUSES)
    def reply_late_or_twice(self, pick: int, status: Status) -> None:
        ended = [attempt for attempt in self.desk.sent if attempt not in self.desk.in_flight]
        if ended:
            self.unchanged(lambda: self.desk.reply(ended[pick % len(ended)], status))

    @precondition(lambda self: self.desk.in_flight)
    @rule(pick=PICKS, wrong=st.sampled_from(["engine", "incarnation", "number"]))
    def reply_to_an_attempt_that_never_was(self, pick: int, wrong: str) -> None:
        in_flight = list(self.desk.in_flight)
        attempt = in_flight[pick % len(in_flight)]
        other: Attempt = attempt._replace(**{wrong: getattr(attempt, wrong) + 1})
        self.unchanged(lambda: self.desk.reply(other))

    # -- clients and time ----------------------------------------------------------------------

    @precondition(lambda self: self.desk.in_flight)
    @rule(pick=PICKS, picks=st.lists(PICKS, max_size=3))
    def wait_for_others(self, pick: int, picks: list[int]) -> None:
        running, names = list(self.desk.in_flight), list(self.desk.submitted)
        awaited = [names[pick % len(names)] for pick in picks]
        self.desk.waits(running[pick % len(running)].task, *awaited)

    @precondition(lambda self: self.desk.submitted)
    @rule(client=CLIENTS, picks=st.lists(PICKS, min_size=1, max_size=4))
    def cancel(self, client: str, picks: list[int]) -> None:
        tasks = list(self.desk.submitted)
        self.desk.cancel(*(tasks[pick % len(tasks)] for pick in picks), client=client)

    @rule(client=CLIENTS, drop=st.booleans())
    def leave(self, client: str, drop: bool) -> None:
        queued = {task.id for task in self.desk.state.tasks.values() if task.queued}
        self.desk.leave(client, drop)
        for task in queued if drop else ():
            if self.desk.submitted[task].client == client:
                assert self.desk.verdict(task) is Verdict.CANCELLED

    @rule(client=CLIENTS)
    def stall(self, client: str) -> None:
        self.desk.stall(client)

    @rule(client=CLIENTS)
    def resume(self, client: str) -> None:
        self.desk.resume(client)

    @rule(step=STEPS_S)
    def wake(self, step: float) -> None:
        self.desk.wake(self.desk.now + step)
        assert all(not task.is_timed or task.deadline > self.desk.now for task in self.queued())

    # -- at any moment and at the end ----------------------------------------------------------

    def queued(self):
        return [task for task in self.desk.state.tasks.values() if task.queued]

    def unchanged(self, happen) -> None:
        before = fingerprint(self.desk.state)
        assert happen() == []
        assert fingerprint(self.desk.state) == before

    def teardown(self) -> None:
        """Every task has its one reply when all engines are gone; a replay is the same."""
        for engine in range(4):
            self.lose(engine, {"restarting": False})
            self.desk.lose(engine, 0)
        assert self.desk.replies.keys() == self.desk.submitted.keys()
        self.check_order()
        self.check_runs()
        self.check_replay()

    def check_order(self) -> None:
        """First runs of a client's direct tasks on an engine are in the order submitted."""
        position = {task: number for number, task in enumerate(self.desk.submitted)}
        last: dict[tuple[str, int], int] = {}
        for attempt in self.desk.sent:
            event = self.desk.submitted[attempt.task]
            if event.engine is not None and attempt.number == 1:
                lane = (event.client, event.engine)
                assert last.get(lane, -1) < position[attempt.task]
                last[lane] = position[attempt.task]

    def check_runs(self) -> None:
        """No task runs more often than it may, nor where it may not."""
        for task, reply in self.desk.replies.items():
            event = self.desk.submitted[task]
            past = len(event.past.runs) if event.past else 0
            left = event.past or event
            assert reply.runs[:past] == (event.past.runs if event.past else ())
            # Once more if it was one of several on an engine that was lost.
            extra = left.retries + (left.reruns + 1 if event.engine is None else 0)
            runs = reply.runs[past:]
            tried = [run for run in runs if event.engine is not None or not is_unmet(run)]
            assert len(tried) <= 1 + extra
            for run in runs:
                assert event.engine in (None, run.engine)
                assert event.allowed is None or run.engine in event.allowed
            for number, run in enumerate(runs):
                if event.engine is None and is_unmet(run):
                    assert run.engine not in {later.engine for later in runs[number + 1 :]}

    def check_replay(self) -> None:
        again = self.desk.new_state()
        assert [again.handle(event) for event in self.desk.events] == self.desk.effects
        assert fingerprint(again) == fingerprint(self.desk.state)


def is_unmet(run: Run) -> bool:
    return run.outcome == Status.UNMET


Cluster.TestCase.settings = settings(
    max_examples=150,
    stateful_step_count=50,
    deadline=None,
    # Explaining a failure traces every line and takes minutes here.
    phases=[phase for phase in Phase if phase is not Phase.explain],
    suppress_health_check=[HealthCheck.too_slow],
)
TestCluster = Cluster.TestCase
