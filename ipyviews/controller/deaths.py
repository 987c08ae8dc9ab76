"""The latest deaths of engines, told to all clients before anything that died with them."""

from __future__ import annotations

import json
from collections import OrderedDict, deque
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ipyviews.deaths import DeathReport
from ipyviews.engine import begun
from ipyviews.launching.exits import crash_place, split_trace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from ipyviews.controller.links import Link
    from ipyviews.controller.outputs import Flight
    from ipyviews.core.effects import Run
    from ipyviews.ids import Attempt
    from ipyviews.launching.exits import ExitReport
    from ipyviews.launching.kernels import LaunchedKernel
    from ipyviews.protocol.wire import Frame

#: Deaths that are remembered. [count]
MOST_DEATHS = 100

#: Of what an engine wrote to stderr so many lines are told [count], cut to this length; of its
#: trace so much. [characters]
STDERR_LINES = 20
LINE_LIMIT = 500
TRACE_LIMIT = 16 * 1024

#: So many of its last lines are in the sentence that its tasks fail with. [count]
LINES_IN_SENTENCE = 5


class LastWords:
    """What cells and calls of one life of an engine wrote to stderr last."""

    def __init__(self) -> None:
        self._texts: deque[str] = deque(maxlen=STDERR_LINES)

    def heard(self, content: Frame) -> None:
        """Take the content of a ``stream`` message."""
        # Most is stdout, and is not decoded.
        if b'"stderr"' in bytes(content[:32]):
            try:
                text = str(json.loads(bytes(content)).get("text", ""))
            except ValueError:
                return
            self._texts.append(text[-STDERR_LINES * LINE_LIMIT :])

    def lines(self) -> list[str]:
        """Return the last lines."""
        return _last_lines("".join(self._texts))


class Deaths:
    """The latest deaths, by engine and life."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[int, int], dict[str, Any]] = OrderedDict()
        #: All there were, also those that are forgotten. [count]
        self.count = 0
        #: Tells all clients, on the channel that replies take.
        self.announce: Callable[[str, Mapping[str, Any]], None] = lambda _type, _content: None
        #: Takes what a later controller is to know: a name, and the report; None to forget it.
        self.keep: Callable[[str, dict[str, Any] | None], None] = lambda _name, _content: None

    def restore(self, contents: Iterable[dict[str, Any]]) -> None:
        """Take what the controller before this one has kept, the latest last."""
        for content in contents:
            self._remember((content["engine"], content["incarnation"]), content)

    def __contains__(self, name: tuple[int, int]) -> bool:
        return name in self._known

    def __len__(self) -> int:
        return len(self._known)

    def note(
        self,
        name: tuple[int, int],
        report: ExitReport,
        *,
        running: Sequence[str] = (),
        words: LastWords | None = None,
        crash: str = "",
        restarted: bool = False,
        refusal: str = "",
    ) -> None:
        """Note that an engine died.

        Parameters
        ----------
        name
            Engine and life.
        report
            How its process ended.
        running
            The tasks that it may have been running.
        words
            What it wrote in cells and calls.
        crash
            What `faulthandler` left in a file.
        restarted
            Whether it is started again by itself.
        refusal
            Why it is not, although engines are.
        """
        tail, trace = split_trace(report.tail)
        lines = [*(words.lines() if words else ()), *_last_lines(tail)]
        peak = report.peak_memory_kb
        death = DeathReport(
            *name,
            report.pid or None,
            datetime.now(UTC),
            report.returncode,
            report.verdict,
            report.sentence,
            report.self_inflicted,
            running[0] if len(running) == 1 else None,
            None if peak is None else peak * 1024,
            report.memory_limit,
            tuple(lines[-STDERR_LINES:]),
            (trace or crash.strip())[:TRACE_LIMIT],
            restarted,
        )
        content = death.as_content()
        self.keep(_key(name), content)
        self._remember(name, content)
        self.announce("death_notice", {"deaths": [content], "refusal": refusal})

    def _remember(self, name: tuple[int, int], content: dict[str, Any]) -> None:
        self.count += 1
        self._known[name] = content
        while len(self._known) > MOST_DEATHS:
            oldest, _ = self._known.popitem(last=False)
            self.keep(_key(oldest), None)

    def told(self) -> list[dict[str, Any]]:
        """Return all that are remembered, the latest last."""
        return list(self._known.values())

    def named(self, runs: Sequence[Run], engine: int | None) -> list[tuple[int, int]]:
        """Name the deaths that a task met with, or, when it never ran, that of its engine."""
        met = [(int(run.engine), run.incarnation) for run in runs if run.lost_engine]
        if not runs and engine is not None:
            met = [name for name in self._known if name[0] == engine][-1:]
        return [name for name in met if name in self._known]


def describe(report: ExitReport) -> str:
    """Put an exit report into one sentence, with the last lines of stderr."""
    words, trace = split_trace(report.tail)
    place = crash_place(trace)
    sentence = f"{report.sentence} in {place}" if place else report.sentence
    lines = _last_lines(words)[-LINES_IN_SENTENCE:]
    return f"{sentence}; its last words: {' | '.join(lines)}" if lines else sentence


def sort_calls(
    kernel: LaunchedKernel | None, link: Link, calls: Sequence[Flight]
) -> tuple[set[Attempt], set[Attempt]]:
    """Tell which calls an engine has not begun, and never will, and which had ended."""
    sent = {call.number: call.attempt for call in calls if call.number >= 0}
    unsent = {call.attempt for call in calls if call.number < 0}
    if kernel is None:
        return unsent, set()
    left, ended = begun.stop(str(kernel.connection_file), link.name, sent)
    return unsent | {sent[number] for number in left}, {sent[number] for number in ended}


def _key(name: tuple[int, int]) -> str:
    return f"{name[0]}.{name[1]}"


def _last_lines(text: str) -> list[str]:
    lines = [line.rstrip()[:LINE_LIMIT] for line in text.splitlines() if line.strip()]
    return lines[-STDERR_LINES:]
