"""Completion and help for code that is to run on an engine, known by the engine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ipyviews.client.answers import Answer
    from ipyviews.client.session import Session

    #: Content of the kernel's reply, as Jupyter's messaging protocol has it; None when the engine
    #: has no answer: it is busy and its kernel has no subshells, it is gone, or it is silent.
    Told = dict[str, Any] | None


def complete(session: Session, engine: int, code: str, cursor_pos: int) -> Answer[Told]:
    """Ask an engine what may stand at the cursor.

    Parameters
    ----------
    session
        A client.
    engine
        Id of the engine.
    code, cursor_pos
        What is typed, and where in it [characters].

    Returns
    -------
    Answer
        ``matches``, ``cursor_start``, ``cursor_end``, ``metadata``.
    """
    answer = session.connection.request("complete", engine=engine, code=code, cursor_pos=cursor_pos)
    return answer.then(_reply)


def inspect(
    session: Session, engine: int, code: str, cursor_pos: int, *, detail_level: int = 0
) -> Answer[Told]:
    """Ask an engine what it knows of the name at the cursor; see `complete`.

    Parameters
    ----------
    detail_level
        0 for what ``name?`` shows, 1 for ``name??``.

    Returns
    -------
    Answer
        ``found``, ``data``, ``metadata``.
    """
    answer = session.connection.request(
        "inspect", engine=engine, code=code, cursor_pos=cursor_pos, detail_level=detail_level
    )
    return answer.then(_reply)


def _reply(content: dict[str, Any]) -> Told:
    reply = content.get("reply")
    return reply if isinstance(reply, dict) else None
