"""What a request on the shell channel asks for, checked, and its frames, cut for one task."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import accumulate
from typing import TYPE_CHECKING, Any, TypeAlias

from ipyviews.core.ends import Ended
from ipyviews.core.events import Dependency, Kind
from ipyviews.engine.frames import size_bytes
from ipyviews.errors import UsageError
from ipyviews.ids import EngineId, TaskId
from ipyviews.protocol.wire import pack

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ipyviews.protocol.wire import Frame, Message

#: What of a request's metadata engines are told.
PASSED_ON = frozenset({"python", "name", "shared"})

#: All but the engines of a direct request, in the order of a `TaskSubmitted`.
Terms: TypeAlias = tuple[
    frozenset[EngineId] | None, int, int, float | None, Dependency | None, Dependency | None
]

KINDS = {"execute_request": Kind.EXECUTE, "apply_request": Kind.APPLY}


#: `after` and `follow` of a task.
Needs = tuple[Dependency | None, Dependency | None]


@dataclass(frozen=True, slots=True)
class Choice:
    """Where and how often the tasks of a request may run."""

    #: The engine of each task of a direct request; None for a load-balanced one.
    targets: tuple[EngineId, ...] | None
    #: Engines a load-balanced request may use; None means any.
    allowed: frozenset[EngineId] | None
    retries: int
    reruns: int
    timeout_s: float | None
    #: What load-balanced tasks have to wait for, and where they have to run: of all, or of each.
    needs: tuple[Needs, ...] = ((None, None),)

    def terms(self, task: int) -> Terms:
        """Return all but the engine of a task, in the order of a `TaskSubmitted`."""
        return self.allowed, self.retries, self.reruns, self.timeout_s, *self.needs_of(task)

    def needs_of(self, task: int) -> Needs:
        """Return what one task has to wait for, and where it has to run."""
        return self.needs[task if len(self.needs) > 1 else 0]


@dataclass(frozen=True, slots=True)
class Cuts:
    """Where each task's part of an ``apply_request`` begins and ends."""

    index: list[list[int]]
    #: Ends of the argument pickles, from 0. [bytes]
    ends: list[int] = field(init=False)
    #: Ends of the out-of-band buffers, from 0. [count]
    buffer_ends: list[int] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "ends", [0, *accumulate(size for size, _ in self.index)])
        object.__setattr__(self, "buffer_ends", [0, *accumulate(count for _, count in self.index)])


@dataclass(frozen=True, slots=True)
class Submission:
    """One request: its choice, and its content and buffers as they came."""

    kind: Kind
    choice: Choice
    #: How many tasks it makes. [count]
    tasks: int
    #: For the engine: ``python``, ``name`` and ``shared``.
    ours: dict[str, Any]
    content: Frame
    buffers: Sequence[Frame]
    cuts: Cuts | None
    #: Whether it is a cell that engines run again in each of their lives.
    is_setup: bool = False
    #: Its tasks that are wanted: the client sends it again, some of them had a reply.
    places: tuple[int, ...] | None = None
    #: How some of what its tasks depend on ended under another controller.
    ended: tuple[tuple[TaskId, Ended], ...] = ()

    @property
    def wanted(self) -> Sequence[int]:
        """The places of its tasks that are wanted."""
        return range(self.tasks) if self.places is None else self.places

    def cut_together(self, tasks: Sequence[int]) -> tuple[dict[str, Any], Sequence[Frame]]:
        """Return content and buffers of several tasks for one engine."""
        assert self.cuts is not None  # noqa: S101 - only calls go together
        ends, large = self.cuts.ends, self.cuts.buffer_ends
        view, first, last = memoryview(self.buffers[1]), tasks[0], tasks[-1]
        # Tasks that were refused or given back come in any order.
        if list(tasks) == list(range(first, last + 1)):
            arguments: Frame = view[ends[first] : ends[last + 1]]
        else:
            arguments = b"".join(view[ends[task] : ends[task + 1]] for task in tasks)
        rest = [
            buffer
            for task in tasks
            for buffer in self.buffers[2 + large[task] : 2 + large[task + 1]]
        ]
        content = {"index": [self.cuts.index[task] for task in tasks]}
        return content, [self.buffers[0], arguments, *rest]

    def cut(self, task: int) -> tuple[Frame, Sequence[Frame]]:
        """Return content and buffers for one engine; slices, not copies."""
        if self.cuts is None or len(self.cuts.index) == 1:
            return self.content, self.buffers
        function, arguments, *oob = self.buffers
        start, end = self.cuts.ends[task : task + 2]
        first, last = self.cuts.buffer_ends[task : task + 2]
        content = pack({"index": [self.cuts.index[task]]})
        return content, [function, memoryview(arguments)[start:end], *oob[first:last]]

    def alone(self, task: int) -> Submission:
        """Return the request of one of its tasks only, for whichever engine is free."""
        content, buffers = self.cut(task)
        cuts = self.cuts
        if cuts is not None and len(cuts.index) > 1:
            cuts = Cuts([cuts.index[task]])
        choice = replace(self.choice, targets=None, needs=(self.choice.needs_of(task),))
        return replace(
            self, choice=choice, tasks=1, content=content, buffers=buffers, cuts=cuts, places=None
        )

    def without_dependencies(self) -> Submission:
        """Return the same request, waiting for no task."""
        return replace(self, choice=replace(self.choice, needs=((None, None),)))


def alone(ours: dict[str, Any], task: int, *, waits: bool) -> dict[str, Any]:
    """Return the metadata of `Submission.alone`; unless it `waits`, without dependencies."""
    left_out = {"targets", "again", "ended", "setup", *(() if waits else ("after", "follow"))}
    found = {"any": None, **{name: one for name, one in ours.items() if name not in left_out}}
    for name in ("after", "follow"):
        if isinstance(each := found.get(name), list):
            found[name] = each[task]
    return found


def named(needs: Iterable[Needs]) -> set[TaskId]:
    """Return the tasks that others come after, or follow."""
    return {task for pair in set(needs) for need in pair if need for task in need.tasks}


def parse_submission(message: Message) -> Submission:
    """Check a request of a client.

    Raises
    ------
    UsageError
        Naming what is wrong; or `ProtocolError` when the content is not JSON.
    """
    kind = KINDS.get(message.msg_type)
    if kind is None:
        raise UsageError(f"the controller knows no {message.msg_type[:80]!r} on the shell channel")
    if kind is Kind.EXECUTE:
        _check_cell(message)
    cuts = _cuts(message) if kind is Kind.APPLY else None
    entries = len(cuts.index) if cuts else 1
    choice = _choice(message.ours, entries)
    tasks = entries if choice.targets is None else len(choice.targets)
    if entries not in (1, tasks):
        raise UsageError(
            f"{entries} calls do not fit {tasks} targets: one for each, or one for all"
        )
    ours = {name: value for name, value in message.ours.items() if name in PASSED_ON}
    is_setup = message.ours.get("setup") is True
    if is_setup and (kind is not Kind.EXECUTE or choice.targets is None):
        raise UsageError("`setup` is for cells on engines that are named")
    places = _places(message.ours, tasks) if "again" in message.ours else None
    content, buffers = message.content, message.buffers
    ended = _ended(message.ours["ended"], choice) if "ended" in message.ours else ()
    return Submission(
        kind,
        choice,
        tasks,
        ours,
        content,
        buffers,
        cuts,
        is_setup=is_setup,
        places=places,
        ended=ended,
    )


def _places(ours: dict[str, Any], tasks: int) -> tuple[int, ...]:
    places = ours["again"]
    known = range(tasks)
    if not isinstance(places, list) or not all(type(p) is int and p in known for p in places):
        raise UsageError("`again` must be a list of places of tasks of the request")
    return tuple(sorted(set(places)))


def _ended(told: Any, choice: Choice) -> tuple[tuple[TaskId, Ended], ...]:
    if not isinstance(told, dict) or not all(map(_is_end, told.values())):
        raise UsageError(
            "`ended` must tell of each task whether it succeeded, and the engine of its last run "
            "and the life of that, or null and 0"
        )
    return tuple((task, Ended(*told[task])) for task in named(choice.needs).intersection(told))


def _is_end(end: Any) -> bool:
    if type(end) is not list or len(end) != 3:
        return False
    ok, engine, life = end
    return type(ok) is bool and (engine is None or type(engine) is int) and type(life) is int


def _choice(ours: dict[str, Any], entries: int) -> Choice:
    if ("targets" in ours) == ("any" in ours):
        raise UsageError("a request must have either `targets` or `any` in its metadata")
    timeout = ours.get("timeout")
    if timeout is not None and (type(timeout) not in (int, float) or not timeout >= 0):
        raise UsageError("`timeout` must be a number of seconds, at least 0")
    targets = _engines(ours["targets"], "targets") if "targets" in ours else None
    allowed = ours.get("any")
    needs = _needs(ours, entries)
    if targets is not None and any(map(any, needs)):
        raise UsageError("`after` and `follow` are for load-balanced requests: those with `any`")
    return Choice(
        targets=targets,
        allowed=None if allowed is None else frozenset(_engines(allowed, "any")),
        retries=_count(ours, "retries", 0),
        reruns=_count(ours, "reruns", 1),
        timeout_s=timeout,
        needs=needs,
    )


def _needs(ours: dict[str, Any], entries: int) -> tuple[Needs, ...]:
    """Read `after` and `follow`: one for all tasks, or a list with one for each."""
    after, follow = ours.get("after"), ours.get("follow")
    if type(after) is not list is not type(follow):
        return ((_dependency(after, "after"), _dependency(follow, "follow")),)
    columns = []
    for name, value in (("after", after), ("follow", follow)):
        values = value if type(value) is list else [value] * entries
        if len(values) != entries:
            raise UsageError(f"`{name}` must be one for all calls, or a list with one for each")
        columns.append([_dependency(one, name) for one in values])
    return tuple(zip(*columns, strict=True))


def _dependency(value: Any, name: str) -> Dependency | None:
    if value is None:
        return None
    tasks = value.get("tasks") if isinstance(value, dict) else None
    if not isinstance(tasks, list) or not all(isinstance(task, str) for task in tasks):
        raise UsageError(f"`{name}` must have a list of task ids in `tasks`")
    flags = {flag: value.get(flag, flag != "failure") for flag in ("all", "success", "failure")}
    if not all(isinstance(flag, bool) for flag in flags.values()):
        raise UsageError(f"`all`, `success` and `failure` of `{name}` must be true or false")
    if not flags["success"] and not flags["failure"]:
        raise UsageError(f"`{name}` must wait for the success or the failure of its tasks, or both")
    return _shared(Dependency(frozenset(map(TaskId, tasks)), **flags))


@lru_cache(maxsize=16)
def _shared(dependency: Dependency) -> Dependency:
    """Return one object for all equal ones: every request of a map names the same tasks."""
    return dependency


def _engines(value: Any, name: str) -> tuple[EngineId, ...]:
    if not isinstance(value, list) or not value:
        raise UsageError(f"`{name}` must be a list of engine ids, not empty")
    if not all(type(engine) is int for engine in value):
        raise UsageError(f"`{name}` must be a list of engine ids: whole numbers")
    return tuple(map(EngineId, value))


def _count(ours: dict[str, Any], name: str, default: int) -> int:
    value = ours.get(name)
    if value is None:
        return default
    if type(value) is not int or value < 0:
        raise UsageError(f"`{name}` must be a whole number, at least 0")
    return value


def _cuts(message: Message) -> Cuts:
    """Read the index of an ``apply_request`` and hold it against the buffers."""
    index = message.read().get("index")
    if not isinstance(index, list) or not index or not all(map(_is_entry, index)):
        raise UsageError("`index` must be a list of [bytes, buffers], one for each call")
    if len(message.buffers) < 2:
        raise UsageError("an apply_request has at least two buffers: function and arguments")
    cuts = Cuts(index)
    size, count = size_bytes(message.buffers[1]), len(message.buffers) - 2
    if (cuts.ends[-1], cuts.buffer_ends[-1]) != (size, count):
        raise UsageError(
            f"`index` speaks of {cuts.ends[-1]} bytes and {cuts.buffer_ends[-1]} buffers; "
            f"there are {size} bytes and {count} buffers"
        )
    return cuts


def _check_cell(message: Message) -> None:
    """Refuse what a kernel would drop without an answer."""
    content = message.read()
    code, expressions = content.get("code"), content.get("user_expressions")
    if not isinstance(code, str) or _has_surrogates(code):
        raise UsageError("`code` must be a text that can be written in UTF-8")
    if expressions is not None and not isinstance(expressions, dict):
        raise UsageError("`user_expressions` must be a dict")


def _has_surrogates(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def _is_entry(entry: Any) -> bool:
    if type(entry) is not list or len(entry) != 2:
        return False
    size, count = entry
    return type(size) is int is type(count) and size >= 0 and count >= 0
