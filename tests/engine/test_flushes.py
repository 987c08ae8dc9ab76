"""Which flushes of a stream are carried out."""

from __future__ import annotations

import os
import threading

import pytest

from ipyviews.engine.flushes import FLUSHES, MOMENT_S, Flushes
from tests.engine.kernelbox import KernelBox


class Stream:
    def __init__(self):
        self.flushed = 0

    def flush(self):
        self.flushed += 1


@pytest.fixture
def stream():
    return Stream()


@pytest.fixture
def clock():
    class Clock:
        now = 10.0

        def __call__(self):
            return self.now

    return Clock()


def write_and_flush(flushes, times=100):
    for _ in range(times):
        flushes.wrote()
        flushes.flush()


def test_what_has_nothing_to_send_is_not_flushed(stream, clock):
    flushes = Flushes(stream, threading.Thread(), clock)
    write_and_flush(flushes, 1)
    for _ in range(3):
        stream.flush()
    assert stream.flushed == 1


def test_a_few_are_carried_out_in_a_moment(stream, clock):
    flushes = Flushes(stream, threading.Thread(), clock)
    write_and_flush(flushes)
    assert stream.flushed == FLUSHES
    clock.now += 2 * MOMENT_S
    write_and_flush(flushes, 1)
    assert stream.flushed == FLUSHES + 1


def test_what_was_held_back_is_sent_before_anything_else_once(stream, clock):
    flushes = Flushes(stream, threading.Thread(), clock)
    flushes.catch_up()
    assert stream.flushed == 0
    write_and_flush(flushes)
    flushes.catch_up()
    flushes.catch_up()
    assert stream.flushed == FLUSHES + 1


def test_the_sender_flushes_when_it_says_so(stream, clock):
    Flushes(stream, threading.current_thread(), clock)
    for _ in range(100):
        stream.flush()
    assert stream.flushed == 100


def test_a_forked_process_flushes_when_it_says_so(stream, clock, monkeypatch):
    Flushes(stream, threading.Thread(), clock)
    with monkeypatch.context() as child:
        child.setattr(os, "getpid", lambda: -1)
        for _ in range(100):
            stream.flush()
    assert stream.flushed == 100


def test_it_can_be_undone(stream, clock):
    Flushes(stream, threading.Thread(), clock).undo()
    for _ in range(100):
        stream.flush()
    assert stream.flushed == 100


CELL = """\
from IPython.display import display
import sys
for i in range(1000):
    print("line", i, flush=True)
display("a display")
print("after", flush=True)
"""


@pytest.mark.kernels
def test_order_is_kept_and_there_are_few_messages():
    with KernelBox() as box:
        box.join()
        cell = box.send_code(CELL)
        box.wait(lambda: box.is_idle(cell))
        shown = [m for m in box.outputs[cell] if m.msg_type in ("stream", "display_data")]
        texts = [m.read().get("text", "<display>") for m in shown]
        expected = "".join(f"line {i}\n" for i in range(1000))
        assert "".join(texts) == f"{expected}<display>after\n"
        assert len(texts) < 500
