"""Bursts: calls made while the I/O thread is busy leave together, and stay calls of their own."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace

import pytest

from ipyviews.client import outbox
from ipyviews.client.ledger import Ledger
from ipyviews.client.outbox import Outbox
from ipyviews.protocol.payload import pack_calls
from ipyviews.protocol.wire import unpack


class Desk:
    """An outbox whose I/O thread works when it is told to."""

    def __init__(self) -> None:
        self.posted = []
        #: Whether each that was posted may wait for others.
        self.patient = []
        self.messages = []
        self.ledger = Ledger()
        self.box = Outbox("c", self.ledger, self._post, self._send)

    def _post(self, action, *, patiently=False) -> None:
        self.posted.append(action)
        self.patient.append(patiently)

    def _send(self, msg_type, msg_id, content, metadata, buffers) -> None:
        self.messages.append((msg_type, msg_id, unpack(content), metadata["ipyviews"], buffers))

    def call(self, function=abs, *args, engines=(None,), **ours):
        how = {"name": "f"} | ({} if engines[0] is not None else {"any": None}) | ours
        payload = pack_calls(function, [(args or (-1,), {})])
        return [task.id for task in self.box.call(payload, engines, how)]

    def work(self):
        posted, self.posted[:] = list(self.posted), []
        for action in posted:
            action()
        return [name for _, name, *_ in self.messages]


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_the_first_call_is_posted_at_once(desk):
    desk.call()
    assert len(desk.posted) == 1


def test_calls_made_before_the_first_has_left_join_it(desk):
    assert [desk.call(abs, number) for number in range(3)] == [["c-1.0"], ["c-1.1"], ["c-1.2"]]
    assert desk.work() == ["c-1"]
    _, _, content, ours, (function, arguments) = desk.messages[0]
    assert len(content["index"]) == 3
    assert sum(size for size, _ in content["index"]) == len(arguments)
    assert (ours["any"], function) == (None, pack_calls(abs, []).function)


def test_only_a_call_that_comes_soon_after_another_waits_for_more(desk, monkeypatch):
    times = iter([1000.0, 1000.0001, 1000.1])
    clock = SimpleNamespace(monotonic=lambda: next(times), time=time.time)
    monkeypatch.setattr(outbox, "time", clock)
    for _ in range(3):
        desk.call()
        desk.work()
    assert desk.patient == [False, True, False]


def test_cells_and_calls_made_together_wait_for_nothing(desk, monkeypatch):
    monkeypatch.setattr(outbox, "RAPID_S", 60.0)
    for _ in range(2):
        desk.box.execute({"code": "1"}, [0], {"targets": [0]})
        desk.box.call(pack_calls(abs, [((-1,), {})] * 2), (None, None), {"any": None})
    assert desk.patient == [False] * 4


def test_what_comes_after_it_has_left_is_a_request_of_its_own(desk):
    desk.call()
    desk.work()
    desk.call()
    assert desk.work() == ["c-1", "c-2"]


def test_direct_calls_join_whatever_their_engine(desk):
    for engine in (0, 1, 0):
        desk.call(engines=(engine,))
    desk.work()
    assert desk.messages[0][3]["targets"] == [0, 1, 0]


@pytest.mark.parametrize(
    "other",
    [
        {"function": len, "args": ("x",)},
        {"label": "mine"},
        {"retries": 2},
        {"engines": (0,)},
    ],
    ids=str,
)
def test_a_call_that_differs_in_more_than_arguments_does_not_join(desk, other):
    desk.call()
    what = dict(other)
    desk.call(what.pop("function", abs), *what.pop("args", ()), **what)
    assert desk.work() == ["c-1", "c-2"]


def test_calls_that_wait_for_different_tasks_go_together_and_tell_each_its_own(desk):
    needs = [{"tasks": [name]} for name in ("c-8.0", "c-9.0")]
    for after in (needs[0], None, needs[1]):
        desk.call(after=after) if after else desk.call()
    assert desk.work() == ["c-1"]
    assert desk.messages[0][3]["after"] == [needs[0], None, needs[1]]
    assert "follow" not in desk.messages[0][3]


def test_calls_that_wait_for_the_same_tasks_tell_them_once(desk):
    for _ in range(3):
        desk.call(after={"tasks": ["c-9.0"]})
    desk.work()
    assert desk.messages[0][3]["after"] == {"tasks": ["c-9.0"]}


def test_calls_that_wait_for_many_different_tasks_go_in_several_messages(desk):
    for number in range(40):
        tasks = [f"c-{number}.{place}" for place in range(2000)]
        desk.call(after={"tasks": tasks})
    desk.work()
    sizes = [len(message[3]["after"]) for message in desk.messages]
    assert sum(sizes) == 40
    assert max(sizes) * 2000 * outbox.NAME_BYTES <= outbox.MOST_BYTES


def test_nothing_joins_a_request_after_which_another_was_made(desk):
    desk.call()
    desk.box.execute({"code": "1"}, [0], {"targets": [0]})
    desk.call()
    assert desk.work() == ["c-1", "c-2", "c-3"]


def test_one_call_for_several_engines_is_alone(desk):
    assert desk.call(engines=(0, 1)) == ["c-1.0", "c-1.1"]
    desk.call(engines=(0,))
    assert desk.work() == ["c-1", "c-2"]
    assert desk.messages[0][3]["targets"] == [0, 1]


def test_a_large_call_does_not_join(desk):
    desk.call()
    desk.call(abs, b"x" * (outbox.SMALL_BYTES + 1))
    assert desk.work() == ["c-1", "c-2"]


def test_a_request_takes_no_more_than_so_many(desk, monkeypatch):
    monkeypatch.setattr(outbox, "MOST_CALLS", 3)
    for _ in range(7):
        desk.call()
    desk.work()
    assert [len(content["index"]) for _, _, content, *_ in desk.messages] == [3, 3, 1]


def test_each_call_has_a_number_and_they_are_sent_when_their_request_is(desk):
    desk.call()
    desk.call()
    assert [task.request for task in desk.ledger.pending.values()] == [1, 2]
    assert desk.ledger.sent == 0
    desk.work()
    assert desk.ledger.sent == 2


def test_an_interrupt_while_it_is_posted_leaves_nothing_to_wait_for(desk, monkeypatch):
    def interrupted(_request, **_how):
        raise KeyboardInterrupt

    monkeypatch.setattr(desk.box, "_post", interrupted)
    with pytest.raises(KeyboardInterrupt):
        desk.call()
    assert not desk.ledger.pending
    monkeypatch.undo()
    assert desk.call() == ["c-2.0"]


def test_a_burst_goes_on_while_its_first_call_leaves(desk, monkeypatch):
    monkeypatch.setattr(outbox, "LEAVE_S", 60.0)
    desk.call()
    sender = threading.Timer(0.0, desk.work)
    sender.start()
    desk.box.let_leave()
    assert desk.ledger.sent == 1
    sender.join()
    desk.call()
    monkeypatch.setattr(outbox, "BURST_S", 60.0)
    desk.box.let_leave()
    assert desk.ledger.sent == 1
