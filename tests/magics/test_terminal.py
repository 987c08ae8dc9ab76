"""The magics in IPython on a terminal: plain labelled text."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from contextlib import suppress

import pytest

from tests.magics.tmux import Terminal
from tests.waiting import wait_until

pytestmark = pytest.mark.kernels

LINES = """\
%load_ext ipyviews
import ipyviews
rc = ipyviews.Cluster(n=2).start_and_connect_sync(activate=True)
%px print("hello")
%px -1 // 0 if False else 7
%px 1/0
exit
"""

SLOW = """\
%%px -t 1
import time
for i in range(3):
    print("line", i)
    time.sleep(1)
"""


def test_a_terminal_shows_labelled_text_and_its_end_ends_the_cluster(run_root):
    command = [
        sys.executable,
        "-m",
        "IPython",
        "--simple-prompt",
        "--no-banner",
        "--colors=nocolor",
    ]
    ran = subprocess.run(
        command, input=LINES, capture_output=True, text=True, timeout=90, check=False
    )
    for engine in range(2):
        assert f"[stdout:{engine}] \nhello\n" in ran.stdout
        assert f"Out[{engine}:2]: 7\n" in ran.stdout
    assert "[0-1:execute]: (on 2 of 2 engines)\n" in ran.stdout
    assert ran.stdout.count("division by zero") == 1


@pytest.fixture
def terminal(cluster4, run_root, monkeypatch):
    if shutil.which("tmux") is None:
        pytest.skip("tmux is missing")
    # There a bar would be for nobody.
    monkeypatch.delenv("CI", raising=False)
    terminal = Terminal(run_root)
    terminal.run("%load_ext ipyviews")
    terminal.run("%px here = True")
    yield terminal
    terminal.close()


def test_in_a_real_terminal_lines_come_while_the_cell_runs(terminal):
    prompts = terminal.prompts
    terminal.start(SLOW)
    terminal.until("\nline 0\n")
    assert terminal.prompts == prompts
    assert "\nline 2\n" not in terminal.screen
    terminal.until(f"In [{prompts + 1}]:")
    shown = terminal.after("time.sleep(1)")
    assert re.findall(r"^\S+:1\]|^line \d", shown, re.MULTILINE) == [
        "[stdout:1]",
        "line 0",
        "line 1",
        "line 2",
    ]


def test_in_a_real_terminal_each_engine_has_its_label(terminal):
    text = terminal.run("%px print('hello'); 6 * 7")
    for engine in range(4):
        assert f"[stdout:{engine}]" in text
        assert re.search(rf"^Out\[{engine}:\d+\]: 42$", text, re.MULTILINE)
    assert text.count("\nhello") == 4


def test_in_a_real_terminal_ctrl_c_stops_the_engines_and_keeps_their_variables(terminal):
    terminal.start("%px kept = 5; print('begun'); exec('while True: pass')")
    terminal.until("[stdout:3]")
    prompts = terminal.prompts
    terminal.press("C-c")
    terminal.until(f"In [{prompts + 1}]:")
    assert terminal.after("exec(").count("KeyboardInterrupt") == 1
    assert terminal.run("%px print('still', kept)").count("\nstill 5") == 4


def test_in_a_real_terminal_an_error_is_shown_once_with_its_line(terminal):
    text = terminal.run("%%px\nbefore = 1\nprint('before')\n1/0")
    assert text.count("\nbefore\n") == 4
    assert "(on 4 of 4 engines)" in text
    assert "----> 4 1/0" in text
    assert text.count("ZeroDivisionError: division by zero") == 1


def test_in_a_real_terminal_autopx_sends_every_cell_until_it_is_switched_off(terminal):
    terminal.run("%autopx")
    assert terminal.run("print('there:', here)").count("\nthere: True") == 4
    terminal.run("%autopx")
    assert terminal.run("print('here' in globals())").splitlines()[-1] == "False"


def test_in_a_real_terminal_a_bar_is_the_last_line_and_goes_at_the_end(terminal):
    terminal.run("%pxconfig --progress-after 0")
    terminal.start("%px print('begun'); __import__('time').sleep(2)")
    prompts = terminal.prompts
    terminal.until("0/4 engines")
    terminal.until(f"\nIn [{prompts + 1}]:")
    assert "0/4 engines" not in terminal.screen
    assert terminal.screen.count("\nbegun") == 4


def test_in_a_real_terminal_tab_offers_names_that_only_engines_know(terminal):
    terminal.run("%px measured_length, measured_mass = 1, 2")
    terminal.type("%px measured_")

    def offered():
        return re.search(r"^ +measured_mass *$", terminal.screen, re.MULTILINE)

    for _ in range(10):
        # The first answer of a new process comes too late for its terminal, too.
        terminal.press("Tab")
        with suppress(AssertionError):
            wait_until(offered, 3)
            break
    assert offered()
