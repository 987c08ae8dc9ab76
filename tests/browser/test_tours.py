"""The tours among the notebooks, driven in a real JupyterLab and looked at."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

pytestmark = [pytest.mark.browser, pytest.mark.kernels, pytest.mark.timeout(300)]

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"

ENGINES = ["0", "1", "2", "3"]

#: True when every picture has been drawn.
DRAWN = "images => images.every(image => image.naturalWidth > 100)"


def read(name):
    return json.loads((NOTEBOOKS / f"{name}.ipynb").read_text())


def add_cell(document, after, name, source):
    """Add a code cell of the test's own."""
    cells = document["cells"]
    place = [cell["id"] for cell in cells].index(after)
    cells.insert(place + 1, cells[place] | {"id": name, "source": source, "cell_type": "code"})


def names_of_code(document):
    return [cell["id"] for cell in document["cells"] if cell["cell_type"] == "code"]


def labels(notebook, name, kind):
    return sorted(re.findall(rf"\[{kind}:(\d+)\]", notebook.text(name)))


def run_between(notebook, names, first, last):
    """Run cells in order; `last` is left out."""
    for name in names[names.index(first) : names.index(last)]:
        notebook.run(name)
        notebook.shot(name)


def see_labels_and_figures(notebook):
    assert labels(notebook, "hello", "stdout") == ENGINES
    assert sorted(re.findall(r"Out\[(\d):", notebook.text("hello"))) == ENGINES
    assert labels(notebook, "targets", "stdout") == ["0", "3"]
    assert labels(notebook, "figure", "output") == ENGINES
    figures = notebook.images("figure")
    assert figures.count() == len(ENGINES)
    assert figures.evaluate_all(DRAWN)


def see_output_under_the_cell_that_asked(notebook):
    notebook.run("background")
    notebook.run("meanwhile")
    notebook.until("background", "computed: 4", times=4)
    assert "weeks computed" not in notebook.text("meanwhile")
    notebook.shot("background")


def see_the_bar(notebook):
    notebook.start("progress")
    notebook.until("progress", "/4 engines")
    assert notebook.prompt("progress") == "[*]:"
    notebook.shot("progress", "progress-midway")
    notebook.done("progress")
    notebook.shot("progress")


def press_stop(notebook):
    notebook.start("endless")
    notebook.until("endless", "running", times=4)
    notebook.press("interrupt")
    notebook.done("endless")
    assert notebook.text("endless").count("KeyboardInterrupt") == 1
    notebook.shot("endless")


def press_tab(notebook):
    # Only the engines have this name.
    assert "climate" in notebook.complete("completed", "climate")
    notebook.page.screenshot(path=notebook.picture("completion-list"))
    notebook.page.keyboard.press("Escape")


def test_the_magics_tour_reads_in_jupyterlab_as_it_says(notebook):
    document = read("magics_tour")
    add_cell(document, "stop", "endless", "%%px\nprint('running')\nwhile True: pass")
    add_cell(document, "tab", "completed", "%%px\ncl")
    names = names_of_code(document)
    notebook.open_document("magics_tour", document)

    run_between(notebook, names, "start", "background")
    see_labels_and_figures(notebook)
    see_output_under_the_cell_that_asked(notebook)
    run_between(notebook, names, "pxresult", "progress")
    see_the_bar(notebook)
    run_between(notebook, names, "climate", "endless")
    assert labels(notebook, "px-even", "stdout") == ["0", "2"]
    assert len(labels(notebook, "px-any", "stdout")) == 1
    assert notebook.text("error").count("IndexError: index 3000 is out of bounds") == 1
    assert labels(notebook, "error", "stdout") == ENGINES
    press_stop(notebook)
    run_between(notebook, names, "kept", "completed")
    assert labels(notebook, "kept", "stdout") == labels(notebook, "there", "stdout") == ENGINES
    assert notebook.text("escaped").strip() == "the notebook speaks"
    press_tab(notebook)
    run_between(notebook, names, "help", "end")
    assert "by the method of Runge and Kutta" in notebook.text("help")
    notebook.run("end")
    assert notebook.problems == []


def test_the_live_output_tour_reads_in_jupyterlab_as_it_says(notebook):
    document = read("live_output_tour")
    names = names_of_code(document)
    notebook.open_document("live_output_tour", document)

    run_between(notebook, names, "start", "fold")
    assert {*labels(notebook, "lines", "stdout")} == {*ENGINES}
    assert notebook.text("lines").count("500 sweeps at") == len(ENGINES)

    run_between(notebook, names, "fold", "pictures")
    assert re.findall(r"\[stdout:(.*?)\]", notebook.text("fold")) == ["0-1", "2-3"]
    assert notebook.text("bars").count("100%") == len(ENGINES)

    notebook.watch_images("pictures")
    notebook.run("pictures")
    notebook.shot("pictures")
    assert notebook.images("pictures").count() == len(ENGINES)
    # They changed meanwhile, each more than once as a rule; the coldest magnet hardly moves.
    assert notebook.count_images_seen() >= 3 * len(ENGINES)

    run_between(notebook, names, "tables", "background")
    assert notebook.cell("tables").locator("table").count() == 2
    assert notebook.text("clear").split() == ["[stdout:3]", "done"]

    run_between(notebook, names, "background", "walk")
    notebook.until("background", "3 hundred", times=4)
    assert "hundred" not in notebook.text("meanwhile")
    notebook.shot("background", "background-later")

    run_between(notebook, names, "walk", "warnings")
    notebook.until("thread", "settled in the background")
    notebook.shot("thread")

    run_between(notebook, names, "warnings", "end")
    assert notebook.text("error").count("AssertionError: there is none") == 1
    assert labels(notebook, "error", "stdout") == ENGINES
    assert "more lines: `ar.stdout` has all of them" in notebook.text("flood")
    notebook.run("end")
    assert notebook.problems == []
