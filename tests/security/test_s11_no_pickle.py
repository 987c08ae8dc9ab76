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


def test_s11_the_job_is_done_without_pickle_in_the_controller(start, members, spoiled, interactive):
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


def test_s11_a_controller_that_did_its_job_has_not_loaded_cloudpickle(spoiled):
    with ipyviews.Cluster(n=2) as rc:
        assert rc[:].apply_sync(lambda: 1) == [1, 1]
    loaded = (spoiled / "modules").read_text().split()
    assert "ipyviews.controller.driver" in loaded
    assert "cloudpickle" not in loaded


#: Tells which process it was unpickled in.
BOMB = """
class Bomb:
    def __init__(self, path):
        self.path = path
    def __reduce__(self):
        return exec, ("import os; open(%r, 'a').write(f'{os.getpid()} ')" % self.path,)
"""


def test_s11_a_pickle_bomb_is_opened_where_it_was_sent_to_and_nowhere_else(
    start, members, tmp_path, interactive
):
    opened = tmp_path / "opened"
    namespace = {"__name__": "__main__"}
    exec(BOMB, namespace)
    bomb = namespace["Bomb"](str(opened))
    # All that makes the controller handle payloads: records, a file of them, results that it keeps.
    rc = start(2, keep_results=True, history_file=tmp_path / "history.db")
    found = members(rc)
    view, balanced = rc[:], rc.load_balanced_view()
    view.apply_sync(lambda *_: None, bomb, [bomb] * 3)
    balanced.map_sync(lambda _: None, [bomb] * 20)
    view.push({"bomb": bomb}, block=True)
    ran = balanced.apply_async(lambda _: 7, bomb)
    assert ran.get(10) == 7
    rc.db_query({"msg_id": ran.msg_ids[0]})
    again = rc.resubmit(ran.msg_ids)
    assert again.get(10) == [7]
    rc.result_status(ran.msg_ids)
    rc.purge_results("all")
    who = set(map(int, opened.read_text().split()))
    assert who
    assert who <= {engine.pid for engine in found.engines}
    assert found.controller.is_running()
