"""Clusters and chance for the chaos suite. How to run it: `tests.chaos.scale`."""

from __future__ import annotations

import sys

import pytest

from tests.chaos.scale import SEED, chance_of
from tests.clusters import interactive, members, script, start

__all__ = ["interactive", "members", "script", "start"]


@pytest.fixture
def chance(request):
    """Chance that is the same for the same seed."""
    sys.stdout.write(f"IPYVIEWS_CHAOS_SEED={SEED}\n")
    return chance_of(request.node.name)
