from __future__ import annotations

from concurrent import futures

import pytest

from ipyviews.client.aio import AsyncClient
from ipyviews.client.executor import ViewExecutor
from ipyviews.client.lazymap import LazyMapIterator
from ipyviews.client.results import AsyncResult
from ipyviews.errors import UsageError
from tests.waiting import wait_until

row = pytest.mark.row


@row("2.1-executor", "2.7-max-workers")
def test_a_view_has_one_executor(dv, lv):
    assert isinstance(lv.executor, futures.Executor)
    assert isinstance(lv.executor, ViewExecutor)
    assert lv.executor is lv.executor
    assert (lv.executor._max_workers, dv.executor._max_workers) == (2, 2)
    assert lv.executor.view is lv


@row("1.4-executor")
def test_a_client_makes_one_of_a_balanced_view(rc):
    executor = rc.executor([1])
    assert repr(executor.view) == "<LoadBalancedView [1]>"
    assert executor._max_workers == 1


@row("2.7-submit")
def test_submit_calls_and_returns_a_result(lv):
    future = lv.executor.submit(divmod, 7, 2)
    assert isinstance(future, AsyncResult)
    assert future.result() == (3, 1)
    failing = lv.executor.submit(divmod, 7, 0)
    assert isinstance(failing.exception(), ZeroDivisionError)


@row("2.7-submit")
def test_its_futures_work_with_concurrent_futures(lv):
    submitted = {lv.executor.submit(pow, n, 2): n for n in range(20)}
    assert {f.result(): submitted[f] for f in futures.as_completed(submitted)} == {
        n * n: n for n in range(20)
    }
    done, pending = futures.wait(submitted, return_when=futures.ALL_COMPLETED)
    assert (len(done), len(pending)) == (20, 0)


@row("2.7-map")
def test_map_is_the_lazy_map_of_the_view(lv, dv):
    for view in (lv, dv):
        values = view.executor.map(pow, range(50), [2] * 50, chunksize=7)
        assert isinstance(values, LazyMapIterator)
        assert list(values) == [n * n for n in range(50)]


@row("2.7-map-timeout")
def test_a_timeout_of_map_is_dropped_with_a_warning(lv):
    with pytest.warns(UserWarning, match="does not use its timeout"):
        assert list(lv.executor.map(abs, [-1], timeout=1)) == [1]


@row("2.7-context", "2.7-shutdown")
def test_the_end_of_its_block_waits_for_all_that_was_asked(fake, lv):
    with lv.executor as executor:
        future = executor.submit(pow, 2, 2)
        executor.map(abs, range(300))
        values = executor.map(abs, range(300))
    assert future.done()
    assert not lv.outstanding
    assert (
        sum(len(content["index"]) for _, content, _ in fake.requests if "index" in content) == 601
    )
    assert list(values) == list(range(300))
    assert executor.submit(pow, 2, 2).result() == 4


@row("2.7-shutdown")
def test_its_end_waits_for_more_results_than_are_kept_ahead(lv, monkeypatch):
    from ipyviews.client import feed

    monkeypatch.setattr(feed, "MOST_READY", 5)
    with lv.executor as executor:
        values = executor.map(abs, range(100))
    assert list(values) == list(range(100))


def test_shutdown_without_waiting_returns_at_once(fake, lv):
    fake.holding = True
    future = lv.executor.submit(pow, 2, 2)
    lv.executor.shutdown(wait=False)
    assert not future.done()
    fake.release()
    assert future.result() == 4


def test_shutdown_can_cancel_what_is_not_done(fake, lv):
    fake.holding = True
    future = lv.executor.submit(pow, 2, 2)
    values = lv.executor.map(abs, iter(int, 1))
    wait_until(lambda: len(fake.held) >= 2)
    lv.executor.shutdown(cancel_futures=True)
    assert future.done()
    assert list(values) == []
    assert not lv.outstanding


async def test_the_executor_of_an_async_client_does_not_wait(fake):
    async with AsyncClient(fake.file, transport=fake.transport) as rc:
        executor = rc[:].executor
        assert await executor.submit(pow, 2, 2) == [4, 4]
        assert [value async for value in executor.map(abs, [-1])] == [1]
        with pytest.raises(UsageError, match="await the results"):
            executor.shutdown()
        executor.shutdown(wait=False)
