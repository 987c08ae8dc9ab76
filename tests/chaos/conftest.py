"""The chaos suite: seeds, time limits, clusters. How to run it: `tests.chaos.scale`."""

from __future__ import annotations

import sys

import pytest

from tests.chaos.scale import FIGURES, IS_LONG, SEED, chance_of, scale
from tests.clusters import interactive, members, script, start

__all__ = ["interactive", "members", "script", "start"]


def pytest_collection_modifyitems(items):
    for item in items:
        if "tests/chaos/" in item.path.as_posix():
            item.add_marker(pytest.mark.chaos)
            if item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(scale(180, 4 * 3600)))
            if item.get_closest_marker("chaos_long") and not IS_LONG:
                item.add_marker(pytest.mark.skip(reason="only with IPYVIEWS_CHAOS=long"))


def pytest_terminal_summary(terminalreporter):
    form = scale("short", "long")
    terminalreporter.write_line(f"chaos, {form} form: IPYVIEWS_CHAOS_SEED={SEED} repeats it")
    for line, numbers in sorted(FIGURES.items()):
        told = ", ".join(f"{number:,} {what}" for what, number in numbers.items())
        terminalreporter.write_line(f"{line}: {told}")


@pytest.fixture
def chance(request):
    """Chance that is the same for the same seed."""
    sys.stdout.write(f"IPYVIEWS_CHAOS_SEED={SEED}\n")
    return chance_of(request.node.name)
