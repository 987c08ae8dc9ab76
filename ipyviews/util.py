"""Under the module name of ipyparallel: what programs took from there."""

from __future__ import annotations

from ipyviews.client.serialize import interactive

__all__ = ["interactive"]
