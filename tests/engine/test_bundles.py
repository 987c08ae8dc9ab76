"""Many calls in one message: each has its own result, error, output, time and interrupt."""

from __future__ import annotations

import time

import pytest

from tests.engine.kernelbox import interactive

pytestmark = pytest.mark.kernels

SOURCE = """
import time

def double(x):
    return 2 * x

def fail_on_two(x):
    if x == 2:
        raise ValueError("two")
    return x

def talk(x):
    print("call", x)
    return x

def remember(x, seen=[]):
    seen.append(x)
    return list(seen)

def forget_itself(x):
    global forget_itself
    forget_itself = None
    return x

def counted(x):
    counted.calls = getattr(counted, "calls", 0) + 1
    return counted.calls

def nap(seconds):
    time.sleep(seconds)
    return seconds
"""
SPACE = interactive(SOURCE)


def values(box, attempts):
    return [box.answer(attempt).value for attempt in attempts]


def test_each_call_of_a_bundle_has_its_own_result(box):
    attempts = box.send_bundle(SPACE["double"], *range(50))
    assert values(box, attempts) == [2 * i for i in range(50)]


def test_many_small_calls_are_answered_in_few_messages(box):
    before = len(box.messages)
    attempts = box.send_bundle(SPACE["double"], *range(50))
    values(box, attempts)
    assert len(box.messages) - before < 25


def test_an_error_is_that_of_its_own_call(box):
    attempts = box.send_bundle(SPACE["fail_on_two"], 1, 2, 3)
    assert box.answer(attempts[1]).error == ("ValueError", "two")
    assert values(box, attempts[::2]) == [1, 3]


def test_output_is_that_of_its_own_call_and_comes_before_its_idle(box):
    attempts = box.send_bundle(SPACE["talk"], 1, 2, 3)
    assert values(box, attempts) == [1, 2, 3]
    for number, attempt in enumerate(attempts, 1):
        assert box.answer(attempt).content["output"] is True
        box.wait(lambda attempt=attempt: box.is_idle(attempt))
        assert box.text(attempt) == f"call {number}\n"


def test_each_call_has_its_own_times(box):
    attempts = box.send_bundle(SPACE["nap"], 0.01, 0.03)
    first, second = (box.answer(attempt).content for attempt in attempts)
    assert 0.01 <= first["ended"] - first["started"] < second["ended"] - second["started"]
    assert first["ended"] <= second["started"]


@pytest.mark.parametrize("name", ["remember", "counted"])
def test_nothing_carries_over_from_one_call_of_a_bundle_to_the_next(box, name):
    alone = [box.call(SPACE[name], value).value for value in (7, 7, 7)]
    assert values(box, box.send_bundle(SPACE[name], 7, 7, 7)) == alone


def test_a_closure_does_not_carry_over(box):
    box.execute("")
    space = interactive(
        "def make():\n seen = []\n def f(x):\n  seen.append(x); return len(seen)\n return f"
    )
    assert values(box, box.send_bundle(space["make"](), 1, 2, 3)) == [1, 1, 1]


def test_a_reference_means_what_it_means_when_its_call_runs(box):
    from ipyviews.engine.names import Reference

    box.execute("def current(x):\n global current\n current = lambda y: 'new'\n return 'old'")
    assert values(box, box.send_bundle(Reference("current"), 1, 2)) == ["old", "new"]


def test_async_calls_of_a_bundle_run_one_after_another(box):
    space = interactive(
        "import asyncio\nlog = []\n"
        "async def step(x):\n log.append(x); await asyncio.sleep(0.002); log.append(x); return x"
    )
    box.execute("log = []")
    assert values(box, box.send_bundle(space["step"], 1, 2)) == [1, 2]
    assert box.call(interactive("f = lambda: log")["f"]).value == [1, 1, 2, 2]


def test_an_urgent_call_runs_right_after_the_one_that_runs(box):
    box.execute("order = []")
    space = interactive("import time\ndef f(x):\n order.append(x); time.sleep(0.02)")
    attempts = box.send_bundle(space["f"], *range(5))
    urgent = box.send_call(space["f"], "urgent", ours={"urgent": True})
    box.answer(urgent)
    values(box, attempts)
    assert box.call(interactive("f = lambda: order.index('urgent')")["f"]).value <= 2


def test_an_interrupt_stops_the_call_it_names_and_no_other(box):
    attempts = box.send_bundle(SPACE["nap"], 0.01, 30, 0.01)
    box.wait(lambda: box.has_begun(attempts[1]))
    box.reply(box.interrupt(attempts[1]))
    assert box.answer(attempts[1]).error[0] == "KeyboardInterrupt"
    assert box.answer(attempts[2]).value == 0.01


def test_an_interrupt_takes_a_waiting_call_out_of_its_bundle(box):
    attempts = box.send_bundle(SPACE["nap"], 0.3, 30, 0.01)
    box.reply(box.interrupt(attempts[1]))
    assert values(box, attempts[::2]) == [0.3, 0.01]
    assert attempts[1] in box.returned


def test_results_are_not_held_back_by_a_long_call_behind_them(box):
    started = time.monotonic()
    attempts = box.send_bundle(SPACE["nap"], 0, 0, 3)
    values(box, attempts[:2])
    assert time.monotonic() - started < 2.5
    box.answer(attempts[2])


def test_what_is_asked_back_and_has_not_started_never_runs(box):
    attempts = box.send_bundle(SPACE["nap"], 0.3, 0.3, 0.3)
    box.request("apply", "recall_request", {"attempts": attempts[1:]})
    box.wait(lambda: attempts[2] in box.returned)
    assert attempts[1] in box.returned
    box.answer(attempts[0])
    box.wait_until_idle()
    assert attempts[1] not in box.replies


def test_what_waits_behind_a_long_call_is_given_back(box):
    box.keep_calls(0.02)
    try:
        attempts = box.send_bundle(SPACE["nap"], 0.5, 0, 0)
        box.wait(lambda: attempts[2] in box.returned, 0.4)
        assert attempts[0] not in box.returned
        box.answer(attempts[0])
    finally:
        box.keep_calls()


def test_the_first_that_waits_for_a_cell_of_somebody_else_is_kept(box):
    box.keep_calls(0.02)
    try:
        cell = box.send_code("print('begun', flush=True); import time; time.sleep(0.4)")
        box.wait(lambda: box.text(cell))
        attempts = box.send_bundle(SPACE["nap"], 0.01, 0, 0)
        box.wait(lambda: attempts[2] in box.returned)
        assert box.answer(attempts[0]).value == 0.01
    finally:
        box.keep_calls()
