"""Errors of cells on engines, as their user sees them."""

from __future__ import annotations

import warnings

import pytest

from ipyviews.engine.shown import tell_errors
from ipyviews_magics.registry import activate
from ipyviews_magics.tracebacks import show_folded

GROUP = """\
def inner(): raise TypeError("deep")
try: inner()
except TypeError as error: found = error
raise ExceptionGroup("several", [found, ExceptionGroup("more", [KeyError(3)])])
"""


@pytest.fixture
def engine(shell):
    """A shell that tells of errors as that of an engine."""
    undo = tell_errors(shell)
    yield shell
    undo()


def test_an_exception_group_is_an_error_with_its_frames_and_members(engine, capsys):
    ran = engine.run_cell(GROUP, store_history=True)
    assert isinstance(ran.error_in_exec, ExceptionGroup)
    written = capsys.readouterr()
    assert written.err == ""
    assert "----> 4 raise ExceptionGroup(" in written.out
    text = written.out.partition("ExceptionGroup: several (2 sub-exceptions)\n")[2]
    drawn = [line for line in text.splitlines() if "^^" not in line]
    assert drawn == [
        "  +-+---------------- 1 ----------------",
        "    | Traceback (most recent call last):",
        "    |   Cell In[1], line 2, in <module>",
        "    |     try: inner()",
        "    |   Cell In[1], line 1, in inner",
        '    |     def inner(): raise TypeError("deep")',
        "    | TypeError: deep",
        "    +---------------- 2 ----------------",
        "    | ExceptionGroup: more (1 sub-exception)",
        "    +-+---------------- 1 ----------------",
        "      | KeyError: 3",
        "      +------------------------------------",
    ]


def test_a_usage_error_is_told_once_and_as_an_error(engine, capsys):
    engine.run_cell("%no_such_magic")
    written = capsys.readouterr()
    assert written.out == "UsageError: Line magic function `%no_such_magic` not found.\n"
    assert written.err == ""


def test_nobody_is_told_how_to_leave_a_terminal(engine):
    with warnings.catch_warnings(record=True) as seen:
        engine.run_cell("raise SystemExit(3)")
    assert seen == []


def test_a_handler_of_the_user_stays_and_unloading_takes_ours_away(shell):
    def handler(shell, kind, error, trace, tb_offset=None):
        return None

    before = list(warnings.filters)
    tell_errors(shell)()
    assert shell.custom_exceptions == ()
    assert warnings.filters == before
    shell.set_custom_exc((ValueError,), handler)
    tell_errors(shell)()
    assert shell.custom_exceptions == (ValueError,)


@pytest.fixture
def magics(shell, rc):
    """The magics of four engines that know their number, `me`."""
    show_folded(shell)
    activate(rc[:])
    rc[:].scatter("me", range(4), flatten=True, block=True)
    return shell


def shown(shell, capsys, code):
    """Run a cell and return what it shows on stdout, but labelled output, and its error."""
    capsys.readouterr()
    ran = shell.run_cell(f"%%px\n{code}", store_history=True)
    written = capsys.readouterr()
    assert written.err == ""
    return written.out, ran.error_in_exec


@pytest.mark.kernels
def test_a_cell_s_own_lines_are_shown_with_their_numbers_and_earlier_cells_by_name(magics, capsys):
    shown(magics, capsys, "def ratio(x):\n    # by nothing\n    return 1 / x\n")
    magics.run_cell("here = 1", store_history=True)
    text, error = shown(magics, capsys, "print('before', me)\n\nratio(0)\n")
    before, _, traceback = text.partition("[0-3:execute]: (on 4 of 4 engines)\n")
    assert sorted(line for line in before.splitlines() if line.startswith("before")) == [
        f"before {engine}" for engine in range(4)
    ]
    assert "Cell In[3], line 4\n      2 print('before', me)\n" in traceback
    assert "----> 4 ratio(0)\n" in traceback
    assert "Cell In[1], line 4, in ratio(x)\n" in traceback
    assert "----> 4     return 1 / x\n" in traceback
    assert traceback.count("ZeroDivisionError: division by zero") == 1
    assert error.engines == [0, 1, 2, 3]


@pytest.mark.kernels
@pytest.mark.parametrize(
    ("code", "wanted"),
    [
        ("x = = 3", ["Cell In[1], line 2", "    x = = 3", "SyntaxError: invalid syntax"]),
        ("raise SystemExit(3)", ["SystemExit: 3"]),
        ("raise KeyboardInterrupt('mine')", ["----> 2 raise Keyb", "KeyboardInterrupt: mine"]),
        ("e = ValueError('x')\ne.add_note('a note')\nraise e", ["ValueError: x", "a note"]),
        (GROUP, ["----> 5 raise ExceptionGroup(", "TypeError: deep", "KeyError: 3"]),
        (
            "try: 1/0\nexcept ZeroDivisionError as e: raise KeyError(1) from e",
            ["ZeroDivisionError: division by zero", "was the direct cause of", "KeyError: 1"],
        ),
        (
            "class Bad(Exception):\n    def __str__(self): raise ValueError('no text')\nraise Bad",
            ["ValueError: no text"],
        ),
        (
            "def f(n): return f(n - 1) if n else 1/0\nf(150)",
            ["ZeroDivisionError: division by zero"],
        ),
        ("%no_such_magic", ["UsageError: Line magic function `%no_such_magic` not found."]),
    ],
)
def test_special_errors_are_shown_once_and_the_next_cell_runs(magics, capsys, code, wanted):
    text, error = shown(magics, capsys, code)
    assert text.startswith("[0-3:execute]: (on 4 of 4 engines)\n")
    for part in wanted:
        assert part in text
    assert text.count("[0-3:execute]") == 1
    assert len(error.failures) == 4
    assert len(text.splitlines()) <= 50
    # The tests may lie in a folder of any name.
    assert "ipyviews/engine" not in text
    assert "ipyviews_magics" not in text
    assert magics.run_cell("%%px -o after\nprint(me)").success
    assert magics.user_ns["after"].stdout == ["0\n", "1\n", "2\n", "3\n"]


@pytest.mark.kernels
def test_the_output_of_all_engines_is_shown_before_an_error_of_one(magics, capsys):
    text, _ = shown(magics, capsys, "print('line', me)\nif me == 2: 1/0\nprint('end', me)\n")
    before, _, after = text.partition("[2:execute]:")
    printed = sorted(line for line in before.splitlines() if line.startswith(("line", "end")))
    assert printed == [*(f"end {engine}" for engine in (0, 1, 3)), *(f"line {n}" for n in range(4))]
    assert "----> 3 if me == 2: 1/0" in after


@pytest.mark.kernels
def test_a_cell_that_does_not_block_shows_its_error_with_pxresult(magics, capsys):
    magics.run_cell("%%px -a -o ar\nprint('before')\n1/0\n", store_history=True)
    magics.user_ns["ar"].wait(20)
    capsys.readouterr()
    magics.run_cell("%pxresult", store_history=True)
    text = capsys.readouterr().out
    assert text.index("before") < text.index("[0-3:execute]: (on 4 of 4 engines)")
    assert "Cell In[1], line 3" in text
    assert "----> 3 1/0" in text


@pytest.mark.kernels
def test_an_error_of_a_load_balanced_cell_names_its_engine(shell, rc, capsys):
    show_folded(shell)
    activate(rc.load_balanced_view(), "_lb")
    shell.run_cell("%%px_lb -o ar\n1/0", store_history=True)
    text = capsys.readouterr().out
    assert text.startswith(f"[{shell.user_ns['ar'].engine_id}:execute]\n")
    assert "----> 2 1/0" in text
