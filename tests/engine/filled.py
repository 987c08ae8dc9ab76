"""What tests put into segments."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ipyviews.engine import segments

if TYPE_CHECKING:
    from pathlib import Path

SIZE = 2 * segments.SHARE_FROM


def data(byte: bytes = b"x", size: int = SIZE) -> bytes:
    """Return something large. [bytes]"""
    return byte * size


def names(folder: Path) -> list[str]:
    """List the segments that are there."""
    return sorted(path.name for path in folder.iterdir())
