from __future__ import annotations

import time

import pytest

from ipyviews.client import outputs
from ipyviews.client.outputs import Output, Text, fold_returns


def stream(text, name="stdout"):
    return {"name": name, "text": text}


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("a\rb\rc", "c"),
        ("a\r\nb\r\n", "a\r\nb\r\n"),
        ("x\n10 %\r100 %\ny", "x\n100 %\ny"),
        ("10 %\r", "10 %\r"),
        ("a\r\r", "a\r\r"),
        ("plain", "plain"),
    ],
)
def test_returns_overwrite_what_is_before_them_on_the_line(text, folded):
    assert fold_returns(text) == folded


def test_a_return_at_the_end_of_one_message_overwrites_with_the_next():
    text = Text()
    text.add("10 %\r")
    assert str(text) == "10 %\r"
    text.add("20 %")
    assert str(text) == "20 %"


def test_long_lines_fold_in_linear_time():
    started = time.perf_counter()
    fold_returns("x" * 2_000_000 + "\ra")
    assert time.perf_counter() - started < 2


def test_appending_many_small_pieces_is_not_quadratic():
    text = Text()
    started = time.perf_counter()
    for _ in range(200_000):
        text.add("0123456789")
    assert time.perf_counter() - started < 5
    assert len(str(text)) == 2_000_000


def test_text_beyond_the_limit_is_counted_and_said(monkeypatch):
    monkeypatch.setattr(outputs, "TEXT_LIMIT", 10)
    text = Text()
    text.add("12345678")
    text.add("90123")
    text.add("more")
    assert str(text) == "1234567890\n[7 more characters were not kept]\n"


def test_streams_are_kept_apart():
    output = Output()
    output.add("stream", stream("out"))
    output.add("stream", stream("err", "stderr"))
    assert (output.stdout, output.stderr) == ("out", "err")


def test_updates_replace_the_display_of_their_id():
    output = Output()
    output.add("display_data", {"data": {"text/plain": "old"}, "transient": {"display_id": "x"}})
    output.add("display_data", {"data": {"text/plain": "other"}, "transient": {}})
    update = {"data": {"text/plain": "new"}, "transient": {"display_id": "x"}, "metadata": {}}
    output.add("update_display_data", update)
    assert [one["data"]["text/plain"] for one in output.outputs] == ["new", "other"]


def test_clear_output_clears_at_once_or_with_the_next_output():
    output = Output()
    output.add("stream", stream("a"))
    output.add("clear_output", {"wait": True})
    assert output.stdout == "a"
    output.add("stream", stream("b"))
    assert output.stdout == "b"
    output.add("clear_output", {"wait": False})
    assert output.stdout == ""


def test_results_input_errors_and_folded_counts_are_kept():
    output = Output()
    output.add("execute_input", {"code": "1+1"})
    output.add("execute_result", {"data": {"text/plain": "2"}, "execution_count": 4})
    output.add("error", {"ename": "E", "evalue": "v", "traceback": []})
    output.add("output_folded", {"messages": 3, "bytes": 9})
    output.add("output_folded", {"messages": 1, "bytes": 1})
    assert output.execute_input == "1+1"
    assert output.execute_result["execution_count"] == 4
    assert output.error["ename"] == "E"
    assert (output.folded_messages, output.folded_bytes) == (4, 10)


def test_displays_beyond_the_limit_are_counted(monkeypatch):
    monkeypatch.setattr(outputs, "DISPLAY_LIMIT", 2)
    output = Output()
    for _ in range(5):
        output.add("display_data", {"data": {}})
    assert len(output.outputs) == 2
    assert output.folded_messages == 3
