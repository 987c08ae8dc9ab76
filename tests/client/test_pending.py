"""A result as a future of the standard library, and how little of it there is."""

from __future__ import annotations

import gc
import threading
from concurrent import futures

import pytest

from ipyviews.client.pending import Pending
from tests.waiting import wait_until

#: Objects that the garbage collector sees of one pending or kept result of one task [count].
MOST_OBJECTS = 12


def seen_by_the_collector(make) -> float:
    gc.collect()
    before = len(gc.get_objects())
    kept = make()
    gc.collect()
    return (len(gc.get_objects()) - before) / len(kept)


def test_it_has_all_that_the_future_of_the_library_has():
    assert vars(Pending()).keys() == vars(futures.Future()).keys()
    assert Pending().running()


def test_a_kept_result_is_few_objects(fake, lv):
    def burst():
        results = [lv.apply_async(abs, -number) for number in range(500)]
        assert [result.get() for result in results] == list(range(500))
        return results

    burst()
    assert seen_by_the_collector(burst) <= MOST_OBJECTS


@pytest.mark.parametrize("wait", [futures.wait, lambda all_: list(futures.as_completed(all_))])
def test_others_wait_for_it_with_futures_of_other_kinds(fake, lv, wait):
    other = futures.Future()
    fake.holding = True
    results = [lv.apply_async(abs, -1) for _ in range(3)]
    threads = [threading.Thread(target=wait, args=([other, *results],)) for _ in range(2)]
    for thread in threads:
        thread.start()
    fake.release()
    other.set_result(None)
    for thread in threads:
        thread.join(20.0)
        assert not thread.is_alive()


def test_a_callback_is_called_once_whether_it_is_added_before_or_after_the_end(fake, lv):
    fake.holding = True
    result = lv.apply_async(abs, -1)
    called = []
    result.add_done_callback(called.append)
    assert called == []
    fake.release()
    wait_until(lambda: called)
    result.add_done_callback(called.append)
    assert called == [result, result]


def test_threads_that_begin_to_wait_at_one_moment_are_all_woken(fake, lv):
    fake.holding = True
    result = lv.apply_async(abs, -7)
    begin = threading.Barrier(9)
    values = []

    def wait() -> None:
        begin.wait()
        values.append(result.get(20.0))

    threads = [threading.Thread(target=wait) for _ in range(8)]
    for thread in threads:
        thread.start()
    begin.wait()
    fake.release()
    for thread in threads:
        thread.join(30.0)
    assert values == [7] * 8
