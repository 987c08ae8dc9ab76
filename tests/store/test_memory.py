from __future__ import annotations

import gc
import sys
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipyviews.ids import task_id
from ipyviews.protocol.wire import pack
from ipyviews.store.memory import Limits, Memory
from ipyviews.store.query import KEYS
from ipyviews.store.records import OUTPUT_BYTES, OUTPUT_MESSAGES, End, Origin

OK = pack({"status": "ok", "started": 1.0, "ended": 2.0})


class Request:
    """What a request of the controller looks like from here."""

    def __init__(self, *parts: bytes) -> None:
        self.parts = parts
        self.buffers = [b"function", b"".join(parts)] if parts else []

    def cut(self, task):
        return b"{}", [b"function", self.parts[task]] if self.parts else []


class Desk:
    """A memory, and what happens to it."""

    def __init__(self, **limits) -> None:
        self.counters: Counter[str] = Counter()
        self.memory = Memory(Limits(**limits), self.counters)
        self.requests = 0

    def submit(self, *parts, kind="apply", targets=None, **ours):
        """Note a request; return its tasks."""
        self.requests += 1
        tasks = max(1, len(parts))
        ours = {"any": None} | ours if targets is None else {"targets": targets} | ours
        index = {"index": [[len(part), 0] for part in parts]}
        origin = Origin(
            "c",
            f"c-{self.requests}",
            float(self.requests),
            {"msg_id": f"c-{self.requests}", "msg_type": f"{kind}_request"},
            {"ipyviews": ours},
            kind,
            is_direct=targets is not None,
            tasks=tasks,
            left=tasks,
            content=pack(index if parts else {"code": "1 + 1"}),
            source=Request(*parts),
        )
        self.memory.submitted(origin)
        return list(origin.each())

    def end(self, task, content=OK, *, buffers=(), keep=False, received=100.0, engine=0, **ours):
        runs = [[engine, 1, 1.0, 2.0, "ok"]]
        ours = {"verdict": "replied", "engine": engine, "attempts": runs} | ours
        self.memory.ended(task, End(received, ours, content), keep=keep)
        if keep:
            self.memory.keep(task, buffers)


def test_a_record_has_all_keys_pending_and_final():
    desk = Desk()
    (task,) = desk.submit(b"x", label="mine")
    assert set(desk.memory.get(task).as_dict(KEYS)) == set(KEYS)
    assert desk.memory.get(task).get("status") == "pending"
    desk.end(task)
    values = desk.memory.get(task).as_dict(KEYS)
    assert (values["status"], values["label"], values["queue"]) == ("ok", "mine", "task")
    assert values["started"].timestamp() == 1.0
    assert values["completed"].timestamp() == 2.0
    assert values["submitted"].utcoffset().total_seconds() == 0


def test_tasks_of_one_request_have_their_own_part_of_its_content():
    desk = Desk()
    tasks = desk.submit(b"a", b"bb")
    assert [desk.memory.get(t).get("content") for t in tasks] == [
        {"index": [[1, 0]]},
        {"index": [[2, 0]]},
    ]


def test_the_engine_of_a_direct_task_is_known_before_it_ran():
    desk = Desk()
    tasks = desk.submit(b"a", b"b", targets=[3, 5])
    assert [desk.memory.get(task).get("engine_uuid") for task in tasks] == ["e3", "e5"]


@pytest.mark.parametrize(
    ("verdict", "content", "status"),
    [
        ("replied", OK, "ok"),
        ("replied", b"not json", "error"),
        ("cancelled", {"status": "error"}, "aborted"),
        ("engine_lost", {"status": "error", "ename": "EngineError"}, "error"),
    ],
)
def test_the_status_of_a_final_task(verdict, content, status):
    desk = Desk()
    (task,) = desk.submit(b"a")
    desk.end(task, content, verdict=verdict, attempts=[], engine=None)
    record = desk.memory.get(task)
    assert record.get("status") == status
    assert record.get("started") is None
    assert record.get("engine_uuid") is None


def test_tasks_are_named_in_the_order_of_submission_whatever_ended_first():
    desk = Desk()
    first, second, third = *desk.submit(b"a", b"b"), *desk.submit(kind="execute")
    desk.end(third)
    desk.end(second)
    assert desk.memory.tasks() == [first, second, third]
    assert desk.memory.final() == [third, second]


def test_some_tasks_are_named_in_the_order_of_submission():
    desk = Desk()
    tasks = desk.submit(b"a", b"b", b"c")
    desk.end(tasks[2])
    assert desk.memory.tasks([tasks[2], "nothing", tasks[0], tasks[2]]) == [tasks[0], tasks[2]]


def test_output_is_recorded_and_bounded():
    desk = Desk()
    (task,) = desk.submit(kind="execute")
    for stream, text in (("stdout", "one "), ("stderr", "no"), ("stdout", "two")):
        desk.memory.written(task, "stream", pack({"name": stream, "text": text}))
    desk.memory.written(task, "execute_input", pack({"code": "x", "execution_count": 4}))
    desk.memory.written(task, "error", pack({"ename": "E"}))
    desk.memory.written(task, "display_data", pack({"data": {}}))
    for _ in range(OUTPUT_MESSAGES):
        desk.memory.written(task, "stream", pack({"name": "stdout", "text": "."}))
    record = desk.memory.get(task)
    assert record.get("stdout").startswith("one two....")
    assert record.get("stderr") == "no"
    assert (record.get("execute_input"), record.get("error")) == ("x", {"ename": "E"})
    assert record.get("outputs") == [{"data": {}}]
    assert desk.counters["output_not_recorded"] == 6
    desk.end(task)
    assert desk.memory.get(task).get("stderr") == "no"
    desk.memory.written(task, "stream", b"late")
    assert not desk.memory._outputs


def test_a_large_output_is_not_recorded_but_counted():
    desk = Desk()
    (task,) = desk.submit(kind="execute")
    desk.memory.written(task, "stream", bytes(OUTPUT_BYTES + 1))
    assert desk.counters["output_not_recorded"] == 1
    assert desk.memory.get(task).get("stdout") == ""


# -- bounds ---------------------------------------------------------------------------------------


@pytest.mark.row("8.4-limits")
def test_the_oldest_records_make_room_and_are_counted():
    desk = Desk(records=3)
    tasks = [name for _ in range(5) for name in desk.submit(b"a")]
    for task in tasks:
        desk.end(task)
    assert desk.memory.tasks() == tasks[2:]
    assert desk.memory.get(tasks[0]) is None
    assert desk.counters["records_dropped"] == 2


@pytest.mark.row("8.4-limits")
def test_records_are_bounded_by_size_too():
    desk = Desk(size=50_000)
    tasks = [name for _ in range(20) for name in desk.submit(b"a")]
    for task in tasks:
        desk.end(task, {"status": "ok"} if task == tasks[0] else bytes(10_000))
    assert len(desk.memory) < 5
    assert desk.memory.tasks()[-1] == tasks[-1]


@pytest.mark.row("8.4-limits")
def test_old_records_are_swept():
    desk = Desk(age_s=60.0)
    old, new = [name for _ in range(2) for name in desk.submit(b"a")]
    desk.end(old, received=100.0)
    desk.end(new, received=150.0)
    desk.memory.sweep(165.0)
    assert desk.memory.tasks() == [new]
    assert desk.counters["records_dropped"] == 1


def test_a_pending_task_is_never_dropped():
    desk = Desk(records=1)
    pending = desk.submit(b"a", b"b")
    desk.end(pending[1])
    for _ in range(3):
        desk.end(desk.submit(b"a")[0])
    assert desk.memory.get(pending[0]).get("status") == "pending"
    assert desk.memory.get(pending[1]) is None
    desk.end(pending[0])
    assert not desk.memory._open


def test_kept_buffers_are_bounded_and_the_oldest_go_first():
    desk = Desk(buffers=1000)
    tasks = [name for _ in range(4) for name in desk.submit(b"a")]
    for task in tasks:
        desk.end(task, buffers=[bytes(400)], keep=True)
    kept = [desk.memory.get(task).buffers for task in tasks]
    assert kept[:2] == [None, None]
    assert [len(buffers[0]) for buffers in kept[2:]] == [400, 400]
    assert desk.counters["results_dropped"] >= 2
    assert desk.memory._buffers <= 1000


def test_what_a_request_was_sent_is_kept_only_when_asked():
    desk = Desk()
    (left,), (kept,), (cell,) = desk.submit(b"a"), desk.submit(b"a"), desk.submit(kind="execute")
    desk.end(left)
    desk.end(kept, buffers=[b"r"], keep=True)
    desk.end(cell)
    assert desk.memory.get(left).origin.source is None
    assert desk.memory.get(left).get("buffers") == []
    assert desk.memory.get(kept).get("buffers") == [b"function", b"a"]
    assert desk.memory.get(kept).get("result_buffers") == [b"r"]
    assert desk.memory.get(cell).origin.source is not None


def test_a_small_buffer_does_not_hold_the_large_frame_it_was_cut_from():
    desk = Desk()
    (task,) = desk.submit(b"a")
    frame = bytearray(10_000_000)
    desk.end(task, buffers=[memoryview(frame)[:10]], keep=True)
    frame.clear()
    assert desk.memory.get(task).get("result_buffers") == [bytes(10)]


def test_purging_lets_go_of_everything():
    desk = Desk()
    tasks = desk.submit(b"a", b"b")
    for task in tasks:
        desk.end(task, buffers=[b"r"], keep=True)
    desk.memory.resubmitted(tasks[0], task_id("c-9", 0))
    assert desk.memory.get(tasks[0]).get("resubmitted") == "c-9.0"
    assert desk.memory.purge([*tasks, "unknown"]) == 2
    assert not desk.memory.tasks()
    assert (desk.memory._size, desk.memory._buffers) == (0, 0)
    assert not desk.memory._kept
    assert not desk.memory._resubmitted


def test_a_released_result_is_gone_but_its_record_stays():
    desk = Desk()
    (task,) = desk.submit(b"a")
    desk.end(task, buffers=[b"r"], keep=True)
    desk.memory.release(task)
    desk.memory.release(task)
    assert desk.memory.get(task).buffers is None
    assert desk.memory.get(task).get("status") == "ok"


def test_a_reply_to_an_unknown_request_is_not_recorded():
    desk = Desk()
    desk.memory.ended("x-1.0", End(1.0, {"verdict": "replied", "engine": 0}, OK), keep=True)
    desk.memory.keep("x-1.0", [b"r"])
    assert not desk.memory.tasks()
    assert not desk.memory._kept


@pytest.mark.parametrize("name", ["c-1.2", "c-1.x", "c-1.", "c-1", "", "c-2.0", "c-1.-1"])
def test_a_name_that_is_none_of_a_task_has_no_record(name):
    desk = Desk()
    desk.submit(b"a", b"b")
    assert desk.memory.get(name) is None


def test_a_second_reply_changes_nothing():
    desk = Desk()
    task, _ = desk.submit(b"a", b"b")
    desk.end(task)
    desk.end(task, engine=5)
    assert desk.memory.get(task).engine == 0
    assert desk.memory.completed == {0: 1}


def test_completed_tasks_are_counted_by_engine_beyond_the_records():
    desk = Desk(records=1)
    for engine in (0, 1, 1):
        desk.end(desk.submit(b"a")[0], engine=engine)
    desk.end(desk.submit(b"a")[0], engine=None, verdict="cancelled")
    assert desk.memory.completed == {0: 1, 1: 2}


def test_memory_is_flat_over_a_hundred_thousand_tasks():
    desk = Desk(records=1000)
    parts = [b"x"] * 100

    def work(requests):
        for _ in range(requests):
            for task in desk.submit(*parts):
                desk.end(task)

    work(100)
    gc.collect()
    before = sys.getallocatedblocks()
    work(900)
    gc.collect()
    grown = sys.getallocatedblocks() - before
    assert len(desk.memory) == 1000
    assert grown < 2_000
    assert desk.counters["records_dropped"] == 99_000


# -- whatever happens -----------------------------------------------------------------------------

steps = st.lists(
    st.one_of(
        st.tuples(st.just("submit"), st.integers(1, 3)),
        st.tuples(
            st.sampled_from(["end", "keep", "release", "purge", "write"]), st.integers(0, 20)
        ),
        st.tuples(st.just("sweep"), st.integers(0, 40)),
    ),
    max_size=60,
)


@given(steps)
def test_bounds_and_sums_hold_whatever_happens(steps):
    desk = Desk(records=4, buffers=40, age_s=10.0)
    memory = desk.memory
    known: list[str] = []
    ended: dict[str, int] = {}
    for now, (what, number) in enumerate(steps):
        task = known[number % len(known)] if known else "none"
        if what == "submit":
            known += desk.submit(*[b"x"] * number)
        elif what in {"end", "keep"} and known and task not in ended:
            desk.end(task, buffers=[bytes(number)], keep=what == "keep", received=float(now))
            ended[task] = now
        elif what == "release":
            memory.release(task)
        elif what == "purge":
            memory.purge([task])
        elif what == "write":
            memory.written(task, "stream", bytes(number))
        elif what == "sweep":
            memory.sweep(float(now))
            assert all(ended[name] >= now - 10 for name in memory.final())
        records = [memory.get(task) for task in memory.final()]
        assert len(records) <= 4
        assert memory._size == sum(record.size for record in records)
        assert memory._buffers == sum(one.size for one in memory._kept.values()) <= 40
        assert memory._written == sum(output.size for output in memory._outputs.values())
        pending = [task for task in known if task not in ended]
        assert set(memory.tasks()) == {*pending, *(record.task for record in records)}
        assert memory.tasks() == sorted(memory.tasks(), key=known.index)
        assert all(memory.get(task).end is None for task in pending)
