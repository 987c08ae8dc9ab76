"""What grows in a client, and what it may grow to: numbers for `Client.status`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ipyviews.client import deaths, endings, history, late, ledger, places

if TYPE_CHECKING:
    from ipyviews.client.session import Session

    #: ``now``, ``most`` (None for what the others limit), ``dropped``; by name.
    Bounds = dict[str, dict[str, int | None]]


def bounds(session: Session) -> Bounds:
    """Tell what a client keeps; names that end in ``bytes`` are sizes, others counts."""
    book = session.connection.ledger
    written = [task.output for task in session.known_tasks() if task.output is not None]
    return {
        "unanswered": _bound(len(book.pending), ledger.MAX_TASKS),
        "unanswered_bytes": _bound(book.pending_bytes, ledger.MAX_BYTES),
        "history": _bound(len(session.history), int(history.HISTORY * 1.1)),
        # Of results that somebody keeps; each has limits of its own.
        "output_bytes": _bound(
            sum(output.size for output in written),
            None,
            sum(output.dropped + output.folded_bytes for output in written),
        ),
        "late": _bound(len(book.late), 2 * late.REMEMBERED),
        "deaths": _bound(len(book.deaths), deaths.MOST_DEATHS),
        "ended": _bound(len(book.endings), endings.MOST_ENDED),
        "cells": _bound(places.count(), 2 * places.LIMIT),
    }


def _bound(now: int, most: int | None, dropped: int = 0) -> dict[str, int | None]:
    return {"now": now, "most": most, "dropped": dropped}
