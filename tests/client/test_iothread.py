"""The client's I/O thread does what is posted in order, and soon."""

from __future__ import annotations

import threading

import pytest

from ipyviews.client import iothread
from ipyviews.client.iothread import IOThread


@pytest.fixture
def io():
    thread = IOThread(lambda _cause: None)
    thread.start()
    yield thread
    thread.stop()


@pytest.fixture
def endless(monkeypatch):
    monkeypatch.setattr(iothread, "PATIENCE_S", 3600.0)


@pytest.mark.usefixtures("endless")
def test_what_may_wait_is_done_with_what_comes_after_it_and_may_not(io):
    done, is_over = [], threading.Event()
    io.post(lambda: done.append("patient"), patiently=True)
    io.post(lambda: done.append("at once"))
    io.post(is_over.set)
    assert is_over.wait(10)
    assert done == ["patient", "at once"]


def test_what_may_wait_is_done_by_itself_in_time(io):
    is_over = threading.Event()
    io.post(is_over.set, patiently=True)
    assert is_over.wait(10)


@pytest.mark.usefixtures("endless")
def test_what_may_wait_waits_until_somebody_hurries(io):
    done, is_over = [], threading.Event()
    io.post(lambda: done.append("patient"), patiently=True)
    io.loop.call_soon_threadsafe(is_over.set)
    assert is_over.wait(10)
    assert not done
    io.hurry()
    io.stop()
    assert done == ["patient"]


@pytest.mark.parametrize("patiently", [False, True])
def test_what_is_posted_within_the_thread_is_done_too(io, patiently):
    is_over = threading.Event()
    io.post(lambda: io.post(is_over.set, patiently=patiently))
    assert is_over.wait(10)


def test_hurrying_without_anything_to_do_does_nothing(io):
    io.hurry()
    assert not io._posted


def test_it_is_woken_by_whoever_posts_however_often(io):
    held, is_over, done = threading.Event(), threading.Event(), []
    io.post(lambda: held.wait(10))
    for number in range(20_000):
        io._wake()
        if not number % 1000:
            io.post(lambda number=number: done.append(number))
    held.set()
    io.post(is_over.set)
    assert is_over.wait(10)
    assert done == list(range(0, 20_000, 1000))


def test_what_is_posted_after_its_end_is_dropped_without_an_error(io):
    io.stop()
    io.post(lambda: pytest.fail("nobody is there to do it"))
