"""Reading the ``--targets`` of a magic: text a person typed, never evaluated."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from ipyviews.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

Targets = int | list[int] | Literal["all"]

FORMS = "say all, an engine (0), several ([0,2]) or a slice of them (1:3, ::2)"


def parse_targets(text: str, ids: Sequence[int]) -> Targets:
    """Read which engines are meant.

    Parameters
    ----------
    text
        ``all``; one engine id, negative ones counting from the end; ids in a list, with or
        without brackets; or a slice, which counts positions in `ids`.
    ids
        The engines there are, ascending.

    Returns
    -------
    int, list of int or "all"
        An int for one engine (its results are bare), else a list.

    Raises
    ------
    UsageError
        When the text has none of these forms, names an engine that is not there, or names none.

    Examples
    --------
    >>> parse_targets("::2", [0, 1, 2, 5])
    [0, 2]
    >>> parse_targets("[0, 5]", [0, 1, 2, 5])
    [0, 5]
    >>> parse_targets("-1", [0, 1, 2, 5])
    5
    """
    text = text.strip()
    if text.lower() == "all":
        return "all"
    if ":" in text:
        return _slice(text, ids)
    if text.startswith(("[", "(")) or "," in text:
        return _list(text, ids)
    return _known(_number(text, text), ids)


def _slice(text: str, ids: Sequence[int]) -> list[int]:
    parts = [_number(part, text) if part.strip() else None for part in text.split(":")]
    if len(parts) > 3 or parts[2:] == [0]:
        raise UsageError(f"The targets {text!r} are not understood: {FORMS}.")
    chosen = list(ids[slice(*parts)])
    if not chosen:
        raise UsageError(f"The targets {text!r} leave no engine; there are {_names(ids)}.")
    return chosen


def _list(text: str, ids: Sequence[int]) -> list[int]:
    inner = text
    if text[0] + text[-1] in ("[]", "()"):
        inner = text[1:-1]
    numbers = [_number(part, text) for part in inner.rstrip().removesuffix(",").split(",")]
    chosen = [_known(number, ids) for number in numbers]
    if len(set(chosen)) < len(chosen):
        raise UsageError(f"The targets {text!r} name an engine twice.")
    return chosen


def _number(part: str, text: str) -> int:
    try:
        return int(part)
    except ValueError:
        raise UsageError(f"The targets {text!r} are not understood: {FORMS}.") from None


def _known(number: int, ids: Sequence[int]) -> int:
    if number in ids:
        return number
    if number < 0 and -number <= len(ids):
        return ids[number]
    raise UsageError(f"There is no engine {number}; there are {_names(ids)}.")


def _names(ids: Sequence[int]) -> str:
    return f"engines {', '.join(map(str, ids))}" if ids else "no engines"
