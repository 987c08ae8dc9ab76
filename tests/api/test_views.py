"""What all views share, and broadcast views, on real engines."""

from __future__ import annotations

import os
import signal
import threading
import time
import warnings

import pytest
import traitlets

import ipyviews as ipp
from ipyviews.client import history
from ipyviews.client.base import View
from ipyviews.errors import UsageError
from tests.client.fakes import FakeController
from tests.waiting import wait_until

row = pytest.mark.row
awaited = pytest.mark.awaited


@pytest.fixture
def fake():
    """A controller of two engines that are dicts."""
    return FakeController()


@pytest.fixture
def fake_rc(fake):
    with ipp.Client(fake.file, transport=fake.transport) as client:
        yield client


def press_ctrl_c_once(task_runs):
    """Send SIGINT to this process as soon as something runs."""

    def press():
        wait_until(task_runs)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=press)
    thread.start()
    return thread


# -- the base -------------------------------------------------------------------------------------


@row("2.1-abstract", "11-abstract")
def test_a_view_itself_cannot_be_made(fake_rc):
    with pytest.raises(AssertionError, match="a client makes them") as caught:
        View(fake_rc)
    assert isinstance(caught.value, UsageError)


@row("2.1-traits", "11-traits")
def test_flags_are_traits(fake_rc):
    view = fake_rc[:]
    assert isinstance(view, traitlets.HasTraits)
    seen = []
    view.observe(lambda change: seen.append((change["name"], change["new"])), "block")
    view.block = True
    assert seen == [("block", True)]
    assert set(view.trait_names()) >= {"targets", "block", "track", "label"}
    assert set(view.traits()) == set(view.class_traits()) == set(view.class_trait_names())
    assert view.trait_metadata("block", "nothing") is None
    with pytest.raises(traitlets.TraitError):
        view.block = "maybe"


@row("2.1-flags-direct", "2.1-flags-balanced", "2.1-flag-defaults", "11-track")
def test_flags_and_their_defaults(fake_rc):
    common = {"block": False, "track": False, "label": None}
    balanced = {"follow": None, "after": None, "timeout": 0.0, "retries": 0, "reruns": 1}
    for view, flags in (
        (fake_rc[:], common),
        (fake_rc.broadcast_view(), common),
        (fake_rc.load_balanced_view(), common | balanced),
    ):
        assert {name: getattr(view, name) for name in flags} == flags
        assert view.set_flags(**flags) is view
    with pytest.raises(KeyError):
        fake_rc[:].set_flags(retries=1)
    fake_rc.block = True
    assert fake_rc[:].block is True


@row("2.1-set-flags", "2.1-set-flags-unknown", "11-set-flags")
def test_set_flags_returns_the_view_and_knows_its_flags(fake_rc):
    view = fake_rc[:]
    assert view.set_flags(block=True, label="x") is view
    with pytest.raises(KeyError, match="Invalid name: 'foo'"):
        view.set_flags(block=False, foo=1)
    assert (view.block, view.label) == (True, "x")


@row("2.1-temp-flags")
@pytest.mark.parametrize("make", ["direct_view", "load_balanced_view", "broadcast_view"])
def test_temp_flags_restores_all_flags_after_an_error_too(fake_rc, make):
    view = getattr(fake_rc, make)()
    before = {name: getattr(view, name) for name in view._flags}

    def fail_inside():
        with view.temp_flags(block=True, label="x", targets=[1]) as inner:
            assert inner is view
            assert (view.block, view.label, view.targets) == (True, "x", [1])
            view.track = True
            raise LookupError

    with pytest.raises(LookupError):
        fail_inside()
    with pytest.raises(KeyError), view.temp_flags(foo=1):
        pass
    assert {name: getattr(view, name) for name in view._flags} == before


@row("2.1-apply", "2.1-apply-async", "2.1-apply-sync", "11-no-spin")
def test_apply_blocks_as_the_flag_says_and_its_twins_as_their_names_say(rc):
    view = rc[0]
    assert isinstance(view.apply(pow, 2, 3), ipp.AsyncResult)
    view.block = True
    assert view.apply(pow, 2, 3) == 8
    assert isinstance(view.apply_async(pow, 2, 3), ipp.AsyncResult)
    view.block = False
    assert view.apply_sync(pow, 2, 3) == 8


@awaited
@row("2.1-apply-keyword-f", "11-apply-f")
def test_keywords_may_have_any_name(rc, lv):
    assert rc[0].apply_sync(dict, f=1, self=2, view=3) == {"f": 1, "self": 2, "view": 3}
    assert lv.apply_sync(dict, f=1) == {"f": 1}


@row("2.1-map-refuses-block")
def test_the_twins_of_map_take_no_block(fake_rc):
    for view in (fake_rc[:], fake_rc.load_balanced_view()):
        for name in ("map_async", "map_sync"):
            with pytest.raises(TypeError, match=f"{name} doesn't take a `block` keyword argument"):
                getattr(view, name)(abs, [1], block=True)


@row("2.1-spin")
def test_spin_is_the_clients_and_deprecated(fake_rc):
    with pytest.warns(DeprecationWarning, match="spin"):
        fake_rc[:].spin()


@row("2.1-len", "2.1-repr", "11-abstract")
def test_length_and_repr(rc):
    assert [len(rc[1]), len(rc[:3]), len(rc.direct_view()), len(rc.load_balanced_view())] == [
        1, 3, 4, 4,
    ]  # fmt: skip
    assert repr(rc[:3]) == "<DirectView [0, 1, 2]>"
    assert repr(rc[0]) == "<DirectView 0>"
    assert repr(rc.direct_view()) == "<DirectView all>"
    assert repr(rc.load_balanced_view()) == "<LoadBalancedView None>"
    assert repr(rc.broadcast_view(1)) == "<BroadcastView [1]>"
    view = rc[:]
    view.targets = list(range(10))
    assert repr(view) == "<DirectView [0, 1, 2, 3,...]>"
    assert bool(rc[10:]) is True


# -- looking back -----------------------------------------------------------------------------


@row("2.1-history")
def test_history_is_a_list_of_the_views_own_tasks(rc):
    one, other = rc[:2], rc[2]
    first, second, third = one.apply(pow, 1, 1), other.apply(pow, 2, 2), one.apply(pow, 3, 3)
    assert isinstance(one.history, list)
    assert one.history == first.msg_ids + third.msg_ids
    assert one.history[-2:] == third.msg_ids
    assert other.history == second.msg_ids
    assert rc.history == first.msg_ids + second.msg_ids + third.msg_ids
    assert one.client is rc


@row("2.1-history", "2.1-results-bounded")
def test_history_forgets_the_oldest_of_very_many(fake_rc, monkeypatch):
    monkeypatch.setattr(history, "HISTORY", 100)
    view = fake_rc[:]
    for _ in range(200):
        last = view.apply(pow, 2, 2)
    assert 100 <= len(view.history) <= 110
    assert view.history[-2:] == last.msg_ids
    assert view.get_result(-1) is last


@row("2.1-history", "2.1-wait", "2.1-abort")
def test_outstanding_are_the_views_own_and_can_be_awaited_or_stopped(fake, fake_rc):
    fake.holding = True
    one, other = fake_rc[0], fake_rc[1]
    mine, theirs = one.apply(pow, 2, 2), other.apply(pow, 2, 2)
    assert one.outstanding == set(mine.msg_ids)
    assert one.wait(timeout=0.01) is False
    one.abort(block=True)
    assert one.wait(timeout=5) is True
    assert not theirs.done()
    with pytest.raises(ipp.TaskAborted):
        mine.get()
    other.abort(theirs, block=True)
    assert other.wait([theirs], timeout=5)


@row("2.1-wait-index")
def test_ints_given_to_wait_number_the_clients_calls(fake, fake_rc):
    fake.holding = True
    pending, view = fake_rc[0].apply(pow, 2, 2), fake_rc[1]
    wait_until(lambda: fake.held)
    fake.holding = False
    view.apply(pow, 2, 2)
    assert view.wait(1, timeout=5) is True
    assert view.wait(0, timeout=0.01) is False
    fake.release()
    assert pending.get() == 4


@row("2.1-results", "2.1-results-bounded", "11-results-popped")
def test_results_are_the_clients_as_long_as_somebody_keeps_them(fake_rc):
    view = fake_rc[:]
    assert view.results is fake_rc.results
    kept = view.apply(pow, 2, 2)
    assert kept.wait(5)
    assert view.results[kept.msg_ids[0]] == 4
    for _ in range(50):
        view.apply_sync(pow, 2, 3)
    assert len(view.results) <= 4


@row("2.1-get-result", "11-get-result")
def test_get_result_numbers_the_views_own_calls(rc):
    view, other = rc[:2], rc[2]
    first, second = view.apply(pow, 2, 1), view.apply(pow, 2, 2)
    other.apply(pow, 2, 3)
    assert view.get_result() is second
    assert view.get_result(0) is first
    assert view.get_result(-2).get() == [2, 2]
    assert view.get_result(-1, block=True, owner=True).get() == [4, 4]
    assert view.get_result(first.msg_ids[0]).get() == 2
    assert view.get_result([0, 1]).get() == [2, 2, 4, 4]
    with pytest.raises(IndexError, match="There is no call 2: 2 were made"):
        view.get_result(2)


class Recorder:
    """Stands for a client and notes what a view asks of it."""

    def __init__(self, client):
        self.connection, self.block, self.asked = client.connection, False, []

    def __getattr__(self, name):
        return lambda *args, **options: self.asked.append((name, args, options))


@row("2.1-forwarded", "11-kept")
def test_questions_go_to_the_client_with_the_views_targets(fake_rc):
    recorder = Recorder(fake_rc)
    view, balanced = fake_rc[:1], fake_rc.load_balanced_view()
    view._session = balanced._session = recorder
    view.queue_status()
    view.queue_status(1, verbose=True)
    balanced.queue_status()
    view.purge_results(targets="all")
    view.purge_results("an id")
    view.shutdown()
    view.shutdown([1], restart=True, hub=True, block=True)
    assert recorder.asked == [
        ("queue_status", ([0],), {"verbose": False}),
        ("queue_status", (1,), {"verbose": True}),
        ("queue_status", ("all",), {"verbose": False}),
        ("purge_results", (), {"jobs": (), "targets": [0]}),
        ("purge_results", (), {"jobs": "an id", "targets": ()}),
        ("shutdown", (), {"targets": [0], "restart": False, "hub": False, "block": False}),
        ("shutdown", (), {"targets": [1], "restart": True, "hub": True, "block": True}),
    ]


@awaited
@row("2.1-forwarded")
def test_the_queues_of_a_views_engines_are_told(rc):
    assert set(rc[:2].queue_status()) == {0, 1, "unassigned"}
    assert set(rc[3].queue_status()) == {"queue", "completed", "tasks"}


# -- Ctrl-C -----------------------------------------------------------------------------------


def sleep_through(part):
    import time

    time.sleep(60)


BLOCKING = {
    "apply": lambda view: view.apply_sync(time.sleep, 60),
    "map": lambda view: view.map_sync(time.sleep, [60, 60]),
    "execute": lambda view: view.execute("import time; time.sleep(60)", block=True),
    "pull": lambda view: view["__import__('time').sleep(60)"],
    "remote": lambda view: view.remote(block=True)(time.sleep)(60),
    "parallel": lambda view: view.parallel(block=True)(sleep_through)([1, 2]),
}


@row("2.1-ctrl-c")
@pytest.mark.parametrize("verb", BLOCKING)
def test_ctrl_c_in_a_blocking_call_is_raised_and_stops_what_runs(rc, verb):
    view = rc[:2]
    pressed = press_ctrl_c_once(lambda: rc.status()["engines"][0]["running"])
    with pytest.raises(KeyboardInterrupt):
        BLOCKING[verb](view)
    pressed.join()
    result = rc.get_result(-1)
    assert result.msg_ids == view.history
    assert result.wait(2)
    assert result.successful() is False
    assert view.apply_sync(pow, 2, 2) == [4, 4]


@row("2.1-ctrl-c-get")
def test_ctrl_c_in_get_ends_only_the_waiting_and_says_so(rc):
    result = rc[0].apply(time.sleep, 60)
    pressed = press_ctrl_c_once(lambda: rc.status()["engines"][0]["running"])
    with pytest.raises(KeyboardInterrupt, match="Only the waiting was interrupted"):
        result.get()
    pressed.join()
    assert not result.done()
    result.cancel()
    assert result.wait(5)


# -- broadcast views --------------------------------------------------------------------------


@pytest.fixture(params=[False, True])
def bv(rc, request):
    return rc.broadcast_view(is_coalescing=request.param)


@row("2.4-subclass", "2.4-list")
def test_results_of_a_broadcast_view_are_lists(rc, bv):
    assert isinstance(bv, ipp.DirectView)
    assert bv.apply_sync(pow, 2, 2) == [4] * 4
    for one in (rc.broadcast_view(1), rc.broadcast_view([1])):
        assert one.targets == [1]
        assert one.apply_sync(pow, 2, 2) == [4]
        assert one.pull("1 + 1", block=True) == [2]
    assert bv.pull("1 + 1", targets=0, block=True) == [2]


@row("2.4-coalescing", "2.4-get-dict", "2.4-message-ids")
def test_a_coalesced_result_knows_its_engines(rc, bv):
    result = bv.apply_async(os.getpid)
    pids = result.get()
    assert result.engine_id == [0, 1, 2, 3]
    assert result.get_dict() == dict(enumerate(pids))
    assert pids == rc[:].apply_sync(os.getpid)
    request = result.msg_ids[0].rpartition(".")[0]
    assert result.msg_ids == [f"{request}.{i}" for i in range(4)]


@row("2.4-error")
def test_a_broadcast_error_tells_of_every_engine(bv):
    with pytest.raises(ipp.CompositeError) as caught:
        bv.apply_sync(divmod, 1, 0)
    assert len(caught.value.exceptions) == 4


@row("2.4-label", "2.4-verbs")
def test_all_verbs_of_a_broadcast_view_work_and_take_labels(bv, tmp_path):
    (tmp_path / "program.py").write_text("print('run')")
    assert bv.run(tmp_path / "program.py", block=True, label="mine").stdout == ["run\n"] * 4
    assert bv.execute("x = 1", block=True, label="mine").label == ["mine"] * 4
    assert bv.map(abs, range(-6, 0), label="mine").label == ["mine"] * 4
    assert bv.map_sync(abs, range(-6, 0)) == list(range(6, 0, -1))
    bv.scatter("y", range(6), block=True)
    assert bv.gather("y", block=True) == range(6)


def test_a_broadcast_call_is_one_message(fake, fake_rc):
    fake_rc.broadcast_view().apply_sync(pow, 2, 2)
    assert fake.names() == ["apply_request"]


@row("11-new", "11-kept", "11-no-skip-doctest")
def test_the_names_that_programs_use_are_there(fake_rc):
    kept = {
        "run", "update", "get", "push", "pull", "scatter", "gather", "importer", "sync_imports",
        "activate", "purge_results", "abort", "shutdown", "queue_status", "wait", "execute",
        "apply", "map", "imap", "remote", "parallel", "executor", "clear", "kill", "spin",
        "get_result", "use_dill", "use_cloudpickle", "use_pickle", "use_local",
    }  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert kept <= set(dir(fake_rc[:]))
    balanced = set(dir(fake_rc.load_balanced_view()))
    assert {"map", "imap", "execute", "run", "register_joblib_backend"} <= balanced
    assert not {"push", "pull", "scatter", "gather"} & balanced
    assert not hasattr(ipp, "skip_doctest")
