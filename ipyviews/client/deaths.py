"""What the controller told of the deaths of engines."""

from __future__ import annotations

import logging
from collections import OrderedDict
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ipyviews.deaths import DeathReport

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

log = logging.getLogger(__name__)

#: Deaths that are remembered. [count]
MOST_DEATHS = 200


class Deaths:
    """The latest reports, by engine and life."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[int, int], DeathReport] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def take(self, contents: Iterable[Mapping[str, Any]]) -> None:
        """Remember reports; of the same death the latest."""
        for report in read(contents):
            self._known[report.engine, report.incarnation] = report
        while len(self._known) > MOST_DEATHS:
            self._known.popitem(last=False)

    def heard(self, content: Mapping[str, Any]) -> None:
        """Take a ``death_notice``; say once that an engine is not started again."""
        self.take(content.get("deaths", ()))
        if refusal := content.get("refusal"):
            log.warning("%s", refusal)

    def of(self, ours: Mapping[str, Any]) -> tuple[DeathReport, ...]:
        """Return the reports that a reply names; see ``m.deaths`` in docs/protocol.md."""
        named = ours.get("deaths")
        if not named:
            return ()
        names = [tuple(name) for name in named]
        return tuple(self._known[name] for name in names if name in self._known)

    def latest(self, engine: int) -> tuple[DeathReport, ...]:
        """Return the latest report of an engine, if there is one."""
        found = [report for (one, _), report in list(self._known.items()) if one == engine]
        return tuple(found[-1:])


def read(contents: Iterable[Mapping[str, Any]]) -> list[DeathReport]:
    """Make reports of what a controller sent; what is none is left out."""
    reports = []
    for content in contents:
        with suppress(KeyError, TypeError, ValueError):
            reports.append(DeathReport.from_content(content))
    return reports
