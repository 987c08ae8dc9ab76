"""Cells on engines in a real JupyterLab: labels, figures, bars, the Stop button."""

from __future__ import annotations

import re

import pytest

pytestmark = [pytest.mark.browser, pytest.mark.kernels, pytest.mark.timeout(300)]

#: A person takes less than a second for "at once"; engines and page share a few processors [s].
AT_ONCE_S = 3.0

START = "%load_ext ipyviews\n%ipyviews start -n 2"


def test_each_line_is_seen_under_its_engine_s_label_while_the_cell_runs(notebook):
    notebook.open(
        "live",
        start=START,
        live="%%px\nimport time\nfor i in range(3):\n    print('line', i)\n    time.sleep(0.7)",
    )
    notebook.run("start")
    notebook.start("live")
    notebook.until("live", "line 0")
    assert "line 2" not in notebook.text("live")
    assert notebook.prompt("live") == "[*]:"
    notebook.shot("live", "midway")
    notebook.done("live")
    text = notebook.text("live")
    for engine in range(2):
        assert f"[stdout:{engine}]" in text
    assert text.count("line 2") == 2
    notebook.shot("live")
    assert notebook.problems == []


def test_the_stop_button_stops_all_engines_and_keeps_their_variables(notebook):
    notebook.open(
        "stop",
        start=START,
        endless="%%px\nkept = 5\nprint('running')\nwhile True: pass",
        after="%%px\nprint('still', kept)",
    )
    notebook.run("start")
    notebook.start("endless")
    notebook.until("endless", "running", times=2)
    notebook.press("interrupt")
    notebook.done("endless")
    assert notebook.text("endless").count("KeyboardInterrupt") == 1
    notebook.shot("endless")
    notebook.run("after")
    assert notebook.text("after").count("still 5") == 2


def test_a_flood_leaves_the_page_usable_and_the_result_whole(notebook):
    notebook.open(
        "flood",
        start=START.replace("2", "16"),
        beside="'to click on'",
        flood="%%px -o ar\nfor i in range(10_000):\n    print('line', i)",
        whole="lines = [f'line {i}' for i in range(10_000)]\n"
        "[text.splitlines() == lines for text in ar.stdout] == [True] * 16",
    )
    notebook.run("start")
    notebook.run("beside")
    notebook.start("flood")
    clicks = []
    while notebook.prompt("flood") == "[*]:" or len(clicks) < 10:
        clicks.append(notebook.click_s(["start", "beside"][len(clicks) % 2]))
    assert max(clicks) < AT_ONCE_S, clicks
    first, more = re.split(
        "…(?= .* more lines: `ar.stdout` has all of them)", notebook.text("flood")
    )
    shown = len(re.findall(r"^line \d+$", first, re.MULTILINE))
    assert 0 < shown < 10_000
    assert shown + int(more.split()[0].replace(",", "")) == 16 * 10_000
    notebook.run("whole")
    assert notebook.text("whole").strip() == "True"
    notebook.page.screenshot(path=notebook.picture("page"))


def test_tab_and_shift_tab_show_what_busy_engines_know(notebook):
    notebook.open(
        "tab",
        start=START,
        define="%%px\ndef measure_length(wire):\n    'How long a wire is.'\nmeasure_mass = abs",
        busy="%%px -a -o busy\nimport time\ntime.sleep(600)",
        tab="%%px\nmeasure_",
        ask="%%px\nmeasure_length(",
        end="busy.cancel()",
    )
    for name in ("start", "define", "busy"):
        notebook.run(name)
    assert notebook.complete("tab", "measure_mass") == ["measure_length", "measure_mass"]
    notebook.page.screenshot(path=notebook.picture("list"))
    notebook.page.keyboard.press("Escape")
    assert "How long a wire is." in notebook.explain("ask")
    notebook.page.screenshot(path=notebook.picture("tooltip"))
    notebook.run("end")
