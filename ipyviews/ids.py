"""Names of things, as types of their own so that they cannot be mixed up."""

from __future__ import annotations

from typing import NamedTuple, NewType

#: An engine's number: counts from 0, never reused within one cluster.
EngineId = NewType("EngineId", int)

#: A client's session id; also its ZeroMQ routing id towards the controller.
ClientId = NewType("ClientId", str)

#: The ``msg_id`` of a client's request. One request makes one or more tasks.
RequestId = NewType("RequestId", str)

#: One call or cell on one engine: ``<request>.<index>``.
TaskId = NewType("TaskId", str)


class Attempt(NamedTuple):
    """One run of a task: which engine, in which of its lives, the how-manieth try."""

    task: TaskId
    engine: EngineId
    #: Counts the starts of that engine from 1; a restart makes a new one.
    incarnation: int
    #: Counts the runs of this task from 1.
    number: int

    @property
    def msg_id(self) -> str:
        """The ``msg_id`` under which the engine sees this attempt."""
        return f"{self.task}/{self.engine}.{self.incarnation}/{self.number}"

    @property
    def routing_id(self) -> bytes:
        """The name of that life of its engine."""
        return routing_id(self.engine, self.incarnation)


def parse_attempt(msg_id: str) -> Attempt | None:
    """Read an attempt back from a ``parent_header.msg_id``.

    Parameters
    ----------
    msg_id
        Any text a kernel sent.

    Returns
    -------
    Attempt or None
        None when the text is not one of ours (a console's request, a welcome).

    Examples
    --------
    >>> parse_attempt("c1-4.0/7.3/2")
    Attempt(task='c1-4.0', engine=7, incarnation=3, number=2)
    >>> parse_attempt("something else") is None
    True
    """
    parts = msg_id.split("/")
    if len(parts) != 3:
        return None
    engine, _, incarnation = parts[1].partition(".")
    try:
        return Attempt(TaskId(parts[0]), EngineId(int(engine)), int(incarnation), int(parts[2]))
    except ValueError:
        return None


def task_id(request: str, index: int) -> TaskId:
    """Name the task at position `index` (from 0) of a request."""
    return TaskId(f"{request}.{index}")


def client_of(task: str) -> ClientId:
    """Name the client whose request a task belongs to.

    Examples
    --------
    >>> client_of("c1-4.0")
    'c1'
    """
    return ClientId(task.rpartition("-")[0])


def routing_id(engine: int, incarnation: int) -> bytes:
    """Name one life of an engine on the controller's ROUTER sockets; never used twice."""
    return f"e{engine}.{incarnation}".encode()
