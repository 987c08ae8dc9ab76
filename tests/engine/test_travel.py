"""What a function takes along, what it does not, and what happens to names that are there."""

from __future__ import annotations

import asyncio
import builtins
import inspect
import pickle
import threading
import types

import numpy as np
import pytest

from ipyviews.engine import names, pickling
from ipyviews.errors import UsageError
from ipyviews.protocol import payload
from tests.engine import travellers, travelling_classes
from tests.engine.kernelbox import interactive


def engine_scope(**values) -> names.Scope:
    # As in a kernel: CPython 3.12 looks for the builtins there when it makes a generic alias.
    return names.Scope({"__name__": "__main__", "__builtins__": builtins, **values}, client="a")


def send(function, scope: names.Scope):
    return names.loads(payload.pack_calls(function, []).function, scope)


def call(function, *args, scope: names.Scope | None = None, **kwargs):
    """Send a call, run it in a namespace of its own, send the result back."""
    scope = scope or engine_scope()
    packed = payload.pack_calls(function, [(args, kwargs)])
    sent_args, sent_kwargs = names.loads(packed.arguments, scope, packed.buffers)
    result = names.loads(packed.function, scope)(*sent_args, **sent_kwargs)
    if inspect.isawaitable(result):
        result = asyncio.run(result)
    data, buffers, _ = pickling.dumps(result)
    return payload.unpack_result([data, *map(bytes, buffers)])


CASES = travellers.CASES + travelling_classes.CASES


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_function_arrives_whole(case):
    assert call(interactive(case.source)["f"], *case.args) == case.expected


def test_wrapped_function_keeps_its_attributes():
    source = next(c for c in CASES if c.name == "a decorator with wraps").source
    arrived = send(interactive(source)["f"], engine_scope())
    assert (arrived.__name__, arrived.__doc__, arrived.__wrapped__(1)) == ("f", "Doc.", 2)


def test_function_runs_with_the_engines_names():
    function = interactive("a = 1\ndef f(): return a")["f"]
    assert call(function, scope=engine_scope(a=2)) == 2


def test_plain_data_does_not_travel():
    function = interactive("a = [0] * 100_000\ndef f(): return a")["f"]
    assert len(payload.pack_calls(function, []).function) < 2000
    with pytest.raises(NameError):
        call(function)


@pytest.mark.parametrize("value", ["5", "[1]", "object()", "'text'", "{'a': 1}", "print.__self__"])
def test_only_code_counts_as_code(value):
    space = interactive(f"v = {value}\ndef f(): return v")
    is_module = isinstance(space["v"], types.ModuleType)
    assert ("v" in pickling.needed(space["f"])) == is_module


def test_function_of_a_module_goes_by_name():
    packed = payload.pack_calls(threading.active_count, [])
    assert b"active_count" in packed.function
    assert not packed.by_value


@pytest.mark.parametrize(
    ("source", "by_value"),
    [("f = len", False), ("f = lambda: 1", True), ("class f: pass", True), ("f = dict", False)],
)
def test_what_needs_the_same_python_is_marked(source, by_value):
    assert payload.pack_calls(interactive(source)["f"], []).by_value is by_value
    assert payload.pack_calls(print, [((interactive(source)["f"],), {})]).by_value is by_value


def test_injected_name_is_replaced_when_its_source_changes():
    scope = engine_scope()
    assert call(interactive("def g(): return 1\ndef f(): return g()")["f"], scope=scope) == 1
    assert call(interactive("def g(): return 2\ndef f(): return g()")["f"], scope=scope) == 2


def test_name_set_by_the_user_since_is_left_alone():
    scope = engine_scope()
    call(interactive("def g(): return 1\ndef f(): return g()")["f"], scope=scope)
    scope.names["g"] = lambda: "mine"
    assert call(interactive("def g(): return 2\ndef f(): return g()")["f"], scope=scope) == "mine"


def test_name_deleted_by_the_user_comes_again():
    scope = engine_scope()
    function = interactive("def g(): return 1\ndef f(): return g()")["f"]
    call(function, scope=scope)
    del scope.names["g"]
    assert call(function, scope=scope) == 1


def test_other_code_of_another_client_is_a_clash_that_names_both():
    scope = engine_scope()
    call(interactive("def g(): return 1\ndef f(): return g()")["f"], scope=scope)
    scope.client = "b"
    with pytest.raises(names.NameClash, match=r"'g'.*client a.*client b.*del g"):
        call(interactive("def g(): return 2\ndef f(): return g()")["f"], scope=scope)
    assert scope.names["g"]() == 1


def test_what_a_client_that_left_had_sent_is_replaced():
    scope = engine_scope()
    call(interactive("def g(): return 1\ndef f(): return g()")["f"], scope=scope)
    scope.let_go(scope.client)
    scope.client = "b"
    assert call(interactive("def g(): return 2\ndef f(): return g()")["f"], scope=scope) == 2


@pytest.mark.parametrize(
    "helper",
    [
        "def g(): return 1",
        "import math as g",
        "class g:\n x = 1\n def m(self): return 1",
        "from functools import lru_cache\n@lru_cache\ndef g(): return 1",
        "from functools import partial\ng = partial(int, base=2)",
    ],
)
def test_equal_code_of_another_client_is_no_clash(helper):
    scope = engine_scope()
    for client in "abab":
        scope.client = client
        call(interactive(f"{helper}\ndef f(): return g and 1")["f"], scope=scope)
    assert scope.injected["g"][1] == "b"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("def g(): return 1", "def g(): return 2"),
        ("def g(x=1): pass", "def g(x=2): pass"),
        ("class g:\n x = 1", "class g:\n x = 2"),
        ("class g:\n x = 1", "class g:\n y = 1"),
        ("def g(): pass", "import math as g"),
        ("class g:\n def m(self): return 1", "class g:\n def m(self): return 2"),
    ],
)
def test_different_code_is_told_apart(one, other):
    assert not names.same_code(interactive(one)["g"], interactive(other)["g"])


def test_module_that_is_missing_here_is_named_with_a_remedy():
    function = interactive("def f(): return lacking")["f"]
    module = types.ModuleType("lacking_module")
    function.__globals__["lacking"] = module
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(__import__("sys").modules, "lacking_module", module)
        packed = payload.pack_calls(function, [])
    with pytest.raises(ModuleNotFoundError, match=r"'lacking_module'.*cannot be imported here"):
        names.loads(packed.function, engine_scope())


def test_module_missing_here_is_not_needed_when_the_name_is_set():
    function = interactive("import xml\ndef f(): return xml")["f"]
    packed = payload.pack_calls(function, [])
    data = packed.function.replace(b"\x8c\x03xml\x94s", b"\x8c\x03xmm\x94s")
    assert names.loads(data, engine_scope(xml=5))() == 5


def test_returned_function_carries_code_and_no_data():
    made = call(interactive("def g(): return 1\ndef f():\n return lambda: (g(), data)")["f"])
    with pytest.raises(NameError, match="data"):
        made()


def test_large_arrays_travel_beside_the_pickle_and_arrive_writable():
    array = np.arange(10_000)
    packed = payload.pack_calls(np.sum, [((array,), {}), ((array[:5],), {"axis": 0})])
    assert [entry[1] for entry in packed.index] == [1, 0]
    assert packed.buffers[0].nbytes == array.nbytes
    data, buffers, _ = pickling.dumps([array, array[:5]])
    for buffer in (bytes(buffers[0]), bytearray(buffers[0])):
        large, small = payload.unpack_result([data, buffer])
        large[0] = small[0] = 7
        assert (large[0], small[0], array[0]) == (7, 7, 0)


def test_received_writable_memory_is_used_without_a_copy():
    data, buffers, _ = pickling.dumps(np.arange(10_000))
    memory = bytearray(buffers[0])
    payload.unpack_result([data, memory])[0] = 9
    assert memory[0] == 9


def test_each_calls_arguments_stand_alone():
    packed = payload.pack_calls(len, [(("a" * n,), {}) for n in range(3)])
    offset = 0
    for n, (size, _) in enumerate(packed.index):
        assert pickle.loads(packed.arguments[offset : offset + size]) == (("a" * n,), {})
        offset += size
    assert offset == len(packed.arguments)


@pytest.mark.parametrize(
    ("source", "args", "sentence"),
    [
        (
            "import threading as t\ndef m(l):\n def f(): return l\n return f\nf = m(t.Lock())",
            (),
            "closure variable 'l' of f is a lock",
        ),
        ("def f(x): pass", ([1, 2, threading.Lock()],), r"argument 'x'\[2\] is a lock"),
        ("def f(x): pass", ({"k": (threading.Lock(),)},), r"argument 'x'\['k'\]\[0\] is a lock"),
        ("def f(*rest): pass", (1, threading.Lock()), r"argument 'rest'\[1\] is a lock"),
        ("f = print", (threading.Lock(),), "argument .* is a lock"),
        ("import threading\ndef f(x=threading.Lock()): pass", (), "default value of 'x' of f"),
        ("import threading\ndef f(*, x=threading.Lock()): pass", (), "default value of 'x' of f"),
        (
            "import threading\nclass A:\n lock = threading.Lock()\ndef f(): A",
            (),
            "attribute 'lock' of A is a lock",
        ),
        (
            "import threading\nclass A: pass\na = A()\na.lock = threading.Lock()\ndef f(x=a): pass",
            (),
            r"default value of 'x' of f.lock is a lock",
        ),
        (
            "import threading as t\ndef m(l):\n def g(): l\n return g\ng = m(t.Lock())\ndef f(): g",
            (),
            "closure variable 'l' of g is a lock",
        ),
    ],
)
def test_what_cannot_be_sent_is_named(source, args, sentence):
    with pytest.raises(UsageError, match=sentence):
        payload.pack_calls(interactive(source)["f"], [(args, {})])


def test_call_that_cannot_be_sent_is_named():
    with pytest.raises(UsageError, match="argument 'obj' of call 1"):
        payload.pack_calls(len, [(([],), {}), ((threading.Lock(),), {})])


def test_what_cannot_be_called_is_refused():
    with pytest.raises(UsageError, match="cannot be called"):
        payload.pack_calls(5, [])


def test_missing_global_name_is_explained():
    scope = engine_scope()
    with pytest.raises(NameError) as caught:
        send(interactive("def f(): return missing")["f"], scope)()
    names.explain_missing(caught.value, scope)
    assert str(caught.value) == "name 'missing' is not defined on this engine"


def test_missing_data_that_the_notebook_has_is_told_how_to_send():
    scope = engine_scope()
    with pytest.raises(NameError) as caught:
        send(interactive("data = [1]\ndef f(): return data")["f"], scope)()
    names.explain_missing(caught.value, scope)
    assert "view['data'] = data" in str(caught.value)


@pytest.mark.parametrize("source", ["def f():\n x\n x = 1", "def f(): raise NameError('other')"])
def test_other_name_errors_stay_as_they_are(source):
    scope = engine_scope()
    with pytest.raises(NameError) as caught:
        send(interactive(source)["f"], scope)()
    before = str(caught.value)
    names.explain_missing(caught.value, scope)
    assert str(caught.value) == before


def test_source_lines_of_a_cell_travel_for_tracebacks():
    import linecache

    text = "\n\ndef f():\n    return 1 / 0\n"
    linecache.cache["<a cell>"] = (len(text), None, text.splitlines(keepends=True), "<a cell>")
    space = {"__name__": "__main__"}
    exec(compile(text, "<a cell>", "exec"), space)
    packed = payload.pack_calls(space["f"], [])
    del linecache.cache["<a cell>"]
    names.loads(packed.function, engine_scope())
    assert linecache.getline("<a cell>", 4) == "    return 1 / 0\n"
    del linecache.cache["<a cell>"]
