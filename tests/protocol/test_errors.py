"""The errors people see: texts, tracebacks, groups, copies."""

import copy
import pickle
import traceback

import pytest

from ipyviews import errors
from ipyviews.errors import (
    AlreadyDisplayedError,
    CompositeError,
    EngineError,
    NoEnginesRegistered,
    RemoteError,
    TaskAborted,
)

CLONES = [copy.copy, copy.deepcopy, lambda error: pickle.loads(pickle.dumps(error))]


def zero(engine=0, method="apply"):
    return RemoteError(
        "ZeroDivisionError",
        "division by zero",
        ["Traceback", "  line 1"],
        {"engine_id": engine, "method": method},
    )


def key(engine):
    return RemoteError("KeyError", "'a'", "one\ntwo", {"engine_id": engine, "method": "execute"})


def test_a_remote_error_says_where_and_what():
    assert str(zero()) == "[0:apply] ZeroDivisionError: division by zero"
    assert repr(zero(3)) == "<RemoteError[3]:ZeroDivisionError(division by zero)>"
    assert zero().args == ("ZeroDivisionError", "division by zero")
    assert zero(2).engine == 2


def test_a_remote_error_of_an_unknown_engine():
    error = RemoteError("KeyError", "'a'")
    assert str(error) == "[Engine Exception] KeyError: 'a'"
    assert error.render_traceback() == ["[Engine Exception]", "KeyError: 'a'"]
    assert (error.engine, error.task) == (None, None)


def test_a_remote_traceback_is_the_engines(capsys):
    expected = ["[0:apply]", "Traceback", "  line 1"]
    assert zero().render_traceback() == expected
    assert zero()._render_traceback_() == expected
    zero().print_traceback()
    assert capsys.readouterr().out == "[0:apply]\nTraceback\n  line 1\n"
    assert key(0).render_traceback()[1:] == ["one", "two"]


def test_plain_python_shows_the_engines_traceback_too():
    error = RemoteError("KeyError", "'a'", ["\x1b[0;31mKeyError\x1b[0m", "  line 1"])
    text = "".join(traceback.format_exception(error))
    assert text.endswith("[Engine Exception] KeyError: 'a'\nOn the engine:\nKeyError\n  line 1\n")
    assert len(copy.deepcopy(error).__notes__) == 1
    assert not hasattr(RemoteError("KeyError", "'a'"), "__notes__")


def test_different_failures_are_listed_one_by_one():
    error = CompositeError("failed in: f", [zero(0), key(1)])
    assert str(error) == (
        "failed in: f\n[0:apply]ZeroDivisionError: division by zero\n[1:execute]KeyError: 'a'"
    )
    assert repr(error) == "CompositeError(2)"
    assert error.msg == "failed in: f"


def test_equal_failures_are_told_once():
    error = CompositeError("failed", [zero(0), zero(1), key(2), zero(5)], total=6)
    assert str(error).splitlines()[1:] == [
        "[0-1,5:apply]ZeroDivisionError: division by zero (on 3 of 6 engines)",
        "[2:execute]KeyError: 'a'",
    ]
    assert error.render_traceback() == [
        "[0-1,5:apply]: (on 3 of 6 engines)",
        "Traceback",
        "  line 1",
        "",
        "[2:execute]:",
        "one",
        "two",
        "",
    ]


@pytest.mark.parametrize(
    ("engines", "total", "text"),
    [
        (range(64), 64, "[0-63:apply]ZeroDivisionError: division by zero (on 64 of 64 engines)"),
        ([0, 1], None, "[0-1:apply]ZeroDivisionError: division by zero (on 2 engines)"),
        ([0, 0, 0], 1, "[0:apply]ZeroDivisionError: division by zero (3 times, on 1 of 1 engine)"),
        ([None, None], 4, "[Engine Exception]ZeroDivisionError: division by zero (2 times)"),
    ],
)
def test_folded_failures_count_engines(engines, total, text):
    assert str(CompositeError("m", [zero(engine) for engine in engines], total)) == f"m\n{text}"


def test_the_same_error_of_a_cell_and_a_call_is_not_folded():
    error = CompositeError("m", [zero(0), zero(1, "execute")])
    assert len(str(error).splitlines()) == 3


def test_long_lists_are_cut():
    different = [RemoteError("E", str(n), None, {"engine_id": n}) for n in range(7)]
    error = CompositeError("m", [*different, different[6]])
    lines = str(error).splitlines()
    assert lines[4] == "[3]E: 3"
    assert lines[5:] == [".... 4 more exceptions ..."]
    assert error.render_traceback()[-1] == "... 4 more exceptions ..."


def test_one_failure_of_many_is_chosen_by_its_position(capsys):
    error = CompositeError("m", [zero(0), key(1)])
    assert error.render_traceback(1) == ["[1:execute]:", "one", "two", ""]
    error.print_traceback(1)
    assert capsys.readouterr().out == "[1:execute]:\none\ntwo\n\n"
    with pytest.raises(RemoteError, match="KeyError"):
        error.raise_exception(1)
    with pytest.raises(IndexError, match="an exception with index 9 does not exist"):
        error.render_traceback(9)
    with pytest.raises(IndexError, match="an exception with index 9 does not exist"):
        error.raise_exception(9)


def test_a_group_takes_tuples_and_gives_them_back():
    info = {"engine_id": 0, "method": "execute"}
    error = CompositeError("m", [("KeyError", "'a'", ["tb"], info)])
    assert error.elist == [("KeyError", "'a'", ["tb"], info)]
    assert isinstance(error.exceptions[0], RemoteError)


def test_aborted_tasks_and_lost_engines_can_be_members():
    members = [
        TaskAborted("aborted", engine=0, task="c-1.0"),
        EngineError("Engine 1 died", engine=1),
    ]
    error = CompositeError("m", members)
    assert str(error).splitlines()[1:] == [
        "[0]TaskAborted: aborted",
        "[1]EngineError: Engine 1 died",
    ]
    assert error.render_traceback(0) == ["[0]:", "TaskAborted: aborted", ""]
    assert (members[0].engine, members[0].task) == (0, "c-1.0")


def test_an_empty_group_is_refused():
    with pytest.raises(ValueError):
        CompositeError("m", [])


def test_except_star_splits_a_group():
    error = CompositeError("m", [zero(0), EngineError("died"), zero(1)], 3)
    lost, rest = error.split(EngineError)
    assert [type(part) for part in (lost, rest)] == [CompositeError, CompositeError]
    assert (len(lost.exceptions), len(rest.exceptions), rest.total) == (1, 2, 3)
    seen = []
    try:
        raise error
    except* EngineError as group:
        seen.append(len(group.exceptions))
    except* RemoteError as group:
        seen.append(len(group.exceptions))
    assert seen == [1, 2]


@pytest.mark.parametrize(
    "clone", [copy.copy, copy.deepcopy, lambda e: pickle.loads(pickle.dumps(e))]
)
@pytest.mark.parametrize(
    "error",
    [
        zero(),
        CompositeError("m", [zero(0), key(1)], 5),
        TaskAborted("aborted", engine=3, task="t"),
        NoEnginesRegistered(),
        AlreadyDisplayedError(zero()),
        errors.UsageError("do this"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_can_be_copied_and_pickled(clone, error):
    twin = clone(error)
    assert type(twin) is type(error)
    assert str(twin) == str(error)
    for name in ("engine", "task", "total", "engine_info", "n"):
        assert getattr(twin, name, None) == getattr(error, name, None)


def test_what_was_displayed_already_is_only_counted():
    error = AlreadyDisplayedError(CompositeError("m", [zero(0), zero(1), key(2)]))
    assert (str(error), error.n, error._render_traceback_()) == ("3 errors", 3, ["3 errors"])
    assert str(AlreadyDisplayedError(zero())) == "1 error"


def test_no_engines_says_what_to_do():
    assert "wait_for_engines" in str(NoEnginesRegistered())
    assert str(NoEnginesRegistered("why")) == "why"


def test_ipython_is_given_the_folded_tracebacks_and_the_list():
    error = CompositeError("failed in: f", [zero(0), zero(1)])
    lines = error._render_traceback_()
    assert lines[:3] == ["[0-1:apply]: (on 2 engines)", "Traceback", "  line 1"]
    assert lines[-1] == str(error)
