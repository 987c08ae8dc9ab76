"""Segments as files: made, filled, mapped, checked, used again, swept."""

from __future__ import annotations

import errno
import gc
import os

import pytest

from ipyviews.engine import segments, sender
from ipyviews.engine.segments import OFFSET, Reference, SegmentGone
from tests.engine.filled import SIZE, data, names

pytestmark = pytest.mark.usefixtures("folder")


def reference(**changes):
    known = {"name": "ipv-c0ffee00-me-1", "use": 1, "offset": OFFSET, "size": SIZE}
    return Reference(**(known | changes))


# -- references --------------------------------------------------------------------------------


def test_a_reference_survives_the_way():
    assert Reference.read(memoryview(reference().pack())) == reference()


@pytest.mark.parametrize("frame", [b"", b"data", b"ipv-segment", bytes(600), bytearray(20)])
def test_other_frames_are_no_references(frame):
    assert Reference.read(frame) is None


def test_data_of_the_size_of_a_buffer_is_never_taken_for_a_reference():
    assert Reference.read(reference().pack().ljust(8192)) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "ipv-c0ffee00-me-1/../../x"},
        {"name": "../etc/passwd"},
        {"name": "ipv-c0ffee00-me-"},
        {"name": "psm_1234"},
        {"use": 0},
        {"size": -1},
        {"size": 1.5},
        {"offset": True},
    ],
    ids=str,
)
def test_a_malformed_reference_is_refused(changes):
    with pytest.raises(SegmentGone, match="malformed"):
        Reference.read(reference(**changes).pack())


def test_a_name_tells_its_owner():
    assert segments.owner_of("ipv-c0ffee00-e0.1-17") == "e0.1"
    assert segments.number_of("ipv-c0ffee00-e0.1-17") == 17


# -- sending and mapping -----------------------------------------------------------------------


def test_data_arrives(own, receiver):
    memory, mapping = receiver.open(own.put(data(b"q"), users=1).pack(), "c0ffee00", "me")
    assert bytes(memory) == data(b"q")
    assert mapping.told == ("ipv-c0ffee00-me-1", 1)


def test_other_frames_pass_as_they_are(receiver):
    assert receiver.open(b"data", "c0ffee00", "me") == (b"data", None)


def test_segments_are_for_their_user_only(own, folder):
    own.put(data(), users=1)
    assert [path.stat().st_mode & 0o777 for path in folder.iterdir()] == [0o600]


def test_what_a_receiver_writes_nobody_else_sees(own, receiver):
    frame = own.put(data(), users=2).pack()
    first, _ = receiver.open(frame, "c0ffee00", "me")
    second, _ = receiver.open(frame, "c0ffee00", "me")
    first[:3] = b"abc"
    assert (bytes(first[:4]), bytes(second[:4])) == (b"abcx", b"xxxx")


def test_the_original_may_change_after_it_was_sent(own, receiver):
    source = bytearray(data())
    memory, _ = receiver.open(own.put(source, users=1).pack(), "c0ffee00", "me")
    source[:3] = b"abc"
    assert bytes(memory[:3]) == b"xxx"


def test_a_mapping_outlives_its_segment(own, receiver, folder):
    memory, _ = receiver.open(own.put(data(), users=1).pack(), "c0ffee00", "me")
    own.close()
    assert names(folder) == []
    assert bytes(memory) == data()


@pytest.mark.parametrize("size", [SIZE, sender.MAPPED_FROM])
def test_a_segment_is_filled_again_once_nobody_needs_it(own, receiver, folder, size):
    for use, byte in enumerate([b"a", b"b", b"c"], 1):
        frame = own.put(data(byte, size), users=1).pack()
        memory, mapping = receiver.open(frame, "c0ffee00", "me")
        assert (bytes(memory), mapping.told[1]) == (data(byte, size), use)
        own.ended(*mapping.told)
    assert names(folder) == ["ipv-c0ffee00-me-1"]


def test_a_segment_that_is_held_is_left_alone(own, receiver, folder):
    memory, mapping = receiver.open(own.put(data(b"a"), users=1).pack(), "c0ffee00", "me")
    own.ended(*mapping.told, holder="e0.1")
    own.put(data(b"b"), users=1)
    assert bytes(memory) == data(b"a")
    own.released([mapping.told], "e0.1")
    assert own.put(data(b"c"), users=1)
    assert names(folder) == ["ipv-c0ffee00-me-1", "ipv-c0ffee00-me-2"]


def test_names_of_others_are_none_of_its_business(own):
    own.released([("ipv-c0ffee00-you-1", 1)], "e0.1")


# -- what a receiver checks --------------------------------------------------------------------


def refused(receiver, frame, cluster="c0ffee00"):
    with pytest.raises(SegmentGone) as caught:
        receiver.open(frame, cluster, "me")
    return str(caught.value)


def test_a_segment_that_is_gone(own, receiver):
    frame = own.put(data(), users=1).pack()
    own.close()
    assert "gone" in refused(receiver, frame)


def test_a_segment_of_another_cluster(own, receiver):
    assert "cluster" in refused(receiver, own.put(data(), users=1).pack(), "decaf000")


def test_a_segment_that_holds_other_data(own, receiver):
    frame = own.put(data(), users=1).pack()
    told = Reference.read(frame)
    own.ended(told.name, told.use)
    own.put(data(), users=1)
    assert "other data" in refused(receiver, frame)


def test_more_than_there_is(own, receiver):
    told = own.put(data(), users=1)
    assert "smaller" in refused(receiver, reference(name=told.name, size=SIZE * 2).pack())
    assert "smaller" in refused(receiver, reference(name=told.name, offset=8).pack())


def test_a_link_is_not_followed(own, receiver, folder):
    own.put(data(), users=1)
    (folder / "ipv-c0ffee00-me-2").symlink_to(folder / "ipv-c0ffee00-me-1")
    with pytest.raises((SegmentGone, OSError)):
        receiver.open(reference(name="ipv-c0ffee00-me-2").pack(), "c0ffee00", "me")


def test_a_segment_that_others_may_write(own, receiver, folder):
    frame = own.put(data(), users=1).pack()
    (folder / "ipv-c0ffee00-me-1").chmod(0o666)
    assert "another user" in refused(receiver, frame)


def test_with_too_many_mappings_data_is_copied(own, receiver, monkeypatch):
    monkeypatch.setattr(segments, "MOST_MAPPINGS", 1)
    frame = own.put(data(), users=1).pack()
    kept = receiver.open(frame, "c0ffee00", "me")
    memory, mapping = receiver.open(frame, "c0ffee00", "me")
    assert (bytes(memory), mapping) == (data(), None)
    del kept


def test_without_descriptors_data_cannot_be_mapped_but_may_be_copied(own, receiver, monkeypatch):
    def no_mapping(*_):
        raise OSError(errno.ENOMEM, "no mappings left")

    monkeypatch.setattr(segments, "map_private", no_mapping)
    memory, mapping = receiver.open(own.put(data(), users=1).pack(), "c0ffee00", "me")
    assert (bytes(memory), mapping) == (data(), None)


# -- letting go --------------------------------------------------------------------------------


def test_what_is_dropped_before_it_is_settled_needs_no_word(own, receiver, news):
    memory, mapping = receiver.open(own.put(data(), users=1).pack(), "c0ffee00", "me")
    del memory
    assert receiver.released() == []
    assert receiver.settle([mapping]) == []
    assert receiver.released() == []
    assert not receiver.has_news
    assert not news


def test_what_is_dropped_later_is_told_once(own, receiver, news):
    memory, mapping = receiver.open(own.put(data(), users=1).pack(), "c0ffee00", "me")
    assert receiver.settle([mapping]) == [mapping.told]
    view = memory[10:20]
    del memory
    assert not news
    del view
    assert len(news) == 1
    assert [one.told for one in receiver.released()] == [mapping.told]
    assert receiver.released() == []


def test_each_owner_is_told_of_its_own(own, receiver):
    for owner in ("a", "b"):
        memory, mapping = receiver.open(own.put(data(), users=1).pack(), "c0ffee00", owner)
        receiver.settle([mapping])
        del memory
    assert [one.owner for one in receiver.released("b")] == ["b"]
    assert [one.owner for one in receiver.released("b")] == []
    assert [one.owner for one in receiver.released()] == ["a"]


def fork():
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("settled_first", [True, False])
def test_what_a_forked_child_may_map_is_told_and_not_filled_again(own, receiver, settled_first):
    reference = own.put(data(), users=1)
    memory, mapping = receiver.open(reference.pack(), "c0ffee00", "me")
    fork()
    if settled_first:
        held = receiver.settle([mapping])
        del memory
    else:
        del memory
        held = receiver.settle([mapping])
    assert held == [mapping.use]
    [gone] = receiver.released()
    assert gone.told == (*mapping.use, True)
    own.ended(*mapping.use, holder="e0.1")
    own.released([gone.told], "e0.1")
    assert own.put(data(), users=1).name != reference.name


def test_a_forked_child_tells_nothing(own, receiver, news, monkeypatch):
    memory, mapping = receiver.open(own.put(data(), users=1).pack(), "c0ffee00", "me")
    receiver.settle([mapping])
    with monkeypatch.context() as patch:
        patch.setattr(os, "getpid", lambda: -1)
        del memory
        gc.collect()
    assert not news
    assert not receiver.has_news


def test_a_forked_child_removes_nothing(own, folder, monkeypatch):
    own.put(data(), users=1)
    with monkeypatch.context() as patch:
        patch.setattr(os, "getpid", lambda: -1)
        own.close()
        assert own.put(data(), users=1) is None
    assert len(names(folder)) == 1


# -- sweeping ----------------------------------------------------------------------------------


def test_a_sweep_takes_those_of_an_owner_or_of_a_cluster(folder):
    for name in ("ipv-c0ffee00-a-1", "ipv-c0ffee00-b-1", "ipv-decaf000-a-1"):
        segments.write(name, 1, b"data")
    segments.sweep("c0ffee00", "a")
    assert names(folder) == ["ipv-c0ffee00-b-1", "ipv-decaf000-a-1"]
    segments.sweep("c0ffee00")
    assert names(folder) == ["ipv-decaf000-a-1"]


def test_a_kept_result_is_read_from_its_segment(own):
    frame, gone = own.put(data(b"r"), users=1).pack(), reference(name="ipv-c0ffee00-me-99").pack()
    assert segments.whole([b"small", frame, gone], "c0ffee00") == [b"small", data(b"r"), gone]
