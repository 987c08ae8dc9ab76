"""A function that is sent again is loaded again only when that may make a difference."""

from __future__ import annotations

import sys

import pytest

from ipyviews.engine import names, pickling, runner
from tests.engine.kernelbox import interactive


@pytest.fixture
def scope() -> names.Scope:
    return names.Scope({"__name__": "__main__"}, client="a")


def pickled(source: str) -> bytes:
    """Pickle the ``f`` of some code of a notebook."""
    return pickling.dumps(interactive(source)["f"], in_band=True)[0]


@pytest.mark.parametrize("source", ["def f(x): return x + 1", "def f(x, y=1): return x + y"])
def test_a_function_is_loaded_once(scope, source):
    data = pickled(source)
    function = runner.load_function(data, scope)
    assert function(1) == 2
    assert runner.load_function(memoryview(data), scope) is function


def test_another_one_of_that_name_is_another(scope):
    first, second = (pickled(f"def f(): return {number}") for number in (1, 2))
    assert [runner.load_function(data, scope)() for data in (first, second, first)] == [1, 2, 1]


@pytest.mark.parametrize(
    "source",
    [
        "import math\ndef f(): return math",
        "def h(): pass\ndef f(): return h()",
        "def f(seen=[]): return seen",
        "def make(seen): return lambda: seen\nf = make([])",
        "def f(): pass\nf.seen = []",
    ],
    ids=["a module", "a helper", "a default", "a closure", "an attribute"],
)
def test_what_comes_with_a_function_comes_each_time(scope, source):
    data = pickled(source)
    assert runner.load_function(data, scope) is not runner.load_function(data, scope)


def test_a_name_that_the_user_deleted_comes_again(scope):
    data = pickled("def h(): return 5\ndef f(): return h()")
    assert runner.load_function(data, scope)() == 5
    del scope.names["h"]
    assert runner.load_function(data, scope)() == 5


def test_one_that_a_call_gave_an_attribute_is_loaded_again(scope):
    data = pickled("def f(): pass")
    runner.load_function(data, scope).seen = 1
    assert not hasattr(runner.load_function(data, scope), "seen")


def test_one_that_has_its_home_here_is_loaded_again(scope):
    data = pickled("def f(): pass")
    scope.names["f"] = runner.load_function(data, scope)
    assert runner.load_function(data, scope) is not scope.names["f"]


def test_only_so_many_and_no_large_ones_are_remembered(scope):
    for number in range(200):
        runner.load_function(pickled(f"def f(): return {number}"), scope)
    assert len(scope.functions) <= runner.MOST_FUNCTIONS
    data = pickled(f"def f(): return {'x' * 10_000!r}")
    assert len(data) > runner.MOST_BYTES
    assert runner.load_function(data, scope) is not runner.load_function(data, scope)
    assert sys.getsizeof(max(scope.functions, key=len)) < 2 * runner.MOST_BYTES
