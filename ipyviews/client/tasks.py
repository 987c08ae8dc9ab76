"""One call or cell on one engine, as the client knows it.

The I/O thread finishes a task; any thread may read it. A reply is decoded where it is first read,
never in the I/O thread: unpickling runs user code.
"""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, Protocol

from ipyviews import errors
from ipyviews.client import cells, places
from ipyviews.client.metadata import Metadata
from ipyviews.client.outputs import Output
from ipyviews.client.replies import ExecuteReply
from ipyviews.engine.frames import size_bytes
from ipyviews.protocol import failures, payload

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from ipyviews.client.returning import Source
    from ipyviews.deaths import DeathReport
    from ipyviews.protocol.wire import Frame

Kind = Literal["apply", "execute"]

#: Error classes by the ``ename`` of a reply that no engine made.
_BY_VERDICT: dict[str, type[errors.IPyViewsError]] = {
    "cancelled": errors.TaskAborted,
    "aborted": errors.TaskAborted,
    "engine_lost": errors.EngineError,
    "unknown_engine": errors.EngineError,
    "no_engines": errors.NoEnginesRegistered,
    "timeout": errors.TaskTimeout,
    "impossible": errors.ImpossibleDependency,
    "deadlock": errors.ImpossibleDependency,
    "invalid": errors.InvalidDependency,
}

_FROM_CONTROLLER = (
    errors.UsageError,
    errors.TaskError,
    errors.NoEnginesRegistered,
    errors.ClusterError,
    errors.ProtocolError,
)

#: Watchers are added and called under one lock for all tasks: held for moments only.
_lock = threading.Lock()


class Ending(Protocol):
    """A final reply, as it came or out of the controller's records."""

    @property
    def ours(self) -> dict[str, Any]:
        """What is ours in its metadata; see docs/protocol.md."""

    @property
    def buffers(self) -> Sequence[Frame]:
        """Its buffers."""


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
    after, follow
        What it waits for, and what it runs beside; see docs/protocol.md.
    source
        What is sent again if the controller dies.
    """

    __slots__ = (
        "__weakref__",
        "_outcome",
        "_reply",
        "_watchers",
        "_written",
        "after",
        "attempts",
        "completed",
        "engine",
        "follow",
        "function",
        "id",
        "incomplete_output",
        "kind",
        "label",
        "output",
        "pages",
        "received",
        "reply_bytes",
        "request",
        "size_bytes",
        "source",
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
        after: Any = None,
        follow: Any = None,
        source: Source | None = None,
    ) -> None:
        self.id = name
        self.kind: Kind = kind
        self.engine = engine
        self.label = label
        self.function = function
        self.size_bytes = size_bytes
        self.request = request
        self.after = after
        self.follow = follow
        #: Its request, until it has ended.
        self.source = source
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
        self.attempts: Sequence[list[Any]] = ()
        #: True when its engine may have written more than arrived.
        self.incomplete_output = False
        #: What its value weighs before it is decoded.
        self.reply_bytes = 0
        #: Texts for a pager, as help is.
        self.pages: Sequence[str] = ()
        # When its latest output was written, and whether some comes again.
        self._written: tuple[str, bool] = ("", False)
        self._reply: tuple[dict[str, Any], Sequence[Frame]] | None = None
        self._outcome: tuple[Any, Exception | None] | None = None
        self._watchers: tuple[Callable[[Task], None], ...] | None = ()

    @property
    def done(self) -> bool:
        """Whether it has ended."""
        return self._watchers is None

    def watch(self, watcher: Callable[[Task], None]) -> None:
        """Call `watcher` once when the task is done: now if it is, else in the I/O thread."""
        with _lock:
            if self._watchers is not None:
                self._watchers += (watcher,)
                return
        watcher(self)

    def is_news(self, ours: dict[str, Any]) -> bool:
        """Tell whether output is new: a controller that took over tells all there was."""
        latest, is_repeated = self._written
        date = str(ours.get("date") or "")
        if ours.get("again") is not True and is_repeated:
            return date > latest
        is_repeated = ours.get("again") is True
        if is_repeated and date <= latest:
            self._written = (latest, True)
            return False
        self._written = (date, is_repeated)
        return True

    def written(self) -> Output:
        """Return its output record, made when first needed."""
        if self.output is None:
            self.output = Output()
        return self.output

    def finish(
        self, ending: Ending, content: dict[str, Any], reports: Sequence[DeathReport] = ()
    ) -> None:
        """Take the final reply, and why engines died that it names. I/O thread."""
        ours = ending.ours
        self.received = time.time()
        if ours.get("engine") is not None:
            self.engine = ours["engine"]
        self.attempts = ours.get("attempts") or ()
        self.incomplete_output = bool(ours.get("incomplete_output"))
        self._set_times(content)
        verdict = str(ours.get("verdict", "replied"))
        if verdict == "replied":
            self.status = str(content.get("status", "error"))
            self._reply = (content, ending.buffers)
            if self.kind == "execute":
                places.ran(self.id, self.engine, content.get("execution_count"))
            self.reply_bytes = sum(map(size_bytes, ending.buffers))
            if content.get("payload"):
                self.pages = _pages(content["payload"])
        else:
            self.status = "aborted" if _BY_VERDICT.get(verdict) is errors.TaskAborted else "error"
            error = from_content(content, _BY_VERDICT.get(verdict))
            if isinstance(error, errors.TaskError):
                error.engine, error.task = self.engine, self.id
            if isinstance(error, errors.EngineError):
                error.reports = reports
            self._outcome = (None, error)
        self._end()

    def fail(self, error: Exception) -> None:
        """End without a reply."""
        if self.done:
            return
        self.received = time.time()
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
        return Metadata(
            msg_id=self.id,
            submitted=_utc(self.submitted),
            started=_utc(self.started),
            completed=_utc(self.completed),
            received=_utc(self.received),
            engine_uuid=None if self.engine is None else f"e{self.engine}",
            engine_id=self.engine,
            follow=self.follow,
            after=self.after,
            status=self.status,
            execute_input=written.execute_input,
            execute_result=written.execute_result,
            error=written.error,
            stdout=written.stdout,
            stderr=written.stderr,
            outputs=list(written.outputs),
            data=written.published.values(),
            label=self.label,
        )

    def _end(self) -> None:
        self.source = None
        with _lock:
            watchers, self._watchers = self._watchers, None
        self._tell(watchers or ())

    def _tell(self, watchers: Sequence[Callable[[Task], None]]) -> None:
        for place, watcher in enumerate(watchers):
            try:
                watcher(self)
            except BaseException:
                # A callback left with SystemExit: the others are told all the same.
                self._tell(watchers[place + 1 :])
                raise

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
        told = cells.retell(content)
        if self.kind == "execute" and isinstance(told.get("traceback"), list):
            told["traceback"] = places.rename(told["traceback"], self.id, self.engine)
        return None, failures.rebuild(told, buffers, self.engine, self.id, self.kind)

    def _decode_value(
        self, content: dict[str, Any], buffers: Sequence[Frame]
    ) -> tuple[Any, Exception | None]:
        if self.kind == "execute":
            count = int(content.get("execution_count") or 0)
            return ExecuteReply(self.metadata(), count), None
        try:
            return payload.unpack_result(buffers), None
        except Exception as error:  # noqa: BLE001 - whatever a class of the user raises
            problem = errors.IPyViewsError(
                f"The result of {self.function or 'the call'} on engine {self.engine} arrived, but "
                f"cannot be unpickled here: {type(error).__name__}: {error}"
            )
            problem.__cause__ = error
            return None, problem


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


def _pages(payload: Iterable[Any]) -> list[str]:
    """Pick the texts for a pager out of what a kernel asks of a front end."""
    wanted = [one for one in payload if isinstance(one, dict) and one.get("source") == "page"]
    data = [one["data"] for one in wanted if isinstance(one.get("data"), dict)]
    return [str(one["text/plain"]) for one in data if "text/plain" in one]


def _utc(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
