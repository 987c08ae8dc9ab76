from types import SimpleNamespace

import pytest
from IPython.core.error import UsageError
from IPython.core.inputtransformer2 import TransformerManager

from ipyviews_magics.autopx import AutoPx
from ipyviews_magics.registry import activate
from ipyviews_magics.tracebacks import show_folded
from tests.magics.fakes import FakeView

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
    [
        "%autopx\n",
        "%autopx_even\n",
        "# off\n\n%autopx\n",
        "%%px_even\na = 1\n",
        "%pxresult -o x\n",
        "%ipyviews status\n",
        "exit\n",
        "quit()\n",
        "\n",
        "  \n\n",
        "# a comment\n\n  # and another\n",
    ],
)
def test_our_own_magics_and_cells_without_code_stay_here(manager, autopx, cell):
    plain = manager.transform_cell(cell)
    autopx.toggle("")
    assert manager.transform_cell(cell) == plain


def test_local_marks_a_cell_that_runs_here(manager, autopx):
    autopx.toggle("")
    assert manager.transform_cell("%%local\na = 1\nb = 2\n") == "a = 1\nb = 2\n"
    assert manager.transform_cell("# here\n%%local\na = 1\n") == "# here\na = 1\n"


def test_local_covers_one_cell_only(manager, autopx):
    autopx.toggle("")
    manager.transform_cell("%%local\na = 1\n")
    assert is_sent(manager, "a = 1\n")


@pytest.mark.parametrize(
    "cell", ["a = = 1\n", "a?\n", "?a\n", "!ls\n", "%%bash\nls\n", "# why\na = 1\n", "1;\n"]
)
def test_all_else_is_sent_as_it_is_written(manager, autopx, cell):
    autopx.toggle("")
    assert is_sent(manager, cell)
    assert autopx.added == 1


@pytest.mark.parametrize(
    ("content", "sent"),
    [
        ({"silent": False, "store_history": True}, True),
        ({}, True),
        ({"silent": True, "store_history": False}, False),
        ({"silent": False, "store_history": False}, False),
    ],
)
def test_what_a_front_end_runs_for_itself_stays_here(manager, content, sent):
    kernel = SimpleNamespace(get_parent=lambda channel: {"content": content})
    shell = SimpleNamespace(input_transformers_cleanup=manager.cleanup_transforms, kernel=kernel)
    AutoPx(shell, OURS.__contains__).toggle("")
    assert (manager.transform_cell("a = 1\n") != "a = 1\n") is sent


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


@pytest.fixture
def view(shell):
    """A view whose magics are in a shell, and told of as IPython's are."""
    show_folded(shell)
    activate(view := FakeView())
    return view


def test_cells_run_as_without_it_until_it_is_off(shell, view, capsys):
    for cell in ("%autopx", "a = 1", "%%local\nhere = 2", "%autopx", "b = 3"):
        assert shell.run_cell(cell, store_history=True).success
    assert [call.code for call in view.calls] == ["a = 1\n"]
    assert shell.user_ns["here"] == 2
    assert shell.user_ns["b"] == 3
    assert "a" not in shell.user_ns
    assert capsys.readouterr().out == "%autopx enabled\n%autopx disabled\n"


def test_what_was_typed_is_remembered(shell, view):
    for cell in ("%autopx", "a = 1", "%%local\n7"):
        shell.run_cell(cell, store_history=True)
    raw = shell.history_manager.input_hist_raw
    assert raw[1:] == ["%autopx", "a = 1", "%%local\n7"]
    assert shell.user_ns["Out"] == {3: 7}


def test_another_set_is_refused_in_one_sentence_and_used_by_name(shell, view, capsys):
    activate(even := FakeView(), "_even")
    shell.run_cell("%autopx")
    shell.run_cell("%autopx_even")
    told = "UsageError: %autopx is on; turn it off before you use %autopx_even.\n"
    assert capsys.readouterr().err == told
    shell.run_cell("%%px_even\na = 1")
    shell.run_cell("%px_even b = 2")
    assert [call.code for call in even.calls] == ["a = 1\n", "b = 2"]
    assert view.calls == []


def test_it_can_be_switched_off_in_a_local_cell(shell, view):
    shell.run_cell("%autopx")
    shell.run_cell("%%local\n%autopx")
    shell.run_cell("here = 1")
    assert shell.user_ns["here"] == 1


def test_the_local_part_of_a_cell_is_not_sent_again(shell, view):
    shell.run_cell("%autopx")
    shell.run_cell("%%px --local\na = 1")
    assert len(view.calls) == 1
    assert shell.user_ns["a"] == 1


def test_an_error_is_shown_once_and_the_next_cell_is_sent(shell, view, capsys):
    view._answer = lambda view, tasks: [view.fail(task) for task in tasks]
    shell.run_cell("%autopx")
    capsys.readouterr()
    shell.run_cell("a = = 1")
    assert capsys.readouterr().out.count("ZeroDivisionError") == 1
    shell.run_cell("b = 1")
    assert [call.code for call in view.calls] == ["a = = 1\n", "b = 1\n"]


def test_a_cell_of_autopx_has_the_line_numbers_that_its_user_sees(shell, view):
    found = []

    def fail(view, tasks):
        for task in tasks:
            head = "Cell In[9], line 1\n----> 1 1/0"
            view.fail(task, traceback=[head], execution_count=9)

    view._answer = fail
    for code in ("%autopx", "1/0", "%autopx", "%%px\n1/0", "a = 1\n%px 1/0"):
        ran = shell.run_cell(code, store_history=True)
        if ran.error_in_exec is not None:
            found.append(ran.error_in_exec.failures[0].traceback[0])
    assert found == [
        "Cell In[2], line 1\n----> 1 1/0",
        "Cell In[4], line 2\n----> 2 1/0",
        "Cell In[5], line 2\n----> 2 1/0",
    ]
