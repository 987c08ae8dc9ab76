from __future__ import annotations

import subprocess
import sys

import pytest

from ipyviews.client import activation
from ipyviews.client.client import Client


class Shell:
    """What activation uses of IPython."""

    def __init__(self, **magics):
        self.loaded = []
        self.extension_manager = self.magics_manager = self
        self.magics = {"line": magics}
        self.calls = []

    def load_extension(self, name):
        self.loaded.append(name)
        activation.registrar = lambda view, suffix: self.calls.append((view, suffix))


@pytest.fixture
def shell(monkeypatch):
    running = Shell(px=None)
    monkeypatch.setattr(activation, "registrar", None)
    monkeypatch.setattr(activation, "shell", lambda: running)
    return running


def test_activating_loads_the_extension_once(shell, dv):
    dv.activate("_a")
    dv.activate()
    assert shell.loaded == ["ipyviews"]
    assert shell.calls == [(dv, "_a"), (dv, "")]


@pytest.mark.row("1.1-activates")
def test_the_first_client_in_a_shell_without_px_activates_itself(fake, shell):
    shell.magics["line"].clear()
    with Client(fake.file, transport=fake.transport):
        view, suffix = shell.calls[0]
        assert (view.targets, view.block, suffix) == ("all", True, "")


def test_a_client_leaves_px_alone_that_is_there(rc, shell):
    assert shell.calls == []


@pytest.mark.row("1.4-activate")
def test_activating_a_client_gives_a_blocking_view(rc, shell):
    view = rc.activate([0], "_x")
    assert (view.targets, view.block) == ([0], True)
    assert shell.calls == [(view, "_x")]


def test_outside_ipython_there_is_a_warning_only(dv, monkeypatch):
    monkeypatch.setattr(activation, "shell", lambda: None)
    with pytest.warns(UserWarning, match="no IPython here"):
        dv.activate()


def test_importing_the_package_is_light():
    code = """
import sys, ipyviews
heavy = {"zmq", "IPython", "traitlets", "ipykernel", "cloudpickle", "asyncio", "tqdm", "numpy"}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
assert set(ipyviews.__all__) <= set(dir(ipyviews))
assert ipyviews.UsageError.__name__ == "UsageError"
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)


def test_an_unknown_name_is_an_attribute_error():
    import ipyviews

    with pytest.raises(AttributeError, match="'nonsense'"):
        ipyviews.nonsense
