"""Copying in several threads."""

from __future__ import annotations

import threading

import pytest

from ipyviews.engine import together
from ipyviews.engine.together import TOGETHER_FROM, do_all


@pytest.fixture(autouse=True)
def two_threads(monkeypatch):
    monkeypatch.setattr(together, "threads", lambda: 2)


def test_all_is_done():
    done = []
    do_all([lambda n=n: done.append(n) for n in range(20)], TOGETHER_FROM)
    assert sorted(done) == list(range(20))


def test_two_threads_are_at_it_at_a_time():
    both = threading.Barrier(2)
    do_all([lambda: both.wait(10)] * 2, TOGETHER_FROM)


def test_for_little_no_thread_is_started():
    found = []
    do_all([lambda: found.append(threading.current_thread())] * 3, TOGETHER_FROM - 1)
    assert set(found) == {threading.current_thread()}


def test_nothing_to_do_is_done_at_once():
    do_all([], 0)


def test_an_error_of_another_thread_is_raised_here():
    here, is_failing = threading.current_thread(), threading.Event()

    def fail_elsewhere():
        if threading.current_thread() is here:
            assert is_failing.wait(10)
        else:
            is_failing.set()
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        do_all([fail_elsewhere] * 2, TOGETHER_FROM)


def test_after_an_error_nothing_is_begun():
    done = []
    with pytest.raises(ZeroDivisionError):
        do_all([lambda: 1 // 0, lambda: done.append(1)], 0)
    assert done == []


def test_an_interrupt_leaves_at_once_and_what_is_not_begun_is_left_out():
    here, done = threading.current_thread(), []
    begun, go_on = threading.Event(), threading.Event()

    def one():
        if threading.current_thread() is here:
            begun.wait(10)
            raise KeyboardInterrupt
        begun.set()
        go_on.wait(10)
        done.append(1)

    with pytest.raises(KeyboardInterrupt):
        do_all([one] * 5, TOGETHER_FROM)
    before = [thread for thread in threading.enumerate() if thread.name == "ipyviews-copy"]
    go_on.set()
    for thread in before:
        thread.join(10)
    assert done == [1]
