"""Output of what a controller before this one had begun, while its client is not back."""

from __future__ import annotations

from ipyviews.controller import returns
from ipyviews.controller.returns import Output
from ipyviews.protocol.wire import Message, pack


def printed(number: int) -> Message:
    header = {"msg_type": "stream", "date": f"2000-01-01T00:00:{number:09d}Z"}
    return Message(header, {}, {}, pack({"name": "stdout", "text": "x"}))


def test_short_messages_of_output_weigh_more_than_their_content(monkeypatch):
    monkeypatch.setattr(returns, "MOST_OUTPUT", 10 * returns.MESSAGE_BYTES)
    output = Output(is_whole=True)
    messages = [printed(number) for number in range(20)]
    for message in messages:
        output.add(message)
    assert list(output.messages) == messages[-9:]
    assert not output.is_whole


def written(date: int, content: bytes, *buffers: bytes) -> Message:
    return Message({"date": date}, {}, {}, content, list(buffers), [])


def test_what_waits_of_output_is_bounded_with_its_buffers_and_the_latest_is_kept(monkeypatch):
    monkeypatch.setattr(returns, "MOST_OUTPUT", 10)
    monkeypatch.setattr(returns, "MESSAGE_BYTES", 0)
    output = Output(is_whole=True)
    for date in (1, 2, 1):
        output.add(written(date, b"abc"))
    assert ([one.header["date"] for one in output.messages], output.is_whole) == ([1, 2], True)
    output.add(written(3, b"", b"12345678"))
    assert ([one.header["date"] for one in output.messages], output.is_whole) == ([3], False)
    output.add(written(4, b"", bytes(11)))
    assert (list(output.messages), output.size, output.dates) == ([], 0, set())
