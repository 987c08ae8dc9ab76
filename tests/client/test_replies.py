"""What an executed cell gives back, and an engine's failure told with what is known here."""

from __future__ import annotations

import copy
import linecache
import pickle
from types import SimpleNamespace

import pytest

from ipyviews.client import cells, replies
from ipyviews.client.metadata import METADATA_KEYS, Metadata
from ipyviews.client.replies import ExecuteReply


def reply(text=None, engine=2, **rich):
    data = {} if text is None else {"text/plain": text}
    data |= {name.replace("_", "/"): value for name, value in rich.items()}
    shown = {"data": data, "metadata": {}, "execution_count": 3} if data else None
    known = Metadata(
        msg_id="c-1.0",
        engine_id=engine,
        execute_input="6 * 7",
        execute_result=shown,
        stdout="out",
        status="ok",
    )
    return ExecuteReply(known, 3)


@pytest.mark.row("1.7-repr")
@pytest.mark.parametrize(
    ("text", "shown"),
    [("42", "42"), ("x" * 32, "x" * 32), ("x" * 33, "x" * 29 + "..."), (None, "")],
)
def test_its_repr_is_short(text, shown):
    assert repr(reply(text)) == f"<ExecuteReply[3]: {shown}>"


@pytest.mark.row("1.7-attributes", "1.7-metadata")
def test_it_has_what_is_known_of_the_cell():
    cell = reply("42")
    assert (cell.msg_id, cell.execution_count, cell.source) == ("c-1.0", 3, "6 * 7")
    assert cell.data == cell.execute_result["data"] == {"text/plain": "42"}
    assert cell.metadata.engine_id == cell["engine_id"] == cell.engine_id == 2
    assert all(cell[key] == getattr(cell, key) for key in set(METADATA_KEYS) - {"data"})
    assert set(METADATA_KEYS) <= set(dir(cell))
    with pytest.raises(AttributeError):
        cell.colour
    with pytest.raises(KeyError):
        cell["colour"]
    assert reply(None).data == {}


@pytest.mark.row("1.7-rich")
def test_its_rich_forms_are_those_of_the_value():
    forms = {
        "text/html": "_repr_html_",
        "text/latex": "_repr_latex_",
        "text/markdown": "_repr_markdown_",
        "image/png": "_repr_png_",
        "image/jpeg": "_repr_jpeg_",
        "image/svg+xml": "_repr_svg_",
        "application/json": "_repr_json_",
        "application/javascript": "_repr_javascript_",
    }
    cell = reply("x", **{name.replace("/", "_", 1): name for name in forms})
    assert {name: getattr(cell, method)() for name, method in forms.items()} == {
        name: name for name in forms
    }
    assert all(getattr(reply("x"), method)() is None for method in forms.values())
    cell.execute_result["metadata"] = {"image/png": {"width": 10}}
    assert cell._repr_png_() == ("image/png", {"width": 10})
    assert cell._repr_html_() == "text/html"
    assert reply("x", text_html="<b>")._repr_mimebundle_() == {
        "text/plain": "Out[2:3]: x",
        "text/html": "<b>",
    }
    assert reply(None)._repr_mimebundle_() is None


@pytest.mark.row("1.7-pretty")
@pytest.mark.parametrize(
    ("text", "shown"),
    [("42", "Out[2:3]: 42"), ("a\nb", "Out[2:3]:\na\nb"), (None, "<ExecuteReply[3]: >")],
)
def test_it_is_shown_with_engine_and_count(text, shown):
    from IPython.lib.pretty import pretty

    assert pretty(reply(text)) == shown


@pytest.mark.row("1.7-colour")
@pytest.mark.parametrize(
    ("colours", "shown"),
    [
        ("neutral", "\x1b[31mOut[2:3]:\x1b[0m 42"),
        ("Linux", "\x1b[31mOut[2:3]:\x1b[0m 42"),
        ("nocolor", "Out[2:3]: 42"),
        ("NoColor", "Out[2:3]: 42"),
    ],
)
def test_its_label_is_red_where_there_are_colours(monkeypatch, colours, shown):
    monkeypatch.setattr(replies, "shell", lambda: SimpleNamespace(colors=colours))
    assert reply("42")._repr_mimebundle_()["text/plain"] == shown


@pytest.mark.parametrize(
    "clone", [copy.copy, copy.deepcopy, lambda r: pickle.loads(pickle.dumps(r))]
)
def test_it_can_be_copied_and_pickled(clone):
    assert repr(clone(reply("42"))) == "<ExecuteReply[3]: 42>"


# -- failures, told here ----------------------------------------------------------------------


class Compiler:
    """What IPython knows of the cells of a notebook."""

    def format_code_name(self, file):
        return ("Cell", "In[7]") if file == "/tmp/ipykernel_1/2.py" else None


@pytest.fixture
def notebook(monkeypatch):
    """A notebook that has the name `a`, and one cell."""
    shell = SimpleNamespace(compile=Compiler(), user_ns={"a": 1})
    monkeypatch.setattr(cells, "shell", lambda: shell)
    source = "def f():\n    return 1 / 0\n"
    entry = (len(source), None, source.splitlines(True), "/tmp/ipykernel_1/2.py")
    monkeypatch.setitem(linecache.cache, "/tmp/ipykernel_1/2.py", entry)


def content(*lines, ename="ZeroDivisionError", evalue="division by zero"):
    return {"ename": ename, "evalue": evalue, "traceback": list(lines)}


@pytest.mark.row("4-one-screen")
def test_frames_name_the_notebooks_cells_and_show_their_lines(notebook):
    told = cells.retell(
        content(
            "Traceback (most recent call last):",
            '  File "/tmp/ipykernel_1/2.py", line 2, in f',
            "ZeroDivisionError: division by zero",
        )
    )
    assert told["traceback"] == [
        "Traceback (most recent call last):",
        "  Cell In[7], line 2, in f",
        "    return 1 / 0",
        "ZeroDivisionError: division by zero",
    ]


def test_lines_that_came_with_the_failure_are_not_repeated(notebook):
    lines = ['  File "/tmp/ipykernel_1/2.py", line 2', "    return 1 / 0", "           ~~^~~"]
    assert cells.retell(content(*lines))["traceback"] == ["  Cell In[7], line 2", *lines[1:]]


def test_frames_elsewhere_stay_as_they_are(notebook):
    lines = ['  File "/usr/lib/nowhere.py", line 5, in g', "ValueError: v"]
    assert cells.retell(content(*lines))["traceback"] == lines


def test_odd_contents_are_passed_on(notebook):
    for odd in ({}, {"traceback": "text", "ename": 3, "evalue": None}):
        assert cells.retell(odd) == odd


def test_a_missing_name_that_is_here_is_told_how_to_be_sent(notebook):
    error = content("NameError: x", ename="NameError", evalue="name 'a' is not defined")
    told = cells.retell(error)
    assert told["evalue"] == (
        "name 'a' is not defined on this engine, but it is here. Send it first with view['a'] = a"
    )
    assert told["traceback"] == ["NameError: x", "'a': Send it first with view['a'] = a"]
    unknown = content(ename="NameError", evalue="name 'b' is not defined")
    assert cells.retell(unknown) == unknown


def test_without_a_notebook_the_main_module_is_looked_at(monkeypatch):
    import __main__

    monkeypatch.setattr(__main__, "only_here", 1, raising=False)
    monkeypatch.setattr(cells, "shell", lambda: None)
    error = content(ename="NameError", evalue="name 'only_here' is not defined")
    assert "view['only_here'] = only_here" in cells.retell(error)["evalue"]


def test_a_cell_that_misses_a_name_says_how_to_send_it(rc, notebook):
    with pytest.raises(NameError if False else Exception, match=r"view\['a'\] = a"):
        rc[0].execute("a", block=True)
