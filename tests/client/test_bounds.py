"""What a client keeps has bounds, and what it counts is right also after Ctrl-C."""

from __future__ import annotations

import pytest

from ipyviews.client import outputs, panes, published, trimming
from ipyviews.client.ledger import Ledger
from ipyviews.client.outputs import Output
from ipyviews.client.panes import Pane
from ipyviews.client.pieces import Piece
from ipyviews.client.published import Published
from ipyviews.client.tasks import Task
from ipyviews.client.trimming import AGAIN_S, QUIET_S, WORTH_IT, Trimmer


def tasks(*names, size=10):
    return [Task(name, "apply", 0, 0.0, size_bytes=size) for name in names]


class Interrupted(dict):
    """A table in which Ctrl-C comes once, before or after the entries are there."""

    def __init__(self, *, after):
        super().__init__()
        self.after = after
        self.armed = True

    def update(self, entries):
        if not self.armed or self.after:
            super().update(entries)
        if self.armed:
            self.armed = False
            raise KeyboardInterrupt


@pytest.mark.parametrize("after", [False, True])
def test_ctrl_c_while_tasks_are_entered_leaves_the_count_right(after):
    ledger = Ledger()
    ledger.pending = Interrupted(after=after)
    first = tasks("c-1.0", "c-1.1")
    with pytest.raises(KeyboardInterrupt):
        ledger.enter(first)
    assert (len(ledger.pending), ledger.pending_bytes) == (0, 0)
    # As the outbox does then.
    ledger.leave(first)
    assert ledger.pending_bytes == 0
    ledger.enter(second := tasks("c-2.0"))
    assert ledger.pending_bytes == 10
    ledger.leave(second)
    assert ledger.pending_bytes == 0


def test_without_tasks_nothing_is_counted():
    ledger = Ledger()
    ledger.enter(mine := tasks("c-1.0"))
    ledger.pending_bytes += 5
    ledger.leave(mine)
    assert ledger.pending_bytes == 0


def texts(pane):
    """Return what a pane shows, slot by slot."""
    shown = {}

    def publish(kind, content):
        shown[content["transient"]["display_id"]] = content["data"]["text/plain"]

    pane.paint(publish, at_once=True)
    return list(shown.values())


def test_streams_that_take_turns_make_no_endless_pane():
    pane = Pane("p", "", [])
    for number in range(10_000):
        pane.add(Piece("stdout", f"out {number}\n"))
        pane.add(Piece("stderr", f"err {number}\n"))
    assert len(pane._entries) == len(pane._ids) == panes.MOST
    shown = texts(pane)
    assert "err 9999" in shown[-1]
    assert "out 9999" in shown[-1]
    assert max(map(len, shown)) <= panes.TEXT_LIMIT + 1


def test_text_after_too_many_displays_is_counted():
    pane = Pane("p", "", [])
    for _ in range(panes.MOST):
        pane.add(Piece("output", content={"data": {"text/plain": "x"}}))
    pane.add(Piece("stdout", "lost\n"))
    assert pane._left_out == 1
    assert len(pane._entries) == panes.MOST


def test_large_displays_are_counted_not_kept(monkeypatch):
    monkeypatch.setattr(outputs, "DISPLAY_BYTES", 1000)
    output = Output()
    for _ in range(5):
        output.add("display_data", {"data": {"image/png": "x" * 300, "n": 1}, "metadata": {}})
    assert len(output.outputs) == 3
    assert output.folded_messages == 2
    output.add("clear_output", {"wait": False})
    output.add("display_data", {"data": {"image/png": "y" * 300}})
    assert len(output.outputs) == 1


def test_names_that_are_published_have_a_bound(monkeypatch):
    monkeypatch.setattr(published, "MOST", 10)
    values = Published()
    for number in range(30):
        values.add([f"name{number}"], b"")
    assert list(values.values()) == [f"name{number}" for number in range(20, 30)]


class Clock:
    """Calls what is due when it is told to go on."""

    def __init__(self):
        self.due = []

    def later(self, seconds, action):
        self.due.append((seconds, action))

    def go_on(self):
        due, self.due = self.due, []
        for _, action in due:
            action()
        return [seconds for seconds, _ in due]


def test_memory_is_given_back_once_it_is_quiet(monkeypatch):
    given = []
    monkeypatch.setattr(trimming, "give_back", lambda: given.append(1))
    clock = Clock()
    trimmer = Trimmer(clock.later)
    trimmer.moved(WORTH_IT - 1)
    assert not clock.due
    trimmer.moved(1)
    assert clock.go_on() == [QUIET_S]
    assert len(given) == 1
    assert [seconds for seconds, _ in clock.due] == list(AGAIN_S)


def test_memory_is_not_given_back_while_it_is_used(monkeypatch):
    given = []
    monkeypatch.setattr(trimming, "give_back", lambda: given.append(1))
    clock = Clock()
    trimmer = Trimmer(clock.later)
    trimmer.moved(WORTH_IT)
    for _ in range(3):
        trimmer.moved(1)
        clock.go_on()
        assert len(clock.due) == 1
    assert not given
    clock.go_on()
    assert given
