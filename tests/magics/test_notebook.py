"""The magics in a real notebook: a stock ``python3`` kernel, run by nbclient."""

from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

import ipyviews

pytestmark = pytest.mark.kernels

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"

START = """\
%load_ext ipyviews
import ipyviews
cluster = ipyviews.Cluster(n=4)
rc = cluster.start_and_connect_sync()
"""
STOP = "rc.close()\ncluster.stop_cluster_sync()"


def run(*cells, allow_errors=False):
    """Run the cells in a new kernel and return them with their outputs."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    execute(notebook, allow_errors=allow_errors)
    return notebook.cells


def execute(notebook, **options):
    client = NotebookClient(notebook, timeout=250, kernel_name="python3", **options)
    # Its blocking twin keeps an event loop for the life of the process.
    asyncio.run(client.async_execute())


def printed(cell, name="stdout"):
    return "".join(out.text for out in cell.outputs if out.get("name") == name)


def shown(cell):
    return [out.data["text/plain"] for out in cell.outputs if "data" in out]


def test_the_first_px_cell_starts_a_local_cluster_and_says_so_in_one_line(run_root):
    _, first, second = run("%load_ext ipyviews", "%%px\nprint('hello')\n", "%%px\nprint('again')\n")
    cores = len(os.sched_getaffinity(0))
    line, *rest = printed(first).splitlines()
    assert line.startswith(f"Started {cores} engine")
    assert sorted(rest) == sorted(
        line for engine in range(cores) for line in (f"[stdout:{engine}] ", "hello")
    )
    assert "Started" not in printed(second)


def test_the_first_px_cell_connects_to_the_default_cluster(cluster4):
    _, cell = run("%load_ext ipyviews", "%%px -t 1\nprint('hello')\n")
    assert printed(cell).splitlines() == [
        "Connected to 4 engines of the running cluster 'default'.",
        "[stdout:1] ",
        "hello",
    ]


def test_the_first_px_cell_leaves_another_program_s_own_cluster_alone(run_root):
    with ipyviews.Cluster(n=1, cluster_id="theirs"):
        _, cell = run("%load_ext ipyviews", "%%px -t 0\nprint('hello')\n")
    assert printed(cell).startswith("Started ")


def test_the_idioms_work(run_root):
    _, _, even, called, _, balanced, pending, _ = run(
        START,
        "rc[::2].activate('_even')",
        "%%px_even\nimport os\nprint('even')\nos.getpid() * 0 + 7\n",
        "dv = rc[:]\ndv['a'] = 5\ndv.apply_sync(lambda: a)",
        "lv = rc.load_balanced_view()\nlv.activate('_lb')",
        "%%px_lb\nprint('once')\n",
        "%%px_lb --noblock -o kept\nb = 3\n",
        "print(kept.get().status)\n" + STOP,
    )
    lines = printed(even).splitlines()
    assert sorted(lines) == ["[stdout:0] ", "[stdout:2] ", "even", "even"]
    assert [text.split(":")[0] + text[-3:] for text in sorted(shown(even))] == [
        "Out[0: 7",
        "Out[2: 7",
    ]
    assert shown(called) == ["[5, 5, 5, 5]"]
    label, text = printed(balanced).splitlines()
    assert text == "once"
    assert label in [f"[stdout:{engine}] " for engine in range(4)]
    assert shown(pending)[-1].startswith("<AsyncResult")


def test_autopx_of_a_load_balanced_view_is_refused_with_a_sentence(cluster4):
    *_, cell = run(
        "%load_ext ipyviews\nimport ipyviews\nrc = ipyviews.Client()",
        "rc.load_balanced_view().activate('_lb')",
        "%autopx_lb",
        allow_errors=True,
    )
    assert printed(cell, "stderr").startswith("UsageError: %autopx_lb needs a DirectView")


def test_an_error_is_shown_once_after_the_output(cluster4):
    _, cell, after = run(
        "%load_ext ipyviews",
        "%%px\nprint('before')\n1/0\n",
        "%%px -t 0\nprint('next')\n",
        allow_errors=True,
    )
    assert printed(cell).count("before\n") == 4
    (error,) = [out for out in cell.outputs if out.output_type == "error"]
    text = re.sub(r"\x1b\[[\d;]*m", "", "\n".join(error.traceback))
    assert error.ename == "CompositeError"
    assert text.startswith("[0-3:execute]: (on 4 of 4 engines)\n")
    assert "----> 3 1/0\n" in text
    assert text.count("ZeroDivisionError: division by zero") == 1
    assert "px.py" not in text
    assert cell.outputs[-1] is error
    assert printed(after).endswith("next\n")


def test_rich_output_comes_with_the_engine_s_label(cluster4):
    _, cell = run(
        "%load_ext ipyviews",
        "%%px -t 2\nfrom IPython.display import HTML, display\ndisplay(HTML('<b>x</b>'))\n",
    )
    assert printed(cell).rstrip().endswith("[output:2]")
    assert cell.outputs[-1].data["text/html"] == "<b>x</b>"


def test_autopx_runs_whole_cells_on_the_engines(cluster4):
    *_, far, near, off, local = run(
        "%load_ext ipyviews\nimport os\nhere = os.getpid()",
        "%autopx",
        "import os\nmine = os.getpid()",
        "%%local\nprint(here == os.getpid(), 'mine' in globals())",
        "%autopx",
        "print('mine' in globals())",
    )
    assert printed(far) == ""
    assert printed(near) == "True False\n"
    assert printed(off) == "%autopx disabled\n"
    assert printed(local) == "False\n"


@pytest.mark.heavy
@pytest.mark.timeout(300)
@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_a_notebook_of_the_project_runs(run_root, path):
    notebook = nbformat.read(path, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "commit it without outputs"
    execute(notebook)
