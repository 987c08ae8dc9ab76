"""Cutting sequences into parts and joining results back. Pure.

Two distributions: ``"b"`` gives contiguous blocks, ``"r"`` deals round robin.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import partial
from itertools import accumulate, chain, islice, pairwise, zip_longest
from operator import setitem
from typing import TYPE_CHECKING, Any

from ipyviews.engine.together import do_all
from ipyviews.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from ipyviews.client.calls import Call

_HOLE = object()


class UnknownDistribution(UsageError, KeyError):
    """A `UsageError` that is also a KeyError."""

    # A KeyError would show the sentence in quotes.
    __str__ = Exception.__str__


class NoSequences(UsageError, AssertionError):
    """A `UsageError` that is also an AssertionError."""

    def __init__(self) -> None:
        super().__init__(
            "A map must have some sequences to map onto! They follow the function: map(f, items)."
        )


def check(dist: str) -> None:
    """Refuse what is no distribution.

    Raises
    ------
    UsageError
        It is none; also a KeyError.
    """
    if dist not in ("b", "r"):
        raise UnknownDistribution(
            f"There is no distribution {dist!r}: use 'b' (blocks) or 'r' (in turn)."
        )


def sequences(values: Sequence[Iterable[Any]]) -> list[Any]:
    """Return what can be cut: sequences and arrays as they are, other iterables as lists.

    Raises
    ------
    UsageError
        There is none; also an AssertionError.
    """
    if not values:
        raise NoSequences
    return [one if _can_be_cut(one) else list(one) for one in values]


def sizes(count: int, parts: int) -> list[int]:
    """Return the lengths of `parts` blocks of `count` items: nearly equal, longer ones first.

    Examples
    --------
    >>> sizes(10, 4)
    [3, 3, 2, 2]
    """
    each, more = divmod(count, parts)
    return [each + (part < more) for part in range(parts)]


def split(values: Sequence[Any], parts: int, dist: str = "b") -> list[Any]:
    """Cut a sequence into `parts` pieces of its own type.

    Parameters
    ----------
    values
        Sequence of length n; an array is cut along its first axis, without a copy.
    parts
        Number of pieces, at least 1. [count]
    dist
        ``"b"``: contiguous blocks, lengths differ by at most 1, the longer ones first.
        ``"r"``: round robin, piece p has items p, p + parts, p + 2 parts, …

    Raises
    ------
    UsageError
        Another `dist`, then also a KeyError; or `parts` less than 1.

    Examples
    --------
    >>> split(range(5), 2)
    [range(0, 3), range(3, 5)]
    >>> split("abcde", 2, "r")
    ['ace', 'bd']
    """
    check(dist)
    if parts < 1:
        raise UsageError("A sequence can be cut into 1 or more parts, not fewer.")
    if dist == "r":
        return [values[part::parts] for part in range(parts)]
    pieces, start = [], 0
    for size in sizes(len(values), parts):
        pieces.append(values[start : start + size])
        start += size
    return pieces


def cut(lists: Sequence[Any], parts: int, dist: str = "b") -> list[Call]:
    """Cut sequences of one length into the arguments of calls, which get a part of each.

    Examples
    --------
    >>> cut(["abc", range(3)], 2)
    [(('ab', range(0, 2)), {}), (('c', range(2, 3)), {})]
    """
    pieces = zip(*(split(values, parts, dist) for values in lists), strict=True)
    return [(piece, {}) for piece in pieces]


def join(pieces: Sequence[Any], dist: str = "b") -> Any:
    """Put the pieces of `split` together again.

    Returns
    -------
    Any
        Arrays become one array, ranges a range again where they fit, texts and bytes one text.
        Lists and tuples become a list. Pieces of other types, or of several: the list of pieces.

    Raises
    ------
    UsageError
        Another `dist`; also a KeyError.

    Examples
    --------
    >>> join([[1, 2], [3]])
    [1, 2, 3]
    >>> join([range(0, 3), range(3, 5)])
    range(0, 5)
    """
    check(dist)
    if not pieces:
        return []
    if _all_arrays(pieces):
        return _join_arrays(pieces, dist)
    if all(isinstance(piece, range) for piece in pieces):
        return _join_ranges(pieces, dist)
    for kind, empty in ((str, ""), (bytes, b"")):
        if all(isinstance(piece, kind) for piece in pieces):
            flat = pieces if dist == "b" else interleave([_units(piece) for piece in pieces])
            return empty.join(flat)
    if all(isinstance(piece, list | tuple) for piece in pieces):
        return list(chain.from_iterable(pieces)) if dist == "b" else list(interleave(pieces))
    return list(pieces)


def interleave(pieces: Iterable[Iterable[Any]]) -> Iterator[Any]:
    """Yield the first of each, then the second of each, …; shorter ones just end."""
    for row in zip_longest(*pieces, fillvalue=_HOLE):
        yield from (item for item in row if item is not _HOLE)


def chunks(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    """Yield lists of `size` items, the last one shorter; nothing for no items.

    Examples
    --------
    >>> list(chunks("abcde", 2))
    [['a', 'b'], ['c', 'd'], ['e']]
    """
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk


def nbytes(value: Any) -> int:
    """Return the bytes of a buffer."""
    return memoryview(value).nbytes


def _can_be_cut(value: Any) -> bool:
    has_slices = hasattr(value, "__len__") and hasattr(value, "__getitem__")
    return has_slices and not isinstance(value, Mapping)


def _units(piece: str | bytes) -> list[Any]:
    return [piece[i : i + 1] for i in range(len(piece))]


def _all_arrays(pieces: Sequence[Any]) -> bool:
    # An array cannot exist before numpy is imported, so we never have to import it to look.
    numpy = sys.modules.get("numpy")
    return numpy is not None and all(isinstance(piece, numpy.ndarray) for piece in pieces)


def _join_arrays(pieces: Sequence[Any], dist: str) -> Any:
    numpy = sys.modules["numpy"]
    if _are_alike(pieces):
        # As concatenate does, but several pieces at a time.
        rows = sum(map(len, pieces))
        whole = numpy.empty((rows, *pieces[0].shape[1:]), pieces[0].dtype)
    else:
        whole = numpy.concatenate(pieces)
        if dist == "b":
            return whole
    ends = accumulate(map(len, pieces), initial=0)
    blocks = [slice(*both) for both in pairwise(ends)]
    turns = [slice(part, None, len(pieces)) for part in range(len(pieces))]
    places = zip(blocks if dist == "b" else turns, pieces, strict=True)
    do_all([partial(setitem, whole, *both) for both in places], whole.nbytes)
    return whole


def _are_alike(arrays: Sequence[Any]) -> bool:
    """Tell whether arrays differ in their contents and lengths only, and have the usual order."""
    first, numpy = arrays[0], sys.modules["numpy"]
    return first.ndim > 0 and all(
        type(one) is numpy.ndarray
        and (one.dtype, one.shape[1:]) == (first.dtype, first.shape[1:])
        and one.flags.c_contiguous
        for one in arrays
    )


def _join_ranges(pieces: Sequence[range], dist: str) -> Any:
    filled = [piece for piece in pieces if piece]
    if not filled:
        return pieces[0]
    count = sum(map(len, filled))
    if dist == "r" and len(filled) > 1:
        first, step = filled[0][0], filled[1][0] - filled[0][0]
    else:
        first, step = filled[0][0], filled[0].step
    whole = range(first, first + count * step, step) if step else range(0)
    if split(whole, len(pieces), dist) == list(pieces):
        return whole
    flat = chain.from_iterable(pieces) if dist == "b" else interleave(pieces)
    return list(flat)
