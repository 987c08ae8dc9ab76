"""What changed between IPython.parallel 0.13 and ipyparallel 9 is as in the latter."""

from __future__ import annotations

import inspect
import itertools
import time

import pytest
from traitlets import HasTraits

import ipyviews as ipp
from ipyviews.client.views import LazyMapIterator, View

row = pytest.mark.row


@pytest.fixture
def dv(rc):
    return rc[:]


@pytest.fixture
def lv(rc):
    return rc.load_balanced_view()


@row("11-track", "2.1-flag-defaults")
def test_views_do_not_track_by_default(dv, lv):
    assert dv.track is False
    assert lv.track is False


@row("11-set-flags")
def test_set_flags_returns_the_view(dv, lv):
    assert dv.set_flags(block=True) is dv
    assert lv.set_flags(retries=2) is lv


@row("11-apply-f")
def test_a_function_may_have_an_argument_f(dv):
    assert dv.apply_sync(lambda f, view: (f, view), f=1, view=2) == [(1, 2)] * 4


@row("11-no-spin")
def test_results_come_without_spin(dv, wait_until):
    ar = dv.apply_async(abs, -1)
    wait_until(ar.ready, 30)
    assert dv.outstanding == set()


@row("11-results-popped")
def test_results_shows_what_somebody_holds_and_keeps_nothing(rc, dv):
    ar = dv.apply_async(abs, -1)
    ar.get()
    assert [dv.results[task] for task in ar.msg_ids] == [1, 1, 1, 1]
    tasks = ar.msg_ids
    del ar
    # The last result of a client is always kept.
    dv.apply_sync(abs, -2)
    assert not any(task in rc.results for task in tasks)


@row("11-get-result")
def test_get_result_takes_block_and_owner(dv):
    assert inspect.signature(dv.get_result).parameters["owner"].default is False
    ar = dv.apply_async(abs, -1)
    found = dv.get_result(ar.msg_ids, block=True, owner=False)
    assert found.ready()
    assert found.get() == ar.get() == [1, 1, 1, 1]


@row("11-remote-block")
@pytest.mark.parametrize("block", [True, False])
def test_remote_follows_the_view_s_block(dv, block):
    dv.block = block
    called = dv.remote()(abs)(-1)
    assert isinstance(called, list) is block
    assert (called if block else called.get()) == [1, 1, 1, 1]


@row("11-clear-block")
def test_clear_follows_the_view_s_block(dv):
    dv.push({"a": 1}, block=True)
    dv.block = True
    assert not isinstance(dv.clear(), ipp.AsyncResult)
    assert dv.pull("'a' in globals()", block=True) == [False] * 4


@row("11-kept")
@pytest.mark.parametrize(
    "name",
    [
        "run",
        "update",
        "get",
        "push",
        "pull",
        "scatter",
        "gather",
        "importer",
        "sync_imports",
        "__getitem__",
        "__setitem__",
        "activate",
        "purge_results",
        "abort",
        "shutdown",
        "queue_status",
        "wait",
        "spin",
        "kill",
        "clear",
        "execute",
        "imap",
    ],
)
def test_a_direct_view_has_what_it_had(name):
    assert hasattr(ipp.DirectView, name)


@row("11-imap")
def test_imap_of_a_balanced_view_is_lazy(lv):
    found = lv.imap(abs, itertools.count(-3), max_outstanding=2)
    assert isinstance(found, LazyMapIterator)
    assert list(itertools.islice(found, 4)) == [3, 2, 1, 0]
    found.cancel()


@row("11-imap")
def test_imap_of_a_direct_view_gives_the_items_in_order(dv):
    assert list(dv.imap(abs, range(-5, 0))) == [5, 4, 3, 2, 1]


@row("11-map-options", "2.3-map-strict")
@pytest.mark.parametrize("kind", ["dv", "lv"])
def test_map_refuses_options_that_there_are_not(request, kind):
    view = request.getfixturevalue(kind)
    with pytest.raises(TypeError, match="no_such_option"):
        view.map(abs, [1], no_such_option=True)


@row("11-execute-output")
def test_a_blocking_execute_has_its_output(dv):
    ar = dv.execute("print('x' * 1000)", block=True)
    assert ar.stdout == ["x" * 1000 + "\n"] * 4


@row("11-unequal")
def test_map_ends_with_the_shortest_sequence(dv, lv):
    for view in (dv, lv):
        assert view.map_sync(lambda x, y: (x, y), range(3), "ab") == [(0, "a"), (1, "b")]


@row("11-sync-imports-level")
def test_sync_imports_forwards_absolute_imports_only(rc, capsys):
    package = {"__package__": "email", "__name__": "email.mine", "view": rc[0]}
    code = "with view.sync_imports():\n    import string\n    from . import charset\n"
    exec(code, package)
    assert capsys.readouterr().out == "importing string on engine(s)\n"
    names = rc[0].pull("{'string', 'charset'} & set(globals())", block=True)
    assert names == {"string"}


@row("11-activate-warns")
def test_activate_outside_of_ipython_warns(dv):
    with pytest.warns(UserWarning, match="IPython"):
        dv.activate("_x")


@row("11-dependency-msg-ids")
def test_the_dict_form_of_a_dependency_takes_msg_ids(lv):
    first = lv.apply_async(time.sleep, 0.05)
    with lv.temp_flags(after={"msg_ids": first.msg_ids}):
        second = lv.apply_async(abs, -1)
    assert second.get() == 1
    assert second.started >= first.completed


@row("11-no-tracker")
def test_a_result_tells_when_it_was_sent_and_has_no_tracker(dv):
    ar = dv.apply_async(abs, -1)
    ar.wait_for_send(30)
    assert ar.sent is True
    assert not hasattr(ar, "tracker")
    ar.get()


@row("11-traits")
@pytest.mark.parametrize(
    "name", ["traits", "trait_names", "class_traits", "class_trait_names", "trait_metadata"]
)
def test_views_have_the_methods_of_traits(dv, name):
    assert isinstance(dv, HasTraits)
    assert callable(getattr(dv, name))


@row("11-traits")
def test_flags_can_be_observed(dv):
    seen = []
    dv.observe(lambda change: seen.append((change.name, change.new)), "block")
    dv.block = True
    assert seen == [("block", True)]
    assert {"targets", "block", "track", "label"} <= set(dv.trait_names())


@row("11-no-skip-doctest")
def test_there_is_no_skip_doctest():
    assert not hasattr(ipp.DirectView.map, "skip_doctest")


@row("11-abstract")
def test_a_view_itself_cannot_be_made(rc):
    with pytest.raises((AssertionError, TypeError)):
        View(rc)
    assert repr(rc[:]) == "<DirectView [0, 1, 2, 3]>"
    assert len(rc[1:]) == 3


@row("11-new")
@pytest.mark.parametrize(
    ("owner", "names"),
    [
        (ipp.DirectView, "executor label use_dill use_cloudpickle use_pickle set_flags"),
        (ipp.AsyncResult, "split join stream_output wait_for_output wait_for_send"),
        (ipp.Client, "broadcast_view executor send_signal wait_for_engines"),
        (ipp.LoadBalancedView, "register_joblib_backend"),
    ],
)
def test_what_ipyparallel_added_is_there(owner, names):
    for name in names.split():
        assert hasattr(owner, name), name


@row("11-new")
@pytest.mark.parametrize(
    ("method", "argument"),
    [
        (ipp.DirectView.map, "return_exceptions"),
        (ipp.LoadBalancedView.map, "label"),
        (ipp.AsyncResult.get, "return_when"),
        (ipp.AsyncResult.wait, "return_when"),
        (ipp.DirectView.execute, "label"),
    ],
)
def test_a_method_takes_the_argument_that_was_added(method, argument):
    assert argument in inspect.signature(method).parameters


@row("11-records")
def test_records_are_kept_without_asking(rc, dv):
    ar = dv.apply_async(abs, -1)
    ar.get()
    assert set(ar.msg_ids) <= set(rc.hub_history())
    (record,) = rc.db_query({"msg_id": ar.msg_ids[0]}, keys=["completed"])
    assert record["completed"] is not None


@row("11-kill", "2.2-kill")
def test_kill_ends_engines_at_once(rc):
    rc[3].kill()
    with pytest.raises(ipp.EngineError):
        rc[3].apply_sync(abs, -1)
