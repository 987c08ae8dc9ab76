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


@pytest.mark.row("4-remote-str", "4-remote-repr", "4-remote-attributes")
def test_a_remote_error_says_where_and_what():
    assert str(zero()) == "[0:apply] ZeroDivisionError: division by zero"
    assert repr(zero(3)) == "<RemoteError[3]:ZeroDivisionError(division by zero)>"
    assert zero().args == ("ZeroDivisionError", "division by zero")
    assert zero(2).engine == 2


@pytest.mark.row("4-remote-str")
def test_a_remote_error_of_an_unknown_engine():
    error = RemoteError("KeyError", "'a'")
    assert str(error) == "[Engine Exception] KeyError: 'a'"
    assert error.render_traceback() == ["[Engine Exception]", "KeyError: 'a'"]
    assert (error.engine, error.task) == (None, None)


@pytest.mark.row("4-remote-render")
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


@pytest.mark.row("4-composite-str", "4-composite-repr")
def test_different_failures_are_listed_one_by_one():
    error = CompositeError("failed in: f", [zero(0), key(1)])
    assert str(error) == (
        "failed in: f\n[0:apply]ZeroDivisionError: division by zero\n[1:execute]KeyError: 'a'"
    )
    assert repr(error) == "CompositeError(2)"
    assert error.msg == "failed in: f"


@pytest.mark.row("4-composite-group", "4-composite-render")
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


@pytest.mark.row("4-composite-str", "4-composite-render")
def test_long_lists_are_cut():
    different = [RemoteError("E", str(n), None, {"engine_id": n}) for n in range(7)]
    error = CompositeError("m", [*different, different[6]])
    lines = str(error).splitlines()
    assert lines[4] == "[3]E: 3"
    assert lines[5:] == [".... 4 more exceptions ..."]
    assert error.render_traceback()[-1] == "... 4 more exceptions ..."


@pytest.mark.row("4-composite-render-one", "4-composite-raise")
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


@pytest.mark.row("4-composite")
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


@pytest.mark.row("4-composite-group")
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


@pytest.mark.row("4-already-displayed")
def test_what_was_displayed_already_is_only_counted():
    error = AlreadyDisplayedError(CompositeError("m", [zero(0), zero(1), key(2)]))
    assert (str(error), error.n, error._render_traceback_()) == ("3 errors", 3, ["3 errors"])
    assert str(AlreadyDisplayedError(zero())) == "1 error"


@pytest.mark.row("4-no-engines")
def test_no_engines_says_what_to_do():
    assert "wait_for_engines" in str(NoEnginesRegistered())
    assert str(NoEnginesRegistered("why")) == "why"


def test_ipython_is_given_the_folded_tracebacks_and_the_list():
    error = CompositeError("failed in: f", [zero(0), zero(1)])
    lines = error._render_traceback_()
    assert lines[:3] == ["[0-1:apply]: (on 2 engines)", "Traceback", "  line 1"]
    assert lines[-1] == str(error)


# -- many ------------------------------------------------------------------------------------


def deep(engine, lines=60, width=20):
    """A failure of its own kind with a long traceback."""
    trace = [f"line {n} of engine {engine} " + "x" * width for n in range(lines)]
    return RemoteError("Deep", f"number {engine}", trace, {"engine_id": engine, "method": "apply"})


@pytest.mark.row("4-one-screen")
@pytest.mark.parametrize("different", [1, 2, 3, 4, 64])
def test_64_engines_take_one_screen(different):
    error = CompositeError("failed", [deep(engine % different) for engine in range(64)])
    assert len("\n".join(error._render_traceback_()).splitlines()) <= 50
    assert len(str(error).splitlines()) <= 6


@pytest.mark.row("4-one-screen", "4-composite-group")
def test_what_is_cut_is_counted_and_kept():
    error = CompositeError("failed", [deep(0), deep(1), deep(2)])
    shown = error.render_traceback()
    assert shown[:2] == ["[0:apply]:", "line 0 of engine 0 " + "x" * 20]
    gap = shown.index("... 51 lines; all are in error.failures[0].traceback ...")
    assert shown[gap + 1].startswith("line 53 of engine 0")
    assert shown[shown.index("[1:apply]:") - 2].startswith("line 59 of engine 0")
    assert error.failures[0].traceback == deep(0).traceback
    assert error.render_traceback(0) == ["[0:apply]:", *deep(0).traceback, ""]


def test_a_higher_limit_shows_more_failures(monkeypatch):
    monkeypatch.setattr(CompositeError, "tb_limit", 40)
    error = CompositeError("m", [deep(engine) for engine in range(50)])
    shown = error.render_traceback()
    assert len(shown) == 40 * 5 + 1
    assert shown[1].endswith("all are in error.failures[0].traceback ...")
    assert len(str(error).splitlines()) == 42


def test_long_lines_and_long_texts_are_cut_for_the_screen_only():
    error = CompositeError("m", [deep(0, lines=1, width=9999), RemoteError("E", "one\ntwo")])
    assert max(map(len, error.render_traceback())) < 300
    assert str(error).splitlines()[2] == "[Engine Exception]E: one …"
    long = CompositeError("m", [RemoteError("E", "y" * 9999), RemoteError("F", "")])
    assert max(map(len, str(long).splitlines())) < 300
    coloured = CompositeError("m", [RemoteError("E", "e", ["\x1b[31m" + "z" * 9999])])
    assert coloured.render_traceback()[1].endswith("…\x1b[0m")


@pytest.mark.row("4-composite-group")
def test_engines_and_failures_keep_all():
    members = [zero(3), zero(1), key(3), TaskAborted("aborted", engine=0)]
    error = CompositeError("m", members)
    assert error.engines == [3, 1, 0]
    assert error.failures == list(error.exceptions) == members
    assert [failure.traceback for failure in error.failures][2:] == [["one", "two"], []]
    assert [failure.ename for failure in error.failures][2:] == ["KeyError", "TaskAborted"]


def test_plain_python_shows_equal_tracebacks_once():
    error = CompositeError("failed", [zero(engine) for engine in range(64)], 64)
    text = "".join(traceback.format_exception(error))
    assert text.count("line 1") == 1
    assert len(text.splitlines()) < 50
    try:
        raise error
    except CompositeError:
        with pytest.raises(RemoteError) as raised:
            error.raise_exception(7)
    assert raised.value.__context__ is None
    assert "  line 1" in "".join(traceback.format_exception(raised.value))


@pytest.mark.parametrize("different", [2, 64])
def test_plain_python_shows_a_screen_of_different_ones(different):
    error = CompositeError("failed", [deep(engine % different) for engine in range(64)])
    assert len("".join(traceback.format_exception(error)).splitlines()) < 75
    whole = traceback.format_exception(deep(0))
    with pytest.raises(RemoteError) as raised:
        error.raise_exception(0)
    assert traceback.format_exception_only(raised.value) == whole


@pytest.mark.row("4-composite", "4-tree")
def test_a_group_is_caught_as_remote_error_too():
    error = CompositeError("m", [zero(0)])
    assert isinstance(error, RemoteError)
    assert isinstance(error, ExceptionGroup)
    assert (error.ename, error.evalue, error.engine_info) == ("CompositeError", "m", {})
    assert (error.tb_limit, CompositeError.tb_limit) == (4, 4)


# -- names and helpers -----------------------------------------------------------------------


@pytest.mark.row("4-tree", "4-timeout-error", "0-error-module", "0-errors", "4-launcher-errors")
def test_the_tree_is_that_of_the_seeds():
    import ipyviews
    from ipyviews import error

    tree = {
        "KernelError": "IPythonError",
        "EngineError": "KernelError",
        "NoEnginesRegistered": "KernelError",
        "TaskAborted": "KernelError",
        "TaskTimeout": "KernelError",
        "TaskRejectError": "KernelError",
        "UnmetDependency": "KernelError",
        "ImpossibleDependency": "UnmetDependency",
        "DependencyTimeout": "ImpossibleDependency",
        "InvalidDependency": "ImpossibleDependency",
        "RemoteError": "KernelError",
        "CompositeError": "RemoteError",
        "AlreadyDisplayedError": "RemoteError",
        "LauncherError": "KernelError",
        "ProcessStateError": "LauncherError",
        "UnknownStatus": "LauncherError",
        "NotRunning": "LauncherError",
    }
    for name, parent in tree.items():
        assert issubclass(getattr(error, name), getattr(error, parent))
        assert getattr(ipyviews, name) is getattr(error, name) is getattr(errors, name)
    assert error.TimeoutError is TimeoutError


def test_the_module_of_ipyparallels_name_has_all_errors():
    from ipyviews import error

    known = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.IPyViewsError)
    }
    helpers = {"collect_exceptions", "wrap_exception", "unwrap_exception", "TimeoutError"}
    assert set(error.__all__) == known | helpers


@pytest.mark.row("4-task-aborted")
def test_an_aborted_task_is_no_remote_error():
    assert not issubclass(TaskAborted, RemoteError)
    assert TaskAborted("c-1.0 was aborted").args == ("c-1.0 was aborted",)


@pytest.mark.row("4-collect", "0-error-helpers")
@pytest.mark.parametrize("results", [[1, 2], {0: 1, 1: 2}, (1,), [], {}])
def test_results_without_failures_are_passed_through(results):
    assert errors.collect_exceptions(results) is results


@pytest.mark.row("4-collect")
@pytest.mark.parametrize("results", [[zero(0)], {0: 1, 1: zero(0)}, [TaskAborted("gone"), 1]])
def test_failures_among_results_are_raised_together(results):
    with pytest.raises(CompositeError, match=r"^one or more exceptions raised in: f$") as raised:
        errors.collect_exceptions(results, "f")
    assert len(raised.value.failures) == 1


def test_groups_among_results_are_opened():
    inner = CompositeError("inner", [zero(0), key(1)])
    with pytest.raises(CompositeError, match="unspecified") as raised:
        errors.collect_exceptions([inner, zero(2), ValueError("a value like any other")])
    assert [failure.engine for failure in raised.value.failures] == [0, 1, 2]


@pytest.mark.row("4-wrap", "0-error-helpers")
def test_an_active_exception_is_wrapped_and_unwrapped():
    info = {"engine_uuid": "e3", "engine_id": 3, "method": "apply"}
    try:
        1 / 0
    except ZeroDivisionError:
        content = errors.wrap_exception(info)
    assert content["status"] == "error"
    assert content["engine_info"] == info
    assert content["traceback"][-1] == "ZeroDivisionError: division by zero"
    error = errors.unwrap_exception(content)
    assert type(error) is RemoteError
    assert str(error) == "[3:apply] ZeroDivisionError: division by zero"
    assert error.traceback == content["traceback"]
    bare = errors.unwrap_exception({"ename": "E", "evalue": "v", "traceback": []})
    assert str(bare) == "[Engine Exception] E: v"


def test_there_must_be_something_to_wrap():
    with pytest.raises(errors.UsageError, match="in except"):
        errors.wrap_exception()
