"""An interrupt hits what it names and nothing else, at whatever moment it comes."""

from __future__ import annotations

import random
import textwrap
import time

import pytest

from ipyviews.engine import verbs
from tests.engine.kernelbox import interactive

pytestmark = pytest.mark.kernels

SPACE = interactive(
    textwrap.dedent("""
    import asyncio, time
    def sleep(): time.sleep(60)
    def loop():
        while True: pass
    async def wait(): await asyncio.sleep(60)
    async def busy():
        await asyncio.sleep(0)
        while True: pass
    async def gather(): await asyncio.gather(asyncio.sleep(60), asyncio.sleep(60))
    def stubborn():
        try:
            time.sleep(60)
        except KeyboardInterrupt:
            time.sleep(60)
    def nap(s): time.sleep(s)
    async def doze(s): await asyncio.sleep(s)
    def compute(n): return sum(i * i for i in range(n))
    """)
)


def wait_until_running(box, attempt):
    box.wait(lambda: box.has_begun(attempt))


@pytest.mark.parametrize("name", ["sleep", "loop", "wait", "busy", "gather"])
def test_running_call_is_interrupted(box, name):
    attempt = box.send_call(SPACE[name])
    wait_until_running(box, attempt)
    began = time.monotonic()
    assert box.reply(box.interrupt(attempt)).read()["found"] is True
    assert box.answer(attempt).error[0] == "KeyboardInterrupt"
    assert time.monotonic() - began < 10
    assert box.call(abs, -1).value == 1


def test_builtin_without_a_frame_of_its_own_is_interrupted(box):
    attempt = box.send_call(time.sleep, 60)
    wait_until_running(box, attempt)
    box.interrupt(attempt)
    assert box.answer(attempt).error[0] == "KeyboardInterrupt"


def test_call_that_swallows_one_interrupt_is_stopped_by_the_next(box):
    attempt = box.send_call(SPACE["stubborn"])
    wait_until_running(box, attempt)
    for _ in range(20):
        if attempt in box.replies:
            break
        box.reply(box.interrupt(attempt))
    assert box.answer(attempt).error[0] == "KeyboardInterrupt"


def test_queued_call_is_given_back_without_running(box):
    box.execute("ran = False")
    function = interactive("def f():\n global ran\n ran = True")["f"]
    first, second = box.send_call(SPACE["nap"], 0.2), box.send_call(function)
    assert box.reply(box.interrupt(second)).read()["found"] is True
    assert box.answer(first).content["status"] == "ok"
    assert second in box.returned
    assert box.call(verbs.pull, "ran").value is False


def test_interrupt_of_something_else_hits_nothing(box):
    attempt = box.send_call(SPACE["nap"], 0.2)
    wait_until_running(box, attempt)
    for kind in ("apply", "execute"):
        assert box.reply(box.interrupt("other", kind)).read()["found"] is False
    assert box.answer(attempt).content["status"] == "ok"


@pytest.mark.parametrize(
    "code",
    [
        "import time; time.sleep(60)",
        "while True: pass",
        "import asyncio; await asyncio.sleep(60)",
        "import asyncio\nawait asyncio.sleep(0)\nwhile True: pass",
    ],
)
def test_running_cell_is_interrupted(box, code):
    cell = box.send_code("print('on', flush=True)\n" + code)
    box.wait(lambda: box.text(cell))
    began = time.monotonic()
    assert box.reply(box.interrupt(cell, "execute")).read()["found"] is True
    assert box.reply(cell).read()["ename"] in ("KeyboardInterrupt", "CancelledError")
    assert time.monotonic() - began < 10
    assert box.execute("1")["status"] == "ok"
    assert box.call(abs, -1).value == 1


def test_cell_that_has_not_begun_is_interrupted_when_it_does(box):
    cell = box.send_code("import time; time.sleep(60)", msg_id="doomed")
    box.interrupt("doomed", "execute")
    assert box.reply(cell).read()["ename"] == "KeyboardInterrupt"


def test_interrupt_of_a_call_does_not_hit_a_cell(box):
    cell = box.send_code("print('on', flush=True); import time; time.sleep(0.3)")
    box.wait(lambda: box.text(cell))
    attempt = box.send_call(SPACE["sleep"])
    assert box.reply(box.interrupt(attempt)).read()["found"] is True
    assert box.reply(cell).read()["status"] == "ok"
    box.wait(lambda: attempt in box.returned)


def test_plain_sigint_interrupts_whatever_runs(box):
    for function in (SPACE["sleep"], SPACE["wait"]):
        attempt = box.send_call(function)
        wait_until_running(box, attempt)
        # It may arrive while the engine is still on its way into the call.
        for _ in range(50):
            if attempt in box.replies:
                break
            box.signal()
            box.receive(0.1)
        assert box.answer(attempt).error[0] == "KeyboardInterrupt"
    assert box.call(abs, -1).value == 1


def test_random_interrupts_hit_only_what_they_name(box):
    """Calls, async calls and cells of random length, each interrupted at a random moment or not."""
    rng = random.Random(7)
    hit = {}
    for i in range(150):
        attempts = []
        for _ in range(3):
            length = rng.choice([0, 0.001, 0.004])
            kind = rng.choice(["nap", "doze", "cell", "compute"])
            if kind == "cell":
                cell = box.send_code(f"import time; time.sleep({length})")
                attempts.append((cell, "execute"))
            else:
                value = int(length * 2e7) if kind == "compute" else length
                attempts.append((box.send_call(SPACE[kind], value), "apply"))
        victim = rng.choice(attempts)
        box.receive(rng.random() * 0.006)
        if i % 3:
            hit[victim[0]] = box.interrupt(*victim)
        for attempt, _ in attempts:
            box.wait(lambda attempt=attempt: attempt in [*box.replies, *box.returned])
            if attempt in box.returned:
                assert attempt in hit
                continue
            content = box.reply(attempt).read()
            if content["status"] != "ok":
                assert attempt in hit, content
                assert content["ename"] in ("KeyboardInterrupt", "CancelledError"), content
    replied = [box.replies[attempt].read() for attempt in hit if attempt in box.replies]
    assert any(content["status"] == "error" for content in replied)
    assert box.call(abs, -1).value == 1


def test_hundred_interrupts_in_a_row_leave_the_engine_alive(box):
    for i in range(100):
        attempt = box.send_call(SPACE["sleep" if i % 2 else "wait"])
        following = box.send_call(abs, -i)
        box.receive(0.003 * (i % 4))
        box.interrupt(attempt)
        assert box.answer(following).value == i
        if attempt not in box.returned:
            assert box.answer(attempt).error[0] == "KeyboardInterrupt"
