"""One record of one task: what is noted of it, cheaply, and what is told of it, when asked.

Noting happens for tens of thousands of tasks a second, so the tasks of a request share one
`Origin`, an end is one tuple, and contents stay as they came; a record's values are made from them
only when somebody asks.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from ipyviews.errors import ProtocolError
from ipyviews.ids import TaskId, task_id
from ipyviews.protocol.wire import unpack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ipyviews.ids import ClientId, EngineId, RequestId
    from ipyviews.protocol.wire import Frame

#: Largest text of output recorded for one task [bytes], [count of messages].
OUTPUT_BYTES = 256 * 1024
OUTPUT_MESSAGES = 1000

#: What a record weighs besides its contents, about [bytes].
OVERHEAD = 1100


class Source(Protocol):
    """A request's frames."""

    @property
    def buffers(self) -> Sequence[Frame]:
        """All of its buffers."""

    def cut(self, task: int, /) -> tuple[Frame, Sequence[Frame]]:
        """Return content and buffers of the task at a position."""


@dataclass(eq=False, slots=True)
class Origin:
    """A request as it came: what the records of its tasks have in common."""

    client: ClientId
    request: RequestId
    #: Seconds since the epoch, as all times here.
    submitted: float
    header: dict[str, Any]
    metadata: dict[str, Any]
    #: ``execute`` or ``apply``.
    kind: str
    is_direct: bool
    #: How many tasks it made, and how many of them are not final. [count]
    tasks: int
    left: int
    content: bytes
    #: What it takes to run it again; None once that was let go.
    source: Source | None
    #: Position in the order of all requests.
    order: int = 0
    #: Records of it that are kept, of tasks that are final. [count]
    kept: int = 0
    #: Which of its tasks are final.
    done: bytearray = field(init=False)

    def __post_init__(self) -> None:
        self.done = bytearray(self.tasks)

    @property
    def ours(self) -> dict[str, Any]:
        """The ``ipyviews`` part of the metadata."""
        part = self.metadata.get("ipyviews")
        return part if isinstance(part, dict) else {}

    def each(self) -> Iterator[TaskId]:
        """Name its tasks."""
        return (task_id(self.request, index) for index in range(self.tasks))


class End(NamedTuple):
    """How a task ended: the reply as its client got it."""

    received: float
    #: The ``ipyviews`` part of its metadata: verdict, engine, attempts.
    ours: dict[str, Any]
    #: Packed when an engine made it.
    content: bytes | dict[str, Any]


@dataclass(slots=True)
class Output:
    """What a task wrote: messages as they came."""

    messages: list[tuple[str, bytes]] = field(default_factory=list)
    size: int = 0
    #: Messages beyond the bounds. [count]
    dropped: int = 0

    def add(self, msg_type: str, content: Frame) -> bool:
        """Keep a message; False when it is beyond the bounds."""
        size = len(content)
        if self.size + size > OUTPUT_BYTES or len(self.messages) >= OUTPUT_MESSAGES:
            self.dropped += 1
            return False
        self.messages.append((msg_type, bytes(content)))
        self.size += size
        return True

    def text(self, stream: str) -> str:
        """Return what was written to ``stdout`` or ``stderr``."""
        found = [str(one.get("text", "")) for one in self.of("stream") if one.get("name") == stream]
        return "".join(found)

    def read(self) -> list[tuple[str, dict[str, Any]]]:
        """Return all messages, in order."""
        return [(msg_type, read(content)) for msg_type, content in self.messages]

    def last(self, msg_type: str) -> dict[str, Any] | None:
        """Return the content of the last message of a type."""
        found = self.of(msg_type)
        return found[-1] if found else None

    def of(self, *msg_types: str) -> list[dict[str, Any]]:
        """Return the contents of all messages of some types."""
        return [read(content) for name, content in self.messages if name in msg_types]


@dataclass(slots=True)
class Record:
    """All that is known of one task; `get` makes the value of one key."""

    task: TaskId
    index: int
    origin: Origin
    end: End | None
    output: Output | None
    #: What the engine returned, if that is kept.
    buffers: Sequence[Frame] | None
    resubmitted: TaskId | None

    @property
    def size(self) -> int:
        """What it weighs in memory without buffers, about [bytes]."""
        return weigh(self.origin, self.end, self.output)

    @property
    def engine(self) -> EngineId | None:
        """Where it ran, or where it was to run."""
        if self.end is not None:
            found: EngineId | None = self.end.ours["engine"]
            return found
        return self.origin.ours["targets"][self.index] if self.origin.is_direct else None

    def get(self, key: str) -> Any:
        """Return the value of a key of `ipyviews.store.query.KEYS`."""
        return _FIELDS[key](self)

    def as_dict(self, keys: Sequence[str]) -> dict[str, Any]:
        """Return the values of some keys."""
        return {key: _FIELDS[key](self) for key in keys}


def weigh(origin: Origin, end: End | None, output: Output | None) -> int:
    """Say what a record weighs in memory without buffers, about [bytes]."""
    content = end.content if end else b""
    size = len(content) if isinstance(content, bytes) else 0
    written = output.size if output else 0
    return OVERHEAD + size + written + len(origin.content) // origin.tasks


def read(content: bytes | dict[str, Any]) -> dict[str, Any]:
    """Decode a content; one that cannot be read is empty."""
    if isinstance(content, dict):
        return dict(content)
    with suppress(ProtocolError):
        return unpack(content)
    return {}


def _time(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def _last_run(position: int) -> Callable[[Record], datetime | None]:
    def get(record: Record) -> datetime | None:
        attempts = record.end.ours["attempts"] if record.end else ()
        return _time(attempts[-1][position]) if attempts else None

    return get


def _engine(record: Record) -> str | None:
    engine = record.engine
    return None if engine is None else f"e{engine}"


def _header(record: Record) -> dict[str, Any]:
    return {**record.origin.header, "msg_id": record.task}


def _content(record: Record) -> dict[str, Any]:
    content = read(record.origin.content)
    index = content.get("index")
    if isinstance(index, list) and len(index) > 1:
        content["index"] = [index[record.index]]
    return content


def _buffers(record: Record) -> list[bytes]:
    source = record.origin.source
    return [] if source is None else [bytes(buffer) for buffer in source.cut(record.index)[1]]


def _result_header(record: Record) -> dict[str, Any] | None:
    if record.end is None:
        return None
    return {"msg_type": f"{record.origin.kind}_reply", "date": _time(record.end.received)}


def _result_metadata(record: Record) -> dict[str, Any] | None:
    return None if record.end is None else {"ipyviews": record.end.ours}


def _status(record: Record) -> str:
    if record.end is None:
        return "pending"
    if record.end.ours["verdict"] in ("cancelled", "aborted"):
        return "aborted"
    return str(read(record.end.content).get("status", "error"))


def _written(msg_type: str) -> Callable[[Record], dict[str, Any] | None]:
    return lambda record: record.output.last(msg_type) if record.output else None


def _text(stream: str) -> Callable[[Record], str]:
    return lambda record: record.output.text(stream) if record.output else ""


def _code(record: Record) -> str | None:
    told = record.output.last("execute_input") if record.output else None
    return None if told is None else told.get("code")


def _outputs(record: Record) -> list[dict[str, Any]]:
    return record.output.of("display_data", "update_display_data") if record.output else []


_FIELDS: dict[str, Callable[[Record], Any]] = {
    "msg_id": lambda record: record.task,
    "header": _header,
    "metadata": lambda record: record.origin.metadata,
    "content": _content,
    "buffers": _buffers,
    "submitted": lambda record: _time(record.origin.submitted),
    "client_uuid": lambda record: record.origin.client,
    "engine_uuid": _engine,
    "started": _last_run(2),
    "completed": _last_run(3),
    "resubmitted": lambda record: record.resubmitted,
    "received": lambda record: _time(record.end.received) if record.end else None,
    "result_header": _result_header,
    "result_metadata": _result_metadata,
    "result_content": lambda record: read(record.end.content) if record.end else None,
    "result_buffers": lambda record: [bytes(buffer) for buffer in record.buffers or ()],
    "queue": lambda record: "mux" if record.origin.is_direct else "task",
    "execute_input": _code,
    "execute_result": _written("execute_result"),
    "error": _written("error"),
    "stdout": _text("stdout"),
    "stderr": _text("stderr"),
    "outputs": _outputs,
    "label": lambda record: record.origin.ours.get("label"),
    "status": _status,
}
