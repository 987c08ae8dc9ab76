"""jupyter_client's Session as the oracle, in both directions."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jupyter_client.session import Session, json_packer, json_unpacker

from ipyviews.errors import ProtocolError
from ipyviews.protocol import wire
from ipyviews.protocol.wire import Wire
from tests.protocol.test_wire import LIBRARIES, contents

KEY = b"0123456789abcdef"


def make_session(packer="default"):
    session = Session(key=KEY, signature_scheme="hmac-sha256", username="user", session="stock")
    if packer == "json":
        session.pack, session.unpack = json_packer, json_unpacker
    return session


@pytest.fixture(params=["default", "json"])
def session(request):
    return make_session(request.param)


def received(session, frames):
    idents, rest = session.feed_identities([bytes(frame) for frame in frames])
    return idents, session.deserialize(rest)


@given(contents, contents, st.lists(st.binary(max_size=30), max_size=3))
def test_session_takes_our_messages(content, metadata, buffers):
    ours = Wire(KEY, "controller")
    frames = ours.encode(
        "execute_request",
        "c-1.0/0.1/1",
        content,
        parent={"msg_id": "p"},
        metadata=metadata,
        buffers=buffers,
    )
    idents, message = received(make_session(), [b"e0.1", b"controller", *frames])
    assert idents == [b"e0.1", b"controller"]
    assert message["content"] == content
    assert message["metadata"] == metadata
    assert message["parent_header"] == {"msg_id": "p"}
    assert [bytes(buffer) for buffer in message["buffers"]] == buffers
    header = message["header"]
    assert (header["msg_id"], header["msg_type"]) == ("c-1.0/0.1/1", "execute_request")
    assert (header["session"], header["version"]) == ("controller", "5.4")
    assert isinstance(header["date"], datetime)
    assert header["date"].tzinfo is not None


@given(contents, contents, st.lists(st.binary(max_size=30), max_size=3))
def test_we_take_sessions_messages(content, metadata, buffers):
    session = make_session()
    parent = session.msg_header("execute_request")
    made = session.msg("stream", content, parent=parent, metadata=metadata)
    frames = session.serialize(made, ident=[b"kernel.stream"])
    message = Wire(KEY, "controller").decode([*frames, *buffers])
    assert message.idents == [b"kernel.stream"]
    assert (message.msg_type, message.msg_id) == ("stream", made["header"]["msg_id"])
    assert message.parent_id == parent["msg_id"]
    assert message.read() == content
    assert message.metadata == metadata
    assert list(message.buffers) == buffers


def test_signatures_are_the_same_bytes_without_buffers(session):
    for own in (False, True):
        frames = Wire(KEY, "controller", own=own).encode("x", "1", {"a": [1, "ü"]}, to="k")
        assert frames[0] == b"<IDS|MSG>"
        assert frames[1] == session.sign(frames[2:6])


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize(
    "content", [{}, {"text": "\udcff"}, {"text": "ü€\x00"}, {"big": 2**70}, {"deep": [[[[]]]]}]
)
def test_odd_contents_are_read_by_session(content, own, session, monkeypatch):
    for library in LIBRARIES.values():
        monkeypatch.setattr(wire, "HAS_ORJSON", library)
        frames = Wire(KEY, "controller", own=own).encode("x", f"{library}", content)
        assert received(session, frames)[1]["content"] == content


@pytest.mark.parametrize("content", [{"text": "\udcff"}, {"text": "a\xffb"}])
def test_odd_contents_of_session_are_read_as_it_reads_them(content, session):
    frames = session.serialize(session.msg("stream", content))
    expected = received(make_session("json"), frames)[1]["content"]
    assert Wire(KEY, "controller").decode(frames).read() == expected


def test_dates_survive_in_both_directions(session):
    date = datetime(2025, 3, 4, 5, 6, 7, 89, UTC)
    frames = Wire(KEY, "controller").encode("x", "1", {}, metadata={"started": date})
    assert received(session, frames)[1]["metadata"]["started"] in (
        date,
        date.isoformat()[:-6] + "Z",
    )
    made = session.msg("x", {}, metadata={"started": date})
    message = Wire(KEY, "controller").decode(session.serialize(made))
    assert datetime.fromisoformat(message.metadata["started"]) == date
    assert datetime.fromisoformat(message.header["date"]).tzinfo is not None


def test_both_refuse_another_key(session):
    frames = session.serialize(session.msg("x"))
    with pytest.raises(ProtocolError):
        Wire(b"another key", "c").decode(frames)
    frames = Wire(b"another key", "c").encode("x", "1", {})
    with pytest.raises(ValueError, match="Invalid Signature"):
        received(session, frames)


def test_without_a_key_both_agree(session):
    session.key = b""
    frames = Wire(b"", "c").encode("x", "1", {"a": 1})
    assert received(session, frames)[1]["content"] == {"a": 1}
    assert Wire(b"", "c").decode(session.serialize(session.msg("x", {"a": 1}))).read() == {"a": 1}
