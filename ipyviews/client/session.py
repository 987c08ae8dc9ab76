"""What all clients have: engines, targets, and the results of late."""

from __future__ import annotations

import weakref
from collections import Counter, deque
from typing import TYPE_CHECKING, Any

from ipyviews.errors import EngineError, NoEnginesRegistered, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ipyviews.client.connection import Connection
    from ipyviews.client.tasks import Task
    from ipyviews.client.waiting import Waitable

    Targets = int | str | Sequence[int] | slice | None

#: Ids of tasks remembered per client and view [count].
HISTORY = 100_000


class WrongType(UsageError, TypeError):
    """A `UsageError` that is also a TypeError."""


class UnknownEngine(UsageError, IndexError, KeyError):
    """A `UsageError` that can be caught as the seeds' IndexError and KeyError."""

    # A KeyError would show the sentence in quotes.
    __str__ = Exception.__str__


class Session:
    """Base of the clients.

    Parameters
    ----------
    connection
        Open, and ready or about to be.
    """

    #: Whether calls of views may wait; if not they always return results to be awaited.
    may_block = True

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        #: Whether views made from now on wait for their results.
        self.block = False
        #: Ids of the tasks submitted, oldest first.
        self.history: deque[str] = deque(maxlen=HISTORY)
        # A result is kept while somebody else keeps it or it is pending; the last one always.
        # Plain references: the callbacks of a weak dictionary would swallow a Ctrl-C.
        self._calls: deque[weakref.ref[Waitable]] = deque(maxlen=HISTORY)
        self._last: Waitable | None = None
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

    def close(self) -> None:
        """Close the connection; results that are not there yet fail. May be called again."""
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
        known = self.ids
        if targets is None or (isinstance(targets, str) and targets.lower() == "all"):
            self._require(known)
            return known
        if isinstance(targets, str):
            raise WrongType(f"{targets!r} not valid str target, must be 'all'")
        if isinstance(targets, slice):
            return known[targets]
        chosen = [targets] if isinstance(targets, int) else list(targets)
        for engine in chosen:
            self._check_engine(engine, known)
        return chosen

    def remember(self, result: Waitable) -> None:
        """Let `get_result` find a result that was just made."""
        self._last = result
        self._calls.append(weakref.ref(result))
        self.history.extend(task.id for task in result.tasks)

    def call(self, index: int) -> Waitable:
        """Return the result of one of the calls made: 0 the first, -1 the last."""
        try:
            result = self._calls[index]()
        except IndexError:
            raise UnknownResult(
                f"There is no call {index}: this client has made {len(self._calls)}."
            ) from None
        if result is None:
            raise UnknownResult(f"The result of call {index} was not kept: nobody used it.")
        return result

    def task(self, msg_id: str) -> Task:
        """Return a task by its id."""
        for task in self._known_tasks():
            if task.id == msg_id:
                return task
        raise UnknownResult(f"This client has no result under {msg_id!r} any more.")

    def done_by_engine(self) -> Counter[int | None]:
        """Count the finished tasks this client still knows of, by engine."""
        return Counter(task.engine for task in self._known_tasks() if task.done)

    def _known_tasks(self) -> Iterator[Task]:
        for reference in reversed(list(self._calls)):
            result = reference()
            if result is not None:
                yield from result.tasks

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

    def _check_engine(self, engine: Any, known: list[int]) -> None:
        if isinstance(engine, bool) or not isinstance(engine, int):
            raise WrongType(f"engines are named by int, not by {type(engine).__name__} {engine!r}")
        info = self.connection.engines.get(engine)
        if info is None:
            self._require(known)
            there = ", ".join(map(str, known))
            raise UnknownEngine(f"No such engine: {engine}; there are {there}.")
        if info.get("state") == "lost":
            raise EngineError(f"Engine {engine} is gone: {info.get('reason') or 'it was stopped'}.")


class UnknownResult(UsageError, KeyError):
    """A `UsageError` that is also a KeyError."""

    __str__ = Exception.__str__
