from types import SimpleNamespace

import pytest
from IPython.core.error import UsageError
from IPython.core.inputtransformer2 import TransformerManager

from ipyviews_magics.autopx import AutoPx

OURS = {"px", "px_even", "autopx", "autopx_even", "pxresult"}


@pytest.fixture
def manager():
    return TransformerManager()


@pytest.fixture
def autopx(manager):
    shell = SimpleNamespace(input_transformers_cleanup=manager.cleanup_transforms)
    return AutoPx(shell, OURS.__contains__)


def is_sent(manager, cell, magic="px"):
    return manager.transform_cell(cell).startswith(
        f"get_ipython().run_cell_magic({magic!r}, '', {cell!r}"[:-1]
    )


def test_nothing_is_rewritten_before_it_is_enabled(manager, autopx):
    assert manager.transform_cell("a = 1\n") == "a = 1\n"


def test_an_enabled_one_sends_every_cell_to_its_magic(manager, autopx):
    assert autopx.toggle("_even") == "%autopx_even enabled"
    assert is_sent(manager, "a = 1\nb = 2\n", "px_even")
    assert is_sent(manager, "%matplotlib inline\n", "px_even")
    assert is_sent(manager, "%%time\na = 1\n", "px_even")


def test_the_second_toggle_leaves_no_trace(manager, autopx):
    before = list(manager.cleanup_transforms)
    autopx.toggle("")
    assert autopx.toggle("") == "%autopx disabled"
    assert manager.cleanup_transforms == before


@pytest.mark.parametrize(
    "cell",
    ["%autopx\n", "%autopx_even\n", "%%px_even\na = 1\n", "%pxresult -o x\n", "\n", "  \n\n"],
)
def test_our_own_magics_and_empty_cells_stay_here(manager, autopx, cell):
    plain = manager.transform_cell(cell)
    autopx.toggle("")
    assert manager.transform_cell(cell) == plain


def test_local_marks_a_cell_that_runs_here(manager, autopx):
    autopx.toggle("")
    assert manager.transform_cell("%%local\na = 1\nb = 2\n") == "a = 1\nb = 2\n"


def test_cells_that_a_magic_runs_here_stay_here_while_it_is_paused(manager, autopx):
    autopx.toggle("")
    with autopx.paused():
        assert manager.transform_cell("a = 1\n") == "a = 1\n"
    assert is_sent(manager, "a = 1\n")


def test_a_second_one_is_refused_and_the_first_stays_on(manager, autopx):
    autopx.toggle("")
    with pytest.raises(UsageError, match="%autopx is on; turn it off before you use %autopx_even"):
        autopx.toggle("_even")
    assert is_sent(manager, "a = 1\n")


def test_a_terminal_asks_for_no_more_lines_than_without_it(manager, autopx):
    autopx.toggle("")
    assert manager.check_complete("a = 1\n") == ("complete", None)
    assert manager.check_complete("for i in x:\n")[0] == "incomplete"
