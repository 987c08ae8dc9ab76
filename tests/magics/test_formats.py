"""What each option and each format shows, compared with stored text; see `cases`."""

from __future__ import annotations

from collections import Counter
from contextlib import redirect_stderr, redirect_stdout
from functools import partial

import pytest

from tests.conftest import use_folders
from tests.magics import stored
from tests.magics.cases import ACTIVATE, CASES
from tests.magics.recorder import record
from tests.magics.stored import Shown

pytestmark = pytest.mark.kernels

#: What the Jupyter protocol has for the output of a cell.
STANDARD = {
    "status",
    "execute_input",
    "stream",
    "display_data",
    "update_display_data",
    "execute_result",
    "error",
    "clear_output",
}

#: What every front end shows without an extension.
SHOWN_EVERYWHERE = {"text/plain", "text/html", "image/png", "image/svg+xml", "text/markdown"}

CONNECT = "%load_ext ipyviews\nimport ipyviews\nrc = ipyviews.Client()"

each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


class Screen:
    """One of a terminal's two streams; notes what is written to either, in order."""

    encoding = "utf-8"

    def __init__(self, kind, shown):
        self._kind = kind
        self._shown = shown

    def write(self, text):
        self._shown.append(Shown(self._kind, text))
        return len(text)

    def flush(self):
        return

    def isatty(self):
        return False


def on_screen(run):
    """Call a function; return what it wrote to the terminal, in pieces."""
    shown = []
    with redirect_stdout(Screen("stdout", shown)), redirect_stderr(Screen("stderr", shown)):
        run()
    return shown


@each_case
def test_a_terminal_shows_what_is_stored(shell, rc, case):
    shell.user_ns["rc"] = rc
    shell.run_cell("%load_ext ipyviews")
    shell.run_cell(ACTIVATE)
    cells = [on_screen(partial(shell.run_cell, source)) for source in case.cells]
    stored.compare(f"{case.name}.terminal", stored.as_text(case, cells))


@pytest.fixture(scope="module")
def notebook(cluster4, module_root):
    """All cases, run in one notebook kernel by nbclient."""
    with pytest.MonkeyPatch.context() as patch:
        use_folders(patch, module_root)
        groups = [[CONNECT], *([ACTIVATE, *case.cells] for case in CASES)]
        recorder, shown = record(groups)
    return recorder, {case.name: cells[1:] for case, cells in zip(CASES, shown[1:], strict=True)}


@each_case
def test_a_notebook_is_sent_what_is_stored(notebook, case):
    _, shown = notebook
    stored.compare(f"{case.name}.notebook", stored.as_text(case, shown[case.name]))


def test_only_standard_messages_and_mime_types_are_sent(notebook):
    recorder, _ = notebook
    messages = [message for message, _ in recorder.messages]
    kinds = Counter(message["msg_type"] for message in messages)
    assert set(kinds) <= STANDARD
    mime_types = {mime for m in messages for mime in m["content"].get("data", {})}
    assert mime_types <= SHOWN_EVERYWHERE
    assert {"stream", "display_data", "update_display_data", "error"} <= set(kinds)


def test_every_stored_text_belongs_to_a_case():
    known = {f"{case.name}.{where}.txt" for case in CASES for where in ("terminal", "notebook")}
    assert {path.name for path in stored.FOLDER.iterdir()} == known
