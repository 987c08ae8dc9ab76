"""Frames: round trips, refusals, nothing remembered of bad messages."""

import json
import math
import random
from datetime import UTC, datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ipyviews.engine import frames as codec
from ipyviews.errors import ProtocolError, UsageError
from ipyviews.protocol import wire
from ipyviews.protocol.wire import Wire, pack, unpack

KEY = b"a key of the cluster"

numbers = st.integers(-(2**62), 2**62) | st.floats(allow_nan=False, allow_infinity=False)
scalars = st.none() | st.booleans() | numbers | st.text()
values = st.recursive(
    scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=10
)
contents = st.dictionaries(st.text(), values, max_size=5)
sizes = st.sampled_from([0, 1, 65_535, 65_536, 65_537, 70_000])
buffers = st.lists(st.binary(max_size=50) | sizes.map(bytes), max_size=4)


#: With and, always, without the optional library.
LIBRARIES = {"orjson": True, "json": False} if wire.HAS_ORJSON else {"json": False}


@pytest.fixture(params=LIBRARIES.values(), ids=LIBRARIES)
def either_json(request, monkeypatch):
    """Run with each of `LIBRARIES`."""
    monkeypatch.setattr(wire, "HAS_ORJSON", request.param)


def pair(key=KEY):
    """A client's end and the controller's."""
    return Wire(key, "client", own=True, name="client"), Wire(key, "life", own=True, name="life")


def message(sender, **changes):
    arguments = {"metadata": {"ipyviews": {"any": None}}, "buffers": [b"f", b"args"], "to": "life"}
    return sender.encode("apply_request", "client-1", {"index": [[4, 0]]}, **arguments | changes)


@given(contents, contents, contents, buffers, st.lists(st.binary(max_size=9), max_size=3))
def test_what_is_encoded_is_what_is_decoded(content, parent, metadata, sent, idents):
    sender, receiver = pair()
    frames = sender.encode(
        "x", "client-1", content, parent=parent, metadata=metadata, buffers=sent, to="life"
    )
    idents = [ident for ident in idents if ident != b"<IDS|MSG>"]
    received = receiver.decode([*idents, *frames])
    assert received.read() == content
    assert (received.parent, received.metadata) == (parent, metadata)
    assert list(received.buffers) == sent
    assert received.idents == idents
    assert (received.msg_type, received.msg_id) == ("x", "client-1")
    assert received.header["session"] == "client"


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_content_that_is_packed_is_passed_on_unchanged(kind):
    sender, receiver = pair()
    odd = b'{ "a" :  1.50 }'
    assert receiver.decode(sender.encode("x", "1", kind(odd), to="life")).content == odd


def flip(frame, bit):
    changed = bytearray(frame)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


@given(st.integers(0, 10_000), st.integers(0, 2**32))
def test_any_changed_bit_is_noticed(position, bit):
    sender, receiver = pair()
    frames = message(sender, buffers=[b"function", bytes(65_536), b"x"])
    position %= len(frames)
    frames[position] = flip(frames[position], bit % (8 * len(frames[position])))
    with pytest.raises(ProtocolError):
        receiver.decode(frames)


@pytest.mark.parametrize(
    "change",
    [
        lambda buffers: buffers[:-1],
        lambda buffers: [*buffers, b""],
        lambda buffers: buffers[::-1],
        lambda buffers: [b"".join(buffers)],
        lambda buffers: [buffers[0] + buffers[1][:1], buffers[1][1:], *buffers[2:]],
        lambda buffers: [*buffers[:2], bytes(70_001)],
        lambda _: [],
    ],
)
def test_buffers_cannot_be_added_dropped_moved_or_resized(change):
    sender, receiver = pair()
    frames = message(sender, buffers=[b"function", b"arguments", bytes(70_000)])
    with pytest.raises(ProtocolError, match="signature"):
        receiver.decode([*frames[:6], *change(frames[6:])])


def test_signed_bytes_cannot_move_from_content_to_a_buffer():
    sender, receiver = pair()
    frames = message(sender, buffers=[b"abc"])
    glued = [*frames[:5], frames[5] + b"|3|abc"]
    with pytest.raises(ProtocolError):
        receiver.decode(glued).read()


def test_a_message_is_taken_once():
    sender, receiver = pair()
    first, second = message(sender), message(sender)
    receiver.decode(first)
    receiver.decode(second)
    for old in (first, second):
        with pytest.raises(ProtocolError, match="seen before"):
            receiver.decode(old)


def test_a_message_out_of_order_is_refused():
    sender, receiver = pair()
    first, second = message(sender), message(sender)
    receiver.decode(second)
    with pytest.raises(ProtocolError, match="seen before"):
        receiver.decode(first)


def test_a_message_to_somebody_else_is_refused():
    sender, _ = pair()
    other = Wire(KEY, "life2", own=True, name="life2")
    with pytest.raises(ProtocolError, match="somebody else"):
        other.decode(message(sender))


def test_a_message_is_refused_by_its_own_sender():
    sender, _ = pair()
    with pytest.raises(ProtocolError, match="somebody else"):
        sender.decode(message(sender))


def test_another_key_is_refused():
    sender, _ = pair()
    other = Wire(b"another key", "life", own=True, name="life")
    with pytest.raises(ProtocolError, match="signature"):
        other.decode(message(sender))


@pytest.mark.parametrize("seq", [None, "1", 1.5, True, [1]])
def test_a_message_without_a_number_is_refused(seq):
    sender, receiver = pair()
    sender._seq = 0
    sender._header = lambda *_: pack({"session": "client", "seq": seq, "to": "life"})
    with pytest.raises(ProtocolError, match="no number"):
        receiver.decode(message(sender))


def test_a_stock_channel_asks_for_no_number():
    kernel, controller = Wire(KEY, "kernel"), Wire(KEY, "life")
    frames = kernel.encode("status", "1", {"execution_state": "idle"})
    assert "seq" not in controller.decode(frames).header
    for _ in range(2):
        assert controller.decode([b"topic", *frames]).msg_type == "status"


def test_nothing_is_remembered_of_a_bad_message():
    sender, receiver = pair()
    good = message(sender)
    for position in range(1, len(good)):
        bad = list(good)
        bad[position] = flip(bad[position], 3)
        with pytest.raises(ProtocolError):
            receiver.decode(bad)
    stranger = Wire(b"no key", "stranger", own=True, name="")
    with pytest.raises(ProtocolError):
        receiver.decode(message(stranger))
    assert receiver._seen == {}
    assert receiver.decode(good).msg_id == "client-1"
    assert receiver._seen == {"client": 1}


def test_only_so_many_senders_are_remembered(monkeypatch):
    monkeypatch.setattr(wire, "SENDER_LIMIT", 3)
    _, receiver = pair()
    senders = [Wire(KEY, f"client{n}", own=True) for n in range(5)]
    for sender in (*senders[:3], senders[0], *senders[3:]):
        receiver.decode(message(sender))
    assert list(receiver._seen) == ["client0", "client3", "client4"]


@given(st.lists(st.binary(max_size=80), max_size=12))
@example([b"<IDS|MSG>"] * 12)
@example([b"<IDS|MSG>", b"", b"{}", b"{}", b"{}", b"{}"])
@example([])
def test_rubbish_is_refused_and_nothing_else(frames):
    for end in (pair()[1], Wire(KEY, "x"), Wire(KEY, "x", own=True, name="")):
        with pytest.raises(ProtocolError):
            end.decode(frames)


RUBBISH = [
    b"",
    b"\xff\xfe",
    b"[]",
    b"5",
    b'"text"',
    b"null",
    b"{",
    b'{"a": 1}}',
    b'{"a":' * 100_000,
    b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    b"[" * 2_000_000,
    b'{"a": ' + b"1" * 5000 + b"}",
]


def signed(parts):
    return [b"<IDS|MSG>", codec.sign(KEY, parts), *parts]


@pytest.mark.parametrize("frame", RUBBISH, ids=range(len(RUBBISH)))
@pytest.mark.parametrize("position", range(4))
def test_signed_rubbish_is_refused_and_nothing_else(frame, position, either_json):
    _, receiver = pair()
    header = pack({"session": "c", "seq": 1, "to": "life"})
    parts = [header, b"{}", b"{}", b"{}"]
    parts[position] = frame
    with pytest.raises(ProtocolError):
        receiver.decode(signed(parts)).read()


@pytest.mark.parametrize("brackets", [(b'{"a":', b"}"), (b"[", b"]")], ids=["objects", "lists"])
@pytest.mark.parametrize("position", range(3))
def test_deep_nesting_where_we_encode_again_is_refused(position, brackets, either_json):
    opening, closing = brackets

    def decode(depth):
        parts = [pack({"session": "c", "seq": 1, "to": "life"}), b'{"y":1}', b'{"y":1}', b"{}"]
        inner = opening * depth + b"1" + closing * depth
        parts[position] = parts[position][:-1] + b',"x":' + inner + b"}"
        return pair()[1].decode(signed(parts))

    decode(wire.DEPTH_LIMIT - 1)
    for depth in (wire.DEPTH_LIMIT, 500):
        with pytest.raises(ProtocolError, match="nested"):
            decode(depth)


def test_wide_metadata_is_taken():
    sender, receiver = pair()
    wide = {"rows": [[n] for n in range(5 * wire.DEPTH_LIMIT)]}
    assert receiver.decode(message(sender, metadata=wide)).metadata == wide


def test_a_frame_beyond_the_limit_is_refused_unread(monkeypatch):
    monkeypatch.setattr(wire, "JSON_LIMIT", 10)
    assert unpack(b'{"a":1234}') == {"a": 1234}
    with pytest.raises(ProtocolError, match="larger"):
        unpack(b'{"a":12345}')


@given(contents)
def test_both_json_libraries_say_the_same(content):
    plain = json.dumps(content, separators=(",", ":")).encode()
    assert json.loads(pack(content)) == json.loads(plain)
    assert unpack(plain) == content


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (math.nan, None),
        ([math.inf, 1.5], [None, 1.5]),
        ({"a": -math.inf}, {"a": None}),
        ("\udcff and \ud800", "\udcff and \ud800"),
        (datetime(2025, 1, 2, 3, 4, 5, 678, UTC), "2025-01-02T03:04:05.000678Z"),
        (datetime(2025, 1, 2, 3, 4, 5), "2025-01-02T03:04:05Z"),  # noqa: DTZ001
        ((1, 2), [1, 2]),
        ("ü€😀", "ü€😀"),
        ({1: "a", None: "b"}, {"1": "a", "null": "b"}),
    ],
)
def test_values_that_json_does_not_have(value, text, either_json):
    assert unpack(pack({"v": value})) == {"v": text}


def test_numbers_of_any_size_travel(either_json):
    assert json.loads(pack({"v": 2**70})) == {"v": 2**70}


@pytest.mark.parametrize("value", [object(), b"bytes", {1, 2}, 3j])
def test_what_has_no_form_in_json_is_one_sentence(value, either_json):
    with pytest.raises(UsageError, match="cannot be sent as JSON"):
        pack({"v": value})


@pytest.mark.parametrize(
    "value", [{"a": [1, 2.5, None, "ü"]}, {"d": datetime(2026, 1, 2, tzinfo=UTC)}, {1: {}}]
)
def test_json_is_the_same_where_the_interpreter_has_no_encoder_of_its_own(monkeypatch, value):
    quick = wire._make_encode()(value)
    monkeypatch.setattr(json.encoder, "c_make_encoder", None)
    assert wire._make_encode()(value) == quick


def test_what_contains_itself_is_one_sentence(either_json):
    circle = {}
    circle["v"] = circle
    with pytest.raises(UsageError, match="cannot be sent as JSON"):
        pack(circle)


def test_bytes_of_no_encoding_are_read_as_jupyter_reads_them(either_json):
    assert unpack(b'{"text": "\xff"}') == {"text": "\ufffd"}


def test_not_a_number_is_read(either_json):
    assert math.isnan(unpack(b'{"v": NaN}')["v"])


def test_ours_is_empty_when_the_metadata_is_odd():
    for odd in (5, None, "x", []):
        made = wire.Message({}, {}, {"ipyviews": odd}, b"{}")
        assert (made.ours, made.msg_id, made.parent_id) == ({}, "", "")


def mangle(frames, chance):
    frames, at = list(frames), chance.randrange(len(frames))
    match chance.choice(["drop", "swap", "cut", "double"]):
        case "drop":
            del frames[at]
        case "swap":
            other = chance.randrange(len(frames))
            frames[at], frames[other] = frames[other], frames[at]
        case "cut":
            frames[at] = frames[at][: len(frames[at]) // 2]
        case "double":
            frames.insert(at, frames[at])
    return frames


def test_mangled_messages_are_refused_unless_only_the_prefix_differs():
    chance, taken = random.Random(5), 0
    for _ in range(500):
        sender, receiver = pair()
        good = message(sender, buffers=[b"f", b"a"])
        bad = mangle(mangle(good, chance), chance)
        try:
            receiver.decode(bad)
        except ProtocolError:
            continue
        taken += 1
        assert bad[-len(good) :] == good
    assert taken < 100


def through_a_bundle(*parts):
    content, buffers = wire.bundle(parts)
    sender, receiver = (wire.Wire(b"key", name, own=True, name=name) for name in "ab")
    frames = sender.encode("bundle_reply", "1", content, buffers=buffers, to="b")
    return wire.unbundle(receiver.decode(frames))


def test_a_bundle_comes_apart_into_the_messages_it_was_made_of():
    first, second = through_a_bundle(
        ("t.0", "apply_reply", {"status": "ok"}, {"ipyviews": {"engine": 0}}, [b"x", b"y"]),
        ("t.1", "execute_reply", b'{"status":"error"}', {}, []),
    )
    assert (first.msg_type, first.parent_id, first.ours) == ("apply_reply", "t.0", {"engine": 0})
    assert (first.read(), [bytes(b) for b in first.buffers]) == ({"status": "ok"}, [b"x", b"y"])
    assert (second.msg_type, second.parent_id, second.ours) == ("execute_reply", "t.1", {})
    assert (second.read(), list(second.buffers)) == ({"status": "error"}, [])


def test_small_buffers_of_a_bundle_go_in_one_frame_and_large_ones_as_they_are():
    large = bytearray(codec.SMALL_BUFFER + 1)
    own = [[b"a", b""], [large, memoryview(b"bc")], [], [b"x" * codec.SMALL_BUFFER]]
    parts = [(f"t.{number}", "apply_reply", {}, {}, each) for number, each in enumerate(own)]
    content, buffers = wire.bundle(parts)
    assert len(buffers) == 2
    assert buffers[1] is large
    message = wire.Message({"msg_type": "bundle_reply"}, {}, {}, wire.pack(content), buffers)
    assert [list(part.buffers) for part in wire.unbundle(message)] == own


def test_what_goes_in_one_frame_is_signed():
    sizes, buffers = codec.join([b"x" * codec.SMALL_BUFFER] * 100)
    assert len(buffers[0]) <= codec.SIGNED_BUFFER_LIMIT
    assert len(buffers) > 1
    assert codec.part(sizes, buffers) == [b"x" * codec.SMALL_BUFFER] * 100


def test_any_other_message_is_no_bundle():
    message = wire.Message({"msg_type": "apply_reply"}, {}, {}, b"{}")
    assert list(wire.unbundle(message)) == [message]


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"sizes": [], "replies": 1},
        {"sizes": [], "replies": [["p", "t", {}, {}]]},
        {"sizes": [], "replies": [["p", "t", 1, {}, 0]]},
        {"sizes": [3], "replies": [["p", "t", {}, {}, 1]]},
        {"sizes": [2, -1], "replies": [["p", "t", {}, {}, 2]]},
        {"sizes": ["2"], "replies": [["p", "t", {}, {}, 1]]},
        {"replies": [["p", "t", {}, {}, 0]]},
    ],
)
def test_a_malformed_bundle_is_refused(content):
    message = wire.Message({"msg_type": "bundle_reply"}, {}, {}, wire.pack(content), [b"ab"])
    with pytest.raises(ProtocolError):
        wire.unbundle(message)
