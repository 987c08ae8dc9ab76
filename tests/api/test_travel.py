"""What travels with a call, and what comes back."""

from __future__ import annotations

import os

import numpy as np
import pytest

import ipyviews
from tests.engine.kernelbox import interactive
from tests.engine.test_travel import CASES


@pytest.mark.row("2.5-functions-travel")
def test_every_kind_of_function_arrives_whole(rc):
    view, failed = rc[0], {}
    for case in CASES:
        found = view.apply_async(interactive(case.source)["f"], *case.args)
        try:
            value = found.get(20)
        except ipyviews.IPyViewsError as error:
            value = error
        if value != case.expected:
            failed[case.name] = value
    assert failed == {}


CALLABLES = {
    "a function": "def one(x): return x + 1",
    "a lambda": "one = lambda x: x + 1",
    "a partial": "from functools import partial\nimport operator\none = partial(operator.add, 1)",
    "a bound method": "class A:\n def m(self, x): return x + 1\none = A().m",
    "an object": "class A:\n def __call__(self, x): return x + 1\none = A()",
    "a cached function": "from functools import cache\n@cache\ndef one(x): return x + 1",
    "a ufunc": "import numpy as np\none = np.positive",
}


@pytest.mark.parametrize("source", CALLABLES.values(), ids=CALLABLES.keys())
def test_every_kind_of_callable_is_mapped(rc, source):
    one = interactive(source)["one"]
    expected = [one(x) for x in range(7)]
    assert rc[:].map_sync(one, range(7)) == expected
    assert rc.load_balanced_view().map_sync(one, range(7)) == expected


@pytest.mark.row("2.5-containers")
def test_functions_and_classes_travel_at_any_depth(rc):
    space = interactive("class A:\n x = 3\ndef f(v): return v[0]['k'][1](), v[1][0].x")
    value = [{"k": (0, lambda: 5)}, [space["A"]]]
    assert rc[0].apply_sync(space["f"], value) == (5, 3)


@pytest.mark.row("2.5-module-function")
def test_a_function_of_a_module_uses_that_modules_globals(rc):
    rc[0].push({"getpid": None, "CASES": None}, block=True)
    assert rc[0].apply_sync(os.path.basename, "/a/b") == "b"
    assert rc[0].apply_sync(os.getpid) != os.getpid()


@pytest.mark.row("2.5-interactive-function")
def test_a_function_of_the_notebook_uses_the_engines_names(rc):
    rc[:].scatter("a", range(4), flatten=True, block=True)
    function = interactive("a = 'here'\ndef f(): return a")["f"]
    assert rc[:].apply_sync(function) == [0, 1, 2, 3]


@pytest.mark.row("2.5-interactive")
def test_interactive_lets_a_function_of_a_module_use_the_engines_names(rc):
    rc[0].push({"factor": 3}, block=True)
    assert rc[0].apply_sync(ipyviews.interactive(_times_factor), 2, plus=1) == 7
    with pytest.raises(NameError):
        _times_factor(2)


def _times_factor(x, *, plus=0):
    return x * factor + plus  # noqa: F821 - a name of the engine


def test_interactive_keeps_what_else_a_function_has():
    def make(y):
        def f(x, z=3, *, w=4):
            "Doc."
            return x, y, z, w

        f.mark = 1
        return f

    made = ipyviews.interactive(make(2))
    assert made(1) == (1, 2, 3, 4)
    assert (made.__doc__, made.mark, made.__module__, made.__name__) == ("Doc.", 1, "__main__", "f")
    assert ipyviews.interactive(len) is len


@pytest.mark.parametrize(
    "source",
    [
        "class A:\n def __init__(self): self.x = 1",
        "from dataclasses import dataclass as d\n@d\nclass A:\n x: int = 1",
        "from dataclasses import dataclass as d\n@d(slots=True)\nclass A:\n x: int = 1",
        "from typing import NamedTuple\nclass A(NamedTuple):\n x: int = 1",
        "class B:\n pass\nclass A(B):\n x = 1",
    ],
    ids=["plain", "dataclass", "slots", "named tuple", "derived"],
)
def test_instances_come_back_as_instances(rc, source):
    space = interactive(source + "\ndef make(): return [A(), {'k': A()}]\ndef same(a): return a")
    fresh = rc[0].apply_sync(space["make"])
    returned = rc[1].apply_sync(space["same"], space["A"]())
    for found in (fresh[0], fresh[1]["k"], returned):
        assert type(found) is space["A"]
        assert found.x == 1


def test_members_of_an_enum_come_back_as_themselves(rc):
    source = "from enum import Enum\nclass E(Enum):\n R = 1\n G = 2\ndef f(e): return E.G, e"
    space = interactive(source)
    assert rc[0].apply_sync(space["f"], space["E"].R) == (space["E"].G, space["E"].R)
    assert rc[0].apply_sync(space["f"], space["E"].R)[0] is space["E"].G


def test_an_exception_class_of_the_notebook_is_caught_by_its_class(rc):
    space = interactive("class E(Exception):\n pass\ndef f(): raise E('why')")
    with pytest.raises(space["E"], match="why"):
        rc[0].apply_sync(space["f"])


def test_a_class_redefined_in_a_later_cell_is_the_new_one(rc):
    space = {"__name__": "__main__"}
    cell = "class A:\n def v(self): return {}\ndef f(a): return a.v(), A().v(), A()"
    exec(cell.format(1), space)
    old, first = space["A"], space["f"]
    kept = old()
    assert rc[0].apply_sync(first, kept)[:2] == (1, 1)
    exec(cell.format(2), space)
    of_old, of_new, made = rc[0].apply_sync(space["f"], kept)
    assert (of_old, of_new) == (1, 2)
    assert type(made) is space["A"] is not old
    assert made.v() == 2


def test_a_helper_of_a_helper_redefined_later_is_used(rc):
    space = {"__name__": "__main__"}
    exec("def a(): return 1\ndef b(): return a()\ndef f(): return b()", space)
    assert rc[:].apply_sync(space["f"]) == [1] * 4
    exec("def a(): return 2", space)
    assert rc[:].apply_sync(space["f"]) == [2] * 4


def test_generators_are_input(rc):
    numbers = (x for x in range(10))
    assert rc[:].map_sync(str, numbers) == [str(x) for x in range(10)]
    pairs = ((x for x in range(3)), iter("abc"))
    found = rc.load_balanced_view().map_sync(lambda n, c: f"{n}{c}", *pairs)
    assert found == ["0a", "1b", "2c"]


def test_async_functions_are_awaited_in_a_map(rc):
    space = interactive("import asyncio\nasync def f(x):\n await asyncio.sleep(0)\n return -x")
    assert rc[:].map_sync(space["f"], range(5)) == [0, -1, -2, -3, -4]
    assert rc.load_balanced_view().map_sync(space["f"], range(5)) == [0, -1, -2, -3, -4]


def test_a_name_the_notebook_has_and_the_engine_lacks_is_told_how_to_send(rc):
    function = interactive("table = [1, 2]\ndef f(): return len(table)")["f"]
    with pytest.raises(NameError, match=r"view\['table'\] = table"):
        rc[0].apply_sync(function)
    rc[0]["table"] = function.__globals__["table"]
    assert rc[0].apply_sync(function) == 2


# -- data ---------------------------------------------------------------------------------------


ARRAYS = {
    "floats": np.arange(10_000, dtype=float),
    "two dimensions": np.arange(6_000).reshape(60, 100),
    "Fortran order": np.asfortranarray(np.arange(6_000).reshape(60, 100)),
    "a slice": np.arange(40_000)[::2],
    "structured": np.zeros(3_000, dtype=[("a", "i4"), ("b", "f8", 2)]),
    "records": np.rec.fromarrays([np.arange(5_000), np.ones(5_000)], names="x,y"),
    "objects": np.array([{"a": 1}, None, "text"], dtype=object),
    "dates": np.arange("2020-01-01", "2050-01-01", dtype="datetime64[D]"),
    "texts": np.array(["a", "bc"] * 3_000),
    "empty": np.empty((0, 3)),
    "no dimension": np.array(5.0),
}


@pytest.mark.row("2.5-data-travels", "2.5-arrays-writable", "2.5-big-buffers")
@pytest.mark.parametrize("array", ARRAYS.values(), ids=ARRAYS.keys())
def test_arrays_go_both_ways_whole_and_writable(rc, array):
    is_writable, returned = rc[0].apply_sync(lambda a: (a.flags.writeable, a), array)
    assert is_writable
    assert returned.flags.writeable
    assert type(returned) is type(array)
    assert returned.dtype == array.dtype
    np.testing.assert_array_equal(returned, array)


BYTES = {
    "bytes": b"ab" * 10_000,
    "bytearray": bytearray(b"ab" * 10_000),
    "small view": memoryview(b"abc"),
    "large view": memoryview(bytes(20_000)),
    "numbers": memoryview(np.arange(5_000.0)),
    "table": memoryview(np.arange(6_000).reshape(60, 100)),
    "every second": memoryview(bytes(range(100)))[::2],
}


@pytest.mark.row("2.5-data-travels")
@pytest.mark.parametrize("value", BYTES.values(), ids=BYTES.keys())
def test_bytes_and_views_of_memory_go_both_ways(rc, value):
    kind, returned = rc[0].apply_sync(lambda v: (type(v).__name__, v), value)
    assert kind == type(value).__name__ == type(returned).__name__
    assert returned == value


class Unreadable:
    """Pickles, and cannot be unpickled."""

    def __reduce__(self):
        return int, ("no number",)


def test_a_result_that_cannot_be_unpickled_here_is_an_error(rc):
    made = interactive("class A:\n def __reduce__(self): return int, ('x',)\nf = lambda: A()")["f"]
    with pytest.raises(ipyviews.IPyViewsError, match="arrived, but cannot be unpickled here"):
        rc[0].apply_sync(made)
    with pytest.raises(ipyviews.CompositeError):
        rc[:2].apply_sync(made)
    with pytest.raises(ValueError, match="invalid literal"):
        rc[0].apply_sync(len, Unreadable())
