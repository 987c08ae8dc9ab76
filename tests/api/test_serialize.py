"""Pickling by hand, and views that send by another pickler."""

from __future__ import annotations

import importlib.util
import threading

import numpy as np
import pytest

import ipyviews as ipp
import ipyviews.datapub
import ipyviews.serialize
from ipyviews.client import serialize
from ipyviews.engine import names
from ipyviews.protocol.payload import Pickling, pack_calls
from tests.engine.kernelbox import interactive

NAMES = [name for name in ipyviews.serialize.__all__ if name != "interactive"]

NEEDS_DILL = pytest.mark.skipif(importlib.util.find_spec("dill") is None, reason="no dill here")
OTHERS = ["cloudpickle", pytest.param("dill", marks=NEEDS_DILL)]


@pytest.mark.row("0-serialization", "0-modules")
@pytest.mark.parametrize("name", NAMES)
def test_names_are_public(name):
    assert getattr(ipp, name) is getattr(ipyviews.serialize, name)


@pytest.mark.row("0-modules")
def test_publish_data_is_in_datapub():
    assert callable(ipyviews.datapub.publish_data)


@pytest.mark.parametrize("value", [5, [1, {"a": (2,)}], "text", None, np.arange(3).tolist()])
def test_what_is_canned_is_uncanned(value):
    assert ipp.uncan(ipp.can(value)) == value
    assert ipp.uncan(value) == value


def test_an_uncanned_function_sees_the_namespace_given():
    canned = ipp.can(interactive("def f(): return a")["f"])
    assert ipp.uncan(canned, {"a": 5})() == 5


def test_an_object_goes_through_frames_and_leaves_the_rest():
    array = np.arange(10_000)
    first, second = ipp.serialize_object({"a": array}), ipp.serialize_object("more")
    assert [len(first), len(second)] == [2, 1]
    found, rest = ipp.deserialize_object([*first, *second])
    np.testing.assert_array_equal(found["a"], array)
    assert ipp.deserialize_object(rest) == ("more", [])


def test_a_call_goes_through_frames():
    function = interactive("def f(x, *, y): return x.sum() + y + a")["f"]
    frames = ipp.pack_apply_message(function, [np.ones(10_000)], {"y": 2})
    assert len(frames) == 3
    f, args, kwargs = ipp.unpack_apply_message(frames, {"a": 1})
    assert f(*args, **kwargs) == 10_003


class Handle:
    """Cannot be pickled."""

    def __init__(self, number):
        self.number = number
        self.lock = threading.Lock()


class Canned:
    def __init__(self, number):
        self.number = number

    def get_object(self, namespace):
        return Handle(self.number + namespace.get("more", 0))


@pytest.fixture
def canned_handles(monkeypatch):
    monkeypatch.setitem(ipp.can_map, Handle, lambda handle: Canned(handle.number))


@pytest.mark.usefixtures("canned_handles")
def test_a_class_with_a_canner_of_its_own_can_be_sent():
    assert ipp.uncan(ipp.can([Handle(3)]), {"more": 2})[0].number == 5


@pytest.mark.usefixtures("canned_handles")
def test_an_uncanner_by_type_goes_first(monkeypatch):
    monkeypatch.setitem(ipp.uncan_map, Canned, lambda canned, _names: canned.number)
    assert ipp.uncan(ipp.can([Handle(3)])) == [3]


# -- other picklers ------------------------------------------------------------------------------


@pytest.fixture
def default():
    """The default of this process, put back afterwards."""
    yield
    ipp.use_pickle()


@pytest.mark.row("2.5-pickler-globals")
@pytest.mark.parametrize("by", OTHERS)
def test_globals_of_the_client_win_with_other_picklers(rc, by):
    view = rc[:]
    view.push({"a": "there", "g": "there"}, block=True)
    function = interactive("a = 'here'\ndef g(): return a\ndef f(): return a, g()")["f"]
    getattr(view, f"use_{by}")()
    assert view.apply_sync(function) == [("here", "here")] * 4
    view.use_pickle()
    assert view.apply_sync(interactive("def f(): return a")["f"]) == ["there"] * 4


@pytest.mark.parametrize("by", OTHERS)
def test_other_picklers_send_closures_classes_and_arrays(rc, by):
    view = rc[0]
    getattr(view, f"use_{by}")()
    source = (
        "import numpy as np\nclass A:\n def m(self, x): return np.sum(x)\n"
        "def make(n):\n def f(x, y=(1,)): return A().m(x) + n + sum(y)\n return f\nf = make(2)"
    )
    assert view.apply_sync(interactive(source)["f"], np.ones(10_000)) == 10_003
    assert view.map_sync(interactive("f = lambda x: -x")["f"], range(3)) == [0, -1, -2]


@pytest.mark.parametrize("by", OTHERS)
def test_references_work_with_other_picklers(rc, by):
    view = rc[0]
    view["a"] = 3
    getattr(view, f"use_{by}")()
    assert view.apply_sync(interactive("f = lambda x: x")["f"], [ipp.Reference("a")]) == [3]


def test_a_view_keeps_its_pickler_to_itself(rc):
    one, other = rc[0], rc[0]
    one.push({"a": "there"}, block=True)
    function = interactive("a = 'here'\ndef f(): return a")["f"]
    one.use_cloudpickle()
    assert [one.apply_sync(function), other.apply_sync(function)] == ["here", "there"]


@pytest.mark.usefixtures("default")
def test_the_default_is_for_views_made_afterwards(rc):
    before = rc[0]
    before.push({"a": "there"}, block=True)
    function = interactive("a = 'here'\ndef f(): return a")["f"]
    ipp.use_cloudpickle()
    assert [before.apply_sync(function), rc[0].apply_sync(function)] == ["there", "here"]
    ipp.use_pickle()
    assert rc[0].apply_sync(function) == "there"


def test_a_missing_dill_is_told_with_a_remedy(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ipp.UsageError, match="pip install dill"):
        pack_calls(len, [], how=Pickling("dill"))
    with pytest.raises(ipp.UsageError, match="pip install dill"):
        ipp.use_dill()
    assert serialize.default_pickling() == Pickling()


@NEEDS_DILL
def test_an_engine_without_dill_says_so(monkeypatch):
    packed = pack_calls(interactive("def f(): return 1")["f"], [], how=Pickling("dill"))
    for name in ("dill", "dill._dill"):
        monkeypatch.setitem(__import__("sys").modules, name, None)
    with pytest.raises(ModuleNotFoundError, match=r"dill.*cannot be imported here.*use_pickle"):
        names.loads(packed.function, names.Scope({"__name__": "__main__"}))


@pytest.mark.row("2.5-require-cloudpickle")
@pytest.mark.parametrize("by", ["pickle", *OTHERS])
def test_require_works_with_every_pickler(rc, by):
    view = rc.load_balanced_view()
    getattr(view, f"use_{by}")()
    source = "from ipyviews import require\n@require('zlib')\ndef f(x): return zlib.crc32(x)"
    assert view.apply_async(interactive(source)["f"], b"a").get(20) == 3904355907


@pytest.mark.row("2.5-track")
def test_it_is_told_when_data_was_sent(rc):
    data = np.zeros(1_000_000)
    with rc[:].temp_flags(track=True) as view:
        result = view.apply_async(len, data)
        result.wait_for_send(10)
        assert result.sent
    assert result.get(20) == [1_000_000] * 4


VERBS = {
    "apply": lambda view, f: view.apply_sync(f, 0),
    "map": lambda view, f: view.map_sync(f, [0] * 5),
    "chunks": lambda view, f: (
        view.map_sync(f, [0] * 5, chunksize=2)
        if hasattr(view, "retries")
        else view.apply_sync(f, 0)
    ),
    "imap": lambda view, f: list(view.imap(f, [0] * 5)),
    "remote": lambda view, f: view.remote(block=True)(f)(0),
    "parallel": lambda view, f: view.parallel(block=True)(f).map([0] * 5),
    "executor": lambda view, f: view.executor.submit(f, 0).result(20),
    "executor map": lambda view, f: list(view.executor.map(f, [0] * 5)),
}


@pytest.mark.parametrize("kind", ["direct", "balanced", "broadcast"])
@pytest.mark.parametrize("verb", VERBS.values(), ids=VERBS.keys())
def test_every_verb_uses_the_pickler_of_its_view(rc, verb, kind):
    views = {"direct": rc.direct_view, "balanced": rc.load_balanced_view}
    view = views.get(kind, rc.broadcast_view)()
    rc[:].push({"a": "there"}, block=True)
    view.use_cloudpickle()
    found = verb(view, interactive("a = 'here'\ndef f(x): return a")["f"])
    assert set([found] if isinstance(found, str) else found) == {"here"}
