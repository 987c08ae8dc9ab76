"""What a function requires of its engine, also of one where nothing of ours is installed."""

from __future__ import annotations

from functools import partial

import pytest

import ipyviews as ipp
from ipyviews.engine import dependencies, verbs
from tests.engine.kernelbox import KernelBox, interactive

pytestmark = pytest.mark.kernels

HIDE = """
import sys
class Without:
    def __init__(self, finder): self.finder = finder
    def find_spec(self, name, path=None, target=None):
        if name.partition('.')[0] not in ('ipyviews', 'cloudpickle'):
            return self.finder.find_spec(name, path, target)
sys.meta_path[:] = map(Without, sys.meta_path)
for name in [name for name in sys.modules if name.startswith('ipyviews')]:
    del sys.modules[name]
"""

SPACE = interactive("""
import statistics
def there(name): return name in globals()
def mean(values): return statistics.mean(values) + level
def helper(value): return 2 * value
def unmet(error): raise error("not here")
class UnmetDependency(Exception): pass
class Other(Exception): pass
""")


@pytest.fixture(scope="module")
def bare_box():
    with KernelBox() as box:
        box.execute(HIDE)
        box.join(source=True)
        yield box


@pytest.fixture(params=["installed", "bare"])
def engine(request, shared_box, bare_box):
    box = shared_box if request.param == "installed" else bare_box
    box.execute("for _ in ('level', 'helper', 'colorsys'): globals().pop(_, None)")
    return box


def test_a_requirement_is_asked_in_the_namespace_of_the_engine(engine):
    function = ipp.depend(SPACE["there"], "level")(abs)
    answer = engine.call(function, -1)
    assert answer.content["unmet"] is True
    assert answer.error == ("UnmetDependency", "there said False")
    engine.execute("level = 1")
    answer = engine.call(function, -1)
    assert answer.value == 1
    assert "unmet" not in answer.content


def test_required_names_are_there_when_the_function_runs(engine):
    function = ipp.require("colorsys", SPACE["helper"], level=5)(SPACE["mean"])
    assert engine.call(function, [1, 3]).value == 7
    names = "(colorsys.__name__, helper(2), level)"
    assert engine.call(verbs.pull, names).value == ("colorsys", 4, 5)
    assert engine.call(ipp.require("no_such_module")(abs), -1).error == (
        "UnmetDependency",
        "no_such_module",
    )


def test_a_part_of_a_map_is_asked_once_before_it_is_run(engine):
    function = ipp.depend(SPACE["there"], "level")(SPACE["helper"])
    chunk = partial(verbs.map_items, function)
    assert engine.call(chunk, [1, 2]).content.get("unmet") is True
    engine.execute("level = 1")
    assert engine.call(chunk, [1, 2]).value == [2, 4]


def test_requirements_in_one_another_are_all_asked(engine):
    inner = ipp.depend(SPACE["there"], "level")(abs)
    assert engine.call(ipp.require("colorsys")(inner), -1).content.get("unmet") is True
    assert engine.call(verbs.pull, "colorsys.__name__").value == "colorsys"


def test_an_error_is_unmet_by_its_name_only(engine):
    for kind, expected in (("UnmetDependency", True), ("Other", None)):
        answer = engine.call(ipp.depend(SPACE["unmet"], SPACE[kind])(abs), -1)
        assert answer.content.get("unmet") is expected
        assert answer.error == (kind, "not here")


def test_an_unmet_dependency_arrives_as_the_public_error(engine):
    from ipyviews.protocol.failures import rebuild

    answer = engine.call(ipp.require("no_such_module")(abs), -1)
    error = rebuild(answer.content, answer.buffers, 0)
    assert isinstance(error, ipp.UnmetDependency)
    assert isinstance(error, ipp.RemoteError)
    assert not isinstance(error, dependencies.UnmetDependency)
