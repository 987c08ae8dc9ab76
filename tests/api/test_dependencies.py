"""What load-balanced tasks depend on, on engines; each way to fail has its own error."""

from __future__ import annotations

import os
import statistics
import time

import pytest

import ipyviews as ipp

row = pytest.mark.row
awaited = pytest.mark.awaited

UNKNOWN = "0123456789abcdef-1.0"


@ipp.interactive
def has_tool():
    """Whether this engine has been given the tool."""
    return "tool" in globals()


@ipp.depend(has_tool)
@ipp.interactive
def use_tool(value):
    return value + tool  # noqa: F821 - a name of the engine


def fail():
    raise ZeroDivisionError("as asked")


# -- after and follow, on engines ------------------------------------------------------------------


def ended(result) -> float:
    return result.metadata["completed"].timestamp()


@awaited
@row("5-after")
def test_a_task_runs_after_those_it_names(lv):
    first = lv.apply_async(time.sleep, 0.2)
    with lv.temp_flags(after=first.msg_ids):
        second = lv.apply_async(os.getpid)
    second.get()
    assert second.metadata["started"].timestamp() >= ended(first)
    assert second.metadata["after"]["tasks"] == first.msg_ids
    assert second.metadata["follow"] is None


@row("5-follow")
def test_a_task_runs_where_those_ran_that_it_follows(rc, lv):
    pids = rc[:].apply_sync(os.getpid)
    for engine in range(4):
        first = rc.load_balanced_view([engine]).apply_async(os.getpid)
        with lv.temp_flags(follow=first):
            second = lv.apply_async(os.getpid)
        assert second.get() == first.get() == pids[engine]
        assert second.engine_id == engine
        assert second.metadata["follow"]["tasks"] == first.msg_ids


@row("5-follow", "5-after")
def test_maps_and_cells_wait_too(rc, lv):
    slow = rc[1].apply_async(time.sleep, 0.1)
    with lv.temp_flags(after=slow, follow=slow):
        mapped = lv.map_async(abs, range(-5, 0))
        cell = lv.execute("import os; where = os.getpid()")
    assert mapped.get() == [5, 4, 3, 2, 1]
    assert set(mapped.engine_id) == {1}
    cell.get()
    assert cell.engine_id == 1
    with lv.temp_flags(after=mapped):
        assert lv.apply_sync(abs, -1) == 1


@row("5-all-any")
def test_any_of_several_is_enough_when_not_all_count(lv):
    slow, quick = lv.apply_async(time.sleep, 5), lv.apply_async(time.sleep, 0)
    with lv.temp_flags(after=ipp.Dependency([slow, quick], all=False)):
        assert lv.apply_async(abs, -1).get(timeout=3) == 1
    assert not slow.done()
    slow.abort()


@row("5-success-failure")
def test_success_and_failure_say_whose_end_counts(lv):
    bad, good = lv.apply_async(fail), lv.apply_async(abs, -1)
    with lv.temp_flags(after=ipp.Dependency([bad, good], failure=True)):
        either = lv.apply_async(abs, -2)
    with lv.temp_flags(after=ipp.Dependency(bad, success=False, failure=True)):
        sweep = lv.apply_async(abs, -3)
    with lv.temp_flags(after=ipp.Dependency(good, success=False, failure=True)):
        never = lv.apply_async(abs, -4)
    assert (either.get(timeout=5), sweep.get(timeout=5)) == (2, 3)
    with pytest.raises(ipp.ImpossibleDependency, match="which succeeded"):
        never.get(timeout=5)


@awaited
@row("5-needed-failed", "5-error-form")
def test_a_task_whose_need_failed_is_impossible_at_once(lv):
    bad, slow = lv.apply_async(fail), lv.apply_async(time.sleep, 5)
    with lv.temp_flags(after=bad.msg_ids + slow.msg_ids):
        hopeless = lv.apply_async(abs, -1)
    with lv.temp_flags(after=hopeless.msg_ids):
        chained = lv.apply_async(abs, -1)
    with pytest.raises(ipp.ImpossibleDependency, match=r"comes after task .*, which failed"):
        hopeless.get(timeout=3)
    with pytest.raises(ipp.ImpossibleDependency):
        chained.get(timeout=3)
    assert hopeless.metadata["status"] == "error"
    assert not slow.done()
    slow.abort()


@row("5-unknown-id", "5-error-form")
@pytest.mark.parametrize("how", ["after", "follow"])
def test_depending_on_what_nobody_knows_or_on_itself_is_invalid(rc, lv, how):
    with lv.temp_flags(**{how: UNKNOWN}), pytest.raises(ipp.InvalidDependency, match="not know"):
        lv.apply_async(abs, -1).get(timeout=3)
    itself = f"{rc.session.session}-{rc.connection.number + 1}.0"
    with lv.temp_flags(**{how: itself}), pytest.raises(ipp.InvalidDependency, match="itself"):
        lv.apply_async(abs, -1).get(timeout=3)


@row("5-follow-two-engines")
def test_following_tasks_of_two_engines_is_impossible_unless_one_will_do(rc, lv):
    both = rc[[0, 2]].apply_async(os.getpid)
    with lv.temp_flags(follow=both):
        hopeless = lv.apply_async(os.getpid)
    with lv.temp_flags(follow=ipp.Dependency(both, all=False)):
        one = lv.apply_async(os.getpid)
    with pytest.raises(ipp.ImpossibleDependency, match="different engines: 0, 2"):
        hopeless.get(timeout=3)
    one.get(timeout=3)
    assert one.engine_id in (0, 2)


@row("5-follow")
def test_following_to_an_engine_that_is_gone_or_was_started_anew_is_impossible(rc, lv):
    first = rc[3].apply_async(os.getpid)
    first.get()
    rc.restart([3])
    with lv.temp_flags(follow=first), pytest.raises(ipp.ImpossibleDependency, match="is gone"):
        lv.apply_async(os.getpid).get(timeout=3)


@row("5-direct-ids")
def test_direct_tasks_and_tasks_of_other_clients_can_be_depended_on(rc, cluster4):
    direct = rc[1].apply_async(time.sleep, 0.1)
    with cluster4.connect_client_sync() as other:
        lv = other.load_balanced_view()
        with lv.temp_flags(follow=direct.msg_ids):
            result = lv.apply_async(os.getpid)
        result.get(timeout=5)
        assert result.engine_id == 1


@row("5-timeout")
def test_a_task_that_is_not_started_in_time_fails_also_while_it_waits_for_others(rc, lv):
    busy = rc[:].apply_async(time.sleep, 5)
    with lv.temp_flags(timeout=0.1):
        queued = lv.apply_async(abs, -1)
    with lv.temp_flags(timeout=0.1, after=busy):
        held = lv.apply_async(abs, -1)
    with lv.temp_flags(timeout=0):
        patient = lv.apply_async(abs, -1)
    with pytest.raises(ipp.TaskTimeout, match="not started in time"):
        queued.get(timeout=3)
    with pytest.raises(ipp.TaskTimeout, match="waited for 4 of the 4 tasks"):
        held.get(timeout=3)
    busy.abort()
    assert patient.get(timeout=5) == 1


@row("5-timeout")
def test_what_has_started_may_take_longer_than_its_timeout(lv):
    with lv.temp_flags(timeout=0.1):
        assert lv.apply_async(time.sleep, 0.3).get(timeout=5) is None


@row("5-label")
def test_the_label_is_kept_with_the_task(lv):
    with lv.temp_flags(label="only here"):
        result = lv.apply_async(abs, -1)
    result.get()
    assert result.metadata["label"] == "only here"
    found = lv.client.db_query({"label": "only here"})
    assert [record["label"] for record in found] == ["only here"]


# -- retries ---------------------------------------------------------------------------------------


@awaited
@row("5-retries", "5-retries-elsewhere")
def test_retries_end_with_the_task_s_own_last_error(rc):
    lv = rc.load_balanced_view([0, 1])
    with lv.temp_flags(retries=10):
        result = lv.apply_async(fail)
    with pytest.raises(ZeroDivisionError, match="as asked"):
        result.get(timeout=10)
    assert len(result.attempts) == 11
    assert {run[0] for run in result.attempts} == {0, 1}
    assert {run[4] for run in result.attempts} == {"error"}


@row("5-retries")
def test_a_task_that_succeeds_at_last_has_succeeded(lv, tmp_path):
    marks = tmp_path / "marks"

    def third_time(path):
        path.touch()
        path.write_text(path.read_text() + "x")
        return 1 / (len(path.read_text()) >= 3)

    with lv.temp_flags(retries=5):
        result = lv.apply_async(third_time, marks)
    assert result.get(timeout=5) == 1.0
    assert [run[4] for run in result.attempts] == ["error", "error", "ok"]


# -- depend and require, on engines ----------------------------------------------------------------


@awaited
@row("5-depend", "5-dependent")
def test_a_task_runs_only_where_what_it_depends_on_is_not_false(rc, lv):
    rc[2].push({"tool": 40}, block=True)
    result = lv.apply_async(use_tool, 2)
    assert result.get(timeout=5) == 42
    assert result.engine_id == 2
    assert {run[4] for run in result.attempts[:-1]} <= {"unmet"}
    for chunksize in (1, 4):
        mapped = lv.map_async(use_tool, range(10), chunksize=chunksize)
        assert mapped.get(timeout=10) == list(range(40, 50))
        assert set(mapped.engine_id) == {2}


@row("5-depend")
def test_an_error_named_unmet_dependency_means_not_here_too(rc, lv):
    def only_on(allowed, *, error):
        import os

        if os.getpid() != allowed:
            raise error("not me")

    pid = rc[1].apply_sync(os.getpid)
    error = type("UnmetDependency", (Exception,), {})
    for kind in (error, ipp.UnmetDependency):
        result = lv.apply_async(ipp.depend(only_on, pid, error=kind)(os.getpid))
        assert result.get(timeout=5) == pid


@row("5-unmet-everywhere", "5-error-form")
def test_what_is_met_nowhere_is_impossible_at_once(lv):
    result = lv.apply_async(use_tool, 1)
    with pytest.raises(
        ipp.ImpossibleDependency, match=r"on engine 0, 1, 2, 3, and no other"
    ) as why:
        result.get(timeout=5)
    assert str(why.value).endswith("the last said: has_tool said False")
    assert sorted(run[0] for run in result.attempts) == [0, 1, 2, 3]


@row("5-unmet-targets")
def test_what_is_met_on_none_of_the_targets_is_impossible(rc):
    rc[2].push({"tool": 40}, block=True)
    result = rc.load_balanced_view([0, 3]).apply_async(use_tool, 1)
    with pytest.raises(ipp.ImpossibleDependency, match="on engine 0, 3"):
        result.get(timeout=5)


@awaited
@row("5-require-modules")
def test_required_modules_are_imported_into_the_namespace_of_the_engine(rc, lv):
    @ipp.require("colorsys", "xml.dom", statistics)
    @ipp.interactive
    def mean(values):
        return statistics.mean(values), colorsys.__name__, xml.dom.__name__  # noqa: F821

    assert lv.apply_sync(mean, [1, 2, 6]) == (3, "colorsys", "xml.dom")
    with pytest.raises(ipp.ImpossibleDependency, match="said: no_such_module"):
        lv.apply_async(ipp.require("no_such_module")(abs), -1).get(timeout=5)


@row("5-require-functions")
def test_required_functions_and_objects_are_put_into_the_namespace(rc):
    @ipp.interactive
    def double(value):
        return 2 * value

    @ipp.require(double, level=5, names=["a"])
    @ipp.interactive
    def compute(value):
        return double(value) + level, names  # noqa: F821

    assert rc[1].apply_sync(compute, 3) == (11, ["a"])
    assert rc[1].pull(["level", "names"], block=True) == [5, ["a"]]
    assert rc[1].apply_sync(ipp.interactive(lambda: double(4))) == 8


@awaited
@row("5-require-direct")
def test_on_a_direct_view_the_answer_of_the_engine_is_final(rc):
    function = ipp.require("no_such_module")(abs)
    with pytest.raises(ipp.RemoteError) as caught:
        rc[0].apply_async(function, -1).get(timeout=5)
    assert (caught.value.ename, caught.value.evalue) == ("UnmetDependency", "no_such_module")
    assert isinstance(caught.value, ipp.UnmetDependency)
    with pytest.raises(ipp.CompositeError) as several:
        rc[:].apply_async(function, -1).get(timeout=5)
    assert "UnmetDependency: no_such_module (on 4 of 4 engines)" in str(several.value)


@row("5-require-modules", "5-depend")
def test_decorators_can_be_stacked(rc, lv):
    rc[3].push({"tool": 1}, block=True)

    @ipp.depend(has_tool)
    @ipp.require("statistics")
    @ipp.interactive
    def both(values):
        return statistics.mean(values) + tool  # noqa: F821

    result = lv.apply_async(both, [1, 3])
    assert result.get(timeout=5) == 3
    assert result.engine_id == 3


@row("2.5-require-cloudpickle")
@pytest.mark.parametrize("use", ["use_cloudpickle", "use_pickle"])
def test_require_works_with_every_pickler(lv, use):
    @ipp.require("colorsys", level=5)
    def function():
        import __main__

        return __main__.colorsys.__name__, __main__.level

    getattr(lv, use)()
    assert lv.apply_sync(function) == ("colorsys", 5)


# -- together --------------------------------------------------------------------------------------


def test_a_graph_of_tasks_runs_in_its_order(lv):
    parents = {
        number: [earlier for earlier in (number // 2, number - 3) if 0 <= earlier < number]
        for number in range(40)
    }
    results = {}
    for number, needed in parents.items():
        with lv.temp_flags(after=[results[parent] for parent in needed], retries=1):
            results[number] = lv.apply_async(time.sleep, 0.002)
    for number, needed in parents.items():
        results[number].get(timeout=20)
        for parent in needed:
            started = results[number].metadata["started"].timestamp()
            assert ended(results[parent]) <= started


@pytest.mark.parametrize("what", ["abort", "leave"])
def test_a_held_task_can_be_stopped(rc, lv, what, cluster4):
    slow = rc[0].apply_async(time.sleep, 10)
    with lv.temp_flags(after=slow):
        held = lv.apply_async(abs, -1)
    if what == "abort":
        held.abort()
        with pytest.raises(ipp.TaskAborted):
            held.get(timeout=3)
        slow.abort()
    else:
        rc.close()
        with pytest.raises(ipp.ClusterError):
            held.get(timeout=3)
