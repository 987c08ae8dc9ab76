"""Questions about code, put to an engine meanwhile, disturb neither its output nor its work."""

from __future__ import annotations

import os
from importlib.metadata import version

import pytest

from tests.engine.kernelbox import interactive

pytestmark = pytest.mark.kernels

HAS_SUBSHELLS = not version("ipykernel").startswith("6.")

#: A call that prints after the test has written to a pipe.
WAITING = "def f():\n with open('go') as go: go.read()\n print('from a call')\n return 3"

#: A cell with a thread that does so.
THREADED = """\
import threading
def wait():
    with open('go') as go:
        go.read()
    print('from a thread')
thread = threading.Thread(target=wait)
thread.start()
"""


@pytest.fixture
def go(box):
    """A pipe in the kernel's folder: `go()` lets the one who reads it go on."""
    pipe = box.folder / "go"
    os.mkfifo(pipe)
    yield lambda: pipe.write_text("go")
    pipe.unlink()


@pytest.fixture
def ask(box):
    """Complete or inspect; in a subshell where the kernel has them and `main` is not set."""
    names = []

    def ask(kind="complete", code="is", *, main=False):
        if HAS_SUBSHELLS and not main and not names:
            made = box.reply(box.request("control", "create_subshell_request", {}))
            names.append(made.read()["subshell_id"])
        question = {"code": code, "cursor_pos": len(code), "detail_level": 0}
        name = names[0] if names and not main else None
        asked = box.request("shell", f"{kind}_request", question, subshell=name)
        return box.reply(asked, 30).read()

    yield ask
    for name in names:
        box.reply(box.request("control", "delete_subshell_request", {"subshell_id": name}))


needs_subshells = pytest.mark.skipif(not HAS_SUBSHELLS, reason="ipykernel 7 has subshells")


@needs_subshells
def test_a_busy_engine_answers_in_a_subshell(box, go, ask):
    cell = box.send_code("kept_here = 5\nopen('go').read()")
    box.wait(lambda: any(m.msg_type == "execute_input" for m in box.outputs[cell]))
    assert ask("complete", "kept_h")["matches"] == ["kept_here"]
    assert ask("inspect", "kept_here")["found"]
    assert cell not in box.replies
    go()
    assert box.reply(cell).read()["status"] == "ok"


@needs_subshells
def test_output_of_a_thread_stays_with_its_running_cell(box, go, ask):
    cell = box.send_code(THREADED + "thread.join()\nprint('from the cell')")
    box.wait(lambda: any(m.msg_type == "execute_input" for m in box.outputs[cell]))
    ask("complete")
    ask("inspect")
    go()
    box.reply(cell)
    box.wait(lambda: box.is_idle(cell))
    assert box.text(cell) == "from a thread\nfrom the cell\n"


@pytest.mark.parametrize("main", [False, True])
def test_output_of_a_thread_stays_with_its_cell_after_the_cell_s_end(box, go, ask, main):
    cell = box.send_code(THREADED)
    box.reply(cell)
    ask("complete", main=main)
    ask("inspect", main=main)
    go()
    box.wait(lambda: box.text(cell) == "from a thread\n")


@needs_subshells
def test_output_and_result_of_a_call_are_its_own(box, go, ask):
    call = box.send_call(interactive(WAITING)["f"])
    ask("complete")
    go()
    answer = box.answer(call)
    assert answer.value == 3
    assert answer.content["output"] is True
    box.wait(lambda: box.is_idle(call))
    assert box.text(call) == "from a call\n"


@needs_subshells
def test_a_call_without_output_keeps_what_it_promises(box, go, ask):
    call = box.send_call(interactive("def f():\n open('go').read()")["f"])
    ask("complete")
    go()
    if box.answer(call).content["output"]:
        box.wait(lambda: box.is_idle(call))
    assert box.text(call) == ""


@needs_subshells
@pytest.mark.parametrize("kind", ["apply", "execute"])
def test_an_interrupt_hits_what_runs_and_the_subshell_goes_on(box, go, ask, kind):
    ask("complete")
    code = "print('begun', flush=True); open('go').read()"
    if kind == "apply":
        attempt = box.send_call(interactive(f"def f(): {code}")["f"])
    else:
        attempt = box.send_code(code)
    box.wait(lambda: box.text(attempt) == "begun\n")
    box.interrupt(attempt, kind)
    assert box.reply(attempt).read()["ename"] == "KeyboardInterrupt"
    assert ask("complete", "isinst")["matches"] == ["isinstance"]
    assert box.call(divmod, 7, 2).value == (3, 1)
