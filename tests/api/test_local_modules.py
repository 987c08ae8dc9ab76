"""Modules that are being edited here: their newest source travels."""

from __future__ import annotations

import importlib
import os
import sys

import pytest

import ipyviews as ipp
from ipyviews.client.local import LocalModule
from tests.engine.kernelbox import interactive


class Workshop:
    """A folder of modules on this process's path; engines don't have it."""

    def __init__(self, folder):
        self.folder = folder
        self.written = 0

    def write(self, name, text):
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        # Two versions may be written within the resolution of the clock and be of one length.
        self.written += 1
        os.utime(path, (self.written, self.written))
        importlib.invalidate_caches()


@pytest.fixture
def workshop(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = set(sys.modules)
    yield Workshop(tmp_path)
    for name in set(sys.modules) - before:
        if name.startswith("workshop_"):
            del sys.modules[name]


def test_a_module_the_engines_lack_travels(rc, workshop):
    workshop.write("workshop_one.py", "factor = 3\ndef times(x): return factor * x\n")
    import workshop_one

    with pytest.raises(ModuleNotFoundError, match=r"use_local\('workshop_one'\)"):
        rc[0].apply_sync(workshop_one.times, 2)
    for view in (rc[:], rc.load_balanced_view()):
        assert view.use_local("workshop_one") is view
        assert view.map_sync(workshop_one.times, range(8)) == [0, 3, 6, 9, 12, 15, 18, 21]


def test_its_newest_code_is_used_without_a_reload_here(rc, workshop):
    view = rc[:]
    workshop.write("workshop_two.py", "def version(): return 1\n")
    import workshop_two

    view.use_local(workshop_two)
    seen = interactive("import workshop_two as m\ndef f(): return m.version()")["f"]
    assert view.apply_sync(workshop_two.version) == [1] * 4
    workshop.write("workshop_two.py", "def version(): return helper()\ndef helper(): return 2\n")
    assert view.apply_sync(workshop_two.version) == [2] * 4
    assert view.apply_sync(seen) == [2] * 4
    assert workshop_two.version() == 1


def test_a_function_from_before_a_reload_here_is_the_newest_there(rc, workshop):
    workshop.write("workshop_three.py", "def version(): return 1\nclass A:\n x = 1\n")
    import workshop_three

    old, old_class = workshop_three.version, workshop_three.A
    rc[0].use_local("workshop_three").apply_sync(old)
    workshop.write("workshop_three.py", "def version(): return 2\nclass A:\n x = 2\n")
    importlib.reload(workshop_three)
    view = rc[0].use_local("workshop_three")
    assert view.apply_sync(old) == 2
    assert view.apply_sync(interactive("f = lambda c: c.x")["f"], old_class) == 2


def test_a_package_travels_with_its_helpers(rc, workshop):
    workshop.write("workshop_four/__init__.py", "from .deep import answer\n")
    workshop.write(
        "workshop_four/deep.py", "from . import base\ndef answer(): return base.value()\n"
    )
    workshop.write("workshop_four/base.py", "def value(): return 1\n")
    import workshop_four

    view = rc[:].use_local("workshop_four.deep")
    assert view.apply_sync(workshop_four.answer) == [1] * 4
    workshop.write("workshop_four/base.py", "def value(): return 2\n")
    assert view.apply_sync(workshop_four.answer) == [2] * 4
    workshop.write("workshop_four/new.py", "def value(): return 3\n")
    workshop.write("workshop_four/base.py", "from .new import value\n")
    assert view.apply_sync(workshop_four.answer) == [3] * 4


def test_instances_of_its_classes_come_back_as_such(rc, workshop):
    workshop.write("workshop_five.py", "class A:\n def __init__(self, x): self.x = x\n")
    import workshop_five

    view = rc[0].use_local("workshop_five")
    make = interactive("import workshop_five\ndef f(a): return workshop_five.A(a.x + 1)")["f"]
    returned = view.apply_sync(make, workshop_five.A(1))
    assert type(returned) is workshop_five.A
    assert returned.x == 2


def test_an_import_on_the_engine_sees_the_newest_version(rc, workshop):
    workshop.write("workshop_six.py", "x = 1\n")
    view = rc[0].use_local("workshop_six")
    view.apply_sync(len, "")
    view.execute("import workshop_six", block=True)
    workshop.write("workshop_six.py", "x = 2\n")
    view.apply_sync(len, "")
    assert view["workshop_six.x"] == 2


def test_an_error_in_it_shows_its_own_lines(rc, workshop):
    workshop.write("workshop_seven.py", "def fail():\n    return 1 / 0  # here\n")
    import workshop_seven

    with pytest.raises(ZeroDivisionError) as caught:
        rc[0].use_local("workshop_seven").apply_sync(workshop_seven.fail)
    assert "return 1 / 0  # here" in "\n".join(caught.value.traceback)


def test_a_file_that_is_no_python_now_is_told_before_sending(rc, workshop):
    workshop.write("workshop_eight.py", "def f(): return 1\n")
    import workshop_eight

    view = rc[0].use_local("workshop_eight")
    workshop.write("workshop_eight.py", "def f(: return 1\n")
    with pytest.raises(ipp.UsageError, match=r"workshop_eight\.py, line 1"):
        view.apply_sync(workshop_eight.f)


def test_a_decorated_function_from_before_a_reload_is_not_mistaken(workshop, rc):
    workshop.write(
        "workshop_nine.py",
        "import functools\ndef twice(g):\n @functools.wraps(g)\n def inner(*a): return 2 * g(*a)\n"
        " return inner\ndef plain(x): return x\n",
    )
    import workshop_nine

    decorated = workshop_nine.twice(workshop_nine.plain)
    assert rc[0].use_local("workshop_nine").apply_sync(decorated, 2) == 4


@pytest.mark.parametrize("module", ["workshop_none", "math", "_io", "__main__", 5])
def test_what_has_no_source_here_is_refused(module):
    with pytest.raises(ipp.UsageError, match=r"no module|use_local takes"):
        LocalModule(module)


def test_too_much_source_is_refused(workshop, monkeypatch):
    workshop.write("workshop_big.py", "x = 1\n" * 100)
    monkeypatch.setattr("ipyviews.client.local.MOST_BYTES", 500)
    with pytest.raises(ipp.UsageError, match="install it on the engines"):
        LocalModule("workshop_big").newest()
