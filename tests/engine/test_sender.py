"""A process's own segments: several written at a time, interrupted, without room, removed."""

from __future__ import annotations

import errno
import os
import sys
import threading

import pytest

from ipyviews.engine import lifecycle, segments, sender, supply, together
from ipyviews.engine.sender import Sender
from tests.engine.filled import SIZE, data, names

pytestmark = pytest.mark.usefixtures("folder")

INTERRUPTED = {module.__file__ for module in (lifecycle, sender, supply, threading, together)}


# -- several at a time -------------------------------------------------------------------------


@pytest.fixture
def two_threads(monkeypatch):
    monkeypatch.setattr(together, "threads", lambda: 2)


def test_several_buffers_arrive_and_each_tells_its_use(own, receiver, two_threads):
    uses = [[], [], []]
    large = [data(byte, together.TOGETHER_FROM) for byte in (b"a", b"b", b"c")]
    found = own.put_all(list(zip(large, uses, strict=True)), users=1)
    assert [bytes(receiver.open(one.pack(), "c0ffee00", "me")[0]) for one in found] == large
    assert uses == [[(one.name, 1)] for one in found]


def test_what_finds_no_room_is_no_reason_to_send_the_others_as_messages(own, monkeypatch):
    monkeypatch.setattr(together, "threads", lambda: 3)
    monkeypatch.setattr(segments, "room", lambda: 2 * SIZE)
    found = own.put_all([(data(), []) for _ in range(3)], users=1)
    assert [one is None for one in found] == [False, False, True]


def test_one_that_cannot_be_written_is_no_reason_to_send_the_others_as_messages(
    own, folder, monkeypatch
):
    write = segments.write

    def write_most(name, *more, **how):
        if name.endswith("2"):
            raise OSError(errno.ENOSPC, "No space left on device")
        write(name, *more, **how)

    monkeypatch.setattr(segments, "write", write_most)
    found = own.put_all([(data(), []) for _ in range(3)], users=1)
    assert [one is None for one in found] == [False, True, False]
    assert names(folder) == ["ipv-c0ffee00-me-1", "ipv-c0ffee00-me-3"]


def test_an_interrupt_while_another_thread_writes_leaves_nothing(
    own, folder, monkeypatch, wait_until, two_threads
):
    write, here = segments.write, threading.current_thread()
    begun, go_on = threading.Event(), threading.Event()

    def write_late(name, *more, **how):
        if threading.current_thread() is here:
            begun.wait(10)
            raise KeyboardInterrupt
        begun.set()
        go_on.wait(10)
        write(name, *more, **how)

    monkeypatch.setattr(segments, "write", write_late)
    large = data(size=together.TOGETHER_FROM)
    with pytest.raises(KeyboardInterrupt):
        own.put_all([(large, []), (large, [])], users=1)
    go_on.set()
    threads = [one for one in threading.enumerate() if one.name == "ipyviews-copy"]
    for thread in threads:
        thread.join(10)
    wait_until(lambda: not names(folder), 5)


# -- no room -----------------------------------------------------------------------------------


@pytest.fixture
def complaints():
    return []


@pytest.fixture
def full(complaints):
    one = Sender("c0ffee00", "me", complaints.append)
    yield one
    one.close()


def test_without_memory_there_is_no_segment_and_one_complaint(
    full, complaints, folder, monkeypatch
):
    def no_memory(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", no_memory)
    assert [full.put(data(), users=1) for _ in range(3)] == [None] * 3
    assert complaints == ["No space left on device"]
    assert names(folder) == []


def test_beyond_the_limit_there_is_no_segment_and_one_complaint(full, complaints, monkeypatch):
    monkeypatch.setattr(segments, "room", lambda: SIZE - 1)
    assert [full.put(data(), users=1) for _ in range(3)] == [None] * 3
    assert len(complaints) == 1
    assert "limit" in complaints[0]


def test_an_interrupt_while_it_is_filled_leaves_nothing(full, folder, monkeypatch, wait_until):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "pwrite", interrupted)
    with pytest.raises(KeyboardInterrupt):
        full.put(data(), users=1)
    wait_until(lambda: not names(folder), 5)


def is_interrupted(action, step):
    """Run it with Ctrl-C where Python looks for signals the so-many-th time, if it gets there."""

    def look(frame, event, _):
        nonlocal step
        if event in ("call", "c_return") and frame.f_code.co_filename in INTERRUPTED:
            step -= 1
            if step == 0:
                raise KeyboardInterrupt

    before = sys.getprofile()
    sys.setprofile(look)
    try:
        action()
    except KeyboardInterrupt:
        return True
    finally:
        sys.setprofile(before)
    return False


@pytest.mark.parametrize("mapped_from", [1, 5], ids=["mapped", "small"])
def test_an_interrupt_anywhere_leaves_neither_a_lock_nor_a_segment(
    folder, monkeypatch, wait_until, mapped_from
):
    own = Sender("c0ffee00", "me", is_alone=True)
    monkeypatch.setattr(sender, "MAPPED_FROM", mapped_from)
    monkeypatch.setattr("ipyviews.engine.lifecycle.SPOILED_S", 0.0)
    for step in range(1, 1000):
        uses = []
        interrupted = is_interrupted(lambda known=uses: own.put(b"data", 1, uses=known), step)
        other = threading.Thread(target=own.lost, args=["e0.1"], daemon=True)
        other.start()
        other.join(5)
        assert not other.is_alive()
        for name, use in uses:
            own.ended(name, use, spoiled=True)
        if not interrupted:
            break
    assert 10 < step < 999
    wait_until(lambda: not (names(folder) or own._mapped), 5)
    own.close()


def test_idle_segments_make_room(own, folder, monkeypatch, wait_until):
    told = own.put(data(), users=1)
    own.ended(told.name, told.use)
    monkeypatch.setattr(segments, "room", lambda: SIZE * 3)
    assert own.put(data(size=SIZE * 4), users=1)
    wait_until(lambda: names(folder) == ["ipv-c0ffee00-me-2"], 5)


def test_the_limit_is_half_of_the_memory_less_what_is_used(monkeypatch):
    monkeypatch.undo()
    status = os.statvfs(segments.FOLDER)
    assert segments.room() <= status.f_blocks * status.f_frsize // 2


# -- removing ----------------------------------------------------------------------------------


def test_closing_removes_all(own, folder):
    for _ in range(3):
        own.put(data(), users=1)
    own.close()
    own.close()
    assert names(folder) == []
    assert own.put(data(), users=1) is None


@pytest.mark.parametrize("when", ["before", "after"])
def test_closing_while_one_is_written_leaves_nothing(own, folder, monkeypatch, when):
    write = segments.write

    def write_and_close(*arguments, **how):
        if when == "before":
            own.close()
        write(*arguments, **how)
        own.close()

    monkeypatch.setattr(segments, "write", write_and_close)
    assert own.put(data(), users=1) is None
    assert names(folder) == []


def test_closing_may_leave_what_tasks_need(own, folder):
    own.put(data(), users=1)
    told = own.put(data(), users=1)
    own.ended(told.name, told.use)
    own.close(lambda segment: segment.users > 0)
    assert names(folder) == ["ipv-c0ffee00-me-1"]


def test_idle_segments_are_removed_in_time(own, folder, monkeypatch, wait_until):
    monkeypatch.setattr("ipyviews.engine.lifecycle.IDLE_S", 0.05)
    told = own.put(data(), users=1)
    own.ended(told.name, told.use)
    wait_until(lambda: not names(folder), 5)


def test_who_looks_after_idle_segments_leaves_when_there_are_none(own, monkeypatch, wait_until):
    monkeypatch.setattr("ipyviews.engine.lifecycle.IDLE_S", 0.05)
    for _ in range(2):
        told = own.put(data(), users=1)
        own.ended(told.name, told.use)
        wait_until(lambda: "ipyviews-segments" not in map(thread_name, threading.enumerate()), 5)


def thread_name(thread):
    return thread.name
