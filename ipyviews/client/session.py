"""What all clients have: engines, targets, and the results of late."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ipyviews.client.history import Calls, History, UnknownResult
from ipyviews.errors import EngineError, NoEnginesRegistered, UsageError
from ipyviews.protocol.payload import StaysHere

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from jupyter_client.session import Session as JupyterSession

    from ipyviews.client.connection import Connection
    from ipyviews.client.history import Made
    from ipyviews.client.tasks import Task
    from ipyviews.client.waiting import Waitable

    Targets = int | str | Collection[int] | slice | None


class WrongType(UsageError, TypeError):
    """A `UsageError` that is also a TypeError."""


class UnknownEngine(UsageError, IndexError, KeyError):
    """A `UsageError` that can be caught as the seeds' IndexError and KeyError."""

    # A KeyError would show the sentence in quotes.
    __str__ = Exception.__str__


class Session(StaysHere):
    """Base of the clients.

    Parameters
    ----------
    connection
        Open, and ready or about to be.
    """

    #: Whether calls of views may wait; if not they always return results to be awaited.
    may_block = True

    _remedy = "In the function, ipyviews.Client() makes one, of the engine's own cluster"

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        #: Whether views made from now on wait for their results.
        self.block = False
        #: Ids of the tasks submitted, oldest first.
        self.history = History()
        #: The values, or errors, of finished tasks by id, as long as their results are kept.
        self.results = Results(self)
        # A result is kept while somebody else keeps it or it is pending; the last one always.
        self._calls = Calls()
        connection.ledger.late.kept = self._calls.kept
        self._last: Waitable | None = None
        #: Tasks that are not told of any more though somebody keeps their result.
        self._purged: set[str] = set()
        # A client that is dropped, and the interpreter's end, close the connection.
        self._finalizer = weakref.finalize(self, connection.close)

    @property
    def cluster_id(self) -> str:
        """The id of the cluster, as ``ipyviews list`` shows it."""
        return self.connection.address.cluster_id

    @property
    def ids(self) -> list[int]:
        """Ids of the engines that can be used now, ascending."""
        self.connection.check()
        engines = self.connection.engines
        return sorted(one for one, info in engines.items() if info.get("state") == "live")

    @property
    def session(self) -> JupyterSession:
        """The session of the connection, as Jupyter's tools know one: its id, user and key."""
        from jupyter_client.session import Session as JupyterSession  # noqa: PLC0415 - rarely used

        connection = self.connection
        return JupyterSession(session=connection.session, key=connection.address.key)

    @property
    def scheme(self) -> str:
        """How the cluster chooses engines for load-balanced calls; see `Cluster`."""
        return self.connection.address.scheme

    @property
    def outstanding(self) -> set[str]:
        """Ids of the tasks without a result."""
        return set(self.connection.ledger.pending)

    def __len__(self) -> int:
        return len(self.ids)

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        state = "closed" if self.connection.failure else f"{len(self)} engines"
        return f"<{type(self).__name__} of cluster {self.cluster_id!r}: {state}>"

    def close(self, linger: float | None = None) -> None:
        """Close the connection; results that are not there yet fail. May be called again.

        Parameters
        ----------
        linger
            Accepted for compatibility: what was sent has always left.
        """
        del linger
        self._finalizer()

    def resolve(self, targets: Targets) -> list[int]:
        """Name the engines that `targets` means now.

        Raises
        ------
        NoEnginesRegistered
            There is no engine at all.
        UnknownEngine
            One of them never was; a `UsageError`, IndexError and KeyError.
        EngineError
            One of them is gone.
        """
        if type(targets) is int and targets >= 0:
            self.connection.check()
            return [self._check(targets)]
        known = self.ids
        if targets is None or (isinstance(targets, str) and targets.lower() == "all"):
            self._require(known)
            return known
        if isinstance(targets, str):
            raise WrongType(f"{targets!r} not valid str target, must be 'all'")
        if isinstance(targets, slice):
            return known[targets]
        if isinstance(targets, int):
            return [self._from_end(targets, known) if targets < 0 else self._check(targets)]
        if not isinstance(targets, list | tuple | range | set | frozenset):
            raise WrongType(f"targets by int/slice/collection of ints only, not {type(targets)}")
        return [self._check(engine) for engine in targets]

    def remember(self, result: Waitable, made: Made) -> None:
        """Let `get_result` find a result that was just made."""
        self._last = result
        self._calls.add(made)
        self.history.extend(made.names)

    def forget(self, names: Iterable[str] | None = None) -> None:
        """Do not tell of some tasks any more; None for all, and the history too."""
        if names is None:
            self.history.clear()
            self._calls.clear()
            self._last = None
            return
        self._purged |= set(names)
        self._purged &= {task.id for task in self._kept_tasks()}
        if self._last is not None and self._purged.issuperset(t.id for t in self._last.tasks):
            self._last = None

    def call(self, index: int) -> Waitable | list[str]:
        """Return the result of one of the calls made: 0 the first, -1 the last.

        When nobody has kept it, these are the ids of its tasks.
        """
        result, names = self._calls.find(index)
        is_purged = bool(names) and self._purged.issuperset(names)
        return names if result is None or is_purged else result

    def task(self, msg_id: str) -> Task:
        """Return a task by its id."""
        pending = self.connection.ledger.find(msg_id)
        if pending is not None:
            return pending
        for task in self.known_tasks():
            if task.id == msg_id:
                return task
        raise UnknownResult(f"This client has no result under {msg_id!r} any more.")

    def is_pending(self, msg_id: str) -> bool:
        """Whether a task has no result yet."""
        return msg_id in self.connection.ledger.pending

    def known_tasks(self) -> Iterator[Task]:
        """Yield the tasks of the results that are still kept, the newest call first."""
        return (task for task in self._kept_tasks() if task.id not in self._purged)

    def _kept_tasks(self) -> Iterator[Task]:
        for result in self._calls.kept():
            yield from result.tasks

    def _from_end(self, place: int, known: list[int]) -> int:
        self._require(known)
        if -place > len(known):
            raise UnknownEngine(f"No such engine: {place}; there are {len(known)} engines.")
        return known[place]

    def _require(self, known: list[int]) -> None:
        if known:
            return
        engines = self.connection.engines
        if engines and all(info.get("state") == "lost" for info in engines.values()):
            raise NoEnginesRegistered(
                f"all engines of cluster {self.cluster_id!r} are gone: client.restart() brings "
                "them back, without their variables"
            )
        raise NoEnginesRegistered

    def _check(self, engine: Any) -> int:
        if isinstance(engine, bool) or not isinstance(engine, int):
            raise WrongType(f"engines are named by int, not by {type(engine).__name__} {engine!r}")
        info = self.connection.engines.get(engine)
        if info is None:
            known = self.ids
            self._require(known)
            there = ", ".join(map(str, known))
            raise UnknownEngine(f"No such engine: {engine}; there are {there}.")
        if info.get("state") == "lost":
            why = info.get("reason") or "it was stopped"
            error = EngineError(f"Engine {engine} is gone: {why}.", engine=engine)
            error.reports = self.connection.ledger.deaths.latest(engine)
            raise error
        return int(engine)


class Results(Mapping[str, Any]):
    """Values of finished tasks by id; an error in the place of a value that there is not."""

    def __init__(self, session: Session) -> None:
        # A client that is dropped must not be kept by this.
        self._session: Session = weakref.proxy(session)

    def __getitem__(self, msg_id: str) -> Any:
        task = self._session.task(msg_id)
        if not task.done:
            raise UnknownResult(f"The task {msg_id!r} is not done.")
        value, error = task.outcome()
        return value if error is None else error

    def __iter__(self) -> Iterator[str]:
        return (task.id for task in self._session.known_tasks() if task.done)

    def __len__(self) -> int:
        return sum(1 for _ in self)
