"""What the controller told of the deaths of engines."""

from __future__ import annotations

import logging
from collections import OrderedDict, deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ipyviews.deaths import DeathReport

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

log = logging.getLogger(__name__)

#: Deaths that are remembered. [count]
MOST_DEATHS = 200

#: Those that were said in this process, which may have several clients: engine, life and time.
_said: deque[tuple[int, int, datetime]] = deque(maxlen=MOST_DEATHS)


class Deaths:
    """The latest reports, by engine and life."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[int, int], DeathReport] = OrderedDict()
        #: Why those were not started again that might have been.
        self._refusals: dict[tuple[int, int], str] = {}

    def __len__(self) -> int:
        return len(self._known)

    def take(self, contents: Iterable[Mapping[str, Any]]) -> list[DeathReport]:
        """Remember reports, of the same death the latest; returns them."""
        reports = read(contents)
        for report in reports:
            self._known[report.engine, report.incarnation] = report
        while len(self._known) > MOST_DEATHS:
            name, _ = self._known.popitem(last=False)
            self._refusals.pop(name, None)
        return reports

    def heard(self, content: Mapping[str, Any]) -> None:
        """Take a ``death_notice``; say once what no error of a task will say."""
        refusal = str(content.get("refusal") or "")
        for report in self.take(content.get("deaths", ())):
            name = (report.engine, report.incarnation, report.when)
            if refusal:
                self._refusals[report.engine, report.incarnation] = refusal
            sentence = refusal or _sentence(report)
            if sentence and name not in _said:
                _said.append(name)
                log.warning("%s", sentence)

    def of(self, ours: Mapping[str, Any]) -> tuple[DeathReport, ...]:
        """Return the reports that a reply names; see ``m.deaths`` in docs/protocol.md."""
        named = ours.get("deaths")
        if not named:
            return ()
        names = [tuple(name) for name in named]
        return tuple(self._known[name] for name in names if name in self._known)

    def corrected(self, info: dict[str, Any]) -> dict[str, Any]:
        """Return what is told of an engine, where the news of its death came before it.

        Deaths come on the channel that replies take, so they are known when a task fails of one;
        the table of engines comes on the other, sooner or later.
        """
        name = (int(info["id"]), int(info.get("incarnation", 0)))
        report = self._known.get(name)
        if report is None or info.get("state") != "live":
            return info
        state = "starting" if report.restarted else "lost"
        reason = "; ".join(filter(None, (report.sentence, self._refusals.get(name))))
        return {**info, "state": state, "reason": reason}

    def latest(self, engine: int) -> tuple[DeathReport, ...]:
        """Return the latest report of an engine, if there is one."""
        found = [report for (one, _), report in list(self._known.items()) if one == engine]
        return tuple(found[-1:])


def _sentence(report: DeathReport) -> str:
    """Say that variables are gone; empty where a task was lost with them, which fails and says."""
    if report.restarted:
        return (
            f"engine {report.engine} died ({report.sentence}) and is started again, "
            "without its variables"
        )
    return "" if report.task else f"engine {report.engine} died: {report.sentence}"


def read(contents: Iterable[Mapping[str, Any]]) -> list[DeathReport]:
    """Make reports of what a controller sent; what is none is left out."""
    reports = []
    for content in contents:
        with suppress(KeyError, TypeError, ValueError):
            reports.append(DeathReport.from_content(content))
    return reports
