"""Ctrl-C in a blocking call: stop on the engines what the call has sent, then raise."""

from __future__ import annotations

import threading
import time
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Concatenate, ParamSpec, Protocol, TypeVar

from ipyviews.errors import ClusterError, RemoteError, TaskError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from ipyviews.client.connection import Connection
    from ipyviews.client.session import Session

#: How long an interrupted call waits for its engines to stop [s].
INTERRUPT_S = 2.0

#: A cancel that overtook its request, on the other channel, is repeated after this time [s].
AGAIN_S = 0.25

_HERE = str(Path(__file__).parent)

P = ParamSpec("P")
R = TypeVar("R")


class HasSession(Protocol):
    """A view."""

    _session: Session


V = TypeVar("V", bound=HasSession)


def stoppable(verb: Callable[Concatenate[V, P], R]) -> Callable[Concatenate[V, P], R]:
    """Make a verb of a view stop on the engines what it has sent when it is interrupted.

    A second Ctrl-C ends the waiting for that at once.
    """

    @wraps(verb)
    def stopping(self: V, /, *args: P.args, **kwargs: P.kwargs) -> R:
        connection = self._session.connection
        before = connection.number
        try:
            return verb(self, *args, **kwargs)
        except KeyboardInterrupt:
            _stop_since(connection, before)
            raise
        except (RemoteError, TaskError) as error:
            if _is_ours(error.__traceback__):
                error.__traceback__ = None
            raise

    return stopping


def _is_ours(trace: TracebackType | None) -> bool:
    """Whether all frames are this package's: they tell nothing of what happened on the engine."""
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith(_HERE):
        trace = trace.tb_next
    return trace is None


def _stop_since(connection: Connection, number: int) -> None:
    here, ledger = threading.get_ident(), connection.ledger
    with ledger.lock:
        tasks = list(ledger.pending.values())
    tasks = [task for task in tasks if task.request > number and task.thread == here]
    deadline = time.monotonic() + INTERRUPT_S

    def all_ended() -> bool:
        while tasks and tasks[-1].done:
            tasks.pop()
        return not tasks

    try:
        while not all_ended() and time.monotonic() < deadline:
            connection.request("cancel", tasks=[task.id for task in tasks if not task.done])
            connection.wait_for(all_ended, AGAIN_S)
    except ClusterError:
        # Nobody is left to interrupt; what the user pressed is still raised.
        return
