"""Messages to frames and back, for both hops.

``content`` stays packed until somebody needs it: what the controller only passes on is never
decoded nor encoded again. On channels of our own (``own=True``) the header also carries ``seq``, a
counter that only grows per sender and channel, and ``to``, the name of the receiver: together they
refuse a replay, to the same receiver or to another.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from json.encoder import encode_basestring_ascii as quote
from math import isfinite
from typing import TYPE_CHECKING, Any

from ipyviews.engine import frames as codec
from ipyviews.errors import ProtocolError, UsageError

try:
    import orjson

    HAS_ORJSON = True
except ImportError:
    HAS_ORJSON = False

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    Frame = bytes | bytearray | memoryview

PROTOCOL_VERSION = "5.4"

#: Largest JSON frame we parse [bytes].
JSON_LIMIT = codec.JSON_LIMIT

#: Deepest nesting in a header or metadata, which we may have to encode again.
DEPTH_LIMIT = 100

#: Senders whose numbers are remembered; beyond it the one silent for longest is forgotten.
SENDER_LIMIT = 10_000


def is_told(count: int) -> bool:
    """Whether the so-manieth message that is dropped is worth a line in a log.

    The 1st, 10th, 100th ...: a flood must not fill a disk.
    """
    return str(count).strip("0") == "1"


def pack(value: Any) -> bytes:
    """Encode one JSON frame.

    Datetimes become ISO 8601 texts, numbers that JSON does not have (NaN, infinities) null, lone
    surrogates escapes.

    Raises
    ------
    UsageError
        Something in `value` has no form in JSON.
    """
    if HAS_ORJSON:
        try:
            option = orjson.OPT_NAIVE_UTC | orjson.OPT_UTC_Z
            packed: bytes = orjson.dumps(value, option=option)
        except TypeError:
            # It refuses what JSON can say all the same: surrogates, large or odd keys and numbers.
            return _pack_slowly(value)
        else:
            return packed
    return _pack_slowly(value)


def _pack_slowly(value: Any) -> bytes:
    try:
        try:
            return _encode(value).encode()
        except ValueError:
            return _encode(_finite(value)).encode()
    except (ValueError, TypeError, RecursionError) as error:
        raise UsageError(f"a message cannot be sent as JSON: {error}") from None


def _default(value: Any) -> Any:
    if isinstance(value, datetime):
        aware = value if value.tzinfo else value.replace(tzinfo=UTC)
        return aware.isoformat().replace("+00:00", "Z")
    raise TypeError(f"{type(value).__name__} has no form in JSON")


def _make_encode() -> Callable[[Any], str]:
    make: Any = getattr(json.encoder, "c_make_encoder", None)
    if make is None:
        return json.JSONEncoder(separators=(",", ":"), default=_default, allow_nan=False).encode
    # `JSONEncoder.encode` makes another one for each message, which takes longer than encoding it.
    parts = make(None, _default, quote, None, ":", ",", False, False, False)
    return lambda value: "".join(parts(value, 0))


_encode = _make_encode()


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


def unpack(frame: Frame) -> dict[str, Any]:
    """Decode one JSON frame into a dict.

    Bytes that are not UTF-8 become replacement characters, as Jupyter does it.

    Raises
    ------
    ProtocolError
        It is too large or nested, not JSON, or not an object.
    """
    if len(frame) > JSON_LIMIT:
        raise ProtocolError("a JSON frame is larger than 64 MiB")
    value = _load(frame)
    if not isinstance(value, dict):
        raise ProtocolError("a JSON frame is not an object")
    return value


def _load(frame: Frame) -> Any:
    if HAS_ORJSON:
        try:
            return orjson.loads(frame)
        except ValueError:
            # It refuses what other ends may write: NaN, surrogates, bytes that are not UTF-8.
            pass
    try:
        return codec.load(frame, "replace")
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"a frame is not JSON: {type(error).__name__}") from None


def _unpack_flat(frame: Frame) -> dict[str, Any]:
    """Decode a header or metadata, which must not be nested too deeply."""
    if frame == b"{}":
        return {}
    value = unpack(frame)
    # Shorter ones cannot be nested so deeply.
    if len(frame) > 2 * DEPTH_LIMIT:
        packed = bytes(frame)
        if packed.count(b"[") + packed.count(b"{") > DEPTH_LIMIT:
            _check_depth(value)
    return value


def _check_depth(value: dict[str, Any]) -> None:
    level: list[Any] = [value]
    for _ in range(DEPTH_LIMIT):
        level = [inner for outer in level for inner in _parts(outer)]
    if level:
        raise ProtocolError(f"a JSON frame is nested more than {DEPTH_LIMIT} deep")


def _parts(value: Any) -> list[Any]:
    items = value.values() if isinstance(value, dict) else value
    return [item for item in items if isinstance(item, dict | list)]


@dataclass(slots=True)
class Message:
    """One received message. ``content`` is still packed; `read` decodes it."""

    header: dict[str, Any]
    parent: dict[str, Any]
    metadata: dict[str, Any]
    content: Frame
    buffers: Sequence[Frame] = ()
    #: Routing prefix; on a ROUTER its first entry is the sender.
    idents: list[bytes] = field(default_factory=list)

    @property
    def msg_type(self) -> str:
        """The header's ``msg_type``, or an empty text."""
        return str(self.header.get("msg_type", ""))

    @property
    def msg_id(self) -> str:
        """The header's ``msg_id``, or an empty text."""
        return str(self.header.get("msg_id", ""))

    @property
    def parent_id(self) -> str:
        """The ``msg_id`` this message answers, or an empty text."""
        return str(self.parent.get("msg_id", ""))

    @property
    def ours(self) -> dict[str, Any]:
        """The ``ipyviews`` part of the metadata; empty when there is none."""
        part = self.metadata.get("ipyviews")
        return part if isinstance(part, dict) else {}

    @property
    def body(self) -> Frame | dict[str, Any]:
        """The content as it is: packed, or decoded."""
        return self.content

    def read(self) -> dict[str, Any]:
        """Decode the content."""
        return unpack(self.content)


@dataclass(slots=True)
class Part(Message):
    """One of several messages that came as one; its content is decoded already."""

    decoded: dict[str, Any] = field(default_factory=dict)

    @property
    def body(self) -> Frame | dict[str, Any]:
        """The decoded content."""
        return self.decoded

    def read(self) -> dict[str, Any]:
        """Return the decoded content."""
        return self.decoded


def bundle(parts: Iterable[Sequence[Any]]) -> tuple[dict[str, Any], list[Frame]]:
    """Make content and buffers of a ``bundle_reply``.

    Parameters
    ----------
    parts
        Of each message: parent, type, content, metadata, buffers.

    Raises
    ------
    ProtocolError
        A content is no JSON, or nested too deeply to be encoded again.
    """
    replies: list[list[Any]] = []
    buffers: list[Frame] = []
    for parent, msg_type, content, metadata, own in parts:
        body = content if isinstance(content, dict) else _unpack_flat(content)
        replies.append([parent, msg_type, body, metadata, len(own)])
        buffers += own
    sizes, together = codec.join(buffers)
    return {"replies": replies, "sizes": sizes}, together


def unbundle(message: Message) -> Sequence[Message]:
    """Take a ``bundle_reply`` apart; any other message is returned as it is.

    Raises
    ------
    ProtocolError
        It does not have the form that `bundle` makes.
    """
    if message.msg_type != "bundle_reply":
        return (message,)
    parts, first = [], 0
    headers: dict[str, dict[str, Any]] = {}
    try:
        said = message.read()
        buffers = codec.part(said["sizes"], message.buffers)
        for parent, msg_type, content, metadata, count in said["replies"]:
            header = headers.get(msg_type)
            if header is None:
                header = headers[msg_type] = {**message.header, "msg_type": msg_type}
            if type(metadata) is not dict or type(content) is not dict:
                raise TypeError  # noqa: TRY301 - told with all else that is malformed
            own = buffers[first : first + count]
            first += count
            parts.append(Part(header, {"msg_id": parent}, metadata, b"", own, [], content))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ProtocolError(f"a bundle of replies is malformed: {type(error).__name__}") from None
    return parts


class Wire:
    """One end of one channel: signs what leaves it, checks what arrives.

    Parameters
    ----------
    key
        The HMAC key; empty means unsigned, which is not allowed with `own`.
    session
        Who we are: goes into ``header.session``.
    own
        True where both ends are ours: buffers are signed and ``seq``/``to`` are sent and checked.
    name
        Under which name this end is addressed; only with `own`.
    """

    def __init__(self, key: bytes, session: str, *, own: bool = False, name: str = "") -> None:
        if own and not key:
            raise UsageError("a channel of our own needs a key: without one anybody could send")
        self.key = key
        self.session = session
        self.own = own
        self.name = name
        self._seq = 0
        self._seen: dict[str, int] = {}
        # What all headers have in common.
        common = {"username": "ipyviews", "session": session, "version": PROTOCOL_VERSION}
        self._common = pack(common)[1:-1].decode()

    def _header(self, msg_type: str, msg_id: str, to: str, subshell: str | None) -> bytes:
        """Make a packed header; with `own`, numbered and addressed."""
        header = f'{{"msg_id":{quote(msg_id)},"msg_type":{quote(msg_type)},'
        header += f'{self._common},"date":"{codec.date()}"'
        if self.own:
            self._seq += 1
            header += f',"seq":{self._seq},"to":{quote(to)}'
        if subshell is not None:
            header += f',"subshell_id":{quote(subshell)}'
        return f"{header}}}".encode()

    def encode(
        self,
        msg_type: str,
        msg_id: str,
        content: Mapping[str, Any] | Frame,
        *,
        parent: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
        buffers: Sequence[Frame] = (),
        to: str = "",
        subshell: str | None = None,
    ) -> list[Frame]:
        """Return delimiter, signature, four JSON frames and the buffers; no routing prefix.

        `content` that is bytes already is passed on as it is. `subshell` is the one of a kernel
        that is to answer, if it is not the main one.
        """
        packed = content if isinstance(content, bytes | bytearray | memoryview) else pack(content)
        parts: list[Frame] = [
            self._header(msg_type, msg_id, to, subshell),
            pack(parent) if parent else b"{}",
            pack(metadata) if metadata else b"{}",
            packed,
        ]
        signature = codec.sign(self.key, parts, buffers if self.own else ())
        return [codec.DELIMITER, signature, *parts, *buffers]

    def decode(self, frames: Sequence[Any]) -> Message:
        """Check and decode; the content stays packed.

        Raises
        ------
        ProtocolError
            Wrong shape, signature, address, or a number seen before. Nothing is remembered of a
            message that fails.
        """
        try:
            idents, signature, parts, buffers = codec.split(frames)
            codec.verify(self.key, signature, parts, buffers if self.own else ())
        except codec.BadMessage as error:
            raise ProtocolError(str(error)) from None
        message = Message(
            header=_unpack_flat(parts[0]),
            parent=_unpack_flat(parts[1]),
            metadata=_unpack_flat(parts[2]),
            content=parts[3],
            buffers=buffers,
            idents=idents,
        )
        if self.own:
            self._refuse_replay(message.header)
        return message

    def _refuse_replay(self, header: dict[str, Any]) -> None:
        sender, seq = header.get("session"), header.get("seq")
        if not isinstance(sender, str) or type(seq) is not int:
            raise ProtocolError("a message on our own channel has no number")
        if header.get("to") != self.name:
            raise ProtocolError("the message is addressed to somebody else")
        if seq <= self._seen.get(sender, 0):
            raise ProtocolError("the message was seen before")
        # The order of the dict is the order in which senders were last heard.
        self._seen.pop(sender, None)
        self._seen[sender] = seq
        if len(self._seen) > SENDER_LIMIT:
            del self._seen[next(iter(self._seen))]
