"""The extension in a real kernel: calls, output, names, failures, the two sockets' order."""

from __future__ import annotations

import contextlib
import os
import time

import numpy as np
import pytest

from ipyviews.engine import names, verbs
from tests.engine.kernelbox import KernelBox, interactive
from tests.engine.test_travel import CASES

pytestmark = pytest.mark.kernels


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_function_arrives_whole(box, case):
    assert box.call(interactive(case.source)["f"], *case.args).value == case.expected


def test_call_returns_its_result_and_its_times(box):
    before = time.time()
    answer = box.call(divmod, 7, 2)
    assert answer.value == (3, 1)
    assert before <= answer.content["started"] <= answer.content["ended"] <= time.time()
    assert answer.content["output"] is False
    assert answer.content["eventloop"] is False


def test_arrays_go_both_ways_and_are_writable(box):
    function = interactive("def f(a):\n a[0] = 5\n return a, a[:3].copy()")["f"]
    large, small = box.call(function, np.zeros(100_000)).value
    large[1] = small[1] = 6
    assert (large[0], large[1], small[0]) == (5, 6, 5)


def test_function_sees_what_a_cell_has_set(box):
    box.execute("a = 5")
    assert box.call(interactive("f = lambda: a")["f"]).value == 5


def test_instance_of_a_local_class_comes_back_as_one(box):
    space = interactive("def g(): return 1\nclass A:\n def m(self): return g()\ndef f(a): return a")
    method = space["A"].m
    assert isinstance(box.call(space["f"], space["A"]()).value, space["A"])
    assert space["A"].m is method


def test_redefined_class_is_a_new_one_there_too(box):
    for version in (1, 2):
        space = interactive(f"class A:\n x = {version}\ndef f(): return A()")
        returned = box.call(space["f"]).value
        assert type(returned) is space["A"]
        assert returned.x == version


def test_missing_data_is_explained(box):
    ename, evalue = box.call(interactive("data = 1\nf = lambda: data")["f"]).error
    assert ename == "NameError"
    assert "view['data'] = data" in evalue


def test_clash_of_two_clients_is_an_error_naming_both(box):
    for client, number in (("ann", 1), ("bob", 2)):
        function = interactive(f"def g(): return {number}\ndef f(): return g()")["f"]
        answer = box.answer(box.send_call(function, ours={"client": client}))
    ename, evalue = answer.error
    assert ename == "NameClash"
    assert "ann" in evalue
    assert "bob" in evalue


def test_verbs_push_and_pull(box):
    box.call(verbs.push, {"a": 1, "b": [1]}).value
    box.execute("class N: pass\nn = N()")
    box.call(verbs.push, {"n.x": 2}).value
    assert box.call(verbs.pull, ["a", "b", "n.x", "a + 1"]).value == [1, [1], 2, 2]
    assert box.call(verbs.pull, "a").value == 1


@pytest.mark.parametrize("call", [(verbs.pull, "nothing"), (verbs.push, {"nothing.x": 1})])
def test_verbs_name_what_is_missing(box, call):
    assert box.call(*call).error == ("NameError", "name 'nothing' is not defined on this engine")


def test_error_starts_at_the_users_frame_and_can_be_rebuilt(box):
    from ipyviews.protocol import payload

    answer = box.call(interactive("def g(x): return 1 / x\ndef f(x): return g(x)")["f"], 0)
    assert answer.error == ("ZeroDivisionError", "division by zero")
    lines = answer.content["traceback"]
    assert lines[0].startswith("Traceback")
    assert "in f" in lines[1]
    assert not any("ipyviews" in line for line in lines)
    assert isinstance(payload.unpack_result(answer.buffers), ZeroDivisionError)


def test_error_shows_the_lines_of_the_clients_cell(box):
    import linecache

    text = "def f():\n    return 1 / 0  # here\n"
    linecache.cache["<its cell>"] = (len(text), None, text.splitlines(keepends=True), "<its cell>")
    space = {"__name__": "__main__"}
    exec(compile(text, "<its cell>", "exec"), space)
    assert any("# here" in line for line in box.call(space["f"]).content["traceback"])
    del linecache.cache["<its cell>"]


@pytest.mark.parametrize(
    ("source", "ename"),
    [
        ("import sys\ndef f(): sys.exit(3)", "SystemExit"),
        ("def f(): exit()", "SystemExit"),
        ("def f(): raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("class E(BaseException): pass\ndef f(): raise E", "E"),
        ("class E(Exception):\n def __str__(self): 1 / 0\ndef f(): raise E", "E"),
        ("def f(): raise ValueError('\\ud800')", "ValueError"),
        ("import threading\ndef f(): return threading.Lock()", "PicklingError"),
        ("async def f(): raise KeyError(1)", "KeyError"),
        ("def f(x): pass", "TypeError"),
    ],
)
def test_whatever_is_raised_is_an_answer_and_the_engine_lives_on(box, source, ename):
    assert box.call(interactive(source)["f"]).error[0] == ename
    assert box.call(os.getpid).value == box.process.pid


def test_result_that_cannot_be_pickled_is_said_in_a_sentence(box):
    function = interactive("import threading\ndef f(): return threading.Lock()")["f"]
    _, evalue = box.answer(box.send_call(function, ours={"name": "make_lock"})).error
    assert evalue.startswith("make_lock returned a lock, which cannot be sent back")


def test_another_python_is_refused_before_unpickling(box):
    attempt = box.request(
        "apply",
        "apply_request",
        {"index": [[1, 0]]},
        ours={"python": "cpython-3.7"},
        buffers=[b"\x00", b"\x00"],
    )
    ename, evalue = box.answer(attempt).error
    assert ename == "UsageError"
    assert "cpython-3.7" in evalue


def test_rubbish_payload_is_an_error_reply(box):
    attempt = box.request("apply", "apply_request", {"index": [[1, 0]]}, buffers=[b"\x00", b"\x00"])
    assert box.answer(attempt).error[0] == "UnpicklingError"
    attempt = box.request("apply", "apply_request", {"index": []}, buffers=[])
    assert box.answer(attempt).error[0] == "ValueError"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("def f():\n for i in range(3): print(i)", "0\n1\n2\n"),
        ("def f():\n for i in range(1000): print('x' * 50)", ("x" * 50 + "\n") * 1000),
        ("import sys\ndef f(): sys.stderr.write('e')", ""),
        (
            "async def f():\n print(1)\n import asyncio\n await asyncio.sleep(0)\n print(2)",
            "1\n2\n",
        ),
        ("def f():\n display(1)\n print(2)", "2\n"),
    ],
)
def test_output_comes_before_its_idle_marker(box, source, expected):
    attempt = box.send_call(interactive(source)["f"])
    assert box.answer(attempt).content["output"] is True
    box.wait(lambda: box.is_idle(attempt))
    assert box.text(attempt) == expected
    types = [kind for kind, parent in box.order if parent == attempt and kind != "apply_reply"]
    assert types[-1] == "status"
    assert len(types) > 1
    assert types.count("status") == 1


def test_outputs_of_many_calls_are_told_apart(box):
    function = interactive("def f(i): print(i)")["f"]
    attempts = [box.send_call(function, i) for i in range(50)]
    box.wait(lambda: all(box.is_idle(attempt) for attempt in attempts))
    assert [box.text(attempt) for attempt in attempts] == [f"{i}\n" for i in range(50)]


def test_error_in_a_call_does_not_lose_its_output(box):
    attempt = box.send_call(interactive("def f():\n print('before')\n 1 / 0")["f"])
    assert box.answer(attempt).content["output"] is True
    box.wait(lambda: box.is_idle(attempt))
    assert box.text(attempt) == "before\n"


def test_figure_is_shown_under_its_call(box):
    pytest.importorskip("matplotlib")
    function = interactive("import matplotlib.pyplot as plt\ndef f(): plt.plot([1, 2])")["f"]
    box.execute("%matplotlib inline")
    attempt = box.send_call(function)
    assert box.answer(attempt, 60).content["output"] is True
    box.wait(lambda: box.is_idle(attempt))
    assert any(m.msg_type == "display_data" for m in box.outputs[attempt])


def test_comm_message_counts_as_output(box):
    function = interactive("import comm\ndef f(): comm.create_comm(target_name='t')")["f"]
    attempt = box.send_call(function)
    assert box.answer(attempt).content["output"] is True
    box.wait(lambda: box.is_idle(attempt))
    assert box.outputs[attempt][0].msg_type == "comm_open"


def test_calls_run_in_order_and_async_ones_are_awaited(box):
    source = """
        import asyncio
        async def slow(i):
            await asyncio.sleep(0.05)
            seen.append(i)
        def fast(i): seen.append(i)
    """
    import textwrap

    space = interactive(textwrap.dedent(source))
    box.execute("seen = []")
    for i in range(4):
        attempt = box.send_call(space["fast" if i % 2 else "slow"], i)
    box.answer(attempt)
    assert box.call(verbs.pull, "seen").value == [0, 1, 2, 3]


def test_calls_wait_while_an_async_cell_runs(box):
    box.execute("import asyncio; seen = []")
    code = (
        "print('begun', flush=True)\nfor i in range(3):\n await asyncio.sleep(0.1); seen.append(i)"
    )
    cell = box.send_code(code)
    box.wait(lambda: box.text(cell))
    attempt = box.send_call(interactive("f = lambda: list(seen)")["f"])
    assert box.answer(attempt).value == [0, 1, 2]


@pytest.mark.parametrize("code", ["1 +", "", "%nothing", "1/0"])
def test_calls_run_after_any_kind_of_cell(box, code):
    box.execute(code)
    assert box.call(abs, -1).value == 1


def test_cells_get_their_turn_between_many_calls(box):
    function = interactive("import time\ndef f(): time.sleep(0.002)")["f"]
    attempts = [box.send_call(function) for _ in range(300)]
    cell = box.send_code("5")
    box.reply(cell)
    assert attempts[-1] not in box.replies
    box.answer(attempts[-1])


def test_ping_is_answered_while_a_call_runs_and_names_what_is_held(box):
    function = interactive("import time\ndef f(): time.sleep(0.3)")["f"]
    first, second = box.send_call(function), box.send_call(abs, 1)
    assert box.ping()["holds"] == [first, second]
    assert first not in box.replies
    box.answer(second)
    box.wait_until_idle()


def test_repeated_attempt_is_not_run_twice(box):
    box.execute("n = 0")
    function = interactive("def f():\n global n\n n += 1\n return n")["f"]
    attempt = box.send_call(function)
    box.answer(attempt)
    box.send_call(function, msg_id=attempt)
    assert box.call(verbs.pull, "n").value == 1


def test_messages_that_do_not_verify_are_dropped_and_counted(box):
    dropped = box.ping()["dropped"]
    box.request("apply", "ping_request", {}, to="e9.9")
    frames = box._wires["apply"].encode("ping_request", "x", {}, to=box.name)
    for bad in ([*frames, b"another buffer"], [b"rubbish"], frames, frames):
        box.sockets["apply"].send_multipart(bad)
    assert box.ping()["dropped"] == dropped + 4
    assert "x" in box.replies


def test_engine_keeps_its_namespace_when_it_gets_another_name(box):
    box.execute("kept = 1")
    old = box.name
    box.join(name="e0.2")
    assert box.call(verbs.pull, "kept").value == 1
    box.join(name=old)


def test_context_variables_set_by_a_cell_hold_in_calls(box):
    box.execute("import decimal; decimal.getcontext().prec = 5")
    source = "import decimal\ndef f(): return decimal.getcontext().prec"
    assert box.call(interactive(source)["f"]).value == 5


def test_kernel_exits_cleanly_and_removes_its_socket():
    with KernelBox() as box:
        box.join()
        box.call(abs, 1)
        box.send_call(interactive("async def f():\n import asyncio\n await asyncio.sleep(60)")["f"])
        box.ping()
        assert box.shut_down() == 0
        assert not (box.folder / "k-apply").exists()
        assert "Traceback" not in box.read_log()


def test_many_kernels_end_at_once_without_a_crash_or_a_wait():
    with contextlib.ExitStack() as stack:
        boxes = [stack.enter_context(KernelBox("--ext=ipyviews.engine")) for _ in range(6)]
        for box in boxes:
            box.join()
            box.request("control", "shutdown_request", {"restart": False})
        deadline = time.monotonic() + 8
        codes = [box.process.wait(max(0, deadline - time.monotonic())) for box in boxes]
        assert codes == [0] * 6


def test_exit_in_a_cell_still_ends_the_kernel():
    with KernelBox("--ext=ipyviews.engine") as box:
        box.join()
        box.send_code("exit()")
        assert box.process.wait(10) == 0


def test_extension_unloads_without_a_trace_and_loads_again():
    with KernelBox("--ext=ipyviews.engine") as box:
        box.join()
        code = "import sys, signal, threading\n"
        code += "%unload_ext ipyviews.engine\n"
        code += "names = [t.name for t in threading.enumerate()]\n"
        code += "left = 'ipyviews-apply' in names, 'write' in vars(sys.stdout)\n"
        assert (
            box.execute(code, user_expressions={"left": "left"})["user_expressions"]["left"][
                "data"
            ]["text/plain"]
            == "(False, False)"
        )
        assert not (box.folder / "k-apply").exists()
        box.join()
        assert box.call(abs, -2).value == 2
        assert box.shut_down() == 0


def test_source_makes_an_engine_of_a_bare_kernel():
    """Hide ipyviews and cloudpickle from the kernel and send both."""
    hide = (
        "import sys\n"
        "class Without:\n"
        " def __init__(self, finder): self.finder = finder\n"
        " def find_spec(self, name, path=None, target=None):\n"
        "  if name.partition('.')[0] not in ('ipyviews', 'cloudpickle'):\n"
        "   return self.finder.find_spec(name, path, target)\n"
        "sys.meta_path[:] = map(Without, sys.meta_path)"
    )
    with KernelBox() as box:
        box.execute(hide)
        before = box.execute("", user_expressions={"n": "sorted(globals())"})
        report = box.join(source=True)
        assert report.python == names.implementation()
        space = interactive("class A:\n def m(self): return 1\ndef f(a): return a, a.m()")
        returned, one = box.call(space["f"], space["A"]()).value
        assert (type(returned), one) == (space["A"], 1)
        assert box.call(verbs.pull, "1 + 1").value == 2
        ename, _ = box.call(interactive("f = lambda: data")["f"]).error
        assert ename == "NameError"
        after = box.execute("", user_expressions={"n": "sorted(globals())"})
        assert after["user_expressions"] == before["user_expressions"]
        box.join(source=True)
        assert box.call(abs, -1).value == 1
        assert box.shut_down() == 0


def test_source_replaces_an_installed_extension_of_another_version():
    from ipyviews.launching import bootstrap

    with KernelBox("--ext=ipyviews.engine") as box:
        box.execute("import ipyviews.engine.extension as e; e.VERSION = '0.0.0'")
        asked = box.request("shell", "execute_request", bootstrap.probe_request(box.name))
        assert bootstrap.read_report(box.reply(asked).read()) is None
        box.join(source=True)
        assert box.call(interactive("f = lambda: 1")["f"]).value == 1
        assert box.shut_down() == 0


@pytest.mark.parametrize("word", ["", "async "])
def test_verbs_map_a_part(box, word):
    function = interactive(f"{word}def f(x, y): return x + y")["f"]
    assert box.call(verbs.map_items, function, [1, 2], [10, 20, 30]).value == [11, 22]
