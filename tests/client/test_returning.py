"""A client whose controller dies, and what it asks of the next one."""

from __future__ import annotations

import json
import os
import threading
from collections import deque
from typing import TYPE_CHECKING, Any

import pytest

from ipyviews.client import returning
from ipyviews.client.client import Client
from ipyviews.errors import ClusterError, ControllerLost, EngineError
from ipyviews.launching import rundir
from ipyviews.protocol.wire import Wire
from tests.client.fakes import LIFE, FakeController
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Mortal(FakeController):
    """A controller with a run folder, that dies and is replaced."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        self.life = LIFE
        self.write()

    @property
    def file(self) -> dict[str, Any]:
        content = super().file
        content["ipyviews"]["folder"] = str(self.folder)
        content["ipyviews"]["life"] = self.life
        return content

    def write(self) -> None:
        rundir.write_private(self.folder / "cluster.json", json.dumps(self.file))

    def die(self) -> None:
        super().die()
        self.requests.clear()
        self.held.clear()

    def come_back(self, life: str) -> None:
        """Be there again, under another name or the same."""
        self.life = life
        self.do(self._open)
        self.write()

    def _open(self) -> None:
        self._wires = [Wire(self._key, self.life, own=True, name=self.life) for _ in range(2)]
        self._ports = [self.network.router(f"ipc:///nowhere/c-{n}") for n in (1, 2)]
        self._ports[0].listen(self._shell_frames)
        self._ports[1].listen(self._control)

    def _shell_frames(self, frames: Any) -> None:
        from ipyviews.errors import ProtocolError

        try:
            message = self._wires[0].decode(frames)
        except ProtocolError:
            return
        self._shell(message)

    def _start(self, task: str, engine: int, run: Any) -> None:
        again = self.requests[-1][2].get("again")
        if again is None or int(task.rpartition(".")[2]) in again:
            super()._start(task, engine, run)

    def sent(self, msg_type: str) -> list[Any]:
        return [(content, ours) for name, content, ours in self.requests if name == msg_type]


@pytest.fixture
def fake(tmp_path: Path, monkeypatch) -> Iterator[Mortal]:
    """Two engines, and an agent that lives."""
    monkeypatch.setattr(returning, "DOUBT_S", 0.02)
    lock = rundir.take_lock(tmp_path)
    yield Mortal(tmp_path)
    os.close(lock)


@pytest.fixture
def rc(fake: Mortal) -> Iterator[Client]:
    with Client(fake.file, transport=fake.transport) as client:
        yield client


def test_what_has_no_reply_is_sent_again_to_the_next_controller_in_its_order(fake, rc):
    fake.holding = True
    first = rc.load_balanced_view().map_async(abs, [-1, -2, -3], chunksize=1)
    second = rc[0].apply_async(pow, 2, 3)
    cell = rc[1].execute("x = 5", block=False)
    wait_until(lambda: len(fake.held) == 5)
    fake.release(2)
    wait_until(lambda: [task.done for task in first.tasks] == [True, True, False])
    fake.die()
    fake.come_back("next")
    wait_until(lambda: len(fake.held) == 3)
    again = [name for name, _, ours in fake.requests if "again" in ours]
    assert again == ["apply_request", "apply_request", "execute_request"]
    assert [task for task, _, _ in fake.held] == [
        one.id for result in (first, second, cell) for one in result.tasks if not one.done
    ]
    fake.release()
    assert list(first.get(5)) == [1, 2, 3]
    assert second.get(5) == 8
    cell.get(5)
    assert rc[0].apply_sync(pow, 2, 2) == 4


def test_what_was_cancelled_and_has_not_ended_is_cancelled_at_the_next_controller_too(fake, rc):
    fake.holding, fake.obeys_cancel = True, False
    results = [rc[0].apply_async(abs, -number) for number in range(2)]
    wait_until(lambda: len(fake.held) == 2)
    (task,) = results[0].tasks
    rc.connection.request("cancel", tasks=[task.id]).result(5)
    fake.die()
    fake.come_back("next")
    wait_until(lambda: len(fake.held) == 2 and fake.sent("cancel_request"))
    assert [content["tasks"] for content, _ in fake.sent("cancel_request")] == [[task.id]]
    fake.release()
    assert [result.get(5) for result in results] == [0, 1]
    fake.die()
    fake.come_back("last")
    wait_until(lambda: not rc.connection._link.is_down)
    assert not fake.sent("cancel_request")


def test_what_is_called_meanwhile_waits_and_is_sent_once(fake, rc):
    fake.die()
    wait_until(lambda: rc.connection._link.is_down)
    result = rc[0].apply_async(pow, 2, 3)
    status = rc.connection.request("status")
    assert not threading.Event().wait(0.05)
    assert not result.done()
    fake.come_back("next")
    assert result.get(5) == 8
    assert status.result(5)["engines"]
    assert len(fake.sent("apply_request")) == 1
    assert len(fake.sent("status_request")) == 1


def test_questions_are_asked_again_and_orders_are_not(fake, rc):
    fake.mute = True
    question, order = rc.connection.request("status"), rc.connection.request("start", n=1)
    end = rc.connection.request("shutdown", cluster=True)
    wait_until(lambda: len(fake.names()) == 3)
    fake.die()
    fake.mute = False
    fake.come_back("next")
    assert question.result(5)["engines"]
    end.result(5)
    with pytest.raises(ClusterError, match=r"'start', which may have been done.*took over"):
        order.result(5)
    assert sorted(fake.names()) == ["shutdown_request", "status_request"]


def test_the_same_controller_gets_what_was_withheld_and_nothing_twice(fake, rc):
    fake.holding = True
    first = rc[0].apply_async(pow, 2, 2)
    wait_until(lambda: fake.held)
    held, wires = fake.held.copy(), fake._wires
    fake.die()
    fake.held[:] = held
    second = rc[0].apply_async(pow, 2, 3)
    fake.do(lambda: None)
    fake.do(fake._open)
    fake._wires = wires
    wait_until(lambda: len(fake.held) == 2)
    fake.release()
    assert (first.get(5), second.get(5)) == (4, 8)
    assert len(fake.sent("apply_request")) == 1
    assert "again" not in fake.sent("apply_request")[0][1]


def test_arguments_are_sent_again_as_they_were(fake, rc):
    numpy = pytest.importorskip("numpy")
    fake.holding = True
    array = numpy.arange(10_000)
    result = rc[0].apply_async(sum, array)
    wait_until(lambda: fake.held)
    array[:] = 0
    fake.die()
    fake.holding = False
    fake.come_back("next")
    assert result.get(5) == sum(range(10_000))


def test_what_is_too_large_to_be_kept_fails_and_may_have_run(fake, rc, monkeypatch):
    numpy = pytest.importorskip("numpy")
    monkeypatch.setattr(returning, "MOST_KEPT", 10_000)
    fake.holding = True
    large = rc[0].apply_async(sum, numpy.arange(10_000))
    small = rc[0].apply_async(sum, numpy.arange(100))
    wait_until(lambda: len(fake.held) == 2)
    fake.die()
    fake.holding = False
    fake.come_back("next")
    with pytest.raises(EngineError, match=r"may have run.*too large"):
        large.get(5)
    assert small.get(5) == sum(range(100))


def test_a_controller_that_dies_while_it_takes_over_is_followed_by_another(fake, rc):
    fake.holding = True
    result = rc[0].apply_async(pow, 2, 3)
    wait_until(lambda: fake.held)
    fake.die()
    fake.mute = True
    fake.come_back("next")
    wait_until(lambda: fake.requests)
    fake.die()
    fake.mute = fake.holding = False
    fake.come_back("the one after")
    assert result.get(5) == 8
    assert rc.connection._link.life == "the one after"


def test_output_that_comes_again_is_shown_once(fake, rc):
    fake.holding = True
    result = rc[0].apply_async(pow, 2, 3)
    wait_until(lambda: fake.held)
    task = result.tasks[0].id

    def write(second: int, text: str, **ours: Any) -> None:
        metadata = {"ipyviews": {"engine": 0, "date": f"2026-01-01T00:00:0{second}Z", **ours}}
        fake._send(0, "stream", {"name": "stdout", "text": text}, task, metadata, ())

    fake.do(lambda: [write(1, "a"), write(2, "b")])
    wait_until(lambda: result.stdout == "ab")
    fake.die()
    fake.come_back("next")
    wait_until(lambda: fake.held)
    fake.do(lambda: [write(n, text, again=True) for n, text in enumerate("abc", 1)])
    # What its engine published meanwhile may come this way, too.
    fake.do(lambda: [write(3, "c"), write(4, "d")])
    fake.release()
    assert result.get(5) == 8
    assert result.stdout == "abcd"


def test_credit_counts_from_the_start_again(fake, rc):
    rc[0].apply_sync(bytes, 1000)
    fake.die()
    fake.sent_bytes = 0
    fake.come_back("next")
    rc[0].apply_sync(bytes, 1000)
    wait_until(lambda: fake.acknowledged == fake.sent_bytes)


def test_a_reason_why_there_will_be_no_other_is_told(fake, rc):
    fake.holding = True
    result = rc[0].apply_async(pow, 2, 3)
    rundir.write_private(fake.folder / rundir.END_FILE, "it died four times")
    fake.die()
    with pytest.raises(ControllerLost, match="not started again: it died four times"):
        result.get(5)


def test_without_an_agent_nobody_is_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(returning, "DOUBT_S", 0.02)
    fake = Mortal(tmp_path)
    with Client(fake.file, transport=fake.transport) as rc:
        fake.die()
        with pytest.raises(ControllerLost, match="closed the connection"):
            rc.connection.request("status").result(5)


def test_nobody_is_waited_for_for_ever(fake, rc, monkeypatch):
    monkeypatch.setattr(returning, "RETURN_S", 0.1)
    fake.die()
    with pytest.raises(ControllerLost):
        rc.connection.request("status").result(5)


def test_a_controller_that_refuses_the_client_is_quoted(fake, rc):
    refusal = {"status": "error", "ename": "VersionMismatch", "evalue": "another version"}
    fake.die()
    fake._on_hello = lambda _content: refusal
    fake.come_back("next")
    with pytest.raises(ControllerLost, match=r"refused this client.*another version"):
        rc.connection.request("status").result(5)


def test_a_task_holds_its_request_no_longer_than_it_waits(fake, rc):
    result = rc[0].apply_async(pow, 2, 3)
    assert result.get(5) == 8
    assert [task.source for task in result.tasks] == [None]


def test_a_client_that_comes_between_two_controllers_finds_the_second(fake, monkeypatch):
    from ipyviews.client import connection

    monkeypatch.setattr(connection, "WATCH_S", 0.01)
    old = fake.file
    fake.life = "next"
    fake.write()

    def transport(loop: Any) -> Any:
        made = FakeController.transport(fake, loop)
        for port in fake._ports:
            port.close()
        fake._open()
        return made

    with Client(old, transport=transport) as client:
        assert client[0].apply_sync(pow, 2, 3) == 8


def ended(fake: Mortal) -> list[Any]:
    return [ours.get("ended") for _, ours in fake.sent("apply_request")]


def test_how_tasks_ended_is_told_to_the_next_controller_with_what_depends_on_them(fake, rc):
    lv = rc.load_balanced_view()
    good, bad = lv.apply_async(abs, -1), lv.apply_async(int, "x")
    rc.wait([good, bad], 5)
    names = [*good.msg_ids, *bad.msg_ids]
    fake.holding = True
    with lv.temp_flags(after=[good, bad], follow=good):
        second = lv.apply_async(abs, -2)
    with lv.temp_flags(after=second):
        third = lv.apply_async(abs, -3)
    wait_until(lambda: len(fake.held) == 2)
    assert not any(ended(fake))
    count = len(ended(fake)) - 2
    fake.die()
    fake.come_back("next")
    wait_until(lambda: len(fake.held) == 2)
    places = [task.metadata()["engine_id"] for task in (*good.tasks, *bad.tasks)]
    ends = [[ok, place, 1] for ok, place in zip((True, False), places, strict=True)]
    known = dict(zip(names, ends, strict=True))
    assert ended(fake) == ([known] if count == 1 else [known, None])
    fake.release()
    assert [second.get(5), third.get(5)] == [2, 3]
    fake.requests.clear()
    with lv.temp_flags(after=bad):
        lv.apply_async(abs, -4)
    with lv.temp_flags(follow=second):
        lv.execute("x = 1", block=False)
    wait_until(lambda: len(fake.names()) == 2)
    assert [sorted(ours["ended"]) for name, _, ours in fake.requests if "any" in ours] == [
        bad.msg_ids,
        second.msg_ids,
    ]


def test_what_cannot_be_sent_again_has_failed_for_what_depends_on_it(fake, rc, monkeypatch):
    numpy = pytest.importorskip("numpy")
    monkeypatch.setattr(returning, "MOST_KEPT", 10_000)
    fake.holding = True
    lv = rc.load_balanced_view()
    large = lv.apply_async(sum, numpy.arange(10_000))
    with lv.temp_flags(after=large):
        second = lv.apply_async(abs, -2)
    wait_until(lambda: len(fake.held) == 2)
    fake.die()
    fake.come_back("next")
    wait_until(lambda: fake.held)
    assert ended(fake) == [{large.msg_ids[0]: [False, None, 0]}]
    fake.release()
    assert second.get(5) == 2
    with pytest.raises(EngineError, match="may have run"):
        large.get(5)


@pytest.fixture
def said(monkeypatch) -> list[str]:
    """What people are told, by this process, of controllers that died."""
    monkeypatch.setattr(returning, "_said", deque())
    monkeypatch.setattr(returning, "QUIET_S", 0.0)
    found: list[str] = []
    monkeypatch.setattr(returning.log, "warning", lambda *told: found.append(told[0] % told[1:]))
    return found


def test_that_the_controller_was_replaced_is_said_once_in_a_process(fake, rc, said):
    sentence = (
        "the controller of cluster 'fake' died; another one has taken over its engines and the "
        "calls without an answer"
    )
    returning._said.append("known")
    for life, count in (("next", 1), ("known", 1), ("last", 2)):
        fake.die()
        fake.come_back(life)
        assert rc[0].apply_sync(pow, 2, 3) == 8
        fake.do(lambda: None)
        assert said == [sentence] * count


def test_it_is_not_said_among_output_that_is_shown(fake, rc, said):
    fake.holding = True
    result = rc[0].execute("x = 1", block=False)
    with result.stream_output():
        wait_until(lambda: fake.held)
        fake.die()
        fake.come_back("next")
        wait_until(lambda: fake.held)
        fake.do(lambda: None)
        assert not said
    wait_until(lambda: said)


def test_it_is_not_said_on_an_engine(fake, rc, said, monkeypatch):
    monkeypatch.setattr(returning, "own_cluster", lambda: fake.folder)
    fake.die()
    fake.come_back("next")
    assert rc[0].apply_sync(pow, 2, 3) == 8
    fake.do(lambda: None)
    assert not said
