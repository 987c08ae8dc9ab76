"""Output after the end of its task."""

from __future__ import annotations

import gc
from types import SimpleNamespace

from ipyviews.client import late
from ipyviews.client.ledger import Ledger
from ipyviews.client.tasks import Task


class Listener:
    def __init__(self):
        self.heard = []
        self.ends = []

    def __call__(self, task, msg_type, content, *_):
        self.heard.append((task.id, task.engine, content["text"]))

    def ended(self, task):
        self.ends.append(task.id)


def printed(task):
    return SimpleNamespace(
        msg_type="stream", parent_id=task, ours={"engine": 3}, metadata={}, buffers=()
    )


def write(ledger, name, text):
    content = {"name": "stdout", "text": text}
    ledger.written(printed(name), content, ledger.find(name))


def entered(ledger, name="c-1.0"):
    task = Task(name, "execute", 3, 0.0)
    ledger.enter([task])
    return task


def test_it_is_kept_and_shown_where_that_of_the_task_was():
    ledger, listener = Ledger(), Listener()
    task = entered(ledger)
    ledger.listen([task], listener)
    ledger.leave([task])
    write(ledger, task.id, "late\n")
    assert listener.ends == [task.id]
    assert listener.heard == [(task.id, 3, "late\n")]
    assert task.output.stdout == "late\n"


def test_it_is_shown_when_nobody_keeps_the_task():
    ledger, listener = Ledger(), Listener()
    task = entered(ledger)
    ledger.listen([task], listener)
    ledger.leave([task])
    del task
    gc.collect()
    write(ledger, "c-1.0", "late\n")
    assert listener.heard == [("c-1.0", 3, "late\n")]


def test_who_listens_no_more_hears_nothing():
    ledger, listener = Ledger(), Listener()
    task = entered(ledger)
    ledger.listen([task], listener)
    ledger.leave([task])
    ledger.mute([task], listener)
    write(ledger, task.id, "late\n")
    assert listener.heard == []


def test_one_may_begin_to_listen_after_the_end():
    ledger, listener = Ledger(), Listener()
    task = entered(ledger)
    ledger.leave([task])
    ledger.listen([task], listener)
    write(ledger, task.id, "late\n")
    assert listener.heard == [(task.id, 3, "late\n")]


def test_a_task_that_nobody_listened_to_is_found_by_its_result_once():
    ledger = Ledger()
    task = entered(ledger)
    ledger.leave([task])
    searches = []
    ledger.late.kept = lambda: searches.append(1) or [SimpleNamespace(tasks=[task])]
    write(ledger, task.id, "a")
    write(ledger, task.id, "b")
    write(ledger, "c-9.0", "nobody's")
    assert task.output.stdout == "ab"
    assert len(searches) == 2


def test_what_is_remembered_is_bounded(monkeypatch):
    monkeypatch.setattr(late, "REMEMBERED", 3)
    ledger, listener = Ledger(), Listener()
    tasks = [entered(ledger, f"c-{number}.0") for number in range(5)]
    ledger.listen(tasks, listener)
    ledger.leave(tasks)
    for task in tasks:
        write(ledger, task.id, "x")
    assert [name for name, _, _ in listener.heard] == ["c-2.0", "c-3.0", "c-4.0"]
