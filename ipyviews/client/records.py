"""What the controller remembers of tasks: asking for it, and dropping it. Nothing here waits."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ipyviews.client.answers import Answer
from ipyviews.client.history import Made, UnknownResult
from ipyviews.client.hubresults import AsyncHubResult, Reply
from ipyviews.client.results import AsyncResult
from ipyviews.client.session import WrongType
from ipyviews.errors import CompositeError, UsageError
from ipyviews.ids import task_id
from ipyviews.store.query import BUFFERS, TIMES, read_time

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from ipyviews.client.hubresults import Fetch
    from ipyviews.client.metadata import Metadata
    from ipyviews.client.session import Session, Targets
    from ipyviews.client.tasks import Task
    from ipyviews.protocol.wire import Frame

    Fields = dict[str, Any]

#: Ids named in one sentence. [count]
MOST_NAMES = 4


class StillPending(UsageError, RuntimeError, IndexError):
    """A `UsageError` that can be caught as the seeds' RuntimeError and IndexError."""


# -- results --------------------------------------------------------------------------------------


def get_result(session: Session, jobs: Any) -> AsyncResult:
    """See `Client.get_result`; what this client does not know is asked of the controller."""
    if isinstance(jobs, AsyncResult):
        return jobs
    if jobs is None or type(jobs) is int:
        found = session.call(-1 if jobs is None else jobs)
        if isinstance(found, AsyncResult):
            return found
        jobs = found
    if isinstance(jobs, list) and len(jobs) == 1 and isinstance(jobs[0], AsyncResult):
        return jobs[0]
    return _result_of(session, jobs if isinstance(jobs, str) else find_ids(session, jobs))


def _result_of(session: Session, names: str | list[str]) -> AsyncResult:
    single = isinstance(names, str)
    wanted = [names] if isinstance(names, str) else names
    known = known_tasks(session, wanted)
    missing = [name for name in wanted if name not in known]
    if missing and len(missing) == len(wanted):
        return AsyncHubResult(session, names, fetcher(session))
    if missing:
        asked = AsyncHubResult(session, missing, fetcher(session))
        known |= {task.id: task for task in asked.tasks}
    tasks = [known[name] for name in wanted]
    function = tasks[0].function if tasks else "unknown"
    return AsyncResult(session, tasks[0] if single else tasks, function)


def missing(session: Session, jobs: Any) -> list[str]:
    """Return the ids of tasks that are meant but not known here."""
    if isinstance(jobs, AsyncResult):
        return []
    names = find_ids(session, jobs)
    known = known_tasks(session, names)
    return [name for name in names if name not in known]


def find_ids(session: Session, jobs: Any) -> list[str]:
    """Return the ids of the tasks that `jobs` names: numbers of calls, ids, results, or a list."""
    chosen = jobs if isinstance(jobs, list | tuple | set | frozenset) else [jobs]
    return [name for job in chosen for name in _ids_of(session, job)]


def _ids_of(session: Session, job: Any) -> list[str]:
    if job is None or type(job) is int:
        found = session.call(-1 if job is None else job)
        return found if isinstance(found, list) else [task.id for task in found.tasks]
    if isinstance(job, str):
        return [job]
    if isinstance(job, AsyncResult):
        return job.msg_ids
    if isinstance(job, list | tuple):
        return find_ids(session, job)
    raise WrongType(
        f"a result is named by the number of a call, the id of a task, a result or a list of "
        f"these, not by {type(job).__name__} {job!r}"
    )


def known_tasks(session: Session, names: Iterable[str]) -> dict[str, Task]:
    """Return those tasks that this client still knows, by id."""
    wanted = set(names)
    found: dict[str, Task] = {}
    for name in wanted:
        if (pending := session.connection.ledger.find(name)) is not None:
            found[name] = pending
    for task in session.known_tasks():
        if len(found) == len(wanted):
            break
        if task.id in wanted:
            found.setdefault(task.id, task)
    return found


def fetcher(session: Session) -> Fetch:
    """Return what asks the controller for results; it answers when the first of them is there."""

    def fetch(names: Sequence[str]) -> Answer[Mapping[str, Reply | Exception | None]]:
        answer = session.connection.request("result", None, tasks=list(names), hold=True)
        return answer.then(_replies)

    return fetch


def _replies(content: Fields) -> Mapping[str, Reply | Exception | None]:
    buffers = list(content.get("buffers", ()))
    found: dict[str, Reply | Exception | None] = {}
    for name, told in content["results"].items():
        if told is None:
            found[name] = None
        elif told["status"] != "final":
            found[name] = UnknownResult(told["reason"])
        else:
            count = told["buffers"]
            found[name] = _reply(told, buffers[:count])
            del buffers[:count]
    return found


def _reply(told: Fields, buffers: Sequence[Frame]) -> Reply:
    return Reply(
        told["kind"],
        told["content"],
        buffers,
        told["ours"],
        submitted=told["submitted"],
        label=told["label"],
        output=[(msg_type, content) for msg_type, content in told["output"]],
    )


def result_status(session: Session, names: Sequence[str]) -> Answer[Fields]:
    """Sort tasks into ``pending`` and ``completed``."""
    known = known_tasks(session, names)
    missing = [name for name in names if name not in known]

    def merge(told: Fields) -> Fields:
        if told["unknown"]:
            raise UnknownResult(f"There is no record of {_listed(told['unknown'])}.")
        pending = {name for name, task in known.items() if not task.done} | set(told["pending"])
        return {
            "status": "ok",
            "pending": [name for name in names if name in pending],
            "completed": [name for name in names if name not in pending],
        }

    if missing:
        asked = session.connection.request("result", tasks=missing, status_only=True)
        return asked.then(merge)
    session.connection.check()
    return _settled(session, merge({"unknown": [], "pending": []}))


def add_results(told: Fields, result: AsyncResult) -> Fields:
    """Add to a status the values of its completed tasks, which must be there; raise failures."""
    outcomes = [task.outcome() for task in result.tasks]
    errors = [error for _, error in outcomes if error is not None]
    if len(errors) == 1:
        raise errors[0].with_traceback(None)
    if errors:
        raise CompositeError("one or more exceptions raised in: result_status", errors)
    values = {task.id: value for task, (value, _) in zip(result.tasks, outcomes, strict=True)}
    return {**told, **values}


def resubmit(session: Session, jobs: Any) -> tuple[AsyncHubResult, Answer[Any]]:
    """Run recorded tasks again; return their results and whether the controller agreed."""
    connection = session.connection
    names = find_ids(session, jobs)
    if not names:
        raise UsageError("resubmit needs at least one task: the id of one, or a result.")
    connection.make_room()
    with connection.ledger.lock:
        requests = {connection.next_id(): name for name in names}
    agreed: list[Answer[Any]] = []

    def submit(_missing: Sequence[str]) -> Answer[Any]:
        told = connection.request("resubmit", requests=requests).then(_check_refused)
        agreed.append(told)
        # The replies come by themselves, as those of other calls: only a refusal is passed on.
        refused: Answer[Any] = Answer(connection)
        told.add_done_callback(lambda _: _pass_on_error(told, refused))
        return refused

    again = [task_id(request, 0) for request in requests]
    single = len(names) == 1 and not isinstance(jobs, list | tuple)
    result = AsyncHubResult(session, again[0] if single else again, submit, "resubmit")
    session.remember(result, Made(result))
    connection.check()
    return result, agreed[0]


def _check_refused(content: Fields) -> None:
    if content["refused"]:
        raise UnknownResult(next(iter(content["refused"].values())))


def _pass_on_error(told: Answer[Any], other: Answer[Any]) -> None:
    error = told.exception()
    if isinstance(error, Exception):
        other.settle(error)


# -- records --------------------------------------------------------------------------------------


def hub_history(session: Session) -> Answer[list[str]]:
    """See `Client.hub_history`."""
    return session.connection.request("history").then(lambda content: list(content["history"]))


def db_query(session: Session, query: Any, keys: Any) -> Answer[list[Fields]]:
    """See `Client.db_query`."""
    if not isinstance(query, Mapping):
        raise WrongType(f"a query is a dict of conditions by key, not {type(query).__name__}")
    wanted = list(keys) if isinstance(keys, set | tuple | frozenset) else keys
    asked = session.connection.request("db", query=_sendable(query), keys=wanted)
    return asked.then(_records)


def _sendable(value: Any) -> Any:
    """Give times a zone, for the controller may be elsewhere; naive ones are local."""
    if isinstance(value, datetime):
        return value if value.tzinfo else value.astimezone()
    if isinstance(value, Mapping):
        return {key: _sendable(one) for key, one in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_sendable(one) for one in value]
    return value


def _records(content: Fields) -> list[Fields]:
    buffers = list(content.get("buffers", ()))
    for record in content["records"]:
        for key in TIMES & record.keys():
            record[key] = _time(record[key])
        for key in {"header", "result_header"} & record.keys():
            if record[key]:
                record[key]["date"] = _time(record[key].get("date"))
        for key in sorted(BUFFERS & record.keys()):
            count = record[key]
            record[key] = [bytes(buffer) for buffer in buffers[:count]]
            del buffers[:count]
    found: list[Fields] = content["records"]
    return found


def _time(text: Any) -> Any:
    return read_time(text) if isinstance(text, str) else text


def queue_status(session: Session, targets: Targets, *, verbose: bool) -> Answer[Fields]:
    """See `Client.queue_status`."""
    engines = session.resolve(targets)
    asked = session.connection.request("queue", engines=engines, verbose=verbose)

    def sort(content: Fields) -> Fields:
        queues: dict[Any, Any] = dict(content["queues"])
        if isinstance(targets, int):
            return dict(queues[engines[0]])
        return {**queues, "unassigned": content["unassigned"]}

    return asked.then(sort)


def purge_hub(session: Session, jobs: Any, targets: Any) -> Answer[int]:
    """See `Client.purge_hub_results`."""
    _check_purge(jobs, targets)
    everything = _is_all(jobs) or _is_all(targets)
    tasks: Any = "all" if everything else find_ids(session, jobs or [])
    engines = [] if everything else _engines(session, targets)
    asked = session.connection.request("purge", tasks=tasks, engines=engines)

    def check(content: Fields) -> int:
        if content["pending"]:
            raise StillPending(f"Can't purge tasks that are pending: {_listed(content['pending'])}")
        return int(content["purged"])

    return asked.then(check)


def purge_local(session: Session, jobs: Any, targets: Any) -> None:
    """See `Client.purge_local_results`."""
    _check_purge(jobs, targets)
    if _is_all(jobs) or _is_all(targets):
        names = [*session.outstanding, *(task.id for task in session.known_tasks())]
    else:
        engines = _engines(session, targets)
        there = [*session.connection.ledger.pending.values(), *session.known_tasks()]
        names = [task.id for task in there if task.engine in engines]
        names += find_ids(session, jobs or [])
    if outstanding := session.outstanding.intersection(names):
        raise StillPending(f"Can't purge outstanding tasks: {_listed(sorted(outstanding))}")
    session.forget(names)


def _check_purge(jobs: Any, targets: Any) -> None:
    if isinstance(jobs, AsyncResult):
        return
    if jobs in (None, [], ()) and targets in (None, [], ()):
        raise UsageError("Must specify at least one of `jobs` and `targets`; 'all' for everything.")


def _is_all(value: Any) -> bool:
    return isinstance(value, str) and value.lower() == "all"


def _engines(session: Session, targets: Any) -> list[int]:
    """Name engines, also those that are gone: their records are not."""
    chosen = [targets] if isinstance(targets, int) else list(targets or [])
    known = session.connection.engines
    return [engine if engine in known else session.resolve(engine)[0] for engine in chosen]


class KnownMetadata(Mapping[str, "Metadata"]):
    """What is known of the tasks whose results are kept, by id; also of those that are pending."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def __getitem__(self, msg_id: str) -> Metadata:
        return self._session.task(msg_id).metadata()

    def __iter__(self) -> Iterator[str]:
        return (task.id for task in self._session.known_tasks())

    def __len__(self) -> int:
        return sum(1 for _ in self)


def _settled(session: Session, value: Fields) -> Answer[Fields]:
    answer: Answer[Fields] = Answer(session.connection)
    answer.settle(value)
    return answer


def _listed(names: Sequence[str]) -> str:
    more = len(names) - MOST_NAMES
    return ", ".join(names[:MOST_NAMES]) + (f" and {more} more" if more > 0 else "")
