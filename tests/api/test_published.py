"""Values shown while a call still runs, and what an engine says of itself."""

from __future__ import annotations

import numpy as np
import pytest

import ipyviews as ipp
from ipyviews.client.published import Published
from ipyviews.datapub import publish_data
from ipyviews.engine import pickling
from tests.engine.kernelbox import interactive


def steps(n):
    """Publish, and then wait for a file that ends it."""
    import pathlib
    import time

    for i in range(n):
        publish_data({"step": i})
    publish_data({"rest": [1, 2], "array": __import__("numpy").arange(5)})
    while not pathlib.Path("go").exists():
        time.sleep(0.01)
    publish_data({"rest": "over"})
    return n


@pytest.mark.row("2.5-publish-data")
def test_what_a_running_call_publishes_is_in_data(rc, tmp_path, wait_until):
    rc[:].apply_sync(__import__("os").chdir, str(tmp_path))
    result = rc[:2].apply_async(steps, 3)
    wait_until(lambda: all("rest" in one for one in result.data))
    assert not result.ready()
    for one in result.data:
        assert (one["step"], one["rest"]) == (2, [1, 2])
        np.testing.assert_array_equal(one["array"], np.arange(5))
    (tmp_path / "go").touch()
    assert result.get(10) == [3, 3]
    assert [one["rest"] for one in result.data] == ["over", "over"]
    rc[:].apply_sync(__import__("os").chdir, "/")


def test_a_cell_publishes_too(rc):
    code = "from ipyviews.datapub import publish_data\npublish_data({'a': 1})"
    result = rc[0].execute(code, block=True)
    assert result.data == {"a": 1}


def test_publishing_is_not_shown_as_output(rc):
    result = rc[0].apply_async(interactive("def f(p): p({'a': 1})")["f"], publish_data)
    result.get(10)
    assert (result.stdout, result.outputs, result.data) == ("", [], {"a": 1})


def test_published_is_as_it_was_then(rc):
    source = "def f(p, a):\n for i in range(50):\n  a[:] = i\n  p({str(i): a})"
    result = rc[0].apply_async(interactive(source)["f"], publish_data, np.zeros(10_000))
    result.get(10)
    assert [result.data[str(i)][-1] for i in range(50)] == list(range(50))


@pytest.mark.parametrize("data", [5, [("a", 1)], {1: 2}])
def test_only_dicts_of_names_are_published(data):
    with pytest.raises(TypeError, match="dict of names"):
        publish_data(data)


def test_publishing_elsewhere_says_where_it_works():
    with pytest.raises(RuntimeError, match="on an engine"):
        publish_data({"a": 1})


def test_publishing_for_ever_keeps_the_newest_only():
    published = Published()
    for i in range(1000):
        published.add(["a"], pickling.dumps({"a": i})[0])
        published.add(["b", "c"], pickling.dumps({"b": i, "c": -i})[0])
    assert len(published._messages) == 2
    assert published.values() == {"a": 999, "b": 999, "c": -999}


def test_what_cannot_be_unpickled_here_is_its_error():
    published = Published()
    published.add(["a"], b"rubbish")
    published.add(["b"], pickling.dumps({"b": 1})[0])
    assert isinstance(published.values()["a"], Exception)
    assert published.values()["b"] == 1


def test_bind_kernel_names_the_connection_file(rc):
    from pathlib import Path

    files = rc[:].apply_sync(ipp.bind_kernel)
    told = [info["connection_file"] for info in rc.status()["engines"]]
    assert [Path(one).resolve() for one in files] == [Path(one).resolve() for one in told]
