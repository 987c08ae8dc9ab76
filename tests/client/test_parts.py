"""Results in detail: parts, progress, metadata, what is shown of them, what they keep."""

from __future__ import annotations

import copy
import gc
import pickle
import threading
import tracemalloc
import weakref
from concurrent import futures
from datetime import UTC, datetime, timedelta

import pytest

from ipyviews.client.metadata import METADATA_KEYS, Metadata
from ipyviews.client.results import AsyncResult
from ipyviews.errors import CompositeError, EngineError, UsageError
from tests.waiting import wait_until


class Payload(list):
    """A value that can be watched."""


def make_payload():
    return Payload([1])


def fail():
    raise ValueError("wrong")


def fail_for_two(number):
    if number == 2:
        raise ValueError("two")
    return number


@pytest.fixture
def held(fake):
    """Nothing ends before `fake.release()`."""
    fake.holding = True
    return fake


# -- getting ----------------------------------------------------------------------------------


@pytest.mark.row("3-future", "3-children")
def test_one_task_gives_a_value_and_a_list_of_tasks_a_list(rc, dv):
    one, several = rc[0].apply_async(pow, 2, 2), dv.apply_async(pow, 2, 2)
    assert isinstance(one, futures.Future)
    assert (one.get(), several.get()) == (4, [4, 4])
    task = several.tasks[0]
    assert AsyncResult(rc, task).get() == 4
    assert AsyncResult(rc, [task]).get() == [4]
    assert AsyncResult(rc, [task.id, several.tasks[1]], "again").get() == [4, 4]
    assert AsyncResult(rc, task.id).get() == 4


@pytest.mark.row("3-get-error")
def test_a_single_failure_is_itself_and_one_of_a_list_is_composite(rc):
    with pytest.raises(ValueError) as raised:
        rc[0].apply_async(fail).get()
    assert str(raised.value) == "[0:apply] ValueError: wrong"
    with pytest.raises(CompositeError, match="one or more exceptions raised in: fail"):
        rc[[0]].apply_async(fail).get()


def test_an_engine_that_dies_is_one_failure_of_several(held, dv):
    result = dv.apply_async(pow, 2, 2)
    wait_until(lambda: len(held.held) == 2)
    task, engine, _ = held.held.pop(1)
    sentence = "Engine 1 died: signal 9"
    held.do(lambda: held.refuse(task, "apply", "engine_lost", "EngineError", sentence))
    held.release()
    with pytest.raises(CompositeError) as raised:
        result.get(5)
    [lost] = raised.value.failures
    assert (type(lost), str(lost), lost.task) == (EngineError, sentence, task)
    assert lost.engine == engine == 1
    assert result.get(return_exceptions=True) == [4, lost]


@pytest.mark.row("3-get-first-completed")
def test_get_cannot_return_a_part_and_says_so(held, dv):
    result = dv.apply_async(pow, 2, 2)
    wait_until(lambda: len(held.held) == 2)
    held.release(1)
    threading.Timer(0.05, held.release).start()
    with pytest.warns(UserWarning, match="waits for all"):
        assert result.get(5, return_when=futures.FIRST_COMPLETED) == [4, 4]


def test_an_unknown_return_when_is_named(dv):
    with pytest.raises(UsageError, match="'SOON'"):
        dv.apply_async(pow, 2, 2).wait(return_when="SOON")


@pytest.mark.row("3-wait-return-when")
def test_waiting_for_the_first_failure_returns_both_sets(held, dv):
    result = dv.apply_async(fail)
    wait_until(lambda: len(held.held) == 2)
    held.release(1)
    done, pending = result.wait(5, return_when=futures.FIRST_EXCEPTION)
    assert [type(one.exception()) for one in done] == [type(done.copy().pop().exception())]
    assert (len(done), len(pending)) == (1, 1)
    held.release()
    done, pending = result.wait(5, return_when=futures.ALL_COMPLETED)
    assert (len(done), len(pending)) == (2, 0)


@pytest.mark.row("3-wait-for-send", "11-no-tracker")
def test_sent_is_told_once_the_request_has_left(held, rc):
    gate = threading.Event()
    rc.connection._io.post(gate.wait)
    result = rc[0].apply_async(pow, 2, 2)
    assert not result.sent
    with pytest.raises(TimeoutError, match="Still waiting to be sent"):
        result.wait_for_send(0.02)
    gate.set()
    result.wait_for_send(5)
    assert result.sent
    assert not result.done()
    assert not hasattr(result, "tracker")


# -- parts and progress -----------------------------------------------------------------------


@pytest.mark.row("3-map-get", "3-progress")
def test_progress_counts_the_items_of_a_map(held, dv):
    result = dv.map_async(abs, range(-5, 0))
    assert (len(result), result.progress) == (5, 0)
    wait_until(lambda: len(held.held) == 2)
    held.release(1)
    wait_until(lambda: result.progress == 3)
    held.release()
    assert result.get(5) == [5, 4, 3, 2, 1]
    assert result.progress == 5


@pytest.mark.row("3-progress")
def test_progress_counts_tasks_elsewhere(held, dv):
    result = dv.apply_async(pow, 2, 2)
    assert (len(result), result.progress) == (2, 0)
    wait_until(lambda: len(held.held) == 2)
    held.release(1)
    wait_until(lambda: result.progress == 1)


@pytest.mark.row("3-split", "3-split-map", "3-join")
def test_parts_of_a_map_are_lists_and_can_be_joined(rc, dv, lv):
    by_item, by_chunk = lv.map_async(abs, [-1, -2]), dv.map_async(abs, [-1, -2, -3])
    assert [part.get() for part in by_item.split()] == [[1], [2]]
    assert [part.get() for part in by_chunk.split()] == [[1, 2], [3]]
    assert {type(part) for part in by_item.split()} == {AsyncResult}
    assert AsyncResult.join(*by_item.split()).get() == [1, 2]
    alone = rc[0].apply_async(pow, 2, 2)
    assert alone.split() == (alone,)
    assert AsyncResult.join(alone) is alone


@pytest.mark.row("3-get-dict")
def test_a_map_has_a_dict_of_what_each_engine_made(dv):
    assert dv.map_async(abs, range(-3, 0)).get_dict() == {0: [3, 2], 1: [1]}


@pytest.mark.row("3-map-iterate", "3-iterate")
def test_items_are_given_as_they_come(held, lv):
    ordered = lv.map_async(pow, [1, 2, 3], [2, 2, 2])
    unordered = lv.map_async(pow, [4, 5], [2, 2], ordered=False)
    wait_until(lambda: len(held.held) == 5)
    held.do(held.held.pop(4)[2])
    assert next(iter(unordered)) == 25
    held.do(held.held.pop(0)[2])
    assert next(iter(ordered)) == 1
    held.release()
    assert list(unordered) == [25, 16]
    assert list(ordered) == [1, 4, 9]


@pytest.mark.row("3-map-return-exceptions")
def test_an_error_stands_for_its_chunk(dv, lv):
    kinds = [type(v).__name__ for v in dv.map_sync(fail_for_two, range(4), return_exceptions=True)]
    assert kinds == ["int", "int", "RemoteValueError"]
    items = list(lv.map_async(fail_for_two, range(4), return_exceptions=True))
    assert [type(item).__name__ for item in items] == ["int", "int", "RemoteValueError", "int"]


@pytest.mark.row("3-iterate-error")
def test_an_error_is_raised_in_the_iteration(dv, lv):
    with pytest.raises(CompositeError) as raised:
        list(lv.map_async(fail_for_two, range(4)))
    assert str(raised.value).endswith("ValueError: two")
    with pytest.raises(CompositeError):
        list(dv.apply_async(fail))


@pytest.mark.row("3-msg-ids")
def test_ids_and_owner_are_there(rc, dv):
    result = dv.apply_async(pow, 2, 2)
    assert result.msg_ids == [task.id for task in result.tasks] == list(rc.history)
    assert result.owner is False
    assert AsyncResult(rc, result.tasks, owner=True).owner is True


# -- metadata and times -----------------------------------------------------------------------


@pytest.mark.row("1.2-metadata-keys", "1.2-metadata-defaults")
def test_metadata_has_fixed_keys_and_defaults():
    known = Metadata()
    assert tuple(known) == METADATA_KEYS
    filled = {"stdout": "", "stderr": "", "outputs": [], "data": {}}
    assert {key: value for key, value in known.items() if value is not None} == filled
    assert known.outputs is not Metadata().outputs


@pytest.mark.row("1.2-metadata-strict")
def test_metadata_refuses_other_keys():
    known = Metadata(engine_id=3)
    known.label = known["status"] = "x"
    assert (known.engine_id, known["label"], known.status) == (3, "x", "x")
    with pytest.raises(KeyError):
        known["colour"] = 1
    with pytest.raises(AttributeError):
        known.colour = 1
    with pytest.raises(KeyError):
        known["colour"]
    with pytest.raises(AttributeError):
        known.colour
    for twin in (copy.copy(known), copy.deepcopy(known), pickle.loads(pickle.dumps(known))):
        assert (type(twin), twin) == (Metadata, known)


@pytest.mark.row("3-metadata", "1.2-metadata-times")
def test_metadata_is_there_before_the_end(held, rc, dv):
    one, several = rc[1].apply_async(pow, 2, 2), dv.apply_async(pow, 2, 2)
    assert (one.engine_id, one["engine_id"], one.metadata.engine_id) == (1, 1, 1)
    assert several.engine_id == several["engine_id"] == [0, 1]
    assert one.submitted.tzinfo is UTC
    assert one.started is one.completed is one.received is one.status is None
    assert (one.stdout, one.data, several.outputs) == ("", {}, [[], []])


@pytest.mark.row("3-times-early", "3-elapsed")
def test_times_need_the_end(held, dv):
    result = dv.apply_async(pow, 2, 2)
    for name in ("serial_time", "wall_time"):
        with pytest.raises(TimeoutError, match="result not ready"):
            getattr(result, name)
    assert result.elapsed >= 0


@pytest.mark.row("3-timedelta")
def test_a_time_difference_is_between_the_ends_of_lists(dv):
    start = datetime(2026, 1, 1, tzinfo=UTC)
    stamps = [start + timedelta(seconds=n) for n in (3, 1, 2)]
    result = dv.apply_async(pow, 2, 2)
    assert result.timedelta(start, stamps[0]) == 3
    assert result.timedelta(stamps, stamps) == 2
    assert result.timedelta(stamps, stamps, start_key=max, end_key=min) == -2


def test_items_need_the_end(held, dv):
    with pytest.raises(TimeoutError, match="not ready"):
        dv.apply_async(pow, 2, 2)[0]


# -- what is shown ----------------------------------------------------------------------------


def test_html_says_how_far_it_is_and_where_to_look(held, dv):
    result = dv.apply_async(fail)
    wait_until(lambda: len(held.held) == 2)
    held.release(1)
    wait_until(lambda: result.progress)
    html = result._repr_html_()
    assert html.startswith("<div><b>AsyncResult(fail)</b>: pending, 1 of 2")
    assert "1 failed on engines 0; 1 unfinished on engines 1" in html
    held.release()
    result.wait(5)
    bundle = result._repr_mimebundle_()
    assert bundle["text/plain"] == "<AsyncResult(fail): failed>"
    assert "2 failed on engines 0-1" in bundle["text/html"]


def test_html_is_escaped(rc):
    result = rc[0].apply_async(lambda: 1)
    result.wait(5)
    assert "AsyncResult(&lt;lambda&gt;)</b>: finished, 1 of 1" in result._repr_html_()


@pytest.mark.row("3-wait-interactive")
def test_a_bar_ends_with_its_time_and_raises_nothing(held, dv, capsys):
    result = dv.apply_async(pow, 2, 2)
    assert result.wait_interactive(interval=0.01, timeout=0.05, widget=False) is None
    assert not result.done()
    shown = capsys.readouterr().out
    assert "pow:   0%" in shown
    assert "tasks" in shown


def test_a_bar_may_end_with_the_first_task(held, dv, capsys):
    result = dv.apply_async(pow, 2, 2)
    wait_until(lambda: len(held.held) == 2)
    held.release(1)
    first = futures.FIRST_COMPLETED
    result.wait_interactive(interval=0.01, timeout=5, widget=False, return_when=first)
    assert result.progress == 1
    assert "1/2" in capsys.readouterr().out


# -- what is kept -----------------------------------------------------------------------------


def test_a_value_goes_with_its_result(rc, dv):
    result = rc[0].apply_async(make_payload)
    value = weakref.ref(result.get())
    dv.apply_async(pow, 2, 2).get()
    assert value() is not None
    del result
    gc.collect()
    assert value() is None


def test_bytes_that_were_never_looked_at_go_too(rc):
    result = rc[0].apply_async(bytes, 1_000_000)
    result.wait(5)
    task = weakref.ref(result.tasks[0])
    rc[0].apply_async(pow, 2, 2).wait(5)
    del result
    gc.collect()
    assert task() is None


def test_an_executed_cell_goes_without_the_collector(rc):
    result = rc[0].execute("1")
    result.get(5)
    task = weakref.ref(result.tasks[0])
    rc[0].apply_async(pow, 2, 2).wait(5)
    gc.disable()
    try:
        del result
        assert task() is None
    finally:
        gc.enable()


def test_many_maps_leave_only_their_ids(fake, rc, lv):
    def rounds(count):
        for _ in range(count):
            assert lv.map_sync(abs, range(12)) == list(range(12))
        fake.requests.clear()
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    rounds(20)
    tracemalloc.start()
    try:
        grown = -rounds(20) + rounds(100)
    finally:
        tracemalloc.stop()
    # Ids of tasks, in the histories of client and view, and references to what is gone.
    assert grown < 100 * 12 * 300
