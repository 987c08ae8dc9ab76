"""One call or cell on one engine, as the client knows it.

The I/O thread finishes a task; any thread may read it. A reply is decoded where it is first read,
never in the I/O thread: unpickling runs user code.
"""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from ipyviews import errors
from ipyviews.client.outputs import Output
from ipyviews.protocol import failures, payload

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ipyviews.protocol.wire import Frame, Message

Kind = Literal["apply", "execute"]

#: Error classes by the ``ename`` of a reply that no engine made.
_BY_VERDICT: dict[str, type[errors.IPyViewsError]] = {
    "cancelled": errors.TaskAborted,
    "aborted": errors.TaskAborted,
    "engine_lost": errors.EngineError,
    "unknown_engine": errors.EngineError,
    "no_engines": errors.NoEnginesRegistered,
    "timeout": errors.TaskTimeout,
}

_FROM_CONTROLLER = (
    errors.UsageError,
    errors.TaskError,
    errors.NoEnginesRegistered,
    errors.ClusterError,
    errors.ProtocolError,
)

METADATA_KEYS = (
    "msg_id",
    "submitted",
    "started",
    "completed",
    "received",
    "engine_uuid",
    "engine_id",
    "follow",
    "after",
    "status",
    "execute_input",
    "execute_result",
    "error",
    "stdout",
    "stderr",
    "outputs",
    "data",
    "label",
)

#: Watchers are added and called under one lock for all tasks: held for moments only.
_lock = threading.Lock()


class Metadata(dict[str, Any]):
    """What is known of one task: a dict with fixed keys, also readable as attributes.

    Times are timezone-aware UTC datetimes or None; ``stdout`` and ``stderr`` are texts.
    """

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


class Task:
    """State, reply and output of one task.

    Parameters
    ----------
    name
        Its id, ``<request>.<i>``.
    kind
        What it runs.
    engine
        Where it runs; None while the scheduler has not told.
    label, function
        Free text; and the name of what runs, for people.
    size_bytes
        What its arguments weigh in the client's cap.
    request
        The number of its request; the thread that made it is noted too.
    """

    __slots__ = (
        "__weakref__",
        "_outcome",
        "_reply",
        "_watchers",
        "attempts",
        "completed",
        "engine",
        "function",
        "id",
        "incomplete_output",
        "kind",
        "label",
        "output",
        "received",
        "request",
        "size_bytes",
        "started",
        "status",
        "submitted",
        "thread",
    )

    def __init__(
        self,
        name: str,
        kind: Kind,
        engine: int | None,
        submitted: float,
        *,
        label: str | None = None,
        function: str = "",
        size_bytes: int = 0,
        request: int = 0,
    ) -> None:
        self.id = name
        self.kind: Kind = kind
        self.engine = engine
        self.label = label
        self.function = function
        self.size_bytes = size_bytes
        self.request = request
        self.thread = threading.get_ident()
        #: Seconds since the epoch, as the other times.
        self.submitted = submitted
        self.started: float | None = None
        self.completed: float | None = None
        self.received: float | None = None
        #: ``ok``, ``error``, ``aborted``; None until it is done.
        self.status: str | None = None
        self.output: Output | None = None
        #: ``[[engine, incarnation, started, ended, outcome], …]``
        self.attempts: list[list[Any]] = []
        #: True when its engine may have written more than arrived.
        self.incomplete_output = False
        self._reply: tuple[dict[str, Any], Sequence[Frame]] | None = None
        self._outcome: tuple[Any, Exception | None] | None = None
        self._watchers: list[Callable[[Task], None]] | None = []

    @property
    def done(self) -> bool:
        """Whether it has ended."""
        return self._watchers is None

    def watch(self, watcher: Callable[[Task], None]) -> None:
        """Call `watcher` once when the task is done: now if it is, else in the I/O thread."""
        with _lock:
            if self._watchers is not None:
                self._watchers.append(watcher)
                return
        watcher(self)

    def written(self) -> Output:
        """Return its output record, made when first needed."""
        if self.output is None:
            self.output = Output()
        return self.output

    def finish(self, message: Message, content: dict[str, Any]) -> None:
        """Take the final reply. I/O thread."""
        ours = message.ours
        self.received = datetime.now(UTC).timestamp()
        if ours.get("engine") is not None:
            self.engine = ours["engine"]
        self.attempts = ours.get("attempts") or []
        self.incomplete_output = bool(ours.get("incomplete_output"))
        self._set_times(content)
        verdict = str(ours.get("verdict", "replied"))
        if verdict == "replied":
            self.status = str(content.get("status", "error"))
            self._reply = (content, message.buffers)
        else:
            self.status = "aborted" if _BY_VERDICT.get(verdict) is errors.TaskAborted else "error"
            error = from_content(content, _BY_VERDICT.get(verdict))
            if isinstance(error, errors.TaskError):
                error.engine, error.task = self.engine, self.id
            self._outcome = (None, error)
        self._end()

    def fail(self, error: Exception) -> None:
        """End without a reply."""
        if self.done:
            return
        self.received = datetime.now(UTC).timestamp()
        self.status = "error"
        self._outcome = (None, error)
        self._end()

    def outcome(self) -> tuple[Any, Exception | None]:
        """Return the value and None, or None and the error. Only when done."""
        reply = self._reply
        if self._outcome is None and reply is not None:
            self._outcome = self._decode(*reply)
            # The frames are not needed any more; the value may be as large.
            self._reply = None
        assert self._outcome is not None, f"task {self.id} is not done"  # noqa: S101
        return self._outcome

    def metadata(self) -> Metadata:
        """Return all that is known of it now."""
        written = self.output or Output()
        values = {
            "msg_id": self.id,
            "submitted": _utc(self.submitted),
            "started": _utc(self.started),
            "completed": _utc(self.completed),
            "received": _utc(self.received),
            "engine_uuid": None if self.engine is None else f"e{self.engine}",
            "engine_id": self.engine,
            "status": self.status,
            "execute_input": written.execute_input,
            "execute_result": written.execute_result,
            "error": written.error,
            "stdout": written.stdout,
            "stderr": written.stderr,
            "outputs": list(written.outputs),
            "data": {},
            "label": self.label,
        }
        return Metadata((key, values.get(key)) for key in METADATA_KEYS)

    def _end(self) -> None:
        with _lock:
            watchers, self._watchers = self._watchers, None
        for watcher in watchers or ():
            watcher(self)

    def _set_times(self, content: dict[str, Any]) -> None:
        last = self.attempts[-1] if self.attempts else [None, None, None, None]
        self.started = content.get("started") or last[2]
        self.completed = content.get("ended") or last[3]

    def _decode(
        self, content: dict[str, Any], buffers: Sequence[Frame]
    ) -> tuple[Any, Exception | None]:
        if content.get("status") == "ok":
            return self._decode_value(content, buffers)
        if content.get("status") in ("aborted", "abort"):
            return None, errors.TaskAborted(f"Task {self.id} was aborted by its engine.")
        return None, failures.rebuild(content, buffers, self.engine, self.id, self.kind)

    def _decode_value(
        self, content: dict[str, Any], buffers: Sequence[Frame]
    ) -> tuple[Any, Exception | None]:
        if self.kind == "execute":
            return ExecuteReply(self, content), None
        try:
            return payload.unpack_result(buffers), None
        except Exception as error:  # noqa: BLE001 - whatever a class of the user raises
            problem = errors.IPyViewsError(
                f"The result of {self.function or 'the call'} on engine {self.engine} arrived, but "
                f"cannot be unpickled here: {type(error).__name__}: {error}"
            )
            problem.__cause__ = error
            return None, problem


class ExecuteReply:
    """The result of one executed cell; shows its last value as IPython would.

    Every key of the task's metadata is an attribute and an item: ``reply.stdout``.
    """

    def __init__(self, task: Task, content: dict[str, Any]) -> None:
        self._task = task
        self._content = content

    @property
    def msg_id(self) -> str:
        """The id of its task."""
        return self._task.id

    @property
    def metadata(self) -> Metadata:
        """What is known of its task."""
        return self._task.metadata()

    @property
    def execution_count(self) -> int:
        """The number of the cell on its engine, from 1."""
        return int(self._content.get("execution_count") or 0)

    @property
    def source(self) -> str | None:
        """The code that ran."""
        return self._task.written().execute_input

    @property
    def data(self) -> dict[str, Any]:
        """The last value by MIME type; empty when there is none."""
        result = self._task.written().execute_result or {}
        return dict(result.get("data", {}))

    def __getitem__(self, key: str) -> Any:
        return self.metadata[key]

    def __getattr__(self, name: str) -> Any:
        if name not in METADATA_KEYS:
            raise AttributeError(name)
        return self.metadata[name]

    def __repr__(self) -> str:
        text = str(self.data.get("text/plain", ""))
        short = text if len(text) <= 32 else text[:29] + "..."
        return f"<ExecuteReply[{self.execution_count}]: {short}>"

    def _repr_mimebundle_(self, **_wanted: object) -> dict[str, Any] | None:
        data = self.data
        return {**data, "text/plain": self._plain()} if data else None

    def _repr_pretty_(self, printer: Any, _cycle: bool) -> None:
        printer.text(self._plain() if self.data else repr(self))

    def _plain(self) -> str:
        text = str(self.data.get("text/plain", ""))
        gap = "\n" if "\n" in text else " "
        return f"Out[{self._task.engine}:{self.execution_count}]:{gap}{text}"


def from_content(
    content: dict[str, Any], kind: type[errors.IPyViewsError] | None = None
) -> errors.IPyViewsError:
    """Rebuild an error of ours that a controller sent: its class by `kind`, else by name."""
    sentence = str(content.get("evalue", ""))
    named = getattr(errors, str(content.get("ename")), None)
    # Errors of user code have other constructors, and a controller does not send them.
    if kind is None and isinstance(named, type) and issubclass(named, _FROM_CONTROLLER):
        return named(sentence)
    return (kind or errors.ClusterError)(sentence)


def _utc(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
