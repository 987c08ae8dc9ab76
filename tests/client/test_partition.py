from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipyviews.client import partition
from ipyviews.engine.together import TOGETHER_FROM
from ipyviews.errors import UsageError

dists = st.sampled_from(["b", "r"])


@given(values=st.lists(st.integers()), parts=st.integers(1, 9), dist=dists)
def test_join_undoes_split_for_lists(values, parts, dist):
    assert partition.join(partition.split(values, parts, dist), dist) == values


@given(start=st.integers(-5, 5), count=st.integers(0, 30), step=st.sampled_from([-3, -1, 1, 4]),
       parts=st.integers(1, 9), dist=dists)  # fmt: skip
def test_ranges_come_back_as_ranges(start, count, step, parts, dist):
    values = range(start, start + count * step, step)
    back = partition.join(partition.split(values, parts, dist), dist)
    assert isinstance(back, range)
    assert back == values


@given(count=st.integers(0, 20), parts=st.integers(1, 6), dist=dists)
def test_arrays_come_back_with_type_and_shape(count, parts, dist):
    values = np.arange(count * 3, dtype=np.int16).reshape(count, 3)
    back = partition.join(partition.split(values, parts, dist), dist)
    assert back.dtype == np.int16
    assert np.array_equal(back, values)


@pytest.mark.parametrize("dist", ["b", "r"])
def test_large_arrays_come_back(dist):
    values = np.arange(3 * TOGETHER_FROM // 8 + 7)
    assert np.array_equal(partition.join(partition.split(values, 4, dist), dist), values)


@pytest.mark.parametrize("dist", ["b", "r"])
def test_arrays_of_several_types_join_to_one_of_a_type_for_all(dist):
    joined = partition.join([np.array([1, 3], "i4"), np.array([2.5, 4.0], "f8")], dist)
    assert joined.dtype == np.float64
    assert joined.tolist() == ([1.0, 3.0, 2.5, 4.0] if dist == "b" else [1.0, 2.5, 3.0, 4.0])


def test_arrays_in_the_order_of_fortran_keep_it():
    piece = np.asfortranarray(np.arange(6).reshape(2, 3))
    joined = partition.join([piece, piece])
    assert joined.flags.f_contiguous
    assert np.array_equal(joined, np.concatenate([piece, piece]))


@pytest.mark.parametrize("dist", ["b", "r"])
@pytest.mark.parametrize("shapes", [[(2, 3), (2, 4)], [(), ()]], ids=str)
def test_arrays_that_do_not_fit_are_refused(shapes, dist):
    with pytest.raises(ValueError):
        partition.join([np.ones(shape) for shape in shapes], dist)


def test_dealt_arrays_of_other_lengths_are_refused():
    with pytest.raises(ValueError):
        partition.join([np.ones(1), np.ones(5)], "r")


@given(values=st.text() | st.binary(), parts=st.integers(1, 6), dist=dists)
def test_texts_and_bytes_come_back_joined(values, parts, dist):
    assert partition.join(partition.split(values, parts, dist), dist) == values


@given(count=st.integers(0, 100), parts=st.integers(1, 20))
def test_sizes_differ_by_at_most_one_with_the_longer_first(count, parts):
    sizes = partition.sizes(count, parts)
    assert sum(sizes) == count
    assert sizes == sorted(sizes, reverse=True)
    assert max(sizes) - min(sizes) <= 1


def test_tuples_join_to_a_list():
    assert partition.join([(1, 2), (3,)]) == [1, 2, 3]


def test_ranges_that_do_not_continue_join_to_a_list():
    assert partition.join([range(2), range(5, 7)]) == [0, 1, 5, 6]


def test_pieces_of_other_types_stay_pieces():
    assert partition.join([{1}, {2}]) == [{1}, {2}]
    assert partition.join([[1], np.array([2])])[0] == [1]


def test_no_pieces_are_an_empty_list():
    assert partition.join([]) == []


def test_slicing_an_array_copies_nothing():
    values = np.arange(10)
    assert all(np.shares_memory(piece, values) for piece in partition.split(values, 3))


@pytest.mark.parametrize(("parts", "dist"), [(0, "b"), (2, "x")])
def test_impossible_splits_are_refused(parts, dist):
    with pytest.raises(UsageError):
        partition.split([1], parts, dist)
