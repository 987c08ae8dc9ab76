from __future__ import annotations

import functools
import itertools

import numpy as np
import pytest

from ipyviews.client import ledger
from ipyviews.client.maps import AsyncMapResult
from ipyviews.client.results import AsyncResult
from ipyviews.errors import (
    CompositeError,
    EngineError,
    NoEnginesRegistered,
    RemoteError,
    UsageError,
)
from tests.client.fakes import engine_info
from tests.waiting import wait_until


def fail(_=None):
    raise ZeroDivisionError("no way")


def by_value():
    """Return a function that only travels as code."""
    space = {"__name__": "__main__"}
    exec("def square(x):\n    return x * x", space)
    return space["square"]


# -- indexing ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "targets"),
    [
        (1, 1),
        (-1, 1),
        (slice(None), [0, 1]),
        (slice(None, None, 2), [0]),
        (slice(10, None), []),
        ([0, 1], [0, 1]),
        ((1,), [1]),
        (range(2), [0, 1]),
    ],
)
def test_indexing_gives_views_of_fixed_engines(rc, key, targets):
    assert rc[key].targets == targets


@pytest.mark.parametrize(
    ("key", "error"),
    [(99, IndexError), (-9, IndexError), ([0, 99], KeyError), ([-1], KeyError),
     ("all", TypeError), (None, TypeError), (True, TypeError), ([0, "x"], TypeError)],
)  # fmt: skip
def test_wrong_keys_raise_what_the_seeds_raise(rc, key, error):
    with pytest.raises(error) as caught:
        rc[key]
    assert isinstance(caught.value, UsageError)
    assert not str(caught.value).startswith("'")


def test_unknown_engines_are_named_with_those_there_are(rc):
    with pytest.raises(UsageError, match="No such engine: 99; there are 0, 1"):
        rc[99]


def test_without_engines_views_of_them_cannot_be_made(fake, rc):
    fake.engines.clear()
    fake.notice()
    wait_until(lambda: not rc.ids)
    for key in (0, slice(None)):
        with pytest.raises(NoEnginesRegistered):
            rc[key]
    for view in (rc.direct_view("all"), rc.load_balanced_view()):
        with pytest.raises(NoEnginesRegistered):
            view.apply_sync(pow, 1, 1)


def test_iterating_gives_a_view_of_each_engine(rc):
    assert [view.targets for view in rc] == [0, 1]


def test_a_view_of_all_includes_engines_that_join_later(fake, rc):
    view = rc.direct_view()
    fake.engines[7] = engine_info(7)
    fake.namespaces[7] = {}
    fake.notice()
    wait_until(lambda: len(rc) == 3)
    assert view.apply_sync(pow, 2, 2) == [4, 4, 4]
    assert len(view) == 3


def test_a_string_that_is_not_all_is_refused(rc):
    with pytest.raises(TypeError, match="'foo' not valid str target, must be 'all'"):
        rc.direct_view("foo")


def test_an_empty_selection_constructs_and_every_call_on_it_raises(rc):
    view = rc[10:]
    for call in (
        lambda: view.apply(pow, 1, 1),
        lambda: view.map(abs, [1]),
        lambda: view.push({"a": 1}),
        lambda: view.execute("1"),
        lambda: view.scatter("a", [1]),
        lambda: view.gather("a"),
        lambda: rc.load_balanced_view([]).apply(pow, 1, 1),
    ):
        with pytest.raises(UsageError, match="has no engines"):
            call()
    assert rc[:].apply_sync(pow, 2, 2) == [4, 4]


def test_a_call_to_an_engine_that_is_gone_says_why(fake, rc):
    view = rc[1]
    fake.engines[1] |= {"state": "lost", "reason": "it was killed by SIGKILL"}
    fake.notice()
    wait_until(lambda: rc.ids == [0])
    with pytest.raises(EngineError, match="Engine 1 is gone: it was killed by SIGKILL"):
        view.apply_sync(pow, 2, 2)


# -- flags ------------------------------------------------------------------------------------


def test_a_flag_that_is_set_within_the_block_is_restored_with_those_of_the_block(lv):
    needs = ["a-1.0"]
    lv.set_flags(after=needs, timeout=3.0)
    with lv.temp_flags(after=None, retries=2):
        lv.timeout = 5.0
        lv.label = "within"
    assert lv.after is needs
    assert (lv.timeout, lv.retries, lv.label) == (3.0, 0, None)


def test_flags_that_are_as_they_were_are_not_set_again(lv):
    lv.after = ["a-1.0"]
    # Setting it would be refused now: it is checked each time.
    lv.after.append(3)
    with lv.temp_flags(retries=2):
        pass
    assert lv.retries == 0


def test_a_view_of_one_engine_tells_which_engines_there_are_when_it_is_none_of_them(rc):
    with pytest.raises(UsageError, match="No such engine: 7; there are 0, 1"):
        rc.resolve(7)


def test_flags_are_set_and_restored(dv):
    assert dv.set_flags(block=True, label="x") is dv
    with dv.temp_flags(block=False, targets=1):
        assert (dv.block, dv.targets) == (False, 1)
        with pytest.raises(KeyError, match="nonsense"):
            dv.set_flags(nonsense=1)
    assert (dv.block, dv.targets, dv.label) == (True, [0, 1], "x")


def test_views_print_as_the_seeds_do(rc):
    assert repr(rc[:]) == "<DirectView [0, 1]>"
    assert repr(rc[0]) == "<DirectView 0>"
    assert repr(rc.direct_view()) == "<DirectView all>"
    assert repr(rc.load_balanced_view()) == "<LoadBalancedView None>"
    rc[:].targets = list(range(20))
    view = rc[:]
    view.targets = list(range(20))
    assert repr(view) == "<DirectView [0, 1, 2, 3,...]>"


def test_views_take_the_clients_block(rc):
    rc.block = True
    assert rc[0].apply(pow, 2, 2) == 4


# -- calls ------------------------------------------------------------------------------------


def test_one_engine_gives_bare_values_and_several_give_lists(rc):
    assert rc[0].apply_sync(pow, 2, 3) == 8
    assert rc[:].apply_sync(pow, 2, 3) == [8, 8]
    assert rc[[0]].apply_sync(pow, 2, 3) == [8]
    assert rc.load_balanced_view().apply_sync(pow, 2, 3) == 8


def test_a_call_to_many_engines_is_one_message(fake, dv):
    dv.apply_sync(pow, 2, 3)
    assert fake.names() == ["apply_request"]
    assert len(fake.requests[-1][1]["index"]) == 1


def test_keywords_may_have_any_name(dv):
    assert dv.apply_sync(dict, f=1, self=2) == [{"f": 1, "self": 2}] * 2


def test_functions_from_the_notebook_run(dv, lv):
    assert dv.apply_sync(by_value(), 4) == [16, 16]
    assert lv.map_sync(by_value(), range(20)) == [x * x for x in range(20)]


def test_an_error_of_one_engine_is_itself_and_of_several_composite(rc):
    with pytest.raises(ZeroDivisionError, match="no way") as caught:
        rc[0].apply_sync(fail)
    assert isinstance(caught.value, RemoteError)
    with pytest.raises(CompositeError) as many:
        rc[:].apply_sync(fail)
    assert len(many.value.exceptions) == 2


@pytest.mark.parametrize("call", ["apply", "map"])
def test_what_is_not_callable_is_refused(dv, lv, call):
    for view in (dv, lv):
        with pytest.raises(TypeError, match="must be callable, not int"):
            getattr(view, call)(3, [1])
    assert dv.apply_sync(pow, 2, 2) == [4, 4]


def test_what_cannot_be_pickled_is_named_and_the_next_call_works(dv):
    with pytest.raises(UsageError, match="generator"):
        dv.apply_sync(len, (x for x in "ab"))
    assert dv.apply_sync(pow, 2, 2) == [4, 4]


def test_labels_and_limits_travel(fake, rc):
    view = rc.load_balanced_view(label="mine", retries=3, timeout=1.5)
    view.apply_sync(pow, 2, 2)
    ours = fake.requests[-1][2]
    assert (ours["label"], ours["retries"], ours["timeout"]) == ("mine", 3, 1.5)
    assert view.client.history[-1] == view.history[-1]


# -- engines that cannot run it ----------------------------------------------------------------


def test_code_for_another_python_is_refused_before_sending(fake, rc):
    fake.engines[1]["implementation"] = "cpython-3.6"
    fake.notice()
    wait_until(lambda: rc.connection.engines[1]["implementation"] == "cpython-3.6")
    with pytest.raises(UsageError, match=r"Engine 1 cannot run square: it runs cpython-3\.6"):
        rc[:].apply(by_value(), 2)
    assert fake.names() == []
    assert rc[:].apply_sync(pow, 2, 2) == [4, 4]
    rc.load_balanced_view().map_sync(by_value(), range(4))
    assert all(ours["any"] == [0] for name, _, ours in fake.requests if name == "apply_request"
               and "any" in ours)  # fmt: skip


def test_calls_on_another_language_are_refused_and_cells_run(fake, rc):
    changes = {"language": "bash", "implementation": None, "apply": False}
    fake.engines[1] |= changes
    fake.notice()
    wait_until(lambda: not rc.connection.engines[1]["apply"])
    with pytest.raises(UsageError, match="Engine 1 cannot run pow: it is a kernel for bash"):
        rc[:].apply(pow, 2, 2)
    rc[:].execute("x = 1", block=True)
    assert rc.load_balanced_view().apply_sync(pow, 2, 2) == 4
    with pytest.raises(UsageError, match="No engine of this view can run pow"):
        rc.load_balanced_view([1]).apply(pow, 2, 2)


# -- cells ------------------------------------------------------------------------------------


def test_execute_gives_a_result_with_replies_and_output(dv):
    result = dv.execute("print('hello')", silent=False, block=True)
    assert [reply.execution_count for reply in result.get()] == [3, 3]
    assert result.stdout == ["hello\n", "hello\n"]
    assert result[0].source == "print('hello')"


def test_execute_on_one_engine_raises_its_error_when_blocking(rc):
    result = rc[0].execute("1/0", block=False)
    with pytest.raises(RemoteError) as caught:
        result.get()
    assert caught.value.ename == "ZeroDivisionError"
    with pytest.raises(RemoteError):
        rc[0].execute("1/0", block=True)


def test_balanced_views_run_cells_on_one_engine(fake, lv):
    result = lv.execute("print(1)", block=True)
    assert result.stdout == "1\n"
    assert fake.requests[-1][2]["any"] is None


def test_files_are_run(dv, tmp_path):
    (tmp_path / "a.py").write_text("print('from a file')")
    assert dv.run(tmp_path / "a.py", block=True).stdout == ["from a file\n"] * 2


@pytest.mark.parametrize("view", ["dv", "lv"])
def test_code_that_is_not_text_is_refused(request, view):
    with pytest.raises(TypeError, match="code must be text, not int") as caught:
        request.getfixturevalue(view).execute(3)
    assert isinstance(caught.value, UsageError)


# -- data -------------------------------------------------------------------------------------


def test_push_and_pull_move_names(rc, dv):
    assert dv.push({"a": 5, "b": [1]}, block=True) == [None, None]
    assert dv["a"] == [5, 5]
    assert rc[0].pull(["a", "b"], block=True) == [5, [1]]
    assert dv.pull(("a", "b[0]"), block=True) == [[5, 1], [5, 1]]
    dv.update({"a": 6})
    assert rc[1]["a"] == 6


def test_item_assignment_is_in_order_with_later_calls(dv):
    dv["a"] = 5
    assert dv["a"] == [5, 5]


def test_pulling_a_missing_name_raises_name_error(rc):
    with pytest.raises(NameError):
        rc[0]["missing"]


@pytest.mark.parametrize("names", [3, ["a", 3], {"a": 1}])
def test_names_that_are_not_text_are_refused(dv, names):
    with pytest.raises(TypeError, match="names must be strs"):
        dv.pull(names)


def test_pushing_what_is_no_dict_is_refused(dv):
    with pytest.raises(TypeError, match="Must be a dict"):
        dv.push([1])


@pytest.mark.parametrize("dist", ["b", "r"])
@pytest.mark.parametrize("values", [list(range(7)), range(7), "abcdefg"])
def test_gather_undoes_scatter(dv, values, dist):
    assert dv.scatter("x", values, dist=dist, block=True) is None
    back = dv.gather("x", dist=dist, block=True)
    assert back == values
    assert type(back) is type(values)


def test_arrays_scatter_and_gather_writable(dv):
    values = np.arange(10.0).reshape(5, 2)
    dv.scatter("x", values).get()
    result = dv.gather("x")
    assert isinstance(result, AsyncMapResult)
    back = result.get()
    assert np.array_equal(back, values)
    back[0] = 7


def test_flatten_makes_single_items_bare(dv):
    dv.scatter("x", [1, 2], flatten=True, block=True)
    assert dv["x"] == [1, 2]


# -- maps -------------------------------------------------------------------------------------


@pytest.mark.parametrize("view", ["dv", "lv"])
def test_maps_give_values_in_order(request, view):
    view = request.getfixturevalue(view)
    assert view.map_sync(pow, range(9), itertools.repeat(2, 7)) == [x * x for x in range(7)]
    result = view.map_async(abs, iter([-1, -2, -3]))
    assert isinstance(result, AsyncMapResult)
    assert len(result) == 3
    assert list(result) == result.get() == [1, 2, 3]
    assert result.progress == 3


@pytest.mark.parametrize("view", ["dv", "lv"])
def test_a_map_over_nothing_is_an_empty_list(request, view):
    view = request.getfixturevalue(view)
    assert view.map_async(abs, []) == []
    assert view.map_sync(abs, iter(())) == []


@pytest.mark.parametrize("view", ["dv", "lv"])
def test_wrong_map_calls_are_refused(request, view):
    view = request.getfixturevalue(view)
    with pytest.raises(UsageError, match="must have some sequences to map onto!"):
        view.map(abs)
    for name in ("map_async", "map_sync"):
        with pytest.raises(TypeError, match=f"{name} doesn't take a `block`"):
            getattr(view, name)(abs, [1], block=True)


def test_a_direct_map_sends_one_part_to_each_engine_that_gets_one(fake, dv):
    assert dv.map_sync(abs, [-1, -2, -3]) == [1, 2, 3]
    assert fake.requests[-1][2]["targets"] == [0, 1]
    assert dv.map_sync(abs, [-1]) == [1]
    assert fake.requests[-1][2]["targets"] == [0]


def test_a_balanced_map_is_few_messages_of_many_tasks(fake, lv):
    lv.map_sync(abs, range(5000))
    sizes = [len(content["index"]) for _, content, _ in fake.requests if "index" in content]
    assert sum(sizes) == 5000
    assert len(sizes) < 60


def test_large_items_make_small_messages(fake, lv):
    lv.map_sync(len, (bytes(1_000_000) for _ in range(10)))
    sizes = [len(content["index"]) for _, content, _ in fake.requests if "index" in content]
    assert max(sizes) <= 5


def test_chunks_are_one_task_each(fake, lv):
    result = lv.map_async(pow, range(10), range(10), chunksize=4)
    assert result.get() == [x**x for x in range(10)]
    assert len(result) == 10
    assert len(result.msg_ids) == 3
    assert result.progress == 10


def test_a_failing_chunk_stands_for_its_items(lv):
    result = lv.map_async(lambda x: 1 / x, [1, 2, 0, 4], chunksize=2, return_exceptions=True)
    values = result.get()
    assert values[:2] == [1, 0.5]
    assert isinstance(values[2], ZeroDivisionError)
    assert len(values) == 3


def test_return_exceptions_keeps_errors_in_place(lv):
    values = lv.map_sync(functools.partial(divmod, 4), [1, 0, 2], return_exceptions=True)
    assert values[0] == (4, 0)
    assert isinstance(values[1], ZeroDivisionError)


def test_unordered_iteration_gives_what_is_finished_first(fake, lv):
    fake.holding = True
    result = lv.map_async(abs, [-1, -2, -3], ordered=False)
    wait_until(lambda: len(fake.held) == 3)
    fake.do(fake.held.reverse)
    fake.release(1)
    values = iter(result)
    assert next(values) == 3
    assert result.progress == 1
    fake.release()
    assert list(values) == [2, 1]
    assert result.get() == [1, 2, 3]


def test_a_failing_input_raises_itself_and_cancels_what_was_sent(fake, lv):
    fake.holding = True

    def items():
        yield from range(3)
        raise LookupError("the input broke")

    with pytest.raises(LookupError, match="the input broke"):
        lv.map(abs, items())
    wait_until(lambda: "cancel_request" in fake.names() and not fake.held)


def test_input_is_taken_only_as_fast_as_results_come(fake, lv, monkeypatch):
    monkeypatch.setattr(ledger, "MAX_TASKS", 50)
    taken: list[int] = []
    most: list[int] = []

    def items():
        for item in range(3000):
            taken.append(item)
            most.append(len(lv.client.outstanding))
            yield item

    assert lv.map_sync(abs, items()) == list(range(3000))
    assert max(most) < 50 + 100


def test_a_map_waiting_for_room_ends_when_the_client_closes(fake, rc, lv, monkeypatch):
    import threading

    monkeypatch.setattr(ledger, "MAX_TASKS", 10)
    fake.holding = True
    threading.Timer(0.1, rc.close).start()
    with pytest.raises(Exception, match="closed"):
        lv.map(abs, range(100_000))


def test_results_are_of_the_public_classes(dv):
    assert isinstance(dv.apply(pow, 2, 2), AsyncResult)
