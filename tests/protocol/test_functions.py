"""Functions are pickled again only when the pickle would differ."""

from __future__ import annotations

import pickle
import sys
import types

import pytest

from ipyviews.engine import pickling
from ipyviews.protocol import functions


@pytest.fixture
def notebook(monkeypatch) -> types.ModuleType:
    """An empty ``__main__``, in which ``run(code)`` defines things."""
    module = types.ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", module)
    module.run = lambda code: exec(code, vars(module))
    monkeypatch.setattr(functions, "_known", {})
    return module


@pytest.fixture
def pickled(monkeypatch) -> list[object]:
    """What was really pickled."""
    seen, original = [], pickling.dumps

    def dumps(value, **how):
        seen.append(value)
        return original(value, **how)

    monkeypatch.setattr(pickling, "dumps", dumps)
    return seen


SAME = {
    "plain": "def f(x): return x",
    "a module": "import math\ndef f(x): return math.sqrt(x)",
    "data": "data = [1, 2]\ndef f(x): return data[x]",
    "defaults": "def f(x, y=3, *, z='a'): return x, y, z",
    "a closure": "def make(n): return lambda x: x + n\nf = make(2)",
    "annotations": "def f(x: int) -> str: return str(x)",
}


@pytest.mark.parametrize("code", SAME.values(), ids=SAME)
def test_a_function_that_has_not_changed_is_pickled_once(notebook, pickled, code):
    notebook.run(code)
    first = functions.dumps(notebook.f)
    assert functions.dumps(notebook.f) == first == pickling.dumps(notebook.f, in_band=True)[::2]
    assert len(pickled) == 2


def test_a_lambda_made_anew_is_known_again(notebook, pickled):
    notebook.run("fs = [lambda x: x + 1 for _ in range(3)]")
    assert len({functions.dumps(function) for function in notebook.fs}) == 1
    assert len(pickled) == 1


COUNTER = """def make():
    n = 1
    def f():
        return n
    def change():
        nonlocal n
        n = 2
    return f, change
f, change = make()"""
CHANGES = {
    "a closure variable": (COUNTER, "change()"),
    "a closure variable's type": ("def make(n): return lambda: n\nf = make(1)", "f = make(True)"),
    "a default": ("def f(x=1): return x", "f.__defaults__ = (2,)"),
    "a keyword default": ("def f(*, x=1): return x", "f.__kwdefaults__ = {'x': 2}"),
    "an attribute": ("def f(): pass", "f.mark = 1"),
    "the code": ("def f(): return 1", "def g(): return 2\nf.__code__ = g.__code__"),
    "a name that was data": ("import math\nm = 1\ndef f(): return m", "m = math"),
    "a name that was not there": ("def f(): return later", "later = 1"),
    "which module a name is": ("import math as m\ndef f(): return m.pi", "import cmath as m"),
    "a helper": ("def h(): return 1\ndef f(): return h()", "def h(): return 2"),
    "a mutable default": ("def f(x=[]): return x", "f.__defaults__[0].append(1)"),
    "a mutable closure": ("def make(n): return lambda: n\nf = make(s := [])", "s.append(1)"),
}


@pytest.mark.parametrize(("code", "change"), CHANGES.values(), ids=CHANGES)
def test_a_change_is_seen(notebook, code, change):
    notebook.run(code)
    before = functions.dumps(notebook.f)
    notebook.run(change)
    after = functions.dumps(notebook.f)
    assert after != before
    assert after == pickling.dumps(notebook.f, in_band=True)[::2]


def test_a_function_of_a_module_goes_by_name(pickled):
    assert functions.dumps(pickling.is_code) == (pickle.dumps(pickling.is_code, 5), False)
    assert not pickled


def test_a_function_of_a_module_registered_by_value_travels_by_value():
    from cloudpickle import register_pickle_by_value, unregister_pickle_by_value

    module = sys.modules[__name__]
    register_pickle_by_value(module)
    try:
        assert functions.dumps(test_a_change_is_seen)[1]
    finally:
        unregister_pickle_by_value(module)
    assert not functions.dumps(test_a_change_is_seen)[1]


def test_a_user_s_own_way_for_what_functions_are_made_of_is_taken(notebook, monkeypatch):
    notebook.run("def make(n): return lambda: n\nf = make(1)")
    before = functions.dumps(notebook.f)
    monkeypatch.setitem(pickling.can_map, types.CellType, lambda cell: cell.cell_contents)
    assert functions.dumps(notebook.f) != before


def test_what_holds_much_is_not_remembered(notebook, pickled):
    notebook.run("def make(n): return lambda: n\nf = make(b'x' * 100_000)")
    assert functions.dumps(notebook.f) == functions.dumps(notebook.f)
    assert len(pickled) == 2
    assert not functions._known


def test_only_so_many_are_remembered(notebook):
    for number in range(200):
        notebook.run(f"def f(): return {number}")
        functions.dumps(notebook.f)
    assert len(functions._known) <= 64
