import pytest

from ipyviews.errors import CompositeError
from ipyviews_magics.tracebacks import show_folded

ERRORS = [
    ("ZeroDivisionError", "division by zero", ["line 2", "ZeroDivisionError: division by zero"])
] * 2
INFOS = [{"engine_id": engine, "method": "execute"} for engine in range(2)]


@pytest.fixture
def error():
    failures = [(*known, info) for known, info in zip(ERRORS, INFOS, strict=True)]
    return CompositeError("one or more exceptions", failures, 2)


def test_equal_errors_of_engines_are_shown_once_without_our_frames(shell, error, capsys):
    show_folded(shell)
    shell.user_ns["error"] = error
    result = shell.run_cell("raise error")
    assert result.error_in_exec is error
    written = capsys.readouterr()
    assert written.err == ""
    assert written.out == (
        "[0-1:execute]: (on 2 of 2 engines)\nline 2\nZeroDivisionError: division by zero\n\n"
    )


def test_other_errors_are_shown_as_ever(shell, capsys):
    show_folded(shell)
    shell.run_cell("1/0")
    assert "Cell In[1], line 1" in capsys.readouterr().out


def test_an_error_of_ours_shows_the_user_s_frames_only(shell, capsys):
    show_folded(shell)
    shell.run_cell("import ipyviews\nipyviews.Cluster(n=-1)")
    written = capsys.readouterr().out
    assert "Cell In[1], line 2" in written
    assert "UsageError" in written
    assert "cluster.py" not in written


def test_a_handler_that_is_there_stays(shell):
    seen = []

    def handler(shell, kind, error, trace, tb_offset=None):
        seen.append(kind)

    shell.set_custom_exc((ValueError,), handler)
    show_folded(shell)
    shell.run_cell("raise ValueError")
    assert seen == [ValueError]
