"""Stand-ins for what is on the engines, and things that are pickled once."""

from __future__ import annotations

import copy

import numpy as np
import pytest

import ipyviews as ipp
from ipyviews.engine import names, pickling
from ipyviews.protocol.payload import pack_calls, unpack_result
from tests.engine.kernelbox import interactive


def identity(value):
    return value


@pytest.mark.row("2.5-reference-repr")
def test_repr_names_what_is_referred_to():
    assert repr(ipp.Reference("a")) == "<Reference: 'a'>"


@pytest.mark.row("2.5-reference-type")
@pytest.mark.parametrize("name", [5, None, b"a", ["a"]])
def test_a_reference_is_to_a_text(name):
    with pytest.raises(TypeError, match="illegal name"):
        ipp.Reference(name)


def test_equal_references_are_one_in_a_set():
    assert {ipp.Reference("a"), ipp.Reference("a")} == {ipp.Reference("a")}
    assert copy.deepcopy([ipp.Reference("a")]) == [ipp.Reference("a")]


@pytest.mark.parametrize("stand_in", [ipp.Reference("a"), ipp.PrePickled(5)], ids=["ref", "pre"])
def test_a_stand_in_is_not_called_here(stand_in):
    with pytest.raises(TypeError, match=r"apply\(\)"):
        stand_in()


@pytest.mark.row("2.5-reference")
@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("a", [0, 1, 2, 3]),
        ("a + 1", [1, 2, 3, 4]),
        ("table['k'][0]", [7] * 4),
        ("len(table)", [1] * 4),
    ],
)
def test_a_reference_is_evaluated_on_each_engine(dv, expression, expected):
    dv.scatter("a", range(4), flatten=True, block=True)
    dv.push({"table": {"k": [7]}}, block=True)
    assert (
        dv.apply_async(interactive("f = lambda x: x")["f"], ipp.Reference(expression)).get(10)
        == expected
    )


@pytest.mark.row("2.5-reference-places")
def test_references_stand_anywhere(rc):
    view, a = rc[0], ipp.Reference("a")
    view.push({"a": 3, "double": interactive("f = lambda x: 2 * x")["f"]}, block=True)
    same = interactive("f = lambda *args, **kwargs: (args, kwargs)")["f"]
    for value, expected in [
        (a, 3),
        ([a, 1], [3, 1]),
        ((a,), (3,)),
        ({a}, {3}),
        ({"k": a}, {"k": 3}),
        ({a: 1}, {3: 1}),
        ([[{"k": (a,)}]], [[{"k": (3,)}]]),
    ]:
        assert view.apply_sync(same, value, key=value) == ((expected,), {"key": expected})
    assert view.apply_sync(ipp.Reference("double"), 4) == 8
    assert view.apply_sync(ipp.Reference("double"), a) == 6


@pytest.mark.row("2.5-reference-places")
def test_references_are_mapped(rc):
    double = interactive("f = lambda x: 2 * x")["f"]
    rc[:].push({"a": 3, "double": double}, block=True)
    items = [1, ipp.Reference("a"), 2, ipp.Reference("a + 1")] * 2
    for view in (rc[:], rc.load_balanced_view()):
        assert view.map_sync(ipp.Reference("double"), range(6)) == [0, 2, 4, 6, 8, 10]
        assert view.map_sync(double, items) == [2, 6, 4, 8] * 2


@pytest.mark.row("2.5-reference-unknown")
def test_a_reference_to_nothing_is_a_name_error_of_the_engine(rc):
    for arguments in [(len, ipp.Reference("nowhere")), (ipp.Reference("nowhere"), 1)]:
        with pytest.raises(NameError, match="'nowhere' is not defined on this engine"):
            rc[0].apply_sync(*arguments)


def test_a_reference_that_comes_back_is_one():
    data, buffers, _ = pickling.dumps([ipp.Reference("a")])
    assert unpack_result([data, *buffers]) == [ipp.Reference("a")]


# -- PrePickled ----------------------------------------------------------------------------------


class Counting:
    """Counts how often it is pickled."""

    pickled = 0

    def __reduce__(self):
        type(self).pickled += 1
        return list, ((1, 2),)


@pytest.mark.row("2.5-prepickled")
def test_what_is_prepickled_is_pickled_once_and_sent_often(rc):
    Counting.pickled = 0
    ready = ipp.PrePickled(Counting())
    assert rc[:].apply_sync(len, ready) == [2] * 4
    assert rc[:].map_sync(sum, [ready] * 6) == [3] * 6
    assert rc[0].apply_sync(lambda *a, **k: (a, k), [ready], k={"x": ready}) == (
        ([[1, 2]],),
        {"k": {"x": [1, 2]}},
    )
    assert Counting.pickled == 1


@pytest.mark.row("2.5-prepickled")
def test_a_prepickled_function_is_called(rc):
    space = interactive("def g(x): return x + 1\ndef f(x): return g(x)")
    ready = ipp.PrePickled(space["f"])
    assert rc[:].apply_sync(ready, 1) == [2] * 4
    assert rc[:].map_sync(ready, range(5)) == [1, 2, 3, 4, 5]


def test_later_changes_do_not_reach_what_is_prepickled():
    array = np.zeros(10_000)
    ready = ipp.PrePickled({"array": array})
    array[0] = 1
    assert ipp.uncan(ready)["array"][0] == 0


def test_prepickled_arrays_travel_as_buffers_and_arrive_writable():
    ready = ipp.PrePickled(np.zeros(10_000))
    packed = pack_calls(identity, [((ready,), {})])
    assert [buffer.nbytes for buffer in packed.buffers] == [80_000]
    (array,), _ = names.loads(
        packed.arguments, names.Scope({}), [bytearray(b) for b in packed.buffers]
    )
    array[0] = 1


@pytest.mark.parametrize(("obj", "by_value"), [([1], False), (lambda: 1, True)])
def test_prepickled_code_still_needs_the_same_python(obj, by_value):
    assert pack_calls(identity, [((ipp.PrePickled(obj),), {})]).by_value is by_value


def test_a_function_given_as_a_reference_is_what_has_the_name_now(rc):
    rc[0].execute("named = lambda: 1", block=True)
    assert rc[0].apply_sync(ipp.Reference("named")) == 1
    rc[0].execute("named = lambda: 2", block=True)
    assert rc[0].apply_sync(ipp.Reference("named")) == 2
