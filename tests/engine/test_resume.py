"""An engine that another controller takes over: what it tells, and what it runs once."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from ipyviews.engine import cells as cells_module
from ipyviews.engine import kept as kept_module
from ipyviews.engine import printed as printed_module
from ipyviews.engine.adapter import Kernel
from ipyviews.engine.cells import MOST_BYTES, MOST_CELLS, Cells
from ipyviews.engine.printed import Printed
from ipyviews.protocol.wire import Wire
from tests.engine.kernelbox import KernelBox, interactive

KIND = {"msg_type": "execute_request"}


def ended(cells: Cells, name: str, **content) -> None:
    parent = {"header": {"msg_id": name, **KIND}}
    cells.sent("status", {"execution_state": "busy"}, parent)
    cells.sent("execute_reply", {"status": "ok", **content}, parent)


def test_a_cell_runs_from_its_busy_status_to_its_reply():
    cells, header = Cells(), {"msg_id": "a", **KIND}
    cells.sent("status", {"execution_state": "busy"}, header)
    cells.sent("stream", {"text": "x"}, header)
    assert cells.running == "a"
    assert cells.replies() == {}
    cells.sent("execute_reply", {"status": "ok", "execution_count": 3}, {"header": header})
    cells.sent("status", {"execution_state": "idle"}, header)
    assert cells.running is None
    assert cells.replies() == {"a": {"status": "ok", "execution_count": 3}}


@pytest.mark.parametrize(
    "parent",
    [None, {}, {"msg_id": "a", "msg_type": "kernel_info_request"}, {**KIND, "subshell_id": "1"}],
)
def test_what_is_no_cell_is_not_noted(parent):
    cells = Cells()
    cells.sent("status", {"execution_state": "busy"}, parent)
    cells.sent("execute_reply", {"status": "ok"}, parent)
    assert (cells.running, cells.replies()) == (None, {})


def test_the_latest_cells_are_remembered():
    cells = Cells()
    for number in range(MOST_CELLS + 5):
        ended(cells, str(number))
    assert list(cells.replies()) == [str(number) for number in range(5, MOST_CELLS + 5)]
    assert cells.gone() == [str(number) for number in range(5)]
    cells.forget(["1", "3"])
    assert cells.gone() == ["0", "2", "4"]


def test_of_older_cells_the_names_are_remembered_and_if_not_that_is_told(monkeypatch):
    monkeypatch.setattr(cells_module, "MOST_NAMES", 3)
    cells = Cells()
    for number in range(MOST_CELLS + 3):
        ended(cells, str(number))
    assert (cells.gone(), cells.overflowed) == (["0", "1", "2"], False)
    ended(cells, "last")
    assert (cells.gone(), cells.overflowed) == (["1", "2", "3"], True)


def test_of_answers_the_names_are_remembered_and_if_not_that_is_told(monkeypatch):
    monkeypatch.setattr(kept_module, "MOST_NAMES", 3)
    kept = kept_module.Kept(most_bytes=0)
    for number in range(3):
        kept.add(number, ["a"], [SimpleNamespace(buffers=[])])
    assert not kept.overflowed
    kept.add(3, ["b"], [SimpleNamespace(buffers=[])])
    assert kept.overflowed


def test_of_a_large_reply_only_the_end_is_remembered():
    cells = Cells()
    ended(cells, "a", execution_count=2, user_expressions={"x": "y" * MOST_BYTES})
    ended(cells, "b", execution_count=3, user_expressions={"x": object()})
    assert [one["execution_count"] for one in cells.replies().values()] == [2, 3]
    assert all(one["user_expressions"] == {} for one in cells.replies().values())


# -- output


def wrote(printed: Printed, name: str, text: str, kind: str = "stream", date: str = "d") -> None:
    header = {"msg_type": kind, "date": date}
    message = {"header": header, "parent_header": {"msg_id": name}, "content": {"text": text}}
    printed.sent(message, [])


def texts(printed: Printed) -> dict[str, list[str]]:
    return {
        told["attempt"]: [one[1]["text"] for one in told["messages"]] for told, _ in printed.told()
    }


def test_output_is_kept_by_attempt_until_that_is_forgotten():
    printed = Printed()
    wrote(printed, "a/0.1/1", "1")
    wrote(printed, "b/0.1/1", "2")
    wrote(printed, "a/0.1/1", "3")
    wrote(printed, "a/0.1/1", "", kind="status")
    wrote(printed, "of a console", "4")
    printed.sent(None, [])
    assert texts(printed) == {"a/0.1/1": ["1", "3"], "b/0.1/1": ["2"]}
    printed.forget(["a/0.1/1", "unknown"])
    wrote(printed, "a/0.1/1", "late")
    assert texts(printed) == {"b/0.1/1": ["2"]}


def test_of_much_output_the_latest_is_kept_and_that_is_told(monkeypatch):
    monkeypatch.setattr(printed_module, "MOST_BYTES", 1000)
    printed = Printed()
    for text in ("1" * 300, "2" * 300, "3" * 300):
        wrote(printed, "a/0.1/1", text)
    ((told, _),) = printed.told()
    assert told["whole"] is False
    assert texts(printed) == {"a/0.1/1": ["3" * 300]}
    monkeypatch.setattr(printed_module, "MOST_TOGETHER", 1000)
    wrote(printed, "b/0.1/1", "x" * 300)
    assert texts(printed) == {"a/0.1/1": [], "b/0.1/1": ["x" * 300]}


def test_output_that_has_no_form_in_json_is_left_out_and_that_is_told():
    printed = Printed()
    wrote(printed, "a/0.1/1", "1")
    header = {"msg_type": "display_data", "date": datetime(2026, 1, 1, tzinfo=UTC)}
    content = {"data": {"x": object()}}
    printed.sent({"header": header, "parent_header": {"msg_id": "a/0.1/1"}, "content": content}, [])
    ((told, _),) = printed.told()
    assert (len(told["messages"]), told["whole"]) == (1, False)


def test_dates_and_buffers_are_as_on_the_wire():
    printed = Printed()
    header = {"msg_type": "display_data", "date": datetime(2026, 1, 1, 0, 0, 1, 5, tzinfo=UTC)}
    message = {"header": header, "parent_header": {"msg_id": "a/0.1/1"}, "content": {}}
    printed.sent(message, [memoryview(b"xyz")])
    ((told, buffers),) = printed.told()
    assert told["messages"][0][3:] == ["2026-01-01T00:00:01.000005Z", 1]
    assert buffers == [b"xyz"]


@pytest.mark.parametrize("content", [{"data": "text"}, {"data": None}, ["x"], None, {"text": 1}])
def test_messages_of_any_form_are_kept(content):
    printed = Printed()
    header = {"msg_type": "their_own", "date": "d"}
    printed.sent({"header": header, "parent_header": {"msg_id": "a/0.1/1"}, "content": content}, [])
    ((told, _),) = printed.told()
    assert told["messages"] == [["their_own", content, {}, "d", 0]]


def test_what_watches_messages_keeps_none_from_being_sent():
    sent = []

    class Session:
        def send(self, _stream, *message, **_named):
            sent.append(message)
            return {"header": {}}

    def fail(*_):
        raise ZeroDivisionError

    kernel = Kernel.__new__(Kernel)
    kernel._kernel = SimpleNamespace(session=Session())
    undo = kernel.on_send(fail, fail)
    assert kernel._kernel.session.send(None, "stream", {}) == {"header": {}}
    undo()
    kernel._kernel.session.send(None, "other")
    assert [message[0] for message in sent] == ["stream", "other"]


# -- real kernels


@pytest.fixture
def box():
    """A kernel of its own: once it was taken over, it is nobody else's."""
    with KernelBox() as box:
        box.join()
        yield box


def take_over(box: KernelBox, life: str) -> dict:
    box._wires["apply"] = Wire(box.key, life, own=True, name=life)
    return box.reply(box.request("apply", "resume_request", {})).read()


@pytest.mark.kernels
def test_answers_nobody_acknowledged_come_again_and_the_others_do_not(box):
    first = box.send_call(abs, -1)
    assert box.answer(first).value == 1
    second = box.send_call(abs, -2)
    assert box.answer(second).value == 2
    number = box.replies[first].header["seq"]
    box.request("apply", "replies_received", {"numbers": [number], "cells": []})
    box.replies.clear()
    told = take_over(box, "another")
    assert (told["running"], told["cell"], told["gone"], told["next"]) == (None, None, [], 2)
    assert first not in box.replies
    assert box.answer(second).value == 2
    assert box.replies[second].header["to"] == "another"


@pytest.mark.kernels
def test_a_call_that_runs_is_told_and_answers_to_the_new_controller(box):
    box.keep_calls()
    box.execute("import threading; go = threading.Event()")
    running = box.send_call(interactive("def f():\n while not go.wait(0.01): pass\n return 5")["f"])
    box.wait(lambda: box.has_begun(running))
    waiting = box.send_call(abs, -1)
    told = take_over(box, "another")
    assert told["running"] == [running, 0]
    assert box.ping()["holds"] == [running]
    box.interrupt(running)
    assert box.answer(running).error[0] == "KeyboardInterrupt"
    assert waiting not in box.replies


@pytest.mark.kernels
def test_what_was_sent_by_the_controller_before_is_refused_from_then_on(box):
    old = box._wires["apply"]
    box.call(abs, -1)
    take_over(box, "another")
    new, box._wires["apply"] = box._wires["apply"], old
    late = box.send_call(abs, -3)
    box._wires["apply"] = new
    assert box.ping()["dropped"] == 1
    assert box.call(abs, -4).value == 4
    assert late not in box.replies


@pytest.mark.kernels
def test_an_attempt_that_comes_twice_runs_once_and_is_answered_twice(box):
    count = interactive("def f():\n global n\n n = globals().get('n', 0) + 1\n return n")["f"]
    attempt = box.send_call(count)
    assert box.answer(attempt).value == 1
    box.replies.clear()
    box.send_call(count, msg_id=attempt)
    assert box.answer(attempt).value == 1
    assert box.call(interactive("f = lambda: n")["f"]).value == 1


@pytest.mark.kernels
def test_cells_are_told_while_they_run_and_when_they_have_ended(box):
    done = box.send_code("7 / 0", msg_id="a/0.1/1")
    box.reply(done)
    box.send_code("import time; time.sleep(600)", msg_id="b/0.1/1")
    box.wait(lambda: any(m.msg_type == "execute_input" for m in box.outputs["b/0.1/1"]))
    told = take_over(box, "another")
    assert told["cell"] == "b/0.1/1"
    assert told["cells"][done]["ename"] == "ZeroDivisionError"
    box.interrupt("b/0.1/1", "execute")
    assert box.reply("b/0.1/1").read()["ename"] == "KeyboardInterrupt"


@pytest.mark.kernels
def test_output_comes_again_with_its_dates_and_not_once_it_was_acknowledged(box):
    call = interactive("def f():\n print('call'); display('shown'); return 1")["f"]
    attempt = box.send_call(call, msg_id="a/0.1/1")
    assert box.answer(attempt).value == 1
    box.wait(lambda: box.is_idle(attempt))
    cell = box.send_code("print('cell')", msg_id="b/0.1/1")
    box.wait(lambda: box.is_idle(cell) and cell in box.replies)
    told = output_again(box, "second")
    for name in (attempt, cell):
        published = [m for m in box.outputs[name] if m.msg_type != "status"]
        assert [one[0] for one in told[name]] == [m.msg_type for m in published]
        assert [one[3] for one in told[name]] == [m.header["date"] for m in published]
    number = box.replies[attempt].header["seq"]
    box.request("apply", "replies_received", {"numbers": [number], "cells": [cell]})
    assert output_again(box, "third") == {}


def output_again(box: KernelBox, life: str) -> dict:
    """Take over, and return what it tells of output."""
    told = {}
    wire = box._wires["apply"] = Wire(box.key, life, own=True, name=life)
    decode = wire.decode

    def note(frames):
        message = decode(frames)
        if message.msg_type == "output_again":
            content = message.read()
            assert content["whole"] is True
            told[content["attempt"]] = content["messages"]
        return message

    wire.decode = note
    box.reply(box.request("apply", "resume_request", {}))
    return told
