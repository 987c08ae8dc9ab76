"""Errors of real engines, as their readers see them."""

from __future__ import annotations

import asyncio
import functools
import linecache
import os
import subprocess
import sys
import textwrap
import traceback

import pytest

from ipyviews import errors
from ipyviews.errors import CompositeError, RemoteError, TaskAborted
from tests.waiting import wait_until

CELL = "/tmp/ipykernel_77/cell.py"

SOURCE = """\
def divide(x):
    return 1 / x  # the user's line

async def divide_later(x):
    return divide(x)

def wrap(f):
    def wrapped(x):
        return f(x)
    return wrapped

@wrap
def decorated(x):
    return divide(x)

class Divider:
    def method(self, x):
        return divide(x)

def chained(x):
    try:
        return divide(x)
    except ZeroDivisionError as error:
        raise ValueError("chained") from error

def needs_data():
    return only_in_the_notebook
"""


@pytest.fixture
def cell(monkeypatch):
    """The names of a notebook's cell whose file no engine can read."""
    entry = (len(SOURCE), None, SOURCE.splitlines(True), CELL)
    monkeypatch.setitem(linecache.cache, CELL, entry)
    names = {"__name__": "__main__"}
    exec(compile(SOURCE, CELL, "exec"), names)
    return names


def users(lines):
    """Return the frames of a traceback; fail if one is ours."""
    frames = [line for line in lines if line.startswith('  File "')]
    assert not [line for line in frames if "ipyviews" in line.replace("/ipyviews/tests", "")]
    return frames


@pytest.mark.row("4-one-screen")
@pytest.mark.parametrize("kind", ["function", "async", "decorated", "method", "partial", "chained"])
def test_frames_are_the_users_with_their_lines(rc, cell, kind):
    functions = {
        "function": cell["divide"],
        "async": cell["divide_later"],
        "decorated": cell["decorated"],
        "method": cell["Divider"]().method,
        "partial": functools.partial(cell["divide"]),
        "chained": cell["chained"],
    }
    for result in (rc[0].apply_async(functions[kind], 0), rc[0].map_async(functions[kind], [0])):
        error = result.exception(10)
        lines = getattr(error, "failures", [error])[0].traceback
        assert all(CELL in frame for frame in users(lines))
        assert "    return 1 / x  # the user's line" in lines


@pytest.mark.row("4-one-screen")
def test_a_cell_shows_its_own_lines(rc):
    code = "def g():\n    return 1 / 0  # the user's line\n\ng()"
    error = rc[0].execute(code).exception(10)
    text = "\n".join(error.render_traceback())
    assert text.startswith("[0:execute]\n")
    assert "the user's line" in text
    assert "ipyviews/engine" not in text


@pytest.mark.row("4-remote-str", "4-engine-info", "4-remote-attributes")
def test_an_error_tells_where_it_happened(rc, cell):
    with pytest.raises(ZeroDivisionError) as raised:
        rc[2].apply_sync(cell["divide"], 0)
    error = raised.value
    assert isinstance(error, RemoteError)
    assert str(error) == "[2:apply] ZeroDivisionError: division by zero"
    assert (error.ename, error.evalue) == ("ZeroDivisionError", "division by zero")
    place = {key: error.engine_info[key] for key in ("engine_uuid", "engine_id", "method")}
    assert place == {"engine_uuid": "e2", "engine_id": 2, "method": "apply"}


@pytest.mark.row("4-composite", "4-composite-str", "4-composite-group")
def test_equal_errors_of_all_engines_are_one(rc, cell):
    with pytest.raises(CompositeError) as raised:
        rc[:].apply_sync(cell["divide"], 0)
    error = raised.value
    assert str(error).splitlines() == [
        "one or more exceptions raised in: divide",
        "[0-3:apply]ZeroDivisionError: division by zero (on 4 of 4 engines)",
    ]
    assert error.engines == [0, 1, 2, 3]
    assert len(error._render_traceback_()) < 12
    assert all(CELL in failure.traceback[1] for failure in error.failures)


@pytest.mark.parametrize("block", ["apply_sync", "get"])
def test_what_is_raised_here_has_no_frames_of_ours(rc, cell, block):
    try:
        if block == "get":
            rc[0].apply_async(cell["divide"], 0).get()
        else:
            rc[0].apply_sync(cell["divide"], 0)
    except ZeroDivisionError as error:
        frames = [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
    assert frames == [__file__]


def test_a_name_that_only_the_notebook_has_is_told_how_to_be_sent(rc, cell, monkeypatch):
    import __main__

    sentence = r"view\['only_in_the_notebook'\] = only_in_the_notebook"
    cell["only_in_the_notebook"] = 5
    with pytest.raises(NameError, match=sentence):
        rc[0].apply_sync(cell["needs_data"])
    monkeypatch.setattr(__main__, "only_in_the_notebook", 5, raising=False)
    with pytest.raises(RemoteError, match=sentence) as raised:
        rc[0].execute("only_in_the_notebook", block=True)
    assert "only_in_the_notebook': Send it first" in raised.value.render_traceback()[-1]
    rc[0]["only_in_the_notebook"] = 5
    assert rc[0].apply_sync(cell["needs_data"]) == 5


@pytest.mark.row("4-task-aborted")
def test_an_aborted_task_is_told_so(rc):
    running = rc[0].execute("import time\nprint('on', flush=True)\ntime.sleep(60)")
    wait_until(lambda: running.stdout)
    waiting = rc[0].apply_async(abs, 1)
    waiting.abort()
    with pytest.raises(TaskAborted):
        waiting.get(10)
    running.abort()
    assert isinstance(running.exception(10), TaskAborted)


@pytest.mark.row("4-collect")
def test_collected_results_are_raised_later(rc, cell):
    results = rc[:].apply_async(cell["divide"], 0).get(return_exceptions=True)
    with pytest.raises(CompositeError, match="in: divide"):
        errors.collect_exceptions(results, "divide")


def test_errors_in_a_coroutine_are_the_same(rc, cell):
    async def main():
        return await rc[1].apply_async(cell["divide"], 0)

    with pytest.raises(ZeroDivisionError, match=r"^\[1:apply\]"):
        asyncio.run(main())


def test_a_script_shows_its_own_lines_on_one_screen(rc, cluster4):
    script = """
        import ipyviews as ipp, sys
        def fail(x):
            return 1 / x
        with ipp.Client(sys.argv[1]) as rc:
            rc[:].apply_sync(fail, 0)
    """
    ended = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(cluster4.connection_file)],
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | {"COLUMNS": "80"},
        check=False,
    )
    assert ended.returncode == 1
    lines = ended.stderr.splitlines()
    assert len(lines) <= 30
    assert sum("ZeroDivisionError: division by zero" in line for line in lines) <= 6
    assert not [line for line in lines if "/ipyviews/client" in line]
