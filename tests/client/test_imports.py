# Imports of all shapes are what is tested.
# ruff: noqa: F401, I001, ICN001, N813, PLC0414, PLW0603, PT012, SIM117

from __future__ import annotations

import builtins
import gc
import threading

import pytest

from ipyviews.client.aio import AsyncClient
from ipyviews.client.imports import Elsewhere
from ipyviews.errors import CompositeError, UsageError

row = pytest.mark.row

ORIGINAL = builtins.__import__


@pytest.fixture(autouse=True)
def untouched():
    """Whatever a test does, imports are as before."""
    yield
    gc.collect()
    assert builtins.__import__ is ORIGINAL


def bound(fake, engine=0):
    return {name for name in fake.namespaces[engine] if not name.startswith("__")}


def as_cell(code, **names):
    """Run code as a notebook does: its names are globals."""
    space = {"__name__": "__main__", **names}
    exec(code, space)
    return space


@row("2.5-sync-imports", "2.2-sync-imports", "2.5-sync-imports-prints")
def test_imports_of_the_block_are_made_here_and_there(fake, dv, capsys):
    with dv.sync_imports():
        import colorsys
        import os.path
        from string import ascii_letters, digits
    assert colorsys.__name__ == "colorsys"
    assert (os.path.sep, digits, len(ascii_letters)) == ("/", "0123456789", 52)
    assert bound(fake) == bound(fake, 1) == {"colorsys", "os", "digits", "ascii_letters"}
    assert capsys.readouterr().out == (
        "importing colorsys on engine(s)\n"
        "importing os.path on engine(s)\n"
        "importing ascii_letters,digits from string on engine(s)\n"
    )


@row("2.2-sync-imports")
def test_importer_is_the_same_without_arguments(fake, dv, capsys):
    with dv.importer:
        import colorsys
    assert bound(fake) == {"colorsys"}
    assert capsys.readouterr().out == "importing colorsys on engine(s)\n"


@row("2.5-sync-imports-prints")
def test_quiet_prints_nothing(dv, capsys):
    with dv.sync_imports(quiet=True):
        import colorsys
    assert capsys.readouterr().out == ""


@row("2.5-sync-imports-as")
def test_other_names_are_bound_too(fake, dv, capsys):
    with dv.sync_imports():
        import colorsys as c
        import os.path as p
        import xml.etree.ElementTree as tree
        from string import digits as d
        from string import hexdigits, octdigits as o
    assert (c.__name__, p.sep, hexdigits[:3]) == ("colorsys", "/", "012")
    assert tree.Element("x").tag == "x"
    there = fake.namespaces[0]
    assert there["c"] is there["colorsys"] is c
    assert (there["p"], there["tree"]) == (p, tree)
    assert (there["d"], there["digits"], there["o"]) == (d, d, o)
    assert capsys.readouterr().out.splitlines()[:4] == [
        "importing colorsys as c on engine(s)",
        "importing os.path as p on engine(s)",
        "importing xml.etree.ElementTree as tree on engine(s)",
        "importing digits as d from string on engine(s)",
    ]


def test_names_that_only_look_different_are_not_bound_twice(fake, dv):
    with dv.sync_imports(quiet=True):
        import os as os
        import xml.dom as xml
    assert bound(fake) == {"os", "xml"}
    assert fake.namespaces[0]["xml"].__name__ == "xml.dom"


def test_global_and_nonlocal_names_and_cells_of_a_notebook_work(fake, dv):
    def outer():
        c = None

        def inner():
            nonlocal c
            global sync_imports_test_global
            with dv.sync_imports(quiet=True):
                import colorsys as c
                import os.path as sync_imports_test_global

        inner()
        return c

    assert outer().__name__ == "colorsys"
    assert {"c", "sync_imports_test_global"} <= bound(fake)
    as_cell("with dv.sync_imports(quiet=True):\n import calendar as cal; cal.month_name", dv=dv)
    assert {"calendar", "cal"} <= bound(fake)


def test_star_imports_are_made_there_too(fake, dv, capsys):
    space = as_cell("with dv.sync_imports():\n from colorsys import *", dv=dv)
    assert "rgb_to_hsv" in space
    assert "rgb_to_hsv" in bound(fake)
    assert capsys.readouterr().out == "importing * from colorsys on engine(s)\n"


@row("2.5-sync-imports-only-block")
def test_only_imports_of_the_block_itself_are_made_there(fake, dv):
    def elsewhere():
        import colorsys

    with dv.sync_imports(quiet=True):
        elsewhere()
        import calendar
    assert bound(fake) == {"calendar"}


@row("2.5-sync-imports-relative", "11-sync-imports-level")
def test_relative_imports_are_made_here_only(fake, dv):
    space = {"__name__": "tests.client.x", "__package__": "tests.client", "dv": dv}
    exec("with dv.sync_imports(quiet=True):\n from . import fakes", space)
    assert space["fakes"].__name__ == "tests.client.fakes"
    assert bound(fake) == set()


# -- remote only ----------------------------------------------------------------------------------


@row("2.5-sync-imports-remote-only")
def test_local_false_imports_there_only_and_leaves_names_here_alone(fake, dv):
    space = as_cell(
        "with dv.sync_imports(local=False, quiet=True):\n"
        "    import colorsys\n"
        "    import os.path as kept\n"
        "    import xml.dom as new\n"
        "    from string import digits, hexdigits as h\n"
        "    from calendar import *\n",
        dv=dv,
        kept="mine",
        digits="mine too",
    )
    assert {name for name in space if not name.startswith("__")} == {"dv", "kept", "digits"}
    assert (space["kept"], space["digits"]) == ("mine", "mine too")
    assert {"colorsys", "kept", "new", "digits", "h", "monthrange"} <= bound(fake)


@row("2.5-sync-imports-remote-only")
def test_what_is_not_there_here_can_be_imported_there(fake, dv, monkeypatch):
    import sys
    import types

    there = types.ModuleType("only_there")
    monkeypatch.setattr(fake, "on_request", lambda _: sys.modules.update(only_there=there))
    monkeypatch.setitem(sys.modules, "only_there", None)
    with dv.sync_imports(local=False, quiet=True):
        import only_there
    assert isinstance(only_there, Elsewhere)
    with pytest.raises(UsageError, match="imported on the engines only"):
        only_there.function()
    assert fake.namespaces[0]["only_there"] is there


# -- what goes wrong ------------------------------------------------------------------------------


@row("2.5-sync-imports-error")
def test_an_import_error_there_is_raised_at_the_end_of_the_block(rc, dv):
    reached = []
    for view, error in ((rc[0], ImportError), (dv, CompositeError)):
        with pytest.raises(error):
            with view.sync_imports(local=False, quiet=True):
                import no_such_module

                reached.append(True)
    assert reached == [True, True]


def test_an_import_error_here_is_raised_at_once_and_nothing_is_sent(fake, dv):
    with pytest.raises(ModuleNotFoundError), dv.sync_imports():
        import no_such_module
    assert fake.requests[1:] == []


@row("2.5-sync-imports-restored")
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_imports_are_as_before_after_an_error_in_the_block(dv, error):
    with pytest.raises(error), dv.sync_imports(quiet=True):
        import colorsys

        raise error
    assert builtins.__import__ is ORIGINAL


@row("2.5-sync-imports-restored")
def test_imports_are_as_before_when_the_client_is_closed_meanwhile(rc, dv):
    with pytest.raises(Exception, match="closed"):
        with dv.sync_imports(quiet=True):
            rc.close()
            import colorsys
    assert builtins.__import__ is ORIGINAL


@row("2.5-sync-imports-restored")
def test_imports_are_as_before_when_a_block_is_never_left(dv):
    def enter():
        manager = dv.sync_imports()
        manager.__enter__()
        assert builtins.__import__ is not ORIGINAL

    enter()
    gc.collect()
    assert builtins.__import__ is ORIGINAL


@row("2.5-sync-imports-restored")
def test_blocks_may_overlap_in_any_order(rc, fake):
    first, second = rc[0].sync_imports(quiet=True), rc[1].sync_imports(quiet=True)
    first.__enter__()
    steps = [threading.Event() for _ in range(2)]

    def other():
        with second:
            steps[0].set()
            assert steps[1].wait(10)
            import calendar

    thread = threading.Thread(target=other)
    thread.start()
    assert steps[0].wait(10)
    import colorsys

    first.__exit__(None, None, None)
    assert builtins.__import__ is not ORIGINAL
    steps[1].set()
    thread.join(10)
    assert builtins.__import__ is ORIGINAL
    assert (bound(fake, 0), bound(fake, 1)) == ({"colorsys"}, {"calendar"})


@row("2.5-sync-imports-restored")
def test_what_others_put_in_place_meanwhile_stays_theirs(fake, dv):
    with dv.sync_imports(quiet=True):
        ours = builtins.__import__

        def theirs(*args, **kwargs):
            return ours(*args, **kwargs)

        builtins.__import__ = theirs
    try:
        assert builtins.__import__ is theirs
        with dv.sync_imports(quiet=True):
            import colorsys
        assert builtins.__import__ is theirs
        assert bound(fake) == {"colorsys"}
    finally:
        builtins.__import__ = ORIGINAL


def test_a_block_inside_another_sends_to_the_inner_view(rc, fake):
    with rc[0].sync_imports(quiet=True):
        import colorsys

        def inner():
            with rc[1].sync_imports(quiet=True):
                import calendar

        inner()
    assert (bound(fake, 0), bound(fake, 1)) == ({"colorsys"}, {"calendar"})


async def test_views_of_an_async_client_use_async_with(fake):
    async with AsyncClient(fake.file, transport=fake.transport) as rc:
        async with rc[:].sync_imports(quiet=True):
            import colorsys as c
        assert bound(fake) == {"colorsys", "c"}
        with pytest.raises(ImportError):
            async with rc[0].sync_imports(local=False, quiet=True):
                import no_such_module
        with pytest.raises(UsageError, match="async with"), rc[:].sync_imports():
            pass
