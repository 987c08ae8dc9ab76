"""What is true of a state between two events. For tests and simulations: O(everything)."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

from ipyviews.core.engines import Engine, EngineState
from ipyviews.core.events import Kind
from ipyviews.core.placement import Pool
from ipyviews.core.tasks import TaskState

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ipyviews.core.dependencies import Condition
    from ipyviews.core.placement import Rest
    from ipyviews.core.queues import Home
    from ipyviews.core.state import ControllerState
    from ipyviews.core.tasks import Task

_LIVE = EngineState.LIVE

#: What adding and subtracting may lose [s].
TINY_S = 1e-9


def check(state: ControllerState) -> None:
    """Look at the whole state.

    Raises
    ------
    AssertionError
        Names every broken rule with what breaks it, and the stories of tasks.
    """
    broken = [
        *chain.from_iterable(_told(state, task) for task in state.tasks.values()),
        *chain.from_iterable(_engine(state, engine) for engine in state.engines.values()),
        *chain.from_iterable(_pool(state, pool) for pool in state.pools),
        *chain.from_iterable(_condition(state, condition) for condition in state.holding.graph),
        *_waits(state),
        *_clients(state),
        *_time(state),
    ]
    if broken:
        raise AssertionError("\n".join(broken))


def _told(state: ControllerState, task: Task) -> list[str]:
    """Add the story to what is wrong with a task."""
    return [
        f"task {task.id} {wrong} ({'; '.join(state.story(task.id))})"
        for wrong in _task(state, task)
    ]


def _task(state: ControllerState, task: Task) -> Iterator[str]:
    """Each task is in one place, the one its state says."""
    if task.state is TaskState.DONE:
        yield "is done but still known"
    is_running, is_held = task.state is TaskState.RUNNING, task.state is TaskState.HELD
    if task.queued is (is_running or is_held):
        yield f"is queued: {task.queued}, running: {is_running}, held: {is_held}"
    if bool(task.conditions) is not is_held or (task.id in task.client.held) is not is_held:
        yield f"is held: {is_held}, by {len(task.conditions)} conditions"
    if task.queued and task.home.is_open is not (task.state is TaskState.READY):
        yield f"is {task.state} though its home is open: {task.home.is_open}"
    if task.queued and not isinstance(task.home, Engine | Pool):
        yield "is queued where no engine looks"
    if is_running:
        yield from _run(state, task)


def _run(state: ControllerState, task: Task) -> Iterator[str]:
    """A run is on a living engine that fits the task."""
    if task.attempt is None:
        yield "runs without an attempt"
        return
    engine = state.engines[task.attempt.engine]
    if engine.running.get(task.id) is not task:
        yield f"is not among those engine {engine.id} runs"
    if task.attempt.incarnation != engine.incarnation:
        yield f"runs in a life of engine {engine.id} that is over"
    if task.attempt.number != task.sent or task.sent <= len(task.runs):
        yield "counts its runs wrongly"
    if isinstance(task.home, Engine) and task.home is not engine:
        yield f"runs on engine {engine.id}, not its own"
    if isinstance(task.home, Pool) and engine.id not in task.home.members:
        yield f"runs on engine {engine.id}, which it may not"


def _condition(state: ControllerState, condition: Condition) -> Iterator[str]:
    """A condition counts rightly, and holds up only tasks that may yet run, and must wait."""
    told = f"the condition {sorted(condition.needs.tasks)}"
    left = sum(name in state.tasks for name in condition.needs.tasks)
    if condition.left != left:
        yield f"{told} waits for {condition.left} tasks of {left}"
    for engine, life in condition.places.items():
        if (state.engines[engine].state, state.engines[engine].incarnation) != (_LIVE, life):
            yield f"{told} points to a life of engine {engine} that is over"
    for task in condition.tasks.values():
        if condition not in task.conditions:
            yield f"{told} holds task {task.id}, which does not know"
        if condition.obstacle or all(one.is_met for one in task.conditions):
            yield f"{told} holds task {task.id} up in vain"


def _engine(state: ControllerState, engine: Engine) -> Iterator[str]:
    """An engine has what it can bear, and no room while it has work."""
    told = f"engine {engine.id}"
    running = list(engine.running.values())
    if running and engine.state is not EngineState.LIVE:
        yield f"{told} is {engine.state} and runs {len(running)}"
    if engine.stray and (running or engine.state is not EngineState.LIVE):
        yield f"{told} is {engine.state} with the stray {engine.stray} and runs {len(running)}"
    if len({task.kind for task in running}) > 1:
        yield f"{told} runs {[(task.id, task.kind) for task in running]}"
    yield from _ahead(state, engine, told)
    if engine.kind is not (running[0].kind if running else None):
        yield f"{told} takes the kind that runs for {engine.kind}"
    if len(running) > 1 and engine.kind is Kind.EXECUTE:
        yield f"{told} runs several cells at once"
    if any(state.tasks.get(task.id) is not task for task in running):
        yield f"{told} runs a task that has its reply"
    if engine.draining and not running:
        yield f"{told} drains but runs nothing"
    if engine.lanes and engine.state is EngineState.LOST:
        yield f"{told} is lost and has tasks queued"
    if any(not engine.may_ever_run(task.kind) for task in engine.queued):
        yield f"{told} has tasks queued that it cannot run"
    if not engine.pools.keys() <= set(state.pools):
        yield f"{told} remembers pools that are no more"
    # Beside calls that run there may be room for a direct one; its turn is seen when they end.
    if engine.has_work() and not running and engine.has_room():
        yield f"{told} has room while a task of its own waits"
    yield from _lanes(engine, told)


def _ahead(state: ControllerState, engine: Engine, told: str) -> Iterator[str]:
    """What is sent ahead is little, can be given back, and can be told from what killed it."""
    running = list(engine.running.values())
    balanced = [task for task in running if isinstance(task.home, Pool)]
    direct = [task for task in running if task.home is engine]
    most = max(len(direct), len(balanced))
    if most > state.most or (len(running) > 1 and state.most == 1):
        yield f"{told} was sent too many: {[task.id for task in running]}"
    if any(task.is_alone for task in balanced) and (len(balanced) > 1 or direct == running[:1]):
        yield f"{told} has others beside one that is to be alone"
    if len({task.client.id for task in direct}) > 1:
        yield f"{told} has direct calls of several clients: {[task.id for task in direct]}"
    calls = {task.id for task in direct if task.kind is Kind.APPLY}
    singles = {task.id for task in running if task.kind is Kind.EXECUTE}
    singles |= {task.id for task in balanced if task.is_alone}
    noted = [set(engine.directs), {engine.single.id} if engine.single else set()]
    if noted != [calls, singles]:
        yield f"{told} takes {noted} for what goes by itself"
    if abs(engine.ahead_s - sum(task.estimate_s for task in running)) > TINY_S:
        yield f"{told} counts {engine.ahead_s} s of work ahead"
    if abs(engine.direct_s - sum(task.estimate_s for task in engine.directs.values())) > TINY_S:
        yield f"{told} counts {engine.direct_s} s of direct work ahead"
    if engine.is_late and not running:
        yield f"{told} is late with nothing"


def _waits(state: ControllerState) -> Iterator[str]:
    """What waits, runs, and its engine takes nothing more."""
    for name, wait in state.waits.items():
        engine = state.engines[name]
        if engine.running.get(wait.task.id) is not wait.task or not engine.is_late:
            yield f"engine {name} is thought to wait in task {wait.task.id}"


def _pool(state: ControllerState, pool: Pool) -> Iterator[str]:
    """A pool knows its engines, and none has room while a task waits."""
    told = f"pool {pool.kind} {pool.allowed}"
    fitting = [
        engine
        for engine in state.engines.values()
        if (pool.allowed is None or engine.id in pool.allowed) and engine.may_ever_run(pool.kind)
    ]
    if pool.members != {engine.id: engine for engine in fitting}:
        yield f"{told} has the engines {list(pool.members)}"
    if any(pool not in engine.pools for engine in fitting):
        yield f"{told} is not known to its engines"
    loads = {engine.id: len(engine.running) for engine in fitting if engine.can_take(pool.kind)}
    if pool.index.loads() != loads:
        yield f"{told} takes the loads for {pool.index.loads()}, they are {loads}"
    if loads and pool.has_work():
        yield f"{told} has engines with room while a task waits"
    if pool.lanes and not pool.members:
        yield f"{told} has tasks queued and no engine"
    unfinished = sum(task.home is pool for task in state.tasks.values())
    unfinished += pool.rest is not None
    if pool.unfinished != unfinished or (pool.allowed is not None and not unfinished):
        yield f"{told} counts {pool.unfinished} unfinished tasks of {unfinished}"
    yield from _lanes(pool, told)
    if pool.rest is not None:
        yield from _rest(state, pool.rest, f"the rest of {told}")


def _rest(state: ControllerState, rest: Rest, told: str) -> Iterator[str]:
    """A rest has the tasks with engines to avoid, none of which has another with room."""
    for task in rest.queued:
        if not task.avoid or not rest.fits(task):
            yield f"{told} has task {task.id} queued, which avoids {sorted(task.avoid)}"
        if not task.client.stalled and rest.index.loads().keys() - task.avoid:
            yield f"{told} has engines with room while task {task.id} waits"
    unfinished = sum(task.home is rest for task in state.tasks.values())
    if rest.unfinished != unfinished or not unfinished:
        yield f"{told} counts {rest.unfinished} unfinished tasks of {unfinished}"
    yield from _lanes(rest, told)


def _lanes(home: Home, told: str) -> Iterator[str]:
    """A lane is known from both ends, and is gone when it is empty."""
    for client, lane in home.lanes.items():
        if not lane or client.lanes.get(home) is not lane:
            yield f"{told} has an empty or unknown lane of client {client.id}"
            continue
        orders = [task.order for task in lane]
        if orders != sorted(orders) or lane.first().order != orders[0]:
            yield f"{told} has a lane of client {client.id} out of order"
        if any(task.client is not client or task.home is not home for task in lane):
            yield f"{told} has a task of another in the lane of client {client.id}"
        if not all(task.queued for task in lane):
            yield f"{told} has a task in the lane of client {client.id} that is not queued"


def _clients(state: ControllerState) -> Iterator[str]:
    """A client's count is its tasks; one that left for good has none queued."""
    for client in state.clients.by_id.values():
        queued = sum(task.queued and task.client is client for task in state.tasks.values())
        if not queued == client.queued == sum(map(len, client.lanes.values())):
            yield f"client {client.id} counts {client.queued} queued tasks of {queued}"
    for task in state.tasks.values():
        if task.queued and task.client.gone:
            yield f"task {task.id} is queued though its client left"


def _time(state: ControllerState) -> Iterator[str]:
    """Every time limit has an alarm that comes no later."""
    timed = {
        task.id
        for task in state.tasks.values()
        if task.is_timed and task.state is not TaskState.RUNNING
    }
    if {task.id for task in state.deadlines} != timed:
        yield f"time limits of {sorted(timed)} are not those watched"
    times = [task.deadline for task in state.deadlines]
    if times and state.alarms[-1:] > [min(times)]:
        yield "the next alarm comes too late"
    if times and not state.alarms:
        yield "no alarm is set"
    if state.alarms != sorted(state.alarms, reverse=True):
        yield "alarms are out of order"
