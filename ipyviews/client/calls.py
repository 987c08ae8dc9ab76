"""Calls and cells to requests: which message, to whom, how many in one."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

from ipyviews.client.obstacles import PYTHON, obstacle
from ipyviews.client.session import WrongType
from ipyviews.errors import NoEnginesRegistered, UsageError
from ipyviews.protocol.payload import DEFAULT, pack_calls

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from ipyviews.client.session import Session
    from ipyviews.client.tasks import Task
    from ipyviews.protocol.payload import Payload, Pickling

    Call = tuple[tuple[Any, ...], dict[str, Any]]

#: One request of a load-balanced map carries at most this many calls [count], [bytes]: the first
#: are on their way while the others are packed.
MOST_CALLS = 100
MOST_BYTES = 4 * 1024 * 1024

#: How much larger than the one before a request may be: item sizes are only known afterwards.
_GROWTH = 16


def function_name(function: Any) -> str:
    """Name a callable for people."""
    function = getattr(function, "func", function)
    return str(getattr(function, "__name__", type(function).__name__))


def call_direct(
    session: Session,
    function: Callable[..., Any],
    calls: Sequence[Call],
    targets: Sequence[int],
    *,
    name: str,
    label: str | None = None,
    how: Pickling = DEFAULT,
) -> list[Task]:
    """Send one call to all of `targets`, or one call to each. Tasks are in their order.

    Raises
    ------
    UsageError
        No targets; what is called is no function or can't be pickled; an engine can't run it.
    """
    check_targets(targets)
    check_callable(function)
    payload = pack_calls(function, calls, how=how)
    for engine in targets:
        _check_can_run(session, engine, payload, name)
    session.connection.make_room()
    ours = {"name": name, **_labels(label, payload)}
    return session.connection.call(payload, targets, ours)


def call_balanced(
    session: Session,
    function: Callable[..., Any],
    calls: Iterable[Call],
    allowed: Sequence[int] | None,
    *,
    name: str,
    label: str | None = None,
    flags: dict[str, Any],
    how: Pickling = DEFAULT,
    first: int = 1,
) -> list[Task]:
    """Send calls to whichever engines are free. Takes `calls` as the client's cap allows.

    Parameters
    ----------
    first
        How many of the calls the first request may carry: few while their size is not known.

    Raises
    ------
    UsageError
        As `call_direct`.
    NoEnginesRegistered
        There is no engine, nor one on its way.
    BaseException
        What `calls` raises, or KeyboardInterrupt while waiting: what was sent is cancelled.
    """
    check_callable(function)
    check_any_engine(session, allowed)
    tasks: list[Task] = []
    try:
        for payload in _batches(function, calls, how, first):
            ours: dict[str, Any] = {"any": _capable(session, allowed, payload, name), "name": name}
            ours |= _labels(label, payload) | flags
            session.connection.make_room()
            tasks += session.connection.call(payload, [None] * len(payload.index), ours)
    except BaseException:
        waiting = [task.id for task in tasks if not task.done]
        if waiting and session.connection.failure is None:
            session.connection.request("cancel", tasks=waiting)
        raise
    return tasks


def run_direct(
    session: Session,
    code: str,
    targets: Sequence[int],
    *,
    silent: bool,
    label: str | None,
    setup: bool = False,
) -> list[Task]:
    """Send a cell to all of `targets`."""
    check_targets(targets)
    ours = {"targets": list(targets), "name": "execute", **_labels(label)}
    if setup:
        ours["setup"] = True
    return session.connection.execute(_cell(code, silent=silent), list(targets), ours)


def run_balanced(
    session: Session,
    code: str,
    allowed: Sequence[int] | None,
    *,
    silent: bool,
    label: str | None,
    flags: dict[str, Any],
) -> list[Task]:
    """Send a cell to one engine that the scheduler chooses."""
    content = _cell(code, silent=silent)
    check_any_engine(session, allowed)
    ours: dict[str, Any] = {"any": None if allowed is None else list(allowed), "name": "execute"}
    return session.connection.execute(content, [None], ours | _labels(label) | flags)


def _cell(code: str, *, silent: bool) -> dict[str, Any]:
    if not isinstance(code, str):
        raise WrongType(f"code must be text, not {type(code).__name__}")
    return {
        "code": code,
        "silent": bool(silent),
        "store_history": not silent,
        "user_expressions": {},
        "allow_stdin": False,
        "stop_on_error": False,
    }


def _batches(
    function: Callable[..., Any], calls: Iterable[Call], how: Pickling, count: int
) -> Iterator[Payload]:
    """Pack calls a request at a time: few at first, then as many as their size allows."""
    source = iter(calls)
    while batch := list(islice(source, count)):
        payload = pack_calls(function, batch, how=how)
        yield payload
        fitting = MOST_BYTES * len(batch) // max(1, payload.weight)
        count = max(1, min(MOST_CALLS, count * _GROWTH, fitting))


def _labels(label: str | None, payload: Payload | None = None) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if label is not None:
        if not isinstance(label, str):
            raise UsageError(f"a label is a text, not {label!r:.80}")
        found["label"] = label
    if payload is not None and payload.by_value:
        found["python"] = PYTHON
    return found


def check_callable(function: Any) -> None:
    """Refuse what cannot be called."""
    if not callable(function):
        raise WrongType(f"f must be callable, not {type(function).__name__}")


def check_targets(targets: Sequence[int]) -> None:
    """Refuse an empty selection of engines."""
    if not targets:
        raise UsageError(
            "This view has no engines: its targets were an empty selection when it was made; "
            "make one with targets, e.g. client[:]."
        )


def check_any_engine(session: Session, allowed: Sequence[int] | None) -> None:
    """Raise if there is no engine, nor one on its way."""
    if allowed is not None:
        check_targets(allowed)
    for info in session.connection.engines.values():
        if info.get("state") in ("live", "starting"):
            return
    raise NoEnginesRegistered


def _check_can_run(session: Session, engine: int, payload: Payload, name: str) -> None:
    why = obstacle(session.connection.engines.get(engine, {}), payload)
    if why is not None:
        raise UsageError(f"Engine {engine} cannot run {name}: {why}.")


def _capable(
    session: Session, allowed: Sequence[int] | None, payload: Payload, name: str
) -> list[int] | None:
    """Return the engines that can run these calls; None when all can."""
    if allowed is None and session.connection.are_alike:
        return None
    engines = session.connection.engines
    chosen = engines if allowed is None else allowed
    obstacles = {one: obstacle(engines.get(one, {}), payload) for one in chosen}
    able = [one for one, why in obstacles.items() if why is None]
    if not able:
        first = next(iter(obstacles.values()))
        raise UsageError(f"No engine of this view can run {name}: {first}.")
    return None if allowed is None and len(able) == len(engines) else able
