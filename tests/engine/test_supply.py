"""Fresh pages of segments: supplied, refused, not to be had that way."""

from __future__ import annotations

import errno
import mmap
import os
import random
import sys

import pytest

from ipyviews.engine import segments, sender, supply
from ipyviews.engine.sender import Sender
from tests.engine.filled import data, names

LARGE = sender.MAPPED_FROM + 12_345

pytestmark = [
    pytest.mark.usefixtures("folder"),
    pytest.mark.skipif(not supply.is_possible(), reason="this system cannot supply pages"),
]


@pytest.fixture
def complaints():
    return []


@pytest.fixture(params=[True, False], ids=["alone", "among others"])
def own(request, complaints):
    one = Sender("c0ffee00", "me", complaints.append, is_alone=request.param)
    yield one
    one.close()


def read(reference):
    return bytes(segments.copy(reference, "c0ffee00"))


@pytest.mark.parametrize("size", [LARGE, sender.MAPPED_FROM, 5 * sender.MAPPED_FROM + 1])
def test_all_bytes_arrive_the_first_time_and_the_next(own, folder, size):
    for seed in range(3):
        large = random.Random(seed).randbytes(size - seed)
        reference = own.put(large, users=1)
        assert read(reference) == large
        own.ended(reference.name, reference.use)
    assert (reference.use, len(names(folder))) == (3, 1)


def test_several_arrive(own):
    large = [data(byte, LARGE) for byte in (b"a", b"b", b"c")]
    found = own.put_all([(one, []) for one in large], users=1)
    assert [read(one) for one in found] == large


def test_without_memory_there_is_no_segment_and_one_complaint(own, folder, complaints, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(supply, "supply", refuse)
    monkeypatch.setattr(os, "pwrite", refuse)
    assert [own.put(data(size=LARGE), users=1) for _ in range(2)] == [None] * 2
    assert (complaints, names(folder)) == (["No space left on device"], [])
    assert not own._mapped


def test_where_pages_cannot_be_supplied_segments_are_files_like_small_ones(own, monkeypatch):
    monkeypatch.setattr(supply, "is_possible", lambda: False)
    for byte in (b"a", b"b"):
        reference = own.put(data(byte, LARGE), users=1)
        assert read(reference) == data(byte, LARGE)
        own.ended(reference.name, reference.use)
    assert not own._mapped


def test_a_full_file_system_is_an_error_not_a_signal():
    # A mapping that is longer than its file stands for one that is full: both have no such page.
    with (segments.FOLDER / "short").open("w+b") as file:
        file.truncate(mmap.PAGESIZE)
        with mmap.mmap(file.fileno(), mmap.PAGESIZE) as page:
            supply.supply(page, 0, mmap.PAGESIZE)
            os.ftruncate(file.fileno(), 0)
            with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)) as caught:
                supply.supply(page, 0, mmap.PAGESIZE)
    assert caught.value.errno == errno.ENOSPC


def test_a_mapping_that_is_closed_meanwhile_is_an_error():
    page = mmap.mmap(-1, mmap.PAGESIZE)
    page.close()
    with pytest.raises(ValueError, match="closed"):
        supply.fill(page, 0, memoryview(b"x"))


def test_segments_beyond_what_may_be_mapped_are_written_as_files(own, monkeypatch):
    monkeypatch.setattr(sender, "MOST_MAPPED", 1)
    found = [own.put(data(byte, LARGE), users=1) for byte in (b"a", b"b")]
    assert [read(one)[:1] for one in found] == [b"a", b"b"]
    assert len(own._mapped) == 1


def test_a_removed_segment_is_not_mapped_any_more(own, monkeypatch, wait_until):
    monkeypatch.setattr("ipyviews.engine.lifecycle.IDLE_S", 0.05)
    reference = own.put(data(size=LARGE), users=1)
    own.ended(reference.name, reference.use)
    wait_until(lambda: not own._mapped, 5)


def test_a_sender_that_is_closed_while_it_fills_leaves_nothing(own, folder, monkeypatch):
    write = os.pwrite

    def close_and_write(*args):
        own.close()
        return write(*args)

    monkeypatch.setattr(os, "pwrite", close_and_write)
    assert own.put(data(size=LARGE), users=1) is None
    assert (names(folder), own._mapped) == ([], {})


def test_a_sender_that_is_closed_between_two_pieces_says_so_by_sending_nothing(
    own, folder, monkeypatch
):
    write = segments._to_file

    def close_and_write(fd, view, mapping):
        own.close()
        write(fd, view, mapping)

    def close_and_supply(*_):
        own.close()

    monkeypatch.setattr(segments, "_to_file", close_and_write)
    monkeypatch.setattr(supply, "supply", close_and_supply)
    assert own.put(data(size=LARGE), users=1) is None
    assert (names(folder), own._mapped) == ([], {})


def test_a_segment_that_cannot_be_mapped_is_shared_all_the_same(own, complaints, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    with monkeypatch.context() as context:
        context.setattr(segments.mmap, "mmap", refuse)
        reference = own.put(data(b"a", LARGE), users=1)
    assert read(reference) == data(b"a", LARGE)
    assert not complaints


def test_a_mapping_in_use_does_not_keep_segments_from_being_removed(own, folder):
    supply.is_possible()
    own.put(data(size=LARGE), users=1)
    [mapping] = own._mapped.values()
    with memoryview(mapping):
        own.close()
    assert names(folder) == []


def test_a_python_without_ctypes_fills_files(monkeypatch):
    monkeypatch.setitem(sys.modules, "ctypes", None)
    assert not supply.is_possible.__wrapped__()
