"""How a task ended, in the form that is sent back."""

from __future__ import annotations

import pickle
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import names, pickling

#: Files of this package; frames in them are none of the user's business.
_HERE = str(Path(__file__).parent) if not __file__.startswith("<sent>") else f"<sent> {names.HERE}"


@dataclass(slots=True)
class Outcome:
    """Content and buffers of an ``apply_reply``, times and output aside."""

    content: dict[str, Any]
    buffers: list[Any] = field(default_factory=list)


def success(value: Any, of: str) -> Outcome:
    """Pickle a result.

    Raises
    ------
    pickle.PicklingError
        When it cannot be pickled; the sentence names the function, `of`.
    """
    try:
        data, buffers, _ = pickling.dumps(value)
    except Exception as error:  # noqa: BLE001 - users' classes raise anything
        raise pickle.PicklingError(
            f"{of} returned a {type(value).__qualname__}, which cannot be sent back "
            f"({type(error).__name__}: {error}). Return plain data, or keep it on the engine under "
            "a name"
        ) from None
    return Outcome({"status": "ok"}, [data, *buffers])


def shorten(outcome: Outcome, of: str, problem: str) -> None:
    """Make a result that cannot be sent in a message an error that says why."""
    sentence = f"{of} returned what cannot be sent back: {problem}."
    outcome.content |= refusal("UsageError", sentence).content
    outcome.buffers.clear()


def failure(error: BaseException) -> Outcome:
    """Describe an exception; its lines begin at the user's frame."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith(_HERE):
        trace = trace.tb_next
    text = "".join(traceback.format_exception(type(error), error, trace))
    return refusal(type(error).__name__, _text(error), text.splitlines(), _pickled(error))


def refusal(
    ename: str, evalue: str, lines: list[str] | None = None, buffers: list[bytes] | None = None
) -> Outcome:
    """Describe a failure that is no exception here."""
    content = {"status": "error", "ename": ename, "evalue": evalue, "traceback": lines or []}
    return Outcome(content, list(buffers or []))


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - a broken __str__ must not hide the error
        return f"<{type(error).__name__} without a text>"


def _pickled(error: BaseException) -> list[bytes]:
    if not isinstance(error, Exception):
        return []
    try:
        data, buffers, _ = pickling.dumps(error)
    except Exception:  # noqa: BLE001 - the text tells enough
        return []
    return [] if buffers else [data]
