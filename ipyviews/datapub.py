"""For code on engines: show the client values while a call still runs."""

from __future__ import annotations

from ipyviews.engine.datapub import publish_data

__all__ = ["publish_data"]
