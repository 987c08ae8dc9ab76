from __future__ import annotations

import inspect

import numpy as np
import pytest

import ipyviews
from ipyviews.client.functions import ParallelFunction, RemoteFunction
from ipyviews.client.maps import AsyncMapResult
from ipyviews.client.results import AsyncResult
from ipyviews.errors import CompositeError, UsageError
from tests.waiting import wait_until

row = pytest.mark.row


def add(a: int, b: int = 1) -> int:
    """Add two numbers."""
    return a + b


def double(values):
    return [2 * value for value in values]


def pairs(left, right):
    return list(zip(left, right, strict=True))


def total(values):
    return sum(values)


# -- remote ---------------------------------------------------------------------------------------


@row("7-remote")
@pytest.mark.parametrize("decorate", [ipyviews.remote, lambda view, **flags: view.remote(**flags)])
def test_a_remote_function_runs_on_its_view_with_its_flags(fake, lv, decorate):
    function = decorate(lv, block=True, label="mine", retries=2)(add)
    assert isinstance(function, RemoteFunction)
    assert function(1, b=2) == 3
    ours = fake.requests[-1][2]
    assert (ours["label"], ours["retries"]) == ("mine", 2)
    assert (lv.block, lv.label, lv.retries) == (False, None, 0)


@row("7-remote", "11-remote-block")
def test_without_block_the_flag_of_the_view_counts_at_each_call(dv):
    function = dv.remote()(add)
    assert isinstance(function(1), AsyncResult)
    dv.block = True
    assert function(1) == [2, 2]


@row("7-remote-copies")
def test_a_remote_function_looks_like_the_one_it_wraps(dv):
    function = dv.remote()(add)
    assert function.__name__ == "add"
    assert function.__doc__.startswith("RemoteFunction wrapping:")
    assert function.__doc__.endswith("Add two numbers.")
    assert inspect.signature(function) == inspect.signature(add)
    assert repr(function) == "<RemoteFunction add on <DirectView [0, 1]>>"


def test_what_has_no_signature_can_be_decorated(dv):
    assert dv.remote(block=True)(max)(1, 2) == [2, 2]


def test_what_is_not_callable_cannot_be_decorated(dv):
    with pytest.raises(TypeError, match="must be callable, not int"):
        dv.remote()(3)


def test_on_an_engine_it_is_the_bare_function_so_it_may_call_itself(dv):
    space = {"__name__": "__main__"}
    exec("def factorial(n):\n    return 1 if n < 2 else n * factorial(n - 1)", space)
    space["factorial"] = dv.remote(block=True)(space["factorial"])
    assert space["factorial"](5) == [120, 120]


# -- parallel -------------------------------------------------------------------------------------


@row("7-parallel", "7-parallel-call", "7-dist-blocks")
@pytest.mark.parametrize(
    "decorate", [ipyviews.parallel, lambda view, **flags: view.parallel(**flags)]
)
def test_a_parallel_function_is_called_once_for_each_part(fake, dv, decorate):
    function = decorate(dv, block=True)(pairs)
    assert isinstance(function, ParallelFunction)
    assert function("abc", [1, 2, 3]) == [("a", 1), ("b", 2), ("c", 3)]
    (request,) = [content for name, content, _ in fake.requests if name == "apply_request"]
    assert len(request["index"]) == 2


@row("7-parallel-result")
def test_its_result_is_a_map_result_or_joined_when_blocking(dv):
    result = dv.parallel()(double)(range(5))
    assert isinstance(result, AsyncMapResult)
    assert result.get() == [0, 2, 4, 6, 8]
    assert list(result) == [0, 2, 4, 6, 8]


@row("7-parallel-result")
def test_block_is_the_views_when_it_is_decorated(dv):
    before = dv.parallel()(double)
    dv.block = True
    assert isinstance(before([1, 2]), AsyncMapResult)
    assert dv.parallel()(double)([1, 2]) == [2, 4]


def test_values_that_are_no_sequences_stay_one_for_each_part(dv):
    result = dv.parallel()(total)(range(4))
    assert result.get() == [1, 5]
    assert list(result) == [1, 5]


@row("7-dist-round-robin")
def test_items_dealt_in_turn_come_back_in_order(fake, dv):
    assert dv.parallel("r", block=True)(double)(range(5)) == [0, 2, 4, 6, 8]
    assert dv.parallel("r", block=True)(total)(range(5)) == [6, 4]


@row("7-dist-arrays")
@pytest.mark.parametrize("dist", ["b", "r"])
def test_arrays_come_back_with_their_type(dv, dist):
    back = dv.parallel(dist, block=True)(lambda a: a * 2)(np.arange(7, dtype="i2"))
    assert back.dtype == np.dtype("i2")
    assert back.tolist() == list(range(0, 14, 2))


@row("7-dist-unknown")
@pytest.mark.parametrize("use", ["parallel", "scatter", "gather"])
def test_an_unknown_distribution_is_a_key_error(dv, use):
    calls = {
        "parallel": lambda: dv.parallel("x")(double),
        "scatter": lambda: dv.scatter("a", [1, 2], dist="x"),
        "gather": lambda: dv.gather("a", dist="x").get(),
    }
    with pytest.raises(KeyError, match="no distribution 'x'") as caught:
        calls[use]()
    assert isinstance(caught.value, UsageError)


@row("2.6-parallel-function-unequal")
def test_unequal_lengths_are_refused(dv, lv):
    for view in (dv, lv):
        with pytest.raises(ValueError, match=r"must have equal length, but have \[2, 1\]"):
            view.parallel()(pairs)([1, 2], [1])


@row("7-parallel-keywords")
def test_keyword_arguments_are_refused(dv):
    with pytest.raises(TypeError):
        dv.parallel()(double)([1], other=2)


@row("2.6-no-sequences", "2.6-empty")
def test_no_sequences_are_refused_and_empty_ones_give_an_empty_list(dv, lv):
    for view in (dv, lv):
        function = view.parallel()(double)
        with pytest.raises(AssertionError, match="must have some sequences"):
            function()
        assert function([]) == []
        assert function.map([]) == []


@row("7-parallel-chunksize")
def test_chunksize_on_a_direct_view_warns_and_is_ignored(dv):
    function = dv.parallel(block=True, chunksize=3)(double)
    for call in (lambda: function(range(4)), lambda: dv.parallel(block=True, chunksize=3)(abs).map(
        range(4))):  # fmt: skip
        with pytest.warns(UserWarning, match="`chunksize` is ignored"):
            assert len(call()) == 4


@row("7-parallel-balanced")
def test_on_a_balanced_view_a_part_is_one_item_or_a_chunk(lv):
    single = lv.parallel()(double)(range(5))
    assert (len(single), single.get()) == (5, [0, 2, 4, 6, 8])
    chunked = lv.parallel(chunksize=2)(double)(range(5))
    assert (len(chunked), chunked.get()) == (3, [0, 2, 4, 6, 8])


@row("7-parallel-map")
def test_map_works_item_by_item(dv, lv):
    for view in (dv, lv):
        assert view.parallel(block=True)(add).map(range(5), [1] * 5) == [1, 2, 3, 4, 5]
    assert lv.parallel(block=True, chunksize=2)(add).map(range(5), [1] * 5) == [1, 2, 3, 4, 5]


def test_unordered_iteration_gives_the_parts_that_are_finished(fake, lv):
    fake.holding = True
    result = lv.parallel(ordered=False)(double)([1, 2, 3])
    wait_until(lambda: len(fake.held) == 3)
    fake.do(fake.held.reverse)
    fake.release()
    assert list(result) == [6, 4, 2]
    assert result.get() == [2, 4, 6]


def test_errors_of_parts_are_raised_or_stand_in_their_place(dv):
    function = dv.parallel(block=True)(lambda part: [1 / x for x in part])
    with pytest.raises(CompositeError):
        function([1, 2, 0, 4])
    kept = dv.parallel(block=True, return_exceptions=True)(lambda part: [1 / x for x in part])
    values = kept([1, 2, 0, 4])
    assert values[:2] == [1, 0.5]
    assert isinstance(values[2], ZeroDivisionError)
