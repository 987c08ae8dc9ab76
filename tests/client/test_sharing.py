"""What a client puts into shared memory, when it comes back, and what it maps."""

from __future__ import annotations

import errno
import threading
from types import SimpleNamespace

import pytest

from ipyviews.client.sharing import VARIABLE, Sharing
from ipyviews.engine import segments
from ipyviews.engine.segments import Reference
from ipyviews.engine.sender import Sender
from ipyviews.protocol.payload import Payload
from ipyviews.protocol.wire import Message

CLUSTER = "c0ffee00"
SIZE = segments.SHARE_FROM
ENGINES = {
    0: {"state": "live", "apply": True, "incarnation": 1, "place": "here"},
    1: {"state": "live", "apply": True, "incarnation": 1, "place": "here"},
    2: {"state": "starting", "apply": False, "incarnation": 1, "place": ""},
}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Segments as files of another folder, which is the place of everybody here."""
    monkeypatch.setattr(segments, "FOLDER", tmp_path)
    monkeypatch.setattr(segments, "room", lambda: 1 << 30)
    monkeypatch.setattr(segments, "place", lambda: "here")
    return tmp_path


class Sent(SimpleNamespace):
    """A client's sharing, and all that it sends."""

    def send(self, payload, engines, ours):
        self.payloads.append(payload)
        self.ours.append(ours)
        first = len(self.tasks)
        made = [SimpleNamespace(id=f"t{n}") for n in range(first, first + len(engines))]
        self.tasks += made
        return made

    def call(self, *sizes, engines=(0,), **ours):
        """Send calls with one buffer each; one call for all engines if there is one size."""
        index = [[1, 1] for _ in sizes]
        buffers = [bytes([65 + n]) * size for n, size in enumerate(sizes)]
        payload = Payload(b"f", b"x" * len(sizes), index, buffers, by_value=False)
        return self.sharing.call(payload, list(engines), ours, self.send)

    def references(self):
        """The references of the last request, None for buffers that were sent as they are."""
        return [Reference.read(buffer) for buffer in self.payloads[-1].buffers]

    def reply(self, task, *, engine=0, runs=1, verdict="replied", **content):
        attempts = [[engine, 1, 0.0, 1.0, "ok"]] * runs
        ours = {"verdict": verdict, "attempts": attempts}
        self.sharing.ended(task.id, ours, content)

    def is_reused(self, size=SIZE):
        """Whether the next buffer is put where an earlier one was."""
        self.call(size)
        return self.references()[0].use > 1


@pytest.fixture
def sent():
    one = Sent(payloads=[], ours=[], tasks=[], told=[])
    one.sharing = Sharing(
        CLUSTER,
        "me",
        threading.RLock(),
        lambda action: action(),
        lambda msg_type, content: one.told.append((msg_type, content)),
    )
    one.sharing.engines_changed(ENGINES)
    yield one
    one.sharing.close(keep_needed=False)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


# -- what is shared ----------------------------------------------------------------------------


def test_large_buffers_become_references(sent):
    sent.call(SIZE, SIZE - 1, SIZE, engines=[0, 1, 0])
    first, small, last = sent.references()
    assert small is None
    assert [bytes(segments.copy(one, CLUSTER)[:2]) for one in (first, last)] == [b"AA", b"CC"]


def test_what_a_request_weighs_does_not_change(sent):
    sent.call(SIZE)
    assert sent.payloads[0].weight == SIZE + 1


def test_requests_say_where_results_may_be_put(sent):
    sent.call(10)
    assert sent.ours == [{"shared": "c0ffee00/here"}]


@pytest.mark.parametrize(
    ("engines", "ours", "is_shared"),
    [
        ([0, 1], {}, True),
        ([0, 2], {}, False),
        ([7], {}, False),
        ([None], {"any": None}, True),
        ([None], {"any": [1, 2]}, True),
        ([None], {"any": [2]}, False),
    ],
    ids=str,
)
def test_only_what_all_engines_can_map_is_shared(sent, engines, ours, is_shared):
    sent.call(SIZE, engines=engines, **ours)
    assert (sent.references()[0] is not None) is is_shared


@pytest.mark.parametrize("engines", [[0, 1], [None]])
def test_one_engine_elsewhere_is_enough_for_messages(sent, engines):
    sent.sharing.engines_changed({**ENGINES, 1: {**ENGINES[1], "place": "elsewhere"}})
    sent.call(SIZE, engines=engines)
    assert sent.references() == [None]


@pytest.mark.parametrize("why", ["cluster", "environment", "place"])
def test_where_nothing_is_shared_nothing_is_said(monkeypatch, why, folder):
    if why == "environment":
        monkeypatch.setenv(VARIABLE, "0")
    if why == "place":
        monkeypatch.setattr(segments, "place", lambda: "")
    one = Sent(payloads=[], ours=[], tasks=[], told=[])
    cluster = "" if why == "cluster" else CLUSTER
    one.sharing = Sharing(cluster, "me", threading.RLock(), lambda _: None, lambda *_: None)
    one.sharing.engines_changed(ENGINES)
    one.call(SIZE)
    assert (one.references(), one.ours, names(folder)) == ([None], [{}], [])
    frame = Reference("ipv-c0ffee00-e0.1-1", 1, 4096, SIZE).pack()
    message = Message({}, {}, {}, b"", [b"pickle", frame])
    assert one.sharing.replied("t", message, {"status": "ok"}) == {"status": "ok"}
    assert message.buffers == [b"pickle", frame]


# -- when it comes back ------------------------------------------------------------------------


def test_it_comes_back_when_all_tasks_have_replied(sent):
    tasks = sent.call(SIZE, engines=[0, 1])
    sent.reply(tasks[0], engine=0)
    assert not sent.is_reused()
    sent.reply(tasks[1], engine=1)
    assert sent.is_reused()


def test_each_call_of_a_map_returns_its_own(sent):
    tasks = sent.call(SIZE, SIZE, engines=[None, None], any=None)
    first, second = sent.references()
    sent.reply(tasks[1])
    sent.call(SIZE)
    assert sent.references()[0].name == second.name != first.name


def test_it_does_not_come_back_while_an_engine_holds_it(sent):
    [task] = sent.call(SIZE, engines=[1])
    told = [[sent.references()[0].name, 1]]
    sent.reply(task, engine=1, held=told)
    assert not sent.is_reused()
    sent.sharing.released({"holder": "e1.1", "segments": told})
    assert sent.is_reused()


def test_a_later_reply_may_tell_of_the_release(sent):
    [first] = sent.call(SIZE)
    told = [[sent.references()[0].name, 1]]
    sent.reply(first, held=told)
    [second] = sent.call(10)
    sent.reply(second, released=told)
    assert sent.is_reused()


@pytest.mark.parametrize(
    "reply",
    [{"verdict": "cancelled"}, {"verdict": "timeout"}, {"runs": 2}, {"runs": 0}, {"engine": 7}],
    ids=str,
)
def test_where_somebody_may_still_map_it_it_never_comes_back(sent, reply):
    [task] = sent.call(SIZE)
    sent.reply(task, **reply)
    assert not sent.is_reused()


def test_what_a_lost_engine_held_never_comes_back(sent):
    [task] = sent.call(SIZE)
    sent.reply(task, held=[[sent.references()[0].name, 1]])
    sent.sharing.engines_changed({**ENGINES, 0: {**ENGINES[0], "state": "lost"}})
    sent.sharing.engines_changed({**ENGINES, 0: {**ENGINES[0], "incarnation": 2}})
    assert not sent.is_reused()
    sent.sharing.released({"holder": "e0.1", "segments": [[sent.references()[0].name, 1]]})
    assert not sent.is_reused()


def test_what_could_not_be_sent_is_removed(sent, folder, monkeypatch, wait_until):
    monkeypatch.setattr("ipyviews.engine.lifecycle.SPOILED_S", 0.0)

    def interrupted(*_):
        raise KeyboardInterrupt

    sent.send = interrupted
    with pytest.raises(KeyboardInterrupt):
        sent.call(SIZE, engines=[0, 1])
    with pytest.raises(KeyboardInterrupt):
        sent.call(SIZE, SIZE, engines=[0, 1])
    wait_until(lambda: not names(folder), 5)


def test_an_interrupt_between_sharing_and_sending_leaves_nothing(
    sent, folder, monkeypatch, wait_until
):
    monkeypatch.setattr("ipyviews.engine.lifecycle.SPOILED_S", 0.0)

    def interrupted(_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Reference, "pack", interrupted)
        with pytest.raises(KeyboardInterrupt):
            sent.call(SIZE, engines=[0, 1])
    wait_until(lambda: not names(folder), 5)


def test_closing_leaves_what_tasks_need_to_the_controller(sent, folder):
    [task] = sent.call(SIZE)
    sent.call(SIZE)
    sent.reply(task)
    sent.sharing.close(keep_needed=True)
    assert names(folder) == ["ipv-c0ffee00-me-2"]


def test_closing_without_a_controller_leaves_nothing(sent, folder):
    sent.call(SIZE)
    sent.sharing.close(keep_needed=False)
    assert names(folder) == []
    sent.call(SIZE)
    assert sent.references() == [None]


# -- results -----------------------------------------------------------------------------------


@pytest.fixture
def engine():
    one = Sender(CLUSTER, "e0.1")
    yield one
    one.close()


def arrived(sent, *buffers, **content):
    message = Message({}, {}, {}, b"", [b"pickle", *buffers])
    return message, sent.sharing.replied("t", message, {"status": "ok", **content})


def test_a_result_is_mapped_and_its_engine_is_told_when_it_is_dropped(sent, engine):
    frame = engine.put(b"r" * SIZE, holders=["me"]).pack()
    message, content = arrived(sent, frame, b"small")
    assert content == {"status": "ok"}
    assert [bytes(buffer[:5]) for buffer in message.buffers] == [b"pickle"[:5], b"rrrrr", b"small"]
    assert sent.told == []
    del message
    told = {"owner": "e0.1", "segments": [("ipv-c0ffee00-e0.1-1", 1)]}
    assert sent.told == [("released_request", told)]


def test_a_result_that_is_copied_is_released_at_once(sent, engine, monkeypatch):
    monkeypatch.setattr(segments, "MOST_MAPPINGS", 0)
    message, _ = arrived(sent, engine.put(b"r" * SIZE, holders=["me"]).pack())
    assert bytes(message.buffers[1]) == b"r" * SIZE
    assert [msg_type for msg_type, _ in sent.told] == ["released_request"]


def test_a_result_that_is_gone_is_an_error_that_says_so(sent, engine):
    frame = engine.put(b"r" * SIZE, holders=["me"]).pack()
    engine.close()
    message, content = arrived(sent, frame)
    assert message.buffers == []
    assert content["status"] == "error"
    assert "gone" in content["evalue"]


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (OSError(errno.EMFILE, "Too many open files"), "Too many open files"),
        (MemoryError(), "no memory"),
    ],
    ids=["descriptors", "memory"],
)
def test_a_result_that_cannot_be_mapped_is_an_error_and_released(
    sent, engine, monkeypatch, error, why
):
    def failing(*_):
        raise error

    monkeypatch.setattr(segments, "_open", failing)
    message, content = arrived(sent, engine.put(b"r" * SIZE, holders=["me"]).pack())
    assert (message.buffers, content["status"]) == ([], "error")
    assert why in content["evalue"]
    assert "let go of other results" in content["evalue"]
    told = {"owner": "e0.1", "segments": [("ipv-c0ffee00-e0.1-1", 1)]}
    assert sent.told == [("released_request", told)]


def test_the_first_buffer_is_never_taken_for_a_reference(sent):
    frame = Reference("ipv-c0ffee00-e0.1-1", 1, 4096, SIZE).pack()
    message = Message({}, {}, {}, b"", [frame])
    assert sent.sharing.replied("t", message, {"status": "ok"}) == {"status": "ok"}
    assert message.buffers == [frame]
