"""Stop means stop, with real engines: the work of this cell ends, and nothing else does."""

from __future__ import annotations

import contextlib
import json
import random
import signal
import sys
import threading
from functools import partial

import pytest

import ipyviews
from ipyviews import folding
from ipyviews_magics.registry import activate
from ipyviews_magics.tracebacks import show_folded
from tests.waiting import wait_until

pytestmark = pytest.mark.kernels

#: The moments that are tried [count], and the latest of them [s].
PRESSES = 50
LATEST_S = 0.4

#: Cells that end late or never, each stuck in something else.
ENDLESS = (
    "while True: pass",
    "import time\ntime.sleep(60)",
    "import asyncio\nawait asyncio.sleep(60)",
    "import threading\nthreading.Event().wait(60)",
    "while True: print('a line of output', flush=True)",
    "import numpy\nwhile True: numpy.arange(100_000).sum()",
    "import os\nos.system('sleep 60')",
    "try:\n    while True: pass\nfinally:\n    tidied = True",
)


def press():
    signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)


@contextlib.contextmanager
def pressed(when):
    """Press Ctrl-C in the block, once `when` returns."""

    entered = threading.Event()

    def action():
        entered.wait()
        when()
        press()

    thread = threading.Thread(target=action)
    thread.start()
    with contextlib.suppress(KeyboardInterrupt):
        try:
            entered.set()
            yield
        finally:
            thread.join()


def begun(shell, where=range(4)):
    """Return what waits until the cell kept as `ar` has printed something on these engines."""

    def has_begun():
        result = shell.user_ns.get("ar")
        return result is not None and all(result.stdout[engine] for engine in where)

    return lambda: wait_until(has_begun, what="the cell runs")


@pytest.fixture
def magics(shell, rc):
    """The magics of all four engines."""
    show_folded(shell)
    activate(rc[:])
    return shell


def pids(rc):
    return rc[:].apply_sync(__import__("os").getpid)


@pytest.mark.parametrize("seed", [20_240, 7])
def test_after_interrupts_at_random_moments_every_engine_is_right(magics, rc, capsys, seed):
    chance = random.Random(seed)
    before = pids(rc)
    for number in range(PRESSES // 2):
        # Half of them while the cell is being sent or has just begun.
        latest_s = chance.choice((0.02, LATEST_S))
        endless, delay_s = chance.choice(ENDLESS), chance.uniform(0, latest_s)
        tried = f"seed {seed}, cell {number}: pressed after {delay_s:.3f} s of {endless!r}"
        with pressed(partial(threading.Event().wait, delay_s)):
            magics.run_cell(f"%%px\nnumber = {number}\n{endless}\n")
        ran = magics.run_cell(f"%%px -o after\nnumber = [{number}]\nprint('next', number)\n")
        assert ran.success, (tried, capsys.readouterr().out[-2000:])
        assert magics.user_ns["after"].stdout == [f"next [{number}]\n"] * 4, tried
        assert rc[:]["number"] == [[number]] * 4, tried
    assert pids(rc) == before
    assert rc.ids == [0, 1, 2, 3]


def shown(capsys):
    """Return what a person saw since the last time, without labels and output."""
    text = capsys.readouterr().out
    return [line for line in text.splitlines() if line and not line.startswith(("[std", "begun"))]


def test_variables_stay_and_one_line_is_shown(magics, rc, capsys):
    magics.run_cell("%px kept = 5")
    with pressed(begun(magics)):
        magics.run_cell("%%px -o ar\nprint('begun')\nwhile True: pass\n")
    assert shown(capsys) == ["KeyboardInterrupt: stopped on engines 0, 1, 2, 3"]
    assert rc[:]["kept"] == [5] * 4


def test_cells_of_autopx_are_stopped_too(magics, rc, capsys):
    magics.run_cell("%autopx")
    capsys.readouterr()
    try:
        with pressed(lambda: wait_until(lambda: running(rc) == 4)):
            magics.run_cell("kept = 6\nwhile True: pass\n")
    finally:
        magics.run_cell("%autopx")
    assert shown(capsys)[0].startswith("KeyboardInterrupt: stopped on engine")
    assert rc[:]["kept"] == [6] * 4


def test_a_command_that_os_system_waits_for_is_ended(magics, rc, capsys):
    with pressed(begun(magics)):
        magics.run_cell("%%px -o ar\nimport os\nprint('begun')\nended = os.system('sleep 60')\n")
    assert shown(capsys) == ["KeyboardInterrupt: stopped on engines 0, 1, 2, 3"]


def running(rc):
    return sum(load["running"] for load in rc.status()["engines"])


def waiting_for(path):
    """Return code that goes on once a file is there."""
    return f"import os, time\nwhile not os.path.exists({str(path)!r}): time.sleep(0.01)"


def wait_for_file(path):
    exec(waiting_for(path))
    return "undisturbed"


def test_another_client_s_work_goes_on_and_what_waits_behind_it_is_dropped(
    magics, rc, cluster4, capsys, tmp_path
):
    done = tmp_path / "done"
    with cluster4.connect_client_sync() as other:
        theirs = other[0].apply_async(wait_for_file, str(done))
        behind = other[1].apply_async(str.upper, "behind")
        assert behind.get(20) == "BEHIND"
        with pressed(begun(magics, where=(1, 2, 3))):
            magics.run_cell("%%px -o ar\nprint('begun')\nwhile True: pass\n")
        line = "KeyboardInterrupt: stopped on engines 1, 2, 3; not yet begun on engine 0"
        assert shown(capsys) == [line]
        assert not theirs.done()
        done.touch()
        assert theirs.get(20) == "undisturbed"


def test_a_cell_queued_behind_an_earlier_one_is_dropped_and_that_one_goes_on(
    magics, rc, capsys, tmp_path
):
    done = tmp_path / "done"
    magics.run_cell(f"%%px -a -o first\nprint('begun')\n{waiting_for(done)}\nfirst = True\n")
    magics.user_ns["ar"] = magics.user_ns["first"]
    begun(magics)()
    shown(capsys)
    with pressed(lambda: wait_until(lambda: magics.user_ns.get("second"))):
        magics.run_cell("%%px -o second\nnever = True\n")
    assert shown(capsys) == ["KeyboardInterrupt: stopped before it ran"]
    assert not magics.user_ns["first"].done()
    done.touch()
    assert magics.user_ns["first"].get(20)
    rc[:].execute("assert first is True and 'never' not in globals()", block=True)


def test_what_had_failed_before_the_interrupt_is_told(magics, rc, capsys):
    rc[:].scatter("me", range(4), flatten=True, block=True)
    with pressed(lambda: (begun(magics)(), wait_until(lambda: magics.user_ns["ar"].tasks[2].done))):
        magics.run_cell("%%px -o ar\nprint('begun')\nif me == 2: 1/0\nwhile True: pass\n")
    assert shown(capsys) == [
        "KeyboardInterrupt: stopped on engines 0, 1, 3",
        "[2:execute]ZeroDivisionError: division by zero",
    ]
    # Nothing of it is lost.
    with pytest.raises(ipyviews.CompositeError) as caught:
        magics.user_ns["ar"].get()
    assert "----> 3 if me == 2: 1/0" in folding.plain("\n".join(caught.value.render_traceback()))


def test_the_local_part_of_a_cell_and_its_engines_are_stopped_together(magics, rc, capsys):
    with pressed(begun(magics)):
        magics.run_cell("%%px --local -o ar\nprint('begun')\nwhile True: pass\n")
    assert shown(capsys) == ["KeyboardInterrupt: stopped on engines 0, 1, 2, 3"]
    assert rc[:].apply_sync(pow, 2, 3) == [8] * 4


def test_pxresult_can_be_left_and_the_cell_goes_on(magics, rc, capsys, tmp_path):
    done = tmp_path / "done"
    magics.run_cell(f"%%px -a -o ar\nprint('begun')\n{waiting_for(done)}\n")
    begun(magics)()
    capsys.readouterr()
    with pressed(lambda: threading.Event().wait(0.2)):
        magics.run_line_magic("pxresult", "")
    done.touch()
    capsys.readouterr()
    magics.run_line_magic("pxresult", "")
    assert capsys.readouterr().out.count("begun") == 4


def add_kernelspec(name, folder, argv, mode, language):
    spec = {"argv": argv, "display_name": name, "language": language, "interrupt_mode": mode}
    (folder / "kernels" / name).mkdir(parents=True)
    (folder / "kernels" / name / "kernel.json").write_text(json.dumps(spec))


@pytest.fixture
def mixed(shell, run_root, tmp_path, monkeypatch):
    """Engines that want interrupts as messages and as signals: two of Python, two of bash."""
    for mode in ("message", "signal"):
        for language, module in (("python", "ipykernel_launcher"), ("bash", "bash_kernel")):
            argv = [sys.executable, "-m", module, "-f", "{connection_file}"]
            add_kernelspec(f"{language}-{mode}", tmp_path, argv, mode, language)
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    kernels = ["python-message", "python-signal", "bash-message", "bash-signal"]
    with ipyviews.Cluster(n=4, kernel=kernels) as rc:
        show_folded(shell)
        activate(rc[:])
        yield rc


@pytest.mark.parametrize(
    ("targets", "cells"),
    [
        ("0,1", ("print('begun')\nwhile True: pass", "print(1 + 1)")),
        ("2,3", ("echo begun; sleep 60", "echo $((1 + 1))")),
    ],
    ids=["python", "bash"],
)
def test_engines_of_both_interrupt_modes_are_stopped(shell, mixed, capsys, targets, cells):
    endless, next_one = cells
    before = [info["pid"] for info in mixed.status()["engines"]]
    with pressed(begun(shell, where=range(2))):
        shell.run_cell(f"%%px -t {targets} -o ar\n{endless}\n")
    assert shown(capsys) == [f"KeyboardInterrupt: stopped on engines {targets.replace(',', ', ')}"]
    shell.run_cell(f"%%px -t {targets} -o after\n{next_one}\n").raise_error()
    assert [text.strip() for text in shell.user_ns["after"].stdout] == ["2", "2"]
    assert [info["pid"] for info in mixed.status()["engines"]] == before


def test_a_second_interrupt_restarts_the_engine_that_goes_on_and_only_that(shell, run_root, capsys):
    deaf = """\
while True:
    try:
        print('begun')
        while True: pass
    except KeyboardInterrupt:
        if me != 1: raise
"""

    def twice():
        begun(shell, where=range(2))()
        press()
        wait_until(lambda: "again" in capsys.readouterr().err, what="the user is told")
        wait_until(lambda: shell.user_ns["ar"].tasks[0].done, what="engine 0 has stopped")

    with ipyviews.Cluster(n=2) as rc:
        show_folded(shell)
        activate(rc[:])
        rc[:].scatter("me", range(2), flatten=True, block=True)
        with pressed(twice):
            ran = shell.run_cell(f"%%px -o ar\n{deaf}")
        said = "restarted engine 1, without the variables that were there"
        assert str(ran.error_in_exec) == said
        assert rc[0]["me"] == 0
        shell.run_cell("%%px -o after\nprint('me' in globals())\n").raise_error()
        assert shell.user_ns["after"].stdout == ["True\n", "False\n"]
