"""Which engines a key or `targets` means, for both kinds of client; and the factories of views."""

from __future__ import annotations

import pytest

import ipyviews as ipp
from tests.client.fakes import FakeController, engine_info
from tests.waiting import wait_until

row = pytest.mark.row
awaited = pytest.mark.awaited

# -- keys -------------------------------------------------------------------------------------


@awaited
@row("1.3-int")
def test_an_int_gives_a_view_of_one_engine_with_bare_values(rc):
    view = rc[2]
    assert view.targets == 2
    assert view.apply_sync(pow, 2, 3) == 8


@awaited
@row("1.3-negative-int")
def test_negative_ints_count_from_the_end(rc):
    assert rc[-1].targets == 3
    assert rc[-4].targets == 0
    assert rc.direct_view(-1).targets == 3


@awaited
@row("1.3-too-negative", "1.3-unknown-int")
@pytest.mark.parametrize("key", [99, 4, -5, -9])
def test_an_int_without_an_engine_is_an_index_error(rc, key):
    for choose in (rc.__getitem__, rc.direct_view, rc.load_balanced_view):
        with pytest.raises(IndexError, match=f"No such engine: {key}; there are"):
            choose(key)


@awaited
@row("1.3-slice")
def test_slices_address_positions_and_are_fixed_at_creation(rc):
    assert rc[:].targets == [0, 1, 2, 3]
    assert rc[::2].targets == [0, 2]
    assert rc[1:3].targets == [1, 2]
    assert rc[::-1].targets == [3, 2, 1, 0]


@row("1.3-slice")
def test_slices_do_not_address_ids():
    fake = FakeController(4)
    del fake.engines[1]
    with ipp.Client(fake.file, transport=fake.transport) as rc:
        view = rc[:]
        assert rc[:2].targets == [0, 2]
        assert rc[-1].targets == 3
        fake.engines[9], fake.namespaces[9] = engine_info(9), {}
        fake.notice()
        wait_until(lambda: rc.ids == [0, 2, 3, 9])
        assert view.targets == [0, 2, 3]
        assert rc.direct_view().apply_async(pow, 1, 1).get_dict() == dict.fromkeys(rc.ids, 1)


@awaited
@row("1.3-empty-slice")
@pytest.mark.parametrize("key", [slice(10, None), [], ()])
def test_an_empty_selection_constructs_and_calls_on_it_raise(rc, key):
    view = rc[key]
    assert view.targets == []
    with pytest.raises(ipp.UsageError, match="has no engines"):
        view.apply_sync(pow, 2, 3)


@awaited
@row("1.3-list-unknown")
@pytest.mark.parametrize("key", [[0, 99], [-1], (0, -1), range(2, 6)])
def test_an_unknown_id_in_a_list_is_a_key_error(rc, key):
    with pytest.raises(KeyError, match=r"No such engine: (99|-1|4)"):
        rc[key]


@awaited
@row("1.3-tuple-range")
@pytest.mark.parametrize("key", [[0, 1], (0, 1), range(2)])
def test_lists_tuples_and_ranges_give_lists(rc, key):
    assert rc[key].targets == [0, 1]
    assert rc[key].apply_sync(pow, 2, 3) == [8, 8]


@awaited
@row("1.3-bad-key")
@pytest.mark.parametrize("key", ["all", None, 1.0, True, {0}, b"a"])
def test_other_keys_are_type_errors(rc, key):
    with pytest.raises(TypeError, match="key by int/slice/iterable of ints only, not <class"):
        rc[key]


@awaited
@row("1.3-bad-key")
@pytest.mark.parametrize("key", [[None], ["a"], [True], [1.0]])
def test_other_things_in_a_list_are_type_errors(rc, key):
    with pytest.raises(TypeError, match="engines are named by int"):
        rc[key]


@awaited
@row("1.3-all", "1.3-all-any-case", "1.3-none")
def test_all_and_none_mean_all_engines_there_are(rc):
    for view in (rc.direct_view(), rc.direct_view("all"), rc.direct_view("ALL")):
        assert view.targets == "all"
        assert len(view.apply_sync(pow, 2, 3)) == 4
    assert rc.resolve(None) == rc.resolve("All") == [0, 1, 2, 3]


@awaited
@row("1.3-bad-str")
def test_another_text_is_a_type_error(rc):
    for make in (rc.direct_view, rc.load_balanced_view):
        with pytest.raises(TypeError, match="'foo' not valid str target, must be 'all'"):
            make("foo")


@awaited
@row("1.2-ids", "1.2-len", "1.2-iter")
def test_a_client_has_ids_a_length_and_a_view_for_each_engine(rc):
    ids = rc.ids
    ids.append(7)
    assert rc.ids == [0, 1, 2, 3]
    assert len(rc) == 4
    views = list(rc)
    assert [view.targets for view in views] == [0, 1, 2, 3]
    assert all(isinstance(view, ipp.DirectView) for view in views)


@row("1.3-no-engines", "1.3-no-engines-constructs")
def test_without_engines_only_views_of_whatever_comes_construct():
    fake = FakeController(0)
    with ipp.Client(fake.file, transport=fake.transport) as rc:
        for use in (
            lambda: rc[:],
            lambda: rc[0],
            lambda: rc[-1],
            lambda: rc.direct_view().apply(pow, 1, 1),
            lambda: rc.load_balanced_view().apply(pow, 1, 1),
            lambda: rc.direct_view("all").execute("1"),
        ):
            with pytest.raises(ipp.NoEnginesRegistered, match="requires engines"):
                use()


def test_an_engine_that_is_gone_has_a_view_that_says_so(fake, fake_rc):
    fake.engines[1] |= {"state": "lost", "reason": "it was killed by SIGKILL"}
    fake.notice()
    wait_until(lambda: fake_rc.ids == [0])
    with pytest.raises(ipp.EngineError, match="Engine 1 is gone: it was killed by SIGKILL"):
        fake_rc[1].apply(pow, 1, 1)


# -- factories --------------------------------------------------------------------------------


@awaited
@row("1.4-direct-view")
def test_direct_view_takes_flags(rc):
    view = rc.direct_view(1, label="mine", track=True)
    assert (view.targets, view.label, view.track) == (1, "mine", True)
    assert rc.direct_view([1, 2]).targets == [1, 2]
    with pytest.raises(KeyError, match="Invalid name: 'foo'"):
        rc.direct_view(foo=1)


@awaited
@row("1.4-load-balanced-view")
def test_load_balanced_view_takes_targets_and_flags(rc):
    assert rc.load_balanced_view().targets is None
    assert rc.load_balanced_view("all").targets is None
    assert rc.load_balanced_view(1).targets == [1]
    assert rc.load_balanced_view([1, 2], retries=3).retries == 3


@awaited
@row("1.4-broadcast-view")
def test_broadcast_view_has_its_engines_at_once(rc):
    assert rc.broadcast_view().targets == [0, 1, 2, 3]
    assert rc.broadcast_view(2).targets == [2]
    view = rc.broadcast_view([0, 1], is_coalescing=True, label="b")
    assert (view.targets, view.is_coalescing, view.label) == ([0, 1], True, "b")
    assert isinstance(view, ipp.BroadcastView)


@row("1.4-executor")
def test_executor_is_that_of_a_load_balanced_view(rc):
    with rc.executor([1]) as executor:
        assert isinstance(executor, ipp.ViewExecutor)
        assert executor.submit(pow, 2, 3).result(10) == 8
        assert isinstance(executor.view, ipp.LoadBalancedView)


@row("1.4-activate", "1.2-block")
def test_views_take_the_flag_block_from_the_client(fake_rc):
    assert fake_rc.block is False
    assert fake_rc[:].block is False
    fake_rc.block = True
    assert fake_rc[:].block
    assert fake_rc.load_balanced_view().block
    assert fake_rc[0].apply(pow, 2, 3) == 8
    fake_rc.block = False
    with pytest.warns(UserWarning, match="no IPython"):
        view = fake_rc.activate([0], "x")
    assert view.block
    assert view.targets == [0]
