"""What engines can run, and why not."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ipyviews.protocol.payload import Payload

#: What functions that travel by value must find on an engine.
PYTHON = f"{sys.implementation.name}-{sys.version_info.major}.{sys.version_info.minor}"


def runs_all(info: Mapping[str, Any]) -> bool:
    """Whether an engine runs calls, also such as bring code of this Python, or is not there yet."""
    return info.get("state") != "live" or (
        bool(info.get("apply")) and info.get("implementation") == PYTHON
    )


def obstacle(info: Mapping[str, Any], payload: Payload) -> str | None:
    """Say why an engine cannot run a call; None if it can, or is not there yet."""
    if info.get("state") != "live":
        # Nothing is known yet; when it is there, it refuses by itself what it cannot run.
        return None
    if not info.get("apply"):
        return f"it is a kernel for {info.get('language')}, which runs cells only (view.execute)"
    theirs = info.get("implementation")
    if payload.by_value and theirs != PYTHON:
        return (
            f"it runs {theirs} and this client {PYTHON}, and what travels with the call is "
            "compiled code; use a function that can be imported there, or view.execute"
        )
    return None
