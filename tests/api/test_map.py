"""Maps, lazy maps, executors and decorated functions on real engines."""

from __future__ import annotations

import gc
import itertools
import os
import threading
import time
import tracemalloc
from concurrent import futures

import numpy as np
import pytest

import ipyviews as ipp
from ipyviews.client.lazymap import LazyMapIterator
from tests.waiting import wait_until

row = pytest.mark.row
awaited = pytest.mark.awaited

BOTH = pytest.mark.parametrize("make", ["direct_view", "load_balanced_view"])


def engine_pid(_=None):
    import os

    return os.getpid()


def inverse(x):
    return 1 / x


# -- map ------------------------------------------------------------------------------------------


@awaited
@row("2.2-map", "2.3-map")
@BOTH
def test_a_map_gives_the_values_in_order(rc, make):
    view = getattr(rc, make)()
    result = view.map_async(pow, range(30), [2] * 30)
    assert isinstance(result, ipp.AsyncMapResult)
    assert len(result) == 30
    assert result.get() == list(result) == [n * n for n in range(30)]
    assert view.map_sync(abs, (-n for n in range(9))) == list(range(9))


@row("2.2-map")
def test_a_direct_map_gives_one_contiguous_chunk_to_each_target(rc, dv):
    pids = rc[:].apply_sync(os.getpid)
    found = dv.map_sync(engine_pid, range(10))
    assert found == [pids[0]] * 3 + [pids[1]] * 3 + [pids[2]] * 2 + [pids[3]] * 2


@row("2.6-few-items")
def test_engines_without_items_get_no_message(rc, dv):
    result = dv.map_async(engine_pid, range(2))
    assert len(result.msg_ids) == 2
    assert result.engine_id == [0, 1]


@row("2.6-empty")
@BOTH
def test_a_map_over_nothing_is_an_empty_list_at_once(rc, make):
    view = getattr(rc, make)()
    assert view.map_async(abs, []) == view.map_sync(abs, iter(())) == view.map(abs, {}, [1]) == []


@row("2.6-no-sequences")
@BOTH
def test_a_map_without_sequences_is_refused(rc, make):
    with pytest.raises(AssertionError, match="must have some sequences to map onto!"):
        getattr(rc, make)().map(abs)


@row("2.6-unequal", "11-unequal", "2.6-iterators")
@BOTH
def test_a_map_ends_with_the_shortest_sequence(rc, make):
    view = getattr(rc, make)()
    assert view.map_sync(pow, range(5), itertools.islice(itertools.count(), 3)) == [1, 1, 4]
    assert view.map_sync(pow, [1, 2, 3], {5: "a", 6: "b"}) == [1, 64]


@row("2.2-map-options", "2.6-chunksize", "2.3-map-options", "2.3-map-strict", "11-map-options")
def test_options_of_maps_and_those_there_are_not(dv, lv):
    options = {"block": False, "return_exceptions": True, "label": "mine"}
    for result in (
        dv.map(abs, [-1, -2], track=True, **options),
        lv.map(abs, [-1, -2], chunksize=2, ordered=False, **options),
    ):
        assert result.get() == [1, 2]
        assert set(result.label) == {"mine"}
    for view, option in ((dv, "chunksize"), (dv, "ordered"), (lv, "track"), (lv, "foo")):
        with pytest.raises(TypeError):
            view.map(abs, [1], **{option: 1})


@row("2.3-map", "2.3-map-chunksize-zero")
@pytest.mark.parametrize(("chunksize", "tasks"), [(1, 10), (4, 3), (0, 10), (None, 10), (99, 1)])
def test_a_balanced_map_makes_a_task_of_each_chunk(lv, chunksize, tasks):
    result = lv.map_async(pow, range(10), itertools.repeat(2), chunksize=chunksize)
    assert (len(result), len(result.msg_ids)) == (10, tasks)
    assert result.get() == [n * n for n in range(10)]


@row("2.6-return-exceptions")
def test_with_return_exceptions_an_error_stands_for_its_chunk(rc, dv, lv):
    whole = lv.map_sync(inverse, [1, 0, 4], return_exceptions=True)
    assert whole[::2] == [1, 0.25]
    assert isinstance(whole[1], ZeroDivisionError)
    for values in (
        lv.map_sync(inverse, [1, 2, 0, 4], chunksize=2, return_exceptions=True),
        rc[:2].map_sync(inverse, [1, 2, 0, 4], return_exceptions=True),
    ):
        assert values[:2] == [1, 0.5]
        assert [type(error).__name__ for error in values[2:]] == ["RemoteZeroDivisionError"]
    with pytest.raises(ipp.CompositeError):
        dv.map_sync(inverse, [1, 0])


@row("2.6-ndarray")
def test_arrays_are_mapped_and_their_parts_joined(dv):
    assert dv.map_sync(lambda x: x * 2, np.arange(6)) == [0, 2, 4, 6, 8, 10]
    joined = dv.parallel(block=True)(lambda part: part * 2)(np.arange(6))
    assert isinstance(joined, np.ndarray)
    assert joined.tolist() == [0, 2, 4, 6, 8, 10]


@row("2.6-lambdas")
@BOTH
def test_lambdas_and_closures_are_mapped(rc, make):
    factor = 3
    view = getattr(rc, make)()
    assert view.map_sync(lambda x: factor * x, range(5)) == [0, 3, 6, 9, 12]


@row("2.3-one-engine", "2.3-targets")
def test_a_balanced_call_runs_on_one_of_its_targets(rc):
    pids = rc[:].apply_sync(os.getpid)
    view = rc.load_balanced_view([1, 3])
    assert view.apply_sync(os.getpid) in (pids[1], pids[3])
    assert set(view.map_sync(engine_pid, range(40))) <= {pids[1], pids[3]}
    assert rc.load_balanced_view(2).apply_sync(os.getpid) == pids[2]


@row("2.3-no-verbs")
def test_a_balanced_view_runs_cells_but_moves_no_names(lv, tmp_path):
    assert lv.execute("print('cell')", block=True).stdout == "cell\n"
    (tmp_path / "program.py").write_text("print('file')")
    assert lv.run(tmp_path / "program.py", block=True).stdout == "file\n"
    for name in ("push", "pull", "scatter", "gather", "update"):
        with pytest.raises(AttributeError):
            getattr(lv, name)


# -- lazy maps --------------------------------------------------------------------------------


@row("2.3-imap", "2.3-imap-lazy", "11-imap")
@BOTH
def test_a_lazy_map_takes_an_endless_input(rc, make):
    view = getattr(rc, make)()
    values = view.imap(lambda x: x * x, itertools.count())
    assert isinstance(values, LazyMapIterator)
    assert list(itertools.islice(values, 200)) == [n * n for n in range(200)]
    values.cancel()
    assert list(values) == []
    assert view.wait(timeout=10)


@row("2.3-imap-outstanding")
@BOTH
@pytest.mark.parametrize("limit", [2, "auto"])
def test_so_many_tasks_and_no_more_run_at_once(rc, make, limit):
    view, read = getattr(rc, make)(), []
    values = view.imap(
        time.sleep, (read.append(1) or 0.2 for _ in range(12)), max_outstanding=limit
    )
    expected = 4 if limit == "auto" else limit
    wait_until(lambda: len(view.outstanding) == expected)
    assert len(read) == expected
    next(values)
    assert len(list(values)) == 11


@row("2.3-imap-unordered")
def test_unordered_values_come_as_they_are_done(lv):
    waits = [0.5, 0.01, 0.01, 0.01]
    values = lv.imap(lambda s: __import__("time").sleep(s) or s, waits, ordered=False)
    assert list(values)[-1] == 0.5


@row("2.3-imap-return-exceptions", "2.3-imap-input-error")
def test_errors_of_tasks_and_of_the_input(lv):
    def numbers():
        yield from (1, 0, 4)
        raise LookupError("the input broke")

    values = lv.imap(inverse, numbers(), return_exceptions=True)
    found = [next(values) for _ in range(3)]
    assert (found[0], type(found[1]).__name__, found[2]) == (1, "RemoteZeroDivisionError", 0.25)
    with pytest.raises(LookupError, match="the input broke"):
        next(values)


def test_a_hundred_thousand_items_of_a_generator_take_bounded_memory(lv):
    most, read = [0], [0]

    def numbers():
        for n in range(100_000):
            read[0] += 1
            yield n

    values = lv.imap(abs, numbers(), chunksize=100)
    total = next(values)
    gc.collect()
    tracemalloc.start()
    try:
        for taken, value in enumerate(values, 2):
            total += value
            most[0] = max(most[0], read[0] - taken)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert total == sum(range(100_000))
    assert peak < 20 * 2**20
    assert most[0] < 100_000


@pytest.mark.heavy
@pytest.mark.timeout(900)
def test_a_hundred_thousand_single_items_take_bounded_memory(lv):
    read = [0]

    def numbers():
        for n in range(100_000):
            read[0] += 1
            yield n

    ahead = 0
    for taken, value in enumerate(lv.imap(abs, numbers())):
        assert value == taken
        ahead = max(ahead, read[0] - taken)
    assert ahead <= 12_000


# -- executors ------------------------------------------------------------------------------------


@row("2.1-executor", "2.7-submit", "2.7-context", "2.7-shutdown", "1.4-executor")
def test_an_executor_is_that_of_pep_3148(rc):
    with rc.executor() as executor:
        assert isinstance(executor, futures.Executor)
        submitted = [executor.submit(pow, n, 2) for n in range(10)]
        found = sorted(future.result() for future in futures.as_completed(submitted, timeout=30))
        assert found == [n * n for n in range(10)]
        marks = executor.map(time.sleep, [0.02] * 10)
        del marks
    assert not rc.outstanding
    assert rc[:].apply_sync(pow, 2, 2) == [4] * 4


@row("2.7-map")
def test_an_executor_maps_lazily(rc):
    values = rc[:2].executor.map(pow, itertools.count(), itertools.repeat(2))
    assert list(itertools.islice(values, 20)) == [n * n for n in range(20)]
    values.cancel()


# -- decorated functions --------------------------------------------------------------------------


@row("7-remote", "7-parallel", "7-parallel-map", "7-parallel-balanced")
def test_decorated_functions_run_on_engines(rc, dv, lv):
    @dv.remote(block=True)
    def where():
        import os

        return os.getpid()

    @ipp.parallel(dv, block=True)
    def doubled(part):
        return [2 * x for x in part]

    @lv.parallel(block=True)
    def size(part):
        return [len(part)]

    assert where() == dv.apply_sync(os.getpid)
    assert doubled(range(9)) == [2 * n for n in range(9)]
    assert size(range(5)) == [1] * 5
    assert size.map(["a", "bc"]) == [[1], [2]]


# -- for long ------------------------------------------------------------------------------------


def rounds(lv, count):
    for _ in range(count):
        assert lv.map_sync(pow, range(12), [2] * 12) == [n * n for n in range(12)]


@pytest.mark.heavy
@pytest.mark.timeout(900)
def test_a_thousand_maps_do_not_stall_and_keep_nothing(rc):
    import psutil

    lv, process = rc.load_balanced_view(), psutil.Process()
    rounds(lv, 200)
    gc.collect()
    before, tasks = process.memory_info().rss, len(rc.results)
    rounds(lv, 1000)
    gc.collect()
    assert process.memory_info().rss - before < 8 * 2**20
    assert len(rc.results) <= tasks
    assert threading.active_count() < 10
