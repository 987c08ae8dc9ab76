"""The verbs of direct views, on real engines."""

from __future__ import annotations

import sys
import time
from itertools import product

import numpy as np
import pytest

import ipyviews as ipp
from ipyviews.client import activation
from ipyviews.errors import UsageError
from tests.client.fakes import FakeController

row = pytest.mark.row
awaited = pytest.mark.awaited


@pytest.fixture
def fake_rc():
    """A client of two engines that are dicts."""
    fake = FakeController()
    with ipp.Client(fake.file, transport=fake.transport) as client:
        yield client


# -- calls and cells --------------------------------------------------------------------------


@awaited
@row("2.2-apply-scalar")
def test_an_int_target_gives_a_scalar_every_other_a_list_in_its_order(rc):
    def number():
        import os

        return os.getpid()

    pids = [rc[i].apply_sync(number) for i in range(4)]
    assert all(isinstance(pid, int) for pid in pids)
    assert rc[:].apply_sync(number) == rc.direct_view().apply_sync(number) == pids
    assert rc[[2, 0]].apply_sync(number) == [pids[2], pids[0]]
    assert rc[[3]].apply_sync(number) == [pids[3]]


@awaited
@row("2.2-execute-returns", "2.2-execute-waits-output", "11-execute-output")
def test_a_blocking_execute_returns_a_result_with_its_output(rc):
    result = rc[:2].execute("print('here')", block=True)
    assert isinstance(result, ipp.AsyncResult)
    assert result.done()
    assert result.stdout == ["here\n", "here\n"]
    later = rc[0].execute("print('there')")
    assert later.get().stdout == "there\n"


@awaited
@row("2.2-execute-error")
def test_a_blocking_execute_raises_the_error(rc):
    with pytest.raises(ipp.RemoteError) as one:
        rc[0].execute("1 / 0", block=True)
    assert one.value.ename == "ZeroDivisionError"
    with pytest.raises(ipp.CompositeError):
        rc[:].execute("1 / 0", block=True)


@row("2.2-execute-silent")
def test_a_silent_cell_shows_no_value_and_counts_nothing(rc):
    shown = rc[0].execute("6 * 7", silent=False, block=True)
    assert shown.execute_result["data"]["text/plain"] == "42"
    silent = rc[0].execute("6 * 7", block=True)
    assert silent.execute_result is None
    again = rc[0].execute("6 * 7", silent=False, block=True)
    assert again.get().execution_count == shown.get().execution_count + 1


@row("2.2-execute-magics")
def test_magics_work_in_cells(rc):
    rc[0].push({"found_by_whos": 1}, block=True)
    assert "found_by_whos" in rc[0].execute("%whos", block=True).stdout


@awaited
@row("2.2-execute-label")
def test_targets_block_and_label_can_be_given_to_execute(rc):
    result = rc[0].execute("x = 1", targets=[1, 2], block=True, label="mine")
    assert result.engine_id == [1, 2]
    assert result.label == ["mine", "mine"]


@awaited
@row("2.2-run", "11-kept")
def test_run_executes_a_file_of_this_machine(rc, tmp_path):
    (tmp_path / "program.py").write_text("print('from a file')\nran = 1")
    result = rc[:2].run(tmp_path / "program.py", block=True)
    assert result.stdout == ["from a file\n"] * 2
    assert rc[0]["ran"] == 1


@row("2.2-order")
def test_calls_and_cells_run_on_an_engine_in_their_order(rc):
    view = rc[0]
    view["seen"] = []
    for i in range(0, 30, 3):
        view.apply(exec, f"seen.append({i})", ipp.Reference("globals()"))
        view.execute(f"seen.append({i + 1})")
        view.push({"pushed": i})
        view.execute("seen.append(pushed + 2)")
    assert view["seen"] == list(range(30))


@row("2.2-cell-error-aborts", "2.2-apply-error-aborts-nothing")
def test_an_error_aborts_nothing_that_others_asked_for(rc):
    view = rc[0]
    view.execute("import time; time.sleep(0.2)")
    failing = view.execute("1 / 0"), view.apply(divmod, 1, 0)
    after = view.apply(pow, 2, 2), view.execute("x = 5")
    assert after[0].get() == 4
    assert after[1].get()
    assert [result.successful() for result in failing] == [False, False]
    assert view["x"] == 5


# -- data -------------------------------------------------------------------------------------


@awaited
@row("2.2-push", "2.2-pull-str", "2.2-pull-list", "2.2-get", "11-kept")
def test_names_are_pushed_and_pulled(rc, dv):
    assert dv.push({"a": 5, "b": [1, 2]}, block=True) == [None] * 4
    assert rc[0].push({"c": 1}, block=True) is None
    assert dv.pull("a", block=True) == [5] * 4
    assert rc[0].pull("a", block=True) == 5
    for names in (["a", "b"], ("a", "b")):
        assert rc[:2].pull(names, block=True) == [[5, [1, 2]]] * 2
    assert rc[0].pull({"a"}, block=True) == [5]
    assert dv.get("a") == dv["a"] == [5] * 4
    assert rc[1].get(["a", "b"]) == [5, [1, 2]]


@row("2.2-push-type", "2.2-pull-type")
def test_wrong_types_are_refused_here(fake_rc):
    view = fake_rc[:]
    for wrong in ([1], "a", None):
        with pytest.raises(TypeError, match="Must be a dict, not <class"):
            view.push(wrong)
    for wrong in (3, None, ["a", 3], {"a": 1}):
        with pytest.raises(TypeError, match="names must be strs, not"):
            view.pull(wrong)


@awaited
@row("2.2-push-dotted", "2.2-pull-expression", "2.2-pull-missing")
def test_dotted_names_set_attributes_and_any_expression_is_pulled(rc):
    view = rc[0]
    view.execute("class Box: pass\nbox = Box()\nx = [1, 2]", block=True)
    view.push({"box.size": 3}, block=True)
    assert view.pull(["box.size", "x[0]", "len(x) + 1"], block=True) == [3, 1, 3]
    with pytest.raises(NameError, match="missing"):
        view.push({"missing.size": 3}, block=True)
    with pytest.raises(NameError, match="missing"):
        view.pull("missing", block=True)


@row("2.2-update", "2.2-setitem")
def test_update_and_assignment_block_as_the_flag_says(rc):
    view = rc[:2]
    view.execute("import time; time.sleep(0.5)")
    view["a"] = 5
    assert view.outstanding
    assert isinstance(view.update({"b": 6}), ipp.AsyncResult)
    assert view["a"] == [5, 5]
    view.block = True
    view["a"] = 7
    assert not view.outstanding
    assert view.update({"b": 8}) == [None, None]
    assert view["b"] == [8, 8]


@awaited
@row("2.2-scatter", "2.2-scatter-type", "2.2-gather", "2.2-gather-lists", "2.2-gather-range")
@row("2.2-scatter-round-robin", "2.2-gather-round-robin")
def test_gather_undoes_scatter(dv):
    for values, dist in product((list(range(7)), range(7), "abcdefg", b"abcdefg"), "br"):
        dv.scatter("x", values, dist=dist, block=True)
        parts = dv["x"]
        assert [len(part) for part in parts] == [2, 2, 2, 1]
        assert {type(part) for part in parts} == {type(values)}
        assert list(parts[0]) == list(values[:2] if dist == "b" else values[::4])
        back = dv.gather("x", dist=dist, block=True)
        assert (back, type(back)) == (values, type(values))
    assert isinstance(dv.gather("x"), ipp.AsyncMapResult)


@row("2.2-scatter-blocking", "2.2-scatter-flatten")
def test_scatter_returns_none_when_blocking_and_flattens(rc, dv):
    assert dv.scatter("x", range(4), block=True) is None
    assert isinstance(dv.scatter("x", range(4)), ipp.AsyncResult)
    dv.scatter("x", [7, 8, 9, 10], flatten=True, block=True)
    assert dv["x"] == [7, 8, 9, 10]
    dv.scatter("x", iter(range(5)), flatten=True, block=True, targets=[0, 1, 2, 3])
    assert dv["x"] == [[0, 1], 2, 3, 4]


@row("2.2-gather-lists", "2.2-scatter-type")
def test_arrays_of_any_type_come_back_writable(dv):
    plain = [np.arange(7).astype("i4").astype(kind) for kind in ("f8", "i2", "c16", "U3", "M8[s]")]
    records = np.array([(n, n / 2) for n in range(7)], [("a", "i4"), ("b", "f4")])
    for values, dist in product([*plain, records, np.arange(21).reshape(7, 3) > 9], "br"):
        dv.scatter("x", values, dist=dist, block=True)
        back = dv.gather("x", dist=dist, block=True)
        assert back.dtype == values.dtype
        assert np.array_equal(back, values)
        back[0] = back[1]


def test_gathered_parts_of_different_kinds_stay_parts(rc):
    rc[0]["x"], rc[1]["x"] = [1], {2}
    assert rc[:2].gather("x", block=True) == [[1], {2}]
    rc[0]["x"], rc[1]["x"] = (1, 2), [3]
    assert rc[:2].gather("x", block=True) == [1, 2, 3]


# -- namespaces and processes ---------------------------------------------------------------------


@awaited
@row("2.2-clear", "11-clear-block")
def test_clear_empties_the_namespaces(rc, dv):
    dv.push({"a": 1}, block=True)
    cleared = dv.clear(targets=[0, 1])
    assert isinstance(cleared, ipp.AsyncResult)
    cleared.get()
    dv.clear(targets=[2], block=True)
    assert dv.apply_sync(eval, "'a' in globals()", ipp.Reference("globals()")) == [
        False, False, False, True,
    ]  # fmt: skip
    dv.block = True
    dv.clear()
    with pytest.raises(NameError):
        rc[3]["a"]


@row("2.2-activate")
def test_activate_registers_magics(rc, monkeypatch):
    registered = []
    monkeypatch.setattr(activation, "registrar", lambda view, suffix: registered.append(suffix))
    monkeypatch.setattr(activation, "shell", object)
    view = rc[::2]
    view.activate("_even")
    view.activate()
    rc.load_balanced_view().activate("_any")
    assert registered == ["_even", "", "_any"]


@row("2.2-activate-outside", "11-activate-warns")
def test_activate_outside_ipython_warns(fake_rc, monkeypatch):
    monkeypatch.setattr(activation, "shell", lambda: None)
    with pytest.warns(UserWarning, match="There is no IPython here"):
        fake_rc[:].activate("_x")


@row("2.2-use-pickler")
def test_the_pickler_is_the_views_own(rc):
    space = {"__name__": "__main__", "here": 7}
    exec("def read():\n    return here", space)
    mine, other = rc[0], rc[0]
    mine["here"] = "there"
    assert mine.use_cloudpickle().get() is None
    assert mine.apply_sync(space["read"]) == 7
    assert other.apply_sync(space["read"]) == "there"
    mine.block = True
    assert mine.use_pickle() is None
    assert mine.apply_sync(space["read"]) == "there"


@row("2.2-use-pickler")
def test_a_pickler_that_is_not_installed_is_refused_at_once(fake_rc, monkeypatch):
    monkeypatch.setitem(sys.modules, "dill", None)
    view = fake_rc[:]
    with pytest.raises(UsageError, match="dill"):
        view.use_dill()
    assert view.apply_sync(pow, 2, 2) == [4, 4]


@row("2.2-kill", "11-kill")
def test_kill_ends_engines_at_once_and_restart_brings_them_back(rc):
    view = rc[[2, 3]]
    running = view.apply(time.sleep, 60)
    assert view.kill() is None
    assert rc.ids == [0, 1]
    with pytest.raises(ipp.CompositeError) as caught:
        running.get(5)
    assert all(isinstance(error, ipp.EngineError) for error in caught.value.exceptions)
    with pytest.raises(ipp.EngineError, match="Engine 3 is gone"):
        rc[3].apply(pow, 2, 2)
    view.restart()
    assert rc.ids == [0, 1, 2, 3]
    assert view.apply_sync(pow, 2, 2) == [4, 4]
