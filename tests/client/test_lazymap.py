from __future__ import annotations

import asyncio
import itertools
import os
import queue
import signal
import threading
import time

import pytest

from ipyviews.client import feed, ledger
from ipyviews.client.aio import AsyncClient
from ipyviews.client.feed import Bounds
from ipyviews.client.lazymap import LazyMapIterator
from ipyviews.errors import ClusterError, NoEnginesRegistered, RemoteError, UsageError
from tests.waiting import wait_until

row = pytest.mark.row


@pytest.fixture(params=["dv", "lv"])
def view(request):
    return request.getfixturevalue(request.param)


class Input:
    """Counts up, and knows how far it was read and whether it was closed."""

    def __init__(self, end=None, error=None):
        self.read = 0
        self.closed = threading.Event()
        self._end, self._error = end, error

    @property
    def items(self):
        try:
            while self.read != self._end:
                self.read += 1
                yield self.read - 1
            if self._error is not None:
                raise self._error
        finally:
            self.closed.set()


def threads():
    return [one.name for one in threading.enumerate() if one.name.startswith("ipyviews-imap")]


def inverse(x):
    return 1 / x


# -- what comes out -----------------------------------------------------------------------------


@row("2.3-imap", "2.3-imap-zip", "2.6-iterators")
def test_values_come_in_order_up_to_the_end_of_the_shortest_input(view):
    values = view.imap(pow, itertools.count(), iter([2] * 300))
    assert isinstance(values, LazyMapIterator)
    assert list(values) == [x * x for x in range(300)]
    assert list(values) == []


def test_a_map_over_nothing_yields_nothing(view):
    assert list(view.imap(abs, [])) == []


@row("2.3-imap-unordered")
def test_unordered_values_come_as_they_are_done(fake, view):
    fake.holding = True
    values = view.imap(abs, [-1, -2, -3], ordered=False, max_outstanding=3)
    wait_until(lambda: len(fake.held) == 3)
    fake.do(fake.held.reverse)
    fake.release(1)
    assert next(values) == 3
    fake.release()
    assert list(values) == [2, 1]


@pytest.mark.parametrize("chunksize", [None, 0, 1])
def test_a_chunk_is_one_item_unless_told(view, chunksize):
    assert list(view.imap(abs, [-1, 2], chunksize=chunksize)) == [1, 2]
    assert len(view.history) == 2


def test_chunks_are_one_task_each_and_values_come_singly(fake, view):
    assert list(view.imap(abs, range(10), chunksize=4)) == list(range(10))
    assert fake.requests[-1][2]["name"] == "abs"
    sizes = [len(content["index"]) for _, content, _ in fake.requests if "index" in content]
    assert sum(sizes) == 3


@row("2.3-imap-return-exceptions")
def test_errors_take_the_place_of_values(view):
    values = list(view.imap(inverse, [1, 0, 4], return_exceptions=True))
    assert values[::2] == [1, 0.25]
    assert isinstance(values[1], ZeroDivisionError)


def test_an_error_is_raised_in_its_place_and_the_next_value_follows(view):
    values = view.imap(inverse, [1, 0, 4])
    assert next(values) == 1
    with pytest.raises(ZeroDivisionError) as caught:
        next(values)
    assert isinstance(caught.value, RemoteError)
    assert list(values) == [0.25]


def test_it_tells_how_far_it_is(fake, dv):
    fake.holding = True
    values = dv.imap(abs, itertools.count(), max_outstanding=2)
    wait_until(lambda: repr(values) == "<LazyMapIterator: 0 taken, 2 under way>")
    fake.release()
    assert next(values) == 0
    assert repr(values).startswith("<LazyMapIterator: 1 taken, ")
    values.cancel()
    assert repr(values) == "<LazyMapIterator: 1 taken, cancelled>"


def test_labels_and_flags_are_those_of_the_call(fake, lv):
    with lv.temp_flags(retries=2, targets=[1]):
        values = lv.imap(abs, range(5), label="mine")
    assert list(values) == list(range(5))
    ours = [ours for name, _, ours in fake.requests if name == "apply_request"]
    assert all((one["retries"], one["any"], one["label"]) == (2, [1], "mine") for one in ours)


def test_tasks_are_in_the_histories(rc, view):
    list(view.imap(abs, range(5)))
    assert len(view.history) == len(rc.history) == 5
    assert view.outstanding == set()


def test_a_direct_view_gives_each_item_to_the_engine_with_the_fewest(fake, dv):
    fake.holding = True
    values = dv.imap(abs, range(6), max_outstanding=4)
    wait_until(lambda: len(fake.held) == 4)
    assert sorted(engine for _, engine, _ in fake.held) == [0, 0, 1, 1]
    fake.release()
    assert list(values) == list(range(6))


def test_an_engine_that_is_done_gets_the_next_items(fake, dv):
    fake.holding = True
    values = dv.imap(abs, range(8), max_outstanding=4)
    wait_until(lambda: len(fake.held) == 4)
    fake.do(lambda: fake.held.sort(key=lambda entry: -entry[1]))
    fake.release(2)
    wait_until(lambda: len(fake.held) == 4)
    assert sorted(engine for _, engine, _ in fake.held) == [0, 0, 1, 1]
    fake.do(lambda: fake.held.sort(key=lambda entry: -entry[1]))
    fake.release(2)
    wait_until(lambda: len(fake.held) == 4)
    assert sorted(engine for _, engine, _ in fake.held) == [0, 0, 1, 1]
    fake.release()
    assert list(values) == list(range(8))


# -- how much is taken --------------------------------------------------------------------------


@row("2.3-imap-lazy")
def test_an_endless_input_is_read_only_so_far(fake, view):
    source = Input()
    fake.holding = True
    values = view.imap(abs, source.items, max_outstanding=3)
    wait_until(lambda: len(fake.held) == 3)
    assert source.read == 3
    fake.release(1)
    assert next(values) == 0
    wait_until(lambda: source.read == 4)
    values.cancel()


@row("2.3-imap-outstanding")
def test_by_default_as_many_tasks_run_as_there_are_engines(fake, view):
    source = Input()
    fake.holding = True
    values = view.imap(abs, source.items)
    wait_until(lambda: len(fake.held) == 2)
    assert source.read == 2
    values.cancel()


@row("2.3-imap-outstanding")
def test_zero_sends_everything(fake, view):
    fake.holding = True
    values = view.imap(abs, range(500), max_outstanding=0)
    wait_until(lambda: len(fake.held) == 500)
    fake.release()
    assert list(values) == list(range(500))


class Ran:
    def __init__(self, took):
        self.started, self.completed = 0.0, took


@pytest.mark.parametrize(
    ("took", "each"), [(10.0, 1), (0.05, 1), (0.005, 10), (0.0, feed.AUTO_TASKS)]
)
def test_auto_allows_more_of_short_tasks(took, each):
    bounds = Bounds("auto", lambda: 4)
    assert bounds.most == 4
    bounds.learn(Ran(took))
    bounds.refresh()
    assert bounds.most == 4 * each


@pytest.mark.parametrize("wanted", ["many", -1, 1.5, None, True])
def test_other_limits_are_refused(dv, wanted):
    with pytest.raises(UsageError, match="max_outstanding is 'auto', a number of tasks, or 0"):
        dv.imap(abs, [1], max_outstanding=wanted)
    assert threads() == []


def test_results_nobody_takes_stop_the_input(view, monkeypatch):
    monkeypatch.setattr(feed, "MOST_READY", 10)
    source = Input()
    values = view.imap(abs, source.items, max_outstanding=2)
    wait_until(lambda: source.read >= 11)
    read = source.read
    assert read <= 14
    began = time.monotonic()
    assert [next(values) for _ in range(100)] == list(range(100))
    # Taking one makes room at once.
    assert time.monotonic() - began < 4
    values.cancel()


def test_large_results_nobody_takes_stop_the_input(view, monkeypatch):
    monkeypatch.setattr(feed, "MOST_READY_BYTES", 50_000)
    values = view.imap(bytes, itertools.repeat(10_000, 100), max_outstanding=2)
    wait_until(lambda: len(values.feed.sent) >= 5)
    assert len(values.feed.sent) <= 9
    assert len(list(values)) == 100


def test_large_items_are_not_read_far_ahead(fake, lv):
    source = Input()
    fake.holding = True
    values = lv.imap(len, (bytes(6_000_000) for _ in source.items), max_outstanding=0)
    wait_until(lambda: len(fake.held) >= 11)
    # The client's cap for what has no answer, 64 MiB, and what waits to be sent.
    assert source.read <= 11 + 4
    values.cancel()


def test_fast_inputs_make_few_requests(fake, lv):
    assert sum(lv.imap(abs, iter(range(5000)), max_outstanding=1000)) == sum(range(5000))
    assert len(fake.requests) < 1000


def test_slow_inputs_hold_nothing_back(view):
    source = queue.Queue()
    source.put(1)
    found = []
    for value in view.imap(lambda x: 2 * x, iter(source.get, None)):
        found.append(value)
        source.put(value if len(found) < 10 else None)
    assert found == [2**n for n in range(1, 11)]


# -- what goes wrong ------------------------------------------------------------------------------


@row("2.3-imap-input-error")
@pytest.mark.parametrize("options", [{}, {"ordered": False}, {"chunksize": 2}])
def test_an_error_of_the_input_is_raised_as_itself_after_the_last_value(view, options):
    error = LookupError("the input broke")
    values = view.imap(abs, Input(3, error).items, **options)
    assert sorted(next(values) for _ in range(3)) == [0, 1, 2]
    with pytest.raises(LookupError) as caught:
        next(values)
    assert caught.value is error
    assert list(values) == []


@row("2.6-no-sequences")
def test_wrong_calls_are_refused_at_once(rc, view):
    with pytest.raises(AssertionError, match="must have some sequences to map onto!"):
        view.imap(abs)
    for chunksize in (1, 2):
        with pytest.raises(TypeError, match="must be callable, not int"):
            view.imap(3, [1], chunksize=chunksize)
    with pytest.raises(TypeError, match="not iterable"):
        view.imap(abs, 3)
    for size in (-1, 1.5):
        with pytest.raises(UsageError, match="chunksize is a number of items"):
            view.imap(abs, [1], chunksize=size)
    with pytest.raises(UsageError, match="has no engines"):
        rc[10:].imap(abs, [1])
    assert threads() == []


def test_what_cannot_be_sent_raises_after_the_values_before(view):
    values = view.imap(len, ["a", "ab", (x for x in "abc"), "abcd"])
    assert next(values) == 1
    assert next(values) == 2
    with pytest.raises(UsageError, match="generator"):
        next(values)


def test_engines_that_are_gone_end_it_with_the_reason(fake, view):
    fake.holding = True
    source = queue.Queue()
    values = view.imap(abs, iter(source.get, None))
    fake.engines.clear()
    fake.notice()
    wait_until(lambda: not view.client.ids)
    source.put(1)
    source.put(None)
    with pytest.raises(NoEnginesRegistered):
        next(values)


def test_a_closed_client_ends_the_iteration(fake, rc, view):
    fake.holding = True
    values = view.imap(abs, itertools.count())
    threading.Timer(0.1, rc.close).start()
    with pytest.raises(ClusterError, match="closed"):
        next(values)
    wait_until(lambda: threads() == [])


def test_ctrl_c_ends_only_the_waiting(fake, view):
    fake.holding = True
    values = view.imap(abs, [-1, -2])
    wait_until(lambda: fake.held)
    threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        next(values)
    fake.release()
    assert list(values) == [1, 2]


# -- its end ----------------------------------------------------------------------------------


def test_when_it_is_dropped_the_input_is_closed_and_its_threads_end(view):
    source = Input()
    values = view.imap(abs, source.items)
    assert next(values) == 0
    del values
    assert source.closed.wait(5)
    wait_until(lambda: threads() == [])


def test_when_it_ends_its_threads_end(view):
    values = view.imap(abs, range(10))
    assert len(list(values)) == 10
    wait_until(lambda: threads() == [])


@row("2.3-imap")
@pytest.mark.parametrize("ordered", [True, False])
def test_cancel_stops_what_was_sent_and_the_iteration(fake, view, ordered):
    source = Input()
    fake.holding = True
    values = view.imap(abs, source.items, ordered=ordered)
    wait_until(lambda: len(fake.held) == 2)
    values.cancel()
    assert list(values) == []
    assert source.closed.wait(5)
    wait_until(lambda: not view.outstanding)
    wait_until(lambda: threads() == [])


def test_what_is_being_sent_while_it_is_cancelled_is_cancelled_too(fake, dv):
    fake.holding = True
    sending, go_on = threading.Event(), threading.Event()
    send = dv._sender(abs, None, chunked=False)

    def slowly(calls):
        sending.set()
        assert go_on.wait(10)
        return send(calls)

    values = LazyMapIterator(dv, slowly, [[-1]])
    assert sending.wait(10)
    values.cancel()
    go_on.set()
    wait_until(lambda: values.feed.is_over and not dv.outstanding)
    assert "cancel_request" in fake.names()


# -- awaited ----------------------------------------------------------------------------------


async def test_async_for_yields_the_same(fake):
    async with AsyncClient(fake.file, transport=fake.transport) as rc:
        for view in (rc[:], rc.load_balanced_view()):
            assert [value async for value in view.imap(abs, range(-50, 0))] == [*range(50, 0, -1)]
            with pytest.raises(LookupError):
                [value async for value in view.imap(abs, Input(2, LookupError()).items)]


async def test_with_an_async_client_the_cap_makes_it_wait(fake, monkeypatch):
    monkeypatch.setattr(ledger, "MAX_TASKS", 3)
    async with AsyncClient(fake.file, transport=fake.transport) as rc:
        values = rc.load_balanced_view().imap(abs, range(50), max_outstanding=0)
        assert [value async for value in values] == list(range(50))


async def test_async_for_leaves_the_loop_free_while_it_waits(fake):
    async with AsyncClient(fake.file, transport=fake.transport) as rc:
        fake.holding = True
        values = rc[:].imap(abs, [-1])
        first = asyncio.ensure_future(anext(values))
        done, _ = await asyncio.wait([first], timeout=0.05)
        assert not done
        await asyncio.to_thread(fake.release)
        assert await first == 1


async def test_a_plain_loop_over_it_is_refused(fake):
    async with AsyncClient(fake.file, transport=fake.transport) as rc:
        fake.holding = True
        values = rc[:].imap(abs, [-1])
        with pytest.raises(UsageError, match="async for"):
            next(values)
        await asyncio.to_thread(fake.release)
