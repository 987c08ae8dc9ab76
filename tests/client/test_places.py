"""A traceback of an engine names the cells and lines of this notebook."""

import pytest

from ipyviews import folding
from ipyviews.client import places
from ipyviews.client.places import Place, put, ran, rename

PLAIN = "Cell In[3], line 9\n      8 # why\n----> 9 f(0)\n"

# As IPython 9 and IPython 8 colour it.
NINE = (
    "\x1b[36mCell\x1b[39m\x1b[36m \x1b[39m\x1b[32mIn[3]\x1b[39m\x1b[32m, line 9\x1b[39m\n"
    "\x1b[32m      8\x1b[39m \x1b[38;5;66m# why\x1b[39m\n"
    "\x1b[32m----> \x1b[39m\x1b[32m9\x1b[39m f(\x1b[32m0\x1b[39m)\n"
)
EIGHT = (
    "Cell \x1b[0;32mIn[3], line 9\x1b[0m\n"
    "\x1b[0;32m      8\x1b[0m \x1b[38;5;66m# why\x1b[39m\n"
    "\x1b[0;32m----> 9\x1b[0m f(\x1b[38;5;241m0\x1b[39m)\n"
)

HERE = "Cell In[7], line 10\n      9 # why\n---> 10 f(0)\n"


@pytest.fixture(autouse=True)
def notebook(monkeypatch):
    """Cell 7, whose code begins in its second line, ran as the third one of engine 0."""
    monkeypatch.setattr(places, "_places", {})
    monkeypatch.setattr(places, "_runs", {})
    put(["c-1.0", "c-1.1"], Place(cell=7, above=1))
    ran("c-1.0", 0, 3)


def renamed(*lines, task="c-5.0", engine=0):
    return [folding.plain(line) for line in rename(lines, task, engine)]


@pytest.mark.parametrize("text", [PLAIN, NINE, EIGHT], ids=["plain", "ipython9", "ipython8"])
def test_a_frame_is_named_as_here(text):
    assert renamed(text) == [HERE]


@pytest.mark.parametrize("text", [NINE, EIGHT], ids=["ipython9", "ipython8"])
def test_the_colours_stay(text):
    (line,) = rename([text], "c-5.0", 0)
    assert line.count("\x1b[") == text.count("\x1b[")


def test_the_lines_of_a_frame_may_come_one_by_one():
    assert renamed(*PLAIN.split("\n")) == HERE.split("\n")


def test_a_cell_that_failed_on_another_engine_or_of_another_client_keeps_its_number():
    assert renamed(PLAIN, engine=1) == [PLAIN]
    assert renamed(PLAIN, task="d-5.0") == [PLAIN]


def test_frames_of_unknown_cells_and_files_keep_their_numbers():
    file = "File ~/module.py:9, in f(x)\n----> 9     return 1/x\n"
    unknown = PLAIN.replace("In[3]", "In[2]")
    assert renamed(PLAIN, file, unknown, PLAIN) == [HERE, file, unknown, HERE]


def test_what_looks_like_a_number_in_the_source_of_a_syntax_error_stays():
    error = "  Cell In[3], line 2\n    1 = 3\n    ^\nSyntaxError: cannot assign to literal\n"
    assert renamed(error) == [error.replace("In[3], line 2", "In[7], line 3")]


def test_the_text_of_the_error_stays():
    assert renamed(PLAIN, "", "ValueError: 9 is wrong\n      9 is") == [
        HERE,
        "",
        "ValueError: 9 is wrong\n      9 is",
    ]


def test_a_restarted_engine_counts_anew():
    put(["c-2.0"], Place(cell=9, above=0))
    ran("c-2.0", 0, 3)
    assert renamed("Cell In[3], line 1") == ["Cell In[9], line 1"]


def test_the_oldest_cells_are_forgotten(monkeypatch):
    monkeypatch.setattr(places, "LIMIT", 2)
    for number in (4, 5):
        put([f"c-{number}.0"], Place(cell=number + 10, above=0))
        ran(f"c-{number}.0", 0, number)
    lines = ["Cell In[3], line 1", "Cell In[4], line 1", "Cell In[5], line 1"]
    assert renamed(*lines) == [lines[0], "Cell In[14], line 1", "Cell In[15], line 1"]
