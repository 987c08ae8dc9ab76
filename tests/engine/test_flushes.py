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


class Sender:
    """Runs what is scheduled when it is told to."""

    def __init__(self, thread=None):
        self.thread = thread or threading.Thread()
        self.calls = []

    def schedule(self, call):
        self.calls.append(call)

    def run(self):
        calls, self.calls = self.calls, []
        for call in calls:
            call()


def make(stream, clock, sender=None, catch_up=lambda: None):
    return Flushes(stream, sender or Sender(), catch_up, clock)


def write_and_flush(flushes, times=100):
    for _ in range(times):
        flushes.wrote()
        flushes.flush()


def test_what_has_nothing_to_send_is_not_flushed(stream, clock):
    flushes = make(stream, clock)
    write_and_flush(flushes, 1)
    for _ in range(3):
        stream.flush()
    assert stream.flushed == 1


def test_a_few_are_waited_for_in_a_moment(stream, clock):
    flushes = make(stream, clock)
    write_and_flush(flushes)
    assert stream.flushed == FLUSHES
    clock.now += 2 * MOMENT_S
    write_and_flush(flushes, 1)
    assert stream.flushed == FLUSHES + 1


def test_the_others_are_carried_out_once_by_the_sending_thread(stream, clock):
    sender = Sender()
    flushes = make(stream, clock, sender)
    write_and_flush(flushes)
    assert len(sender.calls) == 1
    sender.run()
    assert stream.flushed == FLUSHES + 1
    write_and_flush(flushes, 2)
    assert len(sender.calls) == 1


def test_what_the_other_stream_holds_back_is_sent_first(clock):
    both, streams = [], [Stream(), Stream()]

    def catch_up():
        for flushes in both:
            flushes.catch_up()

    both += [make(stream, clock, catch_up=catch_up) for stream in streams]
    write_and_flush(both[0])
    assert streams[0].flushed == FLUSHES
    write_and_flush(both[1], 1)
    assert [stream.flushed for stream in streams] == [FLUSHES + 1, 1]


def test_what_was_held_back_is_sent_before_anything_else_once(stream, clock):
    flushes = make(stream, clock)
    flushes.catch_up()
    assert stream.flushed == 0
    write_and_flush(flushes)
    flushes.catch_up()
    flushes.catch_up()
    assert stream.flushed == FLUSHES + 1


def test_the_sender_flushes_when_it_says_so(stream, clock):
    make(stream, clock, Sender(threading.current_thread()))
    for _ in range(100):
        stream.flush()
    assert stream.flushed == 100


def test_a_forked_process_flushes_when_it_says_so(stream, clock, monkeypatch):
    make(stream, clock)
    with monkeypatch.context() as child:
        child.setattr(os, "getpid", lambda: -1)
        for _ in range(100):
            stream.flush()
    assert stream.flushed == 100


def test_it_can_be_undone(stream, clock):
    make(stream, clock).undo()
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


STREAMS = """\
import sys
for i in range(8):
    print("line", i, flush=True)
print("error", file=sys.stderr, flush=True)
print("after", flush=True)
"""

FORK = """\
import os, warnings
warnings.simplefilter("ignore", DeprecationWarning)
for i in range(9):
    print("line", i, flush=True)
pid = os.fork()
if pid == 0:
    print("child", flush=True)
    os._exit(0)
os.waitpid(pid, 0)
"""

EXIT = """\
import os
for i in range(60):
    print("line", i, flush=True)
print("x" * 3_000_000, flush=True)
os._exit(3)
"""


def read_text(box, cell):
    streams = [m.read() for m in box.outputs[cell] if m.msg_type == "stream"]
    return "".join(content["text"] for content in streams)


def lines(count):
    return "".join(f"line {i}\n" for i in range(count))


@pytest.mark.kernels
def test_streams_keep_their_order_and_a_fork_repeats_nothing():
    with KernelBox() as box:
        box.join()
        cell = box.send_code(STREAMS)
        box.wait(lambda: box.is_idle(cell))
        assert read_text(box, cell) == f"{lines(8)}error\nafter\n"
        cell = box.send_code(FORK)
        # What a child writes comes by another way, after the cell or before its end.
        box.wait(lambda: box.is_idle(cell) and "child" in read_text(box, cell))
        assert read_text(box, cell).replace("child\n", "") == lines(9)


@pytest.mark.kernels
def test_all_output_of_a_process_that_ends_itself_arrives():
    with KernelBox() as box:
        box.join()
        cell = box.send_code(EXIT)
        box.wait(lambda: read_text(box, cell).endswith("x\n"))
        assert read_text(box, cell) == lines(60) + "x" * 3_000_000 + "\n"
        assert box.process.wait(10) == 3
