"""The bytes of a Jupyter message: signing and checking.

The one codec of the project. It lives in the engine's room because engines import nothing else of
ipyviews; `ipyviews.protocol.wire` builds on it for everybody else. Two rules of signing:

* *stock*: Jupyter's, the four JSON frames. Buffers are not covered.
* *own*: on channels that both ends of are ours, also the number and lengths of the buffers and
  each buffer up to `SIGNED_BUFFER_LIMIT` bytes. Without buffers the two are the same bytes.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    Frame = bytes | bytearray | memoryview

#: Ends the routing prefix of every Jupyter message.
DELIMITER = b"<IDS|MSG>"

#: Buffers above this size [bytes] are protected by the private folder or by Curve instead.
SIGNED_BUFFER_LIMIT = 65_536

#: From this size [bytes] on a frame is refused by every socket of ours that receives.
MOST_BYTES = 4_000_000_000

#: Largest header of a message and of its parent, and largest JSON frame that is parsed [bytes].
HEADER_LIMIT = 1024 * 1024
JSON_LIMIT = 64 * 1024 * 1024


#: Of several replies, buffers up to this size [bytes] go end to end in one frame: a frame costs
#: more than a small result.
SMALL_BUFFER = 1024


class BadMessage(ValueError):
    """Frames that are not a message signed with our key."""


_BLOCK = hashlib.sha256().block_size
_INNER = bytes(byte ^ 0x36 for byte in range(256))
_OUTER = bytes(byte ^ 0x5C for byte in range(256))

# What `json.loads` makes of a text, without its half a dozen questions before.
_decode = json.JSONDecoder().raw_decode


@lru_cache(maxsize=1024)
def _keyed(key: bytes) -> tuple[Any, Any]:
    """Return both hashes of an HMAC (RFC 2104) with the key taken in, to copy for each message.

    The module `hmac` does the same in Python code that costs more than hashing a small message.
    """
    block = (hashlib.sha256(key).digest() if len(key) > _BLOCK else key).ljust(_BLOCK, b"\0")
    return hashlib.sha256(block.translate(_INNER)), hashlib.sha256(block.translate(_OUTER))


def sign(key: bytes, parts: Sequence[Frame], buffers: Sequence[Frame] = ()) -> bytes:
    """Return the hexadecimal HMAC-SHA256 of a message; empty without a key."""
    if not key:
        return b""
    signed = list(parts)
    if buffers:
        sizes = list(map(size_bytes, buffers))
        signed.append(("|" + ",".join(map(str, sizes)) + "|").encode())
        small = zip(sizes, buffers, strict=True)
        signed += [buffer for size, buffer in small if size <= SIGNED_BUFFER_LIMIT]
    inner, outer = _keyed(key)
    inner, outer = inner.copy(), outer.copy()
    inner.update(b"".join(signed))
    outer.update(inner.digest())
    signature: bytes = outer.hexdigest().encode()
    return signature


def load(frame: Frame, errors: str) -> Any:
    """Decode JSON in UTF-8; `errors` is as for `bytes.decode`.

    Raises
    ------
    ValueError
        It is no JSON, or no UTF-8; `RecursionError` when it is nested too deeply.
    """
    text = str(frame, "utf-8", errors)
    try:
        value, end = _decode(text)
    except ValueError:
        # It may begin with blanks, or end with them.
        return json.loads(text)
    return value if end == len(text) else json.loads(text)


def date() -> str:
    """Return the date of a message that is made now: in UTC, as ISO 8601."""
    seconds, microseconds = divmod(time.time_ns() // 1000, 1_000_000)
    return f"{_second(seconds)}.{microseconds:06d}Z"


@lru_cache(maxsize=4)
def _second(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


def split(frames: Sequence[Any]) -> tuple[list[bytes], bytes, list[Any], list[Any]]:
    """Cut frames into routing prefix, signature, the four JSON frames, and buffers.

    Raises
    ------
    BadMessage
        If the delimiter is missing, fewer than five frames follow it, or one is too large.
    """
    try:
        position = frames[:16].index(DELIMITER)
    except ValueError:
        raise BadMessage("no delimiter") from None
    if len(frames) < position + 6:
        raise BadMessage("too few frames")
    header, parent, metadata, _ = signed = list(frames[position + 2 : position + 6])
    names = [*frames[:position], frames[position + 1]]
    # Measured before anything is copied or hashed; content is its reader's to refuse.
    if max(map(len, (header, parent, *names))) > HEADER_LIMIT or len(metadata) > JSON_LIMIT:
        raise BadMessage("a frame before the buffers is too large")
    *prefix, signature = map(bytes, names)
    return prefix, signature, signed, list(frames[position + 6 :])


def size_bytes(frame: Frame) -> int:
    """Return the length of a frame, whatever its item size."""
    return frame.nbytes if isinstance(frame, memoryview) else len(frame)


def too_much(buffers: Sequence[Frame]) -> str:
    """Say why buffers cannot be sent in one message; empty if they can."""
    largest = 0
    for buffer in buffers:
        largest = max(largest, size_bytes(buffer))
    if largest < MOST_BYTES:
        return ""
    return (
        f"it has {largest / 1e9:.1f} GB in one piece, and a message takes less than "
        f"{MOST_BYTES / 1e9:.0f} GB: send it in parts, by scatter for example, or where memory "
        "is shared"
    )


def verify(
    key: bytes, signature: bytes, parts: Sequence[Frame], buffers: Sequence[Frame] = ()
) -> None:
    """Raise `BadMessage` unless `signature` fits. Pass `buffers` only on our own channels."""
    if not hmac.compare_digest(sign(key, parts, buffers), signature):
        raise BadMessage("the signature does not fit")


def join(buffers: Sequence[Frame]) -> tuple[list[int], list[Frame]]:
    """Put small buffers end to end.

    Returns
    -------
    sizes : list of int
        For each buffer how many bytes of the first frame it is, or -1: it is the next frame.
    frames : list
        The small ones, no more than are signed, then each of the others.
    """
    sizes: list[int] = []
    small: list[Frame] = []
    others: list[Frame] = []
    room = SIGNED_BUFFER_LIMIT
    for buffer in buffers:
        size = buffer.nbytes if isinstance(buffer, memoryview) else len(buffer)
        if size <= SMALL_BUFFER and size <= room:
            sizes.append(size)
            small.append(buffer)
            room -= size
        else:
            sizes.append(-1)
            others.append(buffer)
    return sizes, [b"".join(small), *others]


def part(sizes: Sequence[int], buffers: Sequence[Frame]) -> list[Frame]:
    """Undo `join`.

    Raises
    ------
    ValueError
        If sizes and buffers do not fit each other.
    """
    small, *others = buffers
    data, start, rest, parts = bytes(small), 0, iter(others), []
    for size in sizes:
        if size < 0:
            parts.append(next(rest, b""))
        else:
            parts.append(data[start : start + size])
            start += size
    if start != len(data) or len(others) != sum(size < 0 for size in sizes):
        raise ValueError("sizes and buffers do not fit each other")
    return parts
