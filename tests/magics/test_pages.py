"""Help that engines would show in a pager."""

from __future__ import annotations

import pytest

from ipyviews_magics import load_ipython_extension
from ipyviews_magics.pages import HelpOnEngines
from ipyviews_magics.registry import activate
from tests.magics.fakes import FakeView


def page(text):
    return {"source": "page", "data": {"text/plain": text}, "start": 0}


def answer(*payloads):
    def end(view, tasks):
        for task, payload in zip(tasks, payloads, strict=True):
            view.end(task, payload=payload)

    return end


def test_equal_pages_are_shown_once_with_their_engines(shell, capsys):
    first, second = [page("Signature: f(a)\n\n")], [page("Type: int")]
    activate(FakeView(range(4), answer=answer(first, second, first, first)))
    shell.run_cell_magic("px", "", "f?")
    assert capsys.readouterr().out == "[help:0,2-3]\nSignature: f(a)\n[help:1]\nType: int\n"


def test_functions_of_the_same_cell_have_the_same_page(shell, capsys):
    payloads = [[page(f"File: /tmp/ipykernel_{pid}/123.py")] for pid in (77, 78)]
    activate(FakeView(answer=answer(*payloads)))
    shell.run_line_magic("px", "?f")
    assert capsys.readouterr().out == "[help:0-1]\nFile: /tmp/ipykernel_77/123.py\n"


def test_pages_of_a_cell_that_fails_and_of_one_that_does_not_wait_are_shown_too(shell, capsys):
    def fail(view, tasks):
        for task in tasks:
            view.end(task, status="error", ename="E", evalue="", payload=[page("Type: int")])

    activate(FakeView(answer=fail))
    shell.run_cell("%px f?;1/0")
    assert capsys.readouterr().out.startswith("[help:0-1]\nType: int\n")
    shell.run_cell("%%px --noblock\nf?\n1/0")
    assert capsys.readouterr().out.startswith("[help:0-1]\nType: int\n")


@pytest.mark.parametrize(
    "payload",
    [
        [{"source": "set_next_input", "text": "x"}, {"source": "page"}, 7],
        [{"source": "page", "data": {"text/html": "<b>"}}],
        [],
        None,
    ],
)
def test_other_wishes_of_a_kernel_are_passed_over(shell, capsys, payload):
    activate(FakeView(answer=answer(payload, payload)))
    shell.run_cell_magic("px", "", "f?")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("line", "rewritten"),
    [
        ("%px f?", "%px ?f\n"),
        ("  %px_even a.b[0]??  ", "  %px_even ??a.b[0]\n"),
        ("%px np.*load*?", "%px ?np.*load*\n"),
        ("%px %timeit?", "%px ?%timeit\n"),
        ("%px ?f", None),
        ("%px 'why?'", None),
        ("%px a + b?", None),
        ("%time f?", None),
        ("f?", None),
        ("%px?", None),
        ("x = '''\n%px f?\n'''", None),
    ],
)
def test_a_line_that_asks_for_help_goes_to_the_engines(line, rewritten):
    transform = HelpOnEngines({"px", "px_even"}.__contains__)
    lines = [f"{one}\n" for one in line.splitlines()]
    assert transform(lines) == ([rewritten] if rewritten else lines)


def test_the_help_of_a_line_is_asked_of_the_engines(shell, capsys):
    load_ipython_extension(shell)
    load_ipython_extension(shell)
    view = FakeView()
    activate(view)
    shell.run_cell("%px f??")
    assert [call.code for call in view.calls] == ["??f"]
    shell.run_cell("%px?")
    assert "all of it is code" in capsys.readouterr().out
