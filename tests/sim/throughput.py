"""How many events the core takes in a second: ``python -m tests.sim.throughput`` prints JSON."""

from __future__ import annotations

import json
from collections import deque
from time import process_time

from ipyviews.core.effects import Dispatch
from ipyviews.core.events import EngineJoined, Kind, Status, TaskReplied, TaskSubmitted
from ipyviews.core.state import ControllerState


def measure(engines: int, tasks: int = 50_000) -> float:
    """Submit load-balanced calls and reply to each in the order they were sent.

    Parameters
    ----------
    engines
        Number of engines. [count]
    tasks
        Number of calls, more than engines, so that most of them queue. [count]

    Returns
    -------
    float
        Events handled for each second of processor time, the making of events and the reading
        of effects included. [1/s]
    """
    state = ControllerState()
    for engine in range(engines):
        state.handle(EngineJoined(0.0, engine, 1, can_apply=True))
    sent: deque[Dispatch] = deque()
    began = process_time()
    for number in range(tasks):
        event = TaskSubmitted(0.0, f"c-1.{number}", "c", "c-1", Kind.APPLY)
        sent += [effect for effect in state.handle(event) if type(effect) is Dispatch]
    for number in range(tasks):
        reply = TaskReplied(number * 1e-4, sent.popleft().attempt, Status.OK)
        sent += [effect for effect in state.handle(reply) if type(effect) is Dispatch]
    return 2 * tasks / (process_time() - began)


def compare(few: int = 100, many: int = 10_000, rounds: int = 5) -> dict[str, float]:
    """Measure with few and with many engines, taking turns; the best of each counts."""
    pairs = [(measure(few), measure(many)) for _ in range(rounds)]
    best_few, best_many = (max(rates) for rates in zip(*pairs, strict=True))
    return {
        f"events_per_s_at_{few}": round(best_few),
        f"events_per_s_at_{many}": round(best_many),
        "cost_ratio": round(best_few / best_many, 3),
    }


if __name__ == "__main__":
    print(json.dumps(compare()))  # noqa: T201 - a script
