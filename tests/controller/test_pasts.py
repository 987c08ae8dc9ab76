"""What a task has behind it outlives the controller."""

from __future__ import annotations

from typing import Any

import pytest

from ipyviews.controller import pasts
from ipyviews.controller.pasts import PAST, Pasts
from ipyviews.core.effects import Past, Run
from ipyviews.store.journal import Journal
from tests.controller.lives import Lives, again
from tests.waiting import eventually

RUN = Run(1, 2, 0.5, 1.5, "error")


@pytest.fixture
async def lives(run_root, errors: list[Any]):
    lives = Lives(run_root)
    await lives.begin(2)
    yield lives
    await lives.close()


@pytest.fixture
def journals(tmp_path):
    """Open the same journal, each time as another controller."""
    opened = []

    def reopen() -> Journal:
        if opened:
            opened[-1].close()
        opened.append(Journal(tmp_path / "state.db"))
        return opened[-1]

    yield reopen
    opened[-1].close()


async def test_a_run_before_the_controller_died_is_told_and_counts(lives):
    client = await lives.client()
    task = client.apply("stall", b"", any=None, reruns=1) + ".0"
    busy = lives.kernels.values
    await eventually(lambda: any(kernel.running for kernel in busy()))
    first = next(kernel for kernel in busy() if kernel.running)
    first.die()
    second = next(kernel for kernel in busy() if kernel is not first)
    await eventually(lambda: second.running)
    await lives.replace()
    request = task.removesuffix(".0")
    again(client, request, [0], function="stall", arguments=[b""], any=None, reruns=1)
    await eventually(lambda: lives.driver._store.has_tasks_of(client.session))
    second.die()
    reply = await client.reply(task)
    assert reply.ours["verdict"] == "engine_lost"
    assert [run[0] for run in reply.ours["attempts"]] == [first.engine_id, second.engine_id]


def test_what_is_written_is_read_by_the_next_controller_and_dropped_with_the_reply(journals):
    before = Pasts(journals())
    before.requeued("a-1.0", Past((RUN,), 0, 1, 1))
    before.requeued("a-2.0", Past((RUN,), 0, 1, 1))
    before.ended("a-2.0")
    after = Pasts(journals())
    after.restore()
    assert after.take("a-1.0") == Past((RUN,), 0, 1, 1)
    assert after.take("a-1.0") is None
    assert after.take("a-2.0") is None
    after.ended("a-1.0")
    assert journals().read(PAST) == {}


def test_what_cannot_be_read_is_left_out(journals, caplog):
    journal = journals()
    journal.put(PAST, "a-1.0", {"runs": 3})
    journal.put(PAST, "a-2.0", Past((RUN,), 0, 1, 1)._asdict())
    after = Pasts(journals())
    after.restore()
    assert after.take("a-1.0") is None
    assert after.take("a-2.0") == Past((RUN,), 0, 1, 1)
    assert "a-1.0 cannot be read" in caplog.text


def test_only_so_many_are_kept(journals, monkeypatch):
    monkeypatch.setattr(pasts, "MOST_PASTS", 2)
    before = Pasts(journals())
    for number in range(4):
        before.requeued(f"a-{number}.0", Past((RUN,), 0, 1, 1))
    assert list(journals().read(PAST)) == ["a-2.0", "a-3.0"]


def test_nothing_is_kept_where_there_is_no_journal():
    alone = Pasts(None)
    alone.requeued("a-1.0", Past((RUN,), 0, 1, 1))
    alone.restore()
    assert alone.take("a-1.0") is None
    alone.ended("a-1.0")
