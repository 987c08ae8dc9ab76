"""Nothing but dependencies, engines that die and come back, and tasks that fail: densely.

`Desk` checks each dispatch, each refusal and each task that is held by the replies alone.
"""

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from ipyviews.core.events import Status
from tests.core.desk import Desk
from tests.core.needs import needs
from tests.core.strategies import FLAGS, PICKS

ENGINES = st.integers(0, 2)


class Dependencies(RuleBasedStateMachine):
    """One client, three engines."""

    def __init__(self) -> None:
        super().__init__()
        self.desk = Desk()
        self.count = 0
        self.born = [1, 1, 1]

    @initialize(bundle=st.sampled_from([1, 1, 2, None]))
    def start(self, bundle: int | None) -> None:
        self.desk = Desk(bundle, engines=3)

    @rule(engines=st.lists(ENGINES, min_size=1, max_size=3), now=st.booleans())
    def submit_direct(self, engines: list[int], now: bool) -> None:
        """Submit direct tasks; some of them end at once."""
        for engine in engines:
            self.count += 1
            task = f"d.{self.count}"
            self.desk.submit(task, engine)
            if now and self.desk.runs_on(task) is not None:
                self.desk.reply(task)

    @rule(ok=st.booleans(), engine=st.none() | ENGINES, life=st.integers(1, 2))
    def tell(self, ok: bool, engine: int | None, life: int) -> None:
        """A client tells how a task ended under a controller before."""
        self.count += 1
        life = 0 if engine is None else life
        self.desk.tell(f"x.{self.count}", ok=ok and engine is not None, engine=engine, life=life)

    @precondition(lambda self: self.count)
    @rule(
        after=st.sets(st.integers(0, 7), max_size=2),
        follow=st.sets(st.integers(0, 7), max_size=3),
        flags=st.tuples(FLAGS, FLAGS),
        allowed=st.sampled_from([None, None, frozenset({0, 1})]),
    )
    def submit_dependent(self, after, follow, flags, allowed) -> None:
        recent = [*list(self.desk.submitted)[:-7:-1], *list(self.desk.told)[:-3:-1]]
        wanted = [
            needs(*(recent[pick % len(recent)] for pick in picks), **how) if picks else None
            for picks, how in zip((after, follow), flags, strict=True)
        ]
        self.count += 1
        self.desk.submit(f"b.{self.count}", after=wanted[0], follow=wanted[1], allowed=allowed)

    @precondition(lambda self: self.desk.in_flight)
    @rule(pick=PICKS, status=st.sampled_from([Status.OK] * 4 + [Status.ERROR, Status.UNMET]))
    def reply(self, pick: int, status: Status) -> None:
        in_flight = list(self.desk.in_flight)
        self.desk.reply(in_flight[pick % len(in_flight)], status, after=0.01)

    @precondition(lambda self: len(self.desk.lives) == 3)
    @rule(engine=ENGINES, restarting=st.booleans())
    def lose(self, engine: int, restarting: bool) -> None:
        self.desk.lose(engine, self.born[engine], restarting=restarting)

    @precondition(lambda self: len(self.desk.lives) < 3)
    @rule()
    def join(self) -> None:
        engine = next(engine for engine in range(3) if engine not in self.desk.lives)
        self.born[engine] += 1
        self.desk.join(engine, self.born[engine])

    @precondition(lambda self: self.desk.state.tasks)
    @rule(pick=PICKS)
    def cancel(self, pick: int) -> None:
        tasks = list(self.desk.state.tasks)
        self.desk.cancel(tasks[pick % len(tasks)])

    def teardown(self) -> None:
        """Every task has its reply when all engines are gone, and nothing of them is left."""
        for engine in range(3):
            self.desk.lose(engine, self.born[engine])
            self.desk.lose(engine, 0)
        assert self.desk.replies.keys() == self.desk.submitted.keys()
        assert not self.desk.state.holding.graph._bound
        assert not any(condition.tasks for condition in self.desk.state.holding.graph)


Dependencies.TestCase.settings = settings(
    max_examples=300,
    stateful_step_count=30,
    deadline=None,
    phases=[phase for phase in Phase if phase is not Phase.explain],
    suppress_health_check=[HealthCheck.too_slow],
)
TestDependencies = Dependencies.TestCase
