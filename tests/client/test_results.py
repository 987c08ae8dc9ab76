from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import random
import signal
import threading
from concurrent import futures

import pytest

from ipyviews.client import stopping
from ipyviews.errors import CompositeError, TaskAborted, UsageError
from tests.waiting import wait_until


def fail():
    raise ValueError("wrong")


@pytest.fixture
def held(fake):
    """Nothing ends before `fake.release()`."""
    fake.holding = True
    return fake


# -- a future ---------------------------------------------------------------------------------


@pytest.mark.row(
    "3-get",
    "3-get-timeout",
    "3-r",
    "3-ready",
    "3-successful",
    "3-successful-early",
    "3-wait",
    "3-repr",
)
def test_a_result_is_pending_then_finished(held, dv):
    result = dv.apply(pow, 2, 2)
    assert not result.ready()
    assert repr(result) == "<AsyncResult(pow): pending>"
    assert not result.wait(0.01)
    with pytest.raises(TimeoutError, match="Result not ready"):
        result.get(timeout=0)
    with pytest.raises(RuntimeError):
        result.successful()
    held.release()
    assert result.get() == result.r == result.result() == [4, 4]
    assert result.done()
    assert result.successful()
    assert result.exception() is None
    assert repr(result) == "<AsyncResult(pow): finished>"


@pytest.mark.row("3-get-return-exceptions", "3-repr")
def test_a_failed_result_says_so(rc):
    result = rc[:].apply(fail)
    assert result.wait()
    assert not result.successful()
    assert isinstance(result.exception(), CompositeError)
    assert "failed" in repr(result)
    values = result.get(return_exceptions=True)
    assert all(isinstance(value, ValueError) for value in values)


def test_raising_an_error_twice_gives_the_same_error(rc):
    result = rc[0].apply(fail)
    errors = []
    for _ in range(2):
        with pytest.raises(ValueError, match="wrong") as caught:
            result.get()
        errors.append(caught.value)
    assert errors[0] is errors[1]


@pytest.mark.row("3-get-first-exception")
def test_first_exception_does_not_wait_for_the_rest(held, dv):
    result = dv.apply(fail)
    wait_until(lambda: len(held.held) == 2)
    held.release(1)
    with pytest.raises(CompositeError):
        result.get(return_when=futures.FIRST_EXCEPTION, timeout=5)
    assert not result.done()


@pytest.mark.row("3-wait-return-when")
def test_futures_wait_tells_done_from_pending(held, dv):
    result = dv.apply(pow, 2, 2)
    wait_until(lambda: len(held.held) == 2)
    held.release(1)
    done, pending = result.wait(5, return_when=futures.FIRST_COMPLETED)
    assert [one.get() for one in done] == [4]
    assert len(pending) == 1


@pytest.mark.row("3-future-api", "3-future")
def test_it_works_with_concurrent_futures(held, dv):
    first, second = dv.apply(pow, 2, 2), dv.apply(pow, 2, 3)
    held.release()
    assert {tuple(one.result()) for one in futures.as_completed([first, second], 5)} == {
        (4, 4),
        (8, 8),
    }


@pytest.mark.row("3-future-api")
def test_a_done_callback_can_read_the_result(held, dv):
    seen: list[object] = []
    result = dv.apply(pow, 2, 2)
    result.add_done_callback(lambda one: seen.append(one.get()))
    held.release()
    wait_until(lambda: seen == [[4, 4]])


def test_waiting_for_another_result_in_a_callback_raises_at_once(held, dv):
    seen: list[Exception] = []
    first, second = dv.apply(pow, 2, 2), dv.apply(pow, 2, 3)

    def wait_for_second(_):
        try:
            second.get()
        except UsageError as error:
            seen.append(error)

    first.add_done_callback(wait_for_second)
    held.release(2)
    wait_until(lambda: seen)
    assert "I/O thread" in str(seen[0])
    held.release()
    assert second.get(5) == [8, 8]


# -- await ------------------------------------------------------------------------------------


@pytest.mark.row("3-await")
async def test_results_can_be_awaited_and_gathered(dv, lv):
    assert await dv.apply(pow, 2, 2) == [4, 4]
    assert await asyncio.gather(lv.apply(pow, 2, 1), lv.apply(pow, 2, 2)) == [2, 4]
    with pytest.raises(ValueError, match="wrong"):
        await lv.apply(fail)


async def test_a_wait_that_times_out_cancels_the_tasks(held, lv):
    result = lv.apply(pow, 2, 2)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(result, 0.05)
    assert isinstance(await asyncio.to_thread(result.exception, 5), TaskAborted)


@pytest.mark.row("3-await")
async def test_asyncio_wait_is_refused_with_the_remedy(held, lv):
    result = lv.apply(pow, 2, 2)
    with pytest.raises((UsageError, TypeError), match=r"wrap_future|awaitable|coroutine"):
        await asyncio.wait([result])
    held.release()
    assert await result == 4


# -- parts ------------------------------------------------------------------------------------


@pytest.mark.row("3-get-dict", "3-split", "3-join")
def test_dict_split_and_join(dv):
    result = dv.apply(pow, 2, 2)
    assert result.get_dict() == result.result_dict == {0: 4, 1: 4}
    parts = result.split()
    assert [part.get() for part in parts] == [4, 4]
    assert type(result).join(*parts).get() == [4, 4]
    with pytest.raises(ValueError, match="at least one"):
        type(result).join()


@pytest.mark.row("3-get-dict-twice")
def test_a_dict_of_two_results_of_one_engine_is_refused(dv):
    both = dv.apply(pow, 2, 2).join(dv.apply(pow, 2, 2), dv.apply(pow, 2, 2))
    with pytest.raises(ValueError, match="2 jobs ran on engine #0"):
        both.get_dict()


@pytest.mark.row("3-getitem", "3-getitem-type", "3-metadata", "3-metadata-unknown", "3-dir")
def test_items_slices_and_fields(rc, dv):
    result = dv.apply(pow, 2, 2)
    result.wait()
    assert result[0] == 4
    assert result[0:2] == [4, 4]
    assert result["engine_id"] == result.engine_id == [0, 1]
    assert rc[1].execute("print(5)", block=True).stdout == "5\n"
    with pytest.raises(TypeError, match="Invalid key type"):
        result[1.5]
    with pytest.raises(KeyError):
        result["nonsense"]
    with pytest.raises(AttributeError):
        result.nonsense
    assert "stdout" in dir(result)


@pytest.mark.row("3-iterate-single")
def test_iterating_needs_several(rc):
    with pytest.raises(TypeError, match="not iterable"):
        iter(rc[0].apply(pow, 2, 2))
    assert list(rc[:].apply(pow, 2, 2)) == [4, 4]


@pytest.mark.row("3-elapsed", "3-serial-time", "3-wall-time", "3-timedelta")
def test_times_are_kept_in_utc(rc):
    result = rc[0].apply(pow, 2, 2)
    result.wait()
    known = result.metadata
    assert known.completed > known.started
    assert known.received >= known.submitted
    assert known.started.utcoffset().total_seconds() == 0
    assert result.serial_time == pytest.approx(0.25, abs=0.01)
    assert result.wall_time == result.elapsed >= 0
    assert result.timedelta(known.started, known.completed) == pytest.approx(0.25, abs=0.01)
    assert result.attempts[0][0] == 0
    assert known.status == "ok"
    assert known["msg_id"] == result.msg_ids[0]
    with pytest.raises(AttributeError):
        known.nonsense


@pytest.mark.row("3-wait-for-output")
def test_output_is_there_before_the_result(fake, dv):
    seen: list[object] = []
    result = dv.apply(print, "hello")
    result.add_done_callback(lambda one: seen.append(one.stdout))
    assert result.get() == [None, None]
    assert result.wait_for_output()
    wait_until(lambda: seen == [["hello\n", "hello\n"]])


# -- looking back -----------------------------------------------------------------------------


def test_results_are_found_again(rc, dv):
    result = dv.apply(pow, 2, 2)
    assert rc.get_result() is rc.get_result(-1) is rc.get_result(0) is result
    result.wait()
    assert rc.get_result(result.msg_ids[0]).get() == 4
    assert rc.get_result(result.msg_ids, block=True).get() == [4, 4]
    assert list(rc.history) == list(dv.history) == result.msg_ids
    with pytest.raises(UsageError, match="no record of x"):
        rc.get_result("x")
    with pytest.raises(UsageError, match="no call 7"):
        rc.get_result(7)


def test_waiting_for_jobs(held, rc, dv):
    result = dv.apply(pow, 2, 2)
    assert rc.outstanding == dv.outstanding == set(result.msg_ids)
    for jobs in (None, result, -1, result.msg_ids[0], result.msg_ids, [result, 0]):
        assert not rc.wait(jobs, 0.001)
    assert not dv.wait(timeout=0.001)
    held.release()
    assert rc.wait()
    assert dv.wait()
    assert rc.wait([result, result.msg_ids[1]])
    assert not rc.outstanding
    with pytest.raises(TypeError):
        rc.wait(1.5)


def test_queues_are_told_by_engine(held, rc, dv):
    dv.apply(pow, 2, 2)
    rc[0].apply(pow, 2, 2)
    idle = {"queue": 0, "tasks": 0, "completed": 0}
    wait_until(lambda: rc.queue_status(0) == idle | {"queue": 2})
    assert rc.queue_status() == {
        0: idle | {"queue": 2},
        1: idle | {"queue": 1},
        "unassigned": 0,
    }
    assert rc.interrupt() == 2
    held.release()


# -- stopping ---------------------------------------------------------------------------------


@pytest.mark.row("3-abort", "3-abort-done", "3-future-cancel")
def test_cancel_stops_and_abort_refuses_what_is_done(held, rc, dv):
    result = dv.apply(pow, 2, 2)
    wait_until(lambda: len(held.held) == 2)
    assert result.cancel()
    assert all(isinstance(one, TaskAborted) for one in result.exception(5).exceptions)
    assert not result.cancel()
    with pytest.raises(RuntimeError, match="already done"):
        result.abort()
    second = dv.apply(pow, 2, 2)
    dv.abort()
    assert second.wait(5)
    third = dv.apply(pow, 2, 2)
    rc.abort(third)
    assert third.wait(5)


def press_ctrl_c():
    os.kill(os.getpid(), signal.SIGINT)


def ctrl_c_when(fake, name):
    """Interrupt the main thread, once it waits, each time this request has come."""
    fake.on_request = lambda got: fake.loop.call_later(0.05, press_ctrl_c) if got == name else None


@pytest.mark.parametrize("view", ["dv", "lv"])
@pytest.mark.parametrize("verb", ["apply_sync", "map_sync"])
def test_ctrl_c_in_a_blocking_call_stops_what_it_runs(held, rc, request, view, verb):
    view = request.getfixturevalue(view)
    ctrl_c_when(held, "apply_request")
    with pytest.raises(KeyboardInterrupt):
        getattr(view, verb)(pow, [1], [2])
    cancelled = [content["tasks"] for name, content, _ in held.requests if name == "cancel_request"]
    assert sorted(cancelled[0]) == sorted(rc.history)
    assert not rc.outstanding
    assert rc.get_result(-1).done()


def test_a_second_ctrl_c_ends_the_waiting_at_once(held, dv, monkeypatch):
    monkeypatch.setattr(stopping, "INTERRUPT_S", 60)
    held.obeys_cancel = False
    presses: list[str] = []

    def press(name):
        if name in ("apply_request", "cancel_request"):
            presses.append(name)
            held.loop.call_later(0.05, press_ctrl_c)

    held.on_request = press
    with pytest.raises(KeyboardInterrupt):
        dv.apply_sync(pow, 2, 2)
    assert presses == ["apply_request", "cancel_request"]


def test_ctrl_c_in_get_ends_only_the_waiting_and_says_so(held, dv):
    result = dv.apply(pow, 2, 2)
    threading.Timer(0.1, press_ctrl_c).start()
    with pytest.raises(KeyboardInterrupt, match="Only the waiting was interrupted"):
        result.get()
    assert "cancel_request" not in held.names()
    held.release()
    assert result.get(5) == [4, 4]


def test_ctrl_c_while_a_map_is_being_sent_cancels_it(held, lv):
    def items():
        yield from range(5)
        press_ctrl_c()
        yield 6

    with pytest.raises(KeyboardInterrupt):
        lv.map(abs, items())
    wait_until(lambda: "cancel_request" in held.names() and not held.held)


class Alarm:
    """Interrupts this thread once, when it goes off while it is set."""

    is_set = False

    def set(self, seconds):
        self.is_set = True
        signal.setitimer(signal.ITIMER_REAL, seconds)

    def ring(self, *_):
        if self.is_set:
            self.is_set = False
            raise KeyboardInterrupt


@pytest.fixture
def alarm():
    """An alarm clock whose ringing is a Ctrl-C."""
    clock = Alarm()
    before = signal.signal(signal.SIGALRM, clock.ring)
    # Python swallows an interrupt inside a callback of the collector; plugins have some.
    gc.disable()
    yield clock
    gc.enable()
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("holding", [True, False])
def test_interrupts_at_any_moment_leave_nothing_behind(fake, rc, alarm, holding):
    chance, dv, lv = random.Random(5), rc[:], rc.load_balanced_view()
    calls = [
        lambda: dv.apply_sync(pow, 2, 2),
        lambda: lv.map_sync(abs, range(20)),
        lambda: dv.push({"a": 1}, block=True),
        lambda: dv.execute("1", block=True),
    ]
    for call in calls:
        # What is imported at first use is not to be interrupted.
        call()
    for round_ in range(120):
        fake.holding = holding
        with contextlib.suppress(KeyboardInterrupt):
            alarm.set(chance.uniform(0.00005, 0.003))
            calls[round_ % len(calls)]()
            alarm.is_set = False
        assert rc.wait(timeout=5)
        fake.holding = False
        assert dv.apply_sync(pow, 2, 2) == [4, 4]


@pytest.mark.row("3-wait-interactive")
def test_a_bar_counts_to_the_end(held, lv, capsys):
    result = lv.map_async(abs, range(4))
    threading.Timer(0.05, held.release).start()
    result.wait_interactive(interval=0.01, widget=False)
    assert result.done()
    assert "abs: 100%" in capsys.readouterr().out
