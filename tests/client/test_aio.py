from __future__ import annotations

import asyncio

import pytest

from ipyviews.client import iothread, ledger, outbox, returning
from ipyviews.client.aio import AsyncClient
from ipyviews.errors import ClusterError, ControllerLost, TooManyPending, UsageError
from tests.client.fakes import FakeController
from tests.waiting import eventually


async def test_views_of_an_async_client_are_awaited(fake):
    async with AsyncClient(fake.file, transport=fake.transport) as rc:
        assert rc.ids == [0, 1]
        assert await rc[:].apply(pow, 2, 3) == [8, 8]
        assert await rc.load_balanced_view().map(abs, [-1, 2]) == [1, 2]
        rc[:]["a"] = 3
        assert await rc[:]["a"] == [3, 3]
        assert (await rc[0].execute("print(1)")).stdout == "1\n"
    with pytest.raises(ClusterError, match="closed"):
        rc[:]


async def test_calls_that_are_awaited_do_not_wait_for_others_to_leave_with_them(fake, monkeypatch):
    monkeypatch.setattr(iothread, "PATIENCE_S", 3600.0)
    monkeypatch.setattr(outbox, "RAPID_S", 60.0)
    async with AsyncClient(fake.file, transport=fake.transport) as rc:
        calls = [rc[0].apply(abs, -number) for number in range(5)]
        assert await asyncio.gather(*calls) == [0, 1, 2, 3, 4]
        view = rc.load_balanced_view()
        assert [one async for one in view.imap(abs, range(50))] == list(range(50))


async def test_control_verbs_are_coroutines(fake):
    async with AsyncClient(fake.file, transport=fake.transport) as rc:
        await rc.wait_for_engines(2)
        assert len((await rc.status())["engines"]) == 2
        assert (await rc.queue_status(0))["queue"] == 0
        assert await rc.interrupt() == 2
        fake.holding = True
        result = rc[:].apply(pow, 2, 2)
        assert not await rc.wait(timeout=0.01)
        await rc.abort()
        assert await rc.wait()
        assert rc.get_result() is result


async def test_blocking_calls_are_refused(fake):
    async with AsyncClient(fake.file, transport=fake.transport) as rc:
        with pytest.raises(UsageError, match="await the result"):
            rc[:].apply_sync(pow, 2, 2)


async def test_too_many_unanswered_calls_raise_instead_of_blocking(fake, monkeypatch):
    monkeypatch.setattr(ledger, "MAX_TASKS", 3)
    async with AsyncClient(fake.file, transport=fake.transport) as rc:
        fake.holding = True
        for _ in range(3):
            rc[0].apply(pow, 2, 2)
        with pytest.raises(TooManyPending, match="await some results"):
            rc[0].apply(pow, 2, 2)


async def test_a_controller_that_does_not_answer_ends_at_the_timeout():
    fake = FakeController(key="another key")
    with pytest.raises(ClusterError, match="did not answer"):
        async with AsyncClient(fake.file, transport=fake.transport, timeout=0.1):
            pass


async def test_a_dead_controller_ends_every_wait(fake, monkeypatch):
    monkeypatch.setattr(returning, "DOUBT_S", 0.02)
    async with AsyncClient(fake.file, transport=fake.transport) as rc:
        fake.holding = True
        waits = [
            asyncio.ensure_future(wait)
            for wait in (
                rc.wait_for_engines(5),
                rc.wait(),
                rc.load_balanced_view().apply(pow, 2, 2),
            )
        ]
        await eventually(lambda: fake.held)
        await asyncio.to_thread(fake.die)
        ended = await asyncio.gather(*waits, return_exceptions=True)
        assert isinstance(ended[0], ControllerLost)
        assert ended[1] is True
        assert isinstance(ended[2], ControllerLost)
