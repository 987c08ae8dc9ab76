"""Dependencies, looked at from outside: by the replies, without counters."""

from __future__ import annotations

from collections.abc import Mapping

from ipyviews.core.effects import Reply, Verdict
from ipyviews.core.events import Dependency, TaskSubmitted
from ipyviews.ids import Attempt


def needs(*tasks: str, **flags: bool) -> Dependency:
    """Name tasks that have to end first."""
    return Dependency(frozenset(tasks), **flags)


def succeeded(reply: Reply) -> bool:
    return reply.verdict is Verdict.REPLIED and reply.runs[-1].outcome == "ok"


class Needs:
    """What one dependency asks for, and what has become of it.

    Parameters
    ----------
    wanted
        The dependency.
    replies, lives
        Every reply so far; the life of each engine that lives.
    """

    def __init__(
        self, wanted: Dependency, replies: Mapping[str, Reply], lives: Mapping[int, int]
    ) -> None:
        self.wanted = wanted
        self.lives = lives
        ended = [replies[task] for task in wanted.tasks if task in replies]
        self.good = [
            reply for reply in ended if (wanted.success if succeeded(reply) else wanted.failure)
        ]
        self.bad = len(ended) - len(self.good)

    def is_met(self) -> bool:
        if not self.wanted.tasks:
            return True
        return len(self.good) == len(self.wanted.tasks) if self.wanted.all else bool(self.good)

    def is_lost(self) -> bool:
        """Whether it can never be met, the place left aside."""
        if not self.wanted.tasks:
            return False
        return bool(self.bad) if self.wanted.all else self.bad == len(self.wanted.tasks)

    def places(self) -> set[tuple[int, int]]:
        """Engines and lives where tasks ended as wanted and that still live."""
        runs = [reply.runs[-1] for reply in self.good if reply.runs]
        found = {(run.engine, run.incarnation) for run in runs}
        return {place for place in found if self.lives.get(place[0]) == place[1]}

    def is_out_of_place(self) -> bool:
        """Whether no engine can ever be the place of it."""
        if not self.wanted.tasks:
            return False
        places = self.places()
        if self.wanted.all:
            return len(set(self._runs())) > 1 or (bool(self.good) and not places)
        is_over = len(self.good) + self.bad == len(self.wanted.tasks)
        return is_over and not places

    def _runs(self) -> list[tuple[int, int] | None]:
        return [
            (reply.runs[-1].engine, reply.runs[-1].incarnation) if reply.runs else None
            for reply in self.good
        ]


def check_dispatch(
    event: TaskSubmitted,
    attempt: Attempt,
    replies: Mapping[str, Reply],
    lives: Mapping[int, int],
) -> None:
    """Fail when a task is sent too early or to the wrong place."""
    if event.after is not None:
        assert Needs(event.after, replies, lives).is_met(), "too early: after"
    if event.follow is not None and event.follow.tasks:
        follow = Needs(event.follow, replies, lives)
        assert follow.is_met(), "too early: follow"
        assert not follow.is_out_of_place(), "has no place"
        assert (attempt.engine, attempt.incarnation) in follow.places(), "in the wrong place"


def check_waiting(
    event: TaskSubmitted, replies: Mapping[str, Reply], lives: Mapping[int, int]
) -> None:
    """Fail when a task is held though it could go, or never can."""
    wanted = [Needs(one, replies, lives) for one in (event.after, event.follow) if one]
    assert wanted, "waits for nothing"
    assert not any(one.is_lost() for one in wanted), "can never be met"
    if event.follow is not None:
        assert not wanted[-1].is_out_of_place(), "can never be in place"
        ready = all(one.is_met() for one in wanted) and wanted[-1].places()
    else:
        ready = all(one.is_met() for one in wanted)
    assert not ready, "is held without need"


def check_impossible(
    event: TaskSubmitted,
    reply: Reply,
    replies: Mapping[str, Reply],
    lives: Mapping[int, int],
) -> None:
    """Fail when a task was given up though it could run."""
    if any(run.outcome == "unmet" for run in reply.runs):
        return
    after = Needs(event.after, replies, lives) if event.after else None
    follow = Needs(event.follow, replies, lives) if event.follow else None
    reasons = [
        after is not None and after.is_lost(),
        follow is not None and follow.is_lost(),
        follow is not None and follow.is_out_of_place(),
        # Released once, to places that are gone, or may not run there.
        follow is not None and follow.is_met(),
    ]
    assert any(reasons), "was possible"
