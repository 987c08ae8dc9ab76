"""The whole job works with a controller that cannot unpickle."""

from __future__ import annotations

import os

import pytest

import ipyviews

pytestmark = pytest.mark.kernels

#: Python runs this at its start; it spoils pickle in the controller, and only there: in the child
#: that is forked before there is anything for kernels, or in a program of its own.
SITECUSTOMIZE = """
import os, sys
def spoil():
    if "ipykernel.kernelapp" in sys.modules:
        return
    import atexit, pickle, _pickle
    def refuse(*args, **kwargs):
        with open(os.environ["CALLS"], "a") as file:
            file.write("called\\n")
        raise RuntimeError("the controller must not unpickle")
    for module in (pickle, _pickle):
        module.load = module.loads = module.Unpickler = refuse
    pickle._Unpickler = pickle._load = pickle._loads = refuse
    with open(os.environ["SPOILED"], "a") as file:
        file.write(f"{os.getpid()}\\n")
    @atexit.register
    def tell_modules():
        with open(os.environ["MODULES"], "w") as file:
            file.write(" ".join(sys.modules))
if any("ipyviews.launching.agent" in word for word in sys.orig_argv):
    os.register_at_fork(after_in_child=spoil)
elif "ipyviews.controller" in sys.orig_argv:
    spoil()
"""


@pytest.fixture
def spoiled(tmp_path, monkeypatch):
    """Spoil pickle in controllers started from now on; gives the files that tell about it."""
    (tmp_path / "sitecustomize.py").write_text(SITECUSTOMIZE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("SPOILED", str(tmp_path / "spoiled"))
    monkeypatch.setenv("CALLS", str(tmp_path / "calls"))
    monkeypatch.setenv("MODULES", str(tmp_path / "modules"))
    return tmp_path


def test_the_job_is_done_without_pickle_in_the_controller(start, members, spoiled, interactive):
    rc = start(4)
    controller = members(rc).controller
    assert (spoiled / "spoiled").read_text().split() == [str(controller.pid)]
    view = rc[:]
    view["a"] = 5
    assert view.apply_sync(interactive("lambda: a")) == [5] * 4
    assert rc.load_balanced_view().map_sync(lambda x: x**2, range(200)) == [
        x**2 for x in range(200)
    ]
    view.scatter("part", range(16), block=True)
    assert list(view.gather("part", block=True)) == list(range(16))
    printed = view.execute("print('out')", block=False)
    printed.get(10)
    assert printed.stdout == ["out\n"] * 4
    with pytest.raises(ZeroDivisionError):
        rc[0].apply_sync(lambda: 1 / 0)
    rc.restart(1)
    assert rc[1].apply_sync(os.getpid) != os.getpid()
    members(rc).engines[2].kill()
    with pytest.raises(ipyviews.IPyViewsError):
        rc[2].apply_sync(lambda: 1)
    assert not (spoiled / "calls").exists()


def test_a_controller_that_did_its_job_has_not_loaded_cloudpickle(spoiled):
    with ipyviews.Cluster(n=2) as rc:
        assert rc[:].apply_sync(lambda: 1) == [1, 1]
    loaded = (spoiled / "modules").read_text().split()
    assert "ipyviews.controller.driver" in loaded
    assert "cloudpickle" not in loaded
