"""Promises about the engine's code itself, and its parts without a kernel."""

from __future__ import annotations

import ast
import importlib.metadata
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import zmq

import ipyviews.engine
from ipyviews.engine import adapter, backlog, frames, version
from ipyviews.launching import bootstrap

FILES = sorted(Path(ipyviews.engine.__file__).parent.glob("*.py"))


def private_names(tree: ast.AST) -> set[str]:
    """Attributes and modules with a leading underscore that are not of ``self``."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and not (
            isinstance(node.value, ast.Name) and node.value.id == "self"
        ):
            found.add(node.attr)
        if isinstance(node, ast.ImportFrom):
            found |= {*(node.module or "").split("."), *(alias.name for alias in node.names)}
    return {name for name in found if name.startswith("_") and not name.endswith("__")}


def test_private_names_of_ipykernel_are_those_listed():
    source = Path(adapter.__file__).read_text()
    assert private_names(ast.parse(source)) == set(adapter.PRIVATE)


def test_only_the_adapter_knows_ipykernel():
    for file in FILES:
        if file.stem != "adapter":
            source = file.read_text()
            assert "iopub_thread" not in source, file
            assert "import ipykernel" not in source, file


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_engine_code_can_be_loaded_under_any_name(file):
    """Imports of our own are relative: the package is also sent under a private name."""
    for node in ast.walk(ast.parse(file.read_text())):
        modules = [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        assert not any(module.startswith("ipyviews") for module in modules)


def test_version_is_that_of_the_distribution():
    assert importlib.metadata.version("ipyviews") == version.VERSION


def test_bootstrap_loads_nothing_that_unpickles():
    code = (
        "import sys; from ipyviews.launching import bootstrap; bootstrap.source_request('e0.1');"
        "print({'cloudpickle', 'pickle', 'zmq', 'ipyviews.engine.names'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize("make", [bootstrap.probe_request, bootstrap.source_request])
def test_request_leaves_no_trace(make):
    content = make("e3.1")
    assert (content["code"], content["silent"], content["store_history"]) == ("", True, False)
    compile(content["user_expressions"]["ipyviews"], "<expression>", "eval")
    assert len(json.dumps(content)) < 100_000


def reply(**changes) -> dict:
    report = {
        "apply_url": "ipc:///x",
        "python": "cpython-3.11",
        "ipykernel": "7.4.0",
        "version": version.VERSION,
        "pid": 1,
        "has_cloudpickle": True,
    }
    data = {"text/plain": repr(json.dumps(report | changes))}
    return {"status": "ok", "user_expressions": {"ipyviews": {"status": "ok", "data": data}}}


def test_report_is_read():
    assert bootstrap.read_report(reply()) == bootstrap.EngineReport(
        "ipc:///x", "cpython-3.11", "7.4.0", version.VERSION, 1, has_cloudpickle=True
    )


MISSING = {"status": "error", "ename": "ModuleNotFoundError", "evalue": "No module"}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (reply(version="0"), "another version"),
        (reply(has_cloudpickle=False), "no cloudpickle"),
        ({"status": "ok", "user_expressions": {"ipyviews": MISSING}}, "ModuleNotFoundError"),
        ({"status": "error", "ename": "KeyboardInterrupt", "evalue": ""}, "KeyboardInterrupt"),
        ({}, "another version"),
        (reply(surplus=1), "another version"),
    ],
)
def test_no_report_means_send_the_source(content, words):
    assert bootstrap.read_report(content) is None
    assert words in bootstrap.refusal(content)


def calls(*attempts: str, **ours) -> list[backlog.Call]:
    content = {"index": [[1, 0]] * len(attempts), "attempts": attempts}
    buffers = [b"f", b"x" * len(attempts)]
    return backlog.split(backlog.Request([], {"msg_id": "any"}, ours, content, buffers))


def test_backlog_gives_one_call_at_a_time_in_order():
    work = backlog.Backlog()
    assert [work.add(calls(name)) for name in ("a", "b", "a")] == [True, True, False]
    assert work.take().attempt == "a"
    assert work.take() is None
    work.running = None
    work.cells = 1
    assert work.take() is None
    work.cells = 0
    assert work.holds() == ["b"]
    assert [call.attempt for call in work.remove({"b"})] == ["b"]
    assert work.remove({"b"}) == []


def test_an_urgent_call_goes_before_those_that_wait():
    work = backlog.Backlog()
    work.add(calls("a", "b"))
    assert work.take().attempt == "a"
    work.add(calls("c", urgent=True))
    assert work.holds() == ["a", "c", "b"]


def test_backlog_remembers_a_bounded_number_of_attempts(monkeypatch):
    monkeypatch.setattr(backlog, "MEMORY", 3)
    work = backlog.Backlog()
    assert all(work.add(calls(name)) for name in "abcd")
    assert not work.add(calls("b"))
    assert work.add(calls("a"))


@pytest.mark.parametrize("changed", ["part", "small buffer", "large length", "count"])
def test_own_signature_covers_buffers(changed):
    parts, buffers = [b"{}"] * 4, [b"small", b"x" * (frames.SIGNED_BUFFER_LIMIT + 1)]
    signature = frames.sign(b"key", parts, buffers)
    frames.verify(b"key", signature, parts, buffers)
    match changed:
        case "part":
            parts[2] = b"[]"
        case "small buffer":
            buffers[0] = b"smell"
        case "large length":
            buffers[1] += b"x"
        case "count":
            buffers.append(b"")
    with pytest.raises(frames.BadMessage):
        frames.verify(b"key", signature, parts, buffers)


def test_large_buffers_are_left_to_the_transport():
    large = bytearray(frames.SIGNED_BUFFER_LIMIT + 1)
    signature = frames.sign(b"key", [b"{}"] * 4, [large])
    large[0] = 1
    frames.verify(b"key", signature, [b"{}"] * 4, [large])


def test_terminal_ipython_is_no_engine():
    class Shell:
        kernel = None

    with pytest.raises(RuntimeError, match="only be loaded in a Jupyter kernel"):
        ipyviews.engine.load_ipython_extension(Shell())


@pytest.mark.parametrize(("limit", "sets"), [(1000, [(zmq.SNDHWM, 0)]), (0, [])])
def test_a_send_limit_is_lifted_once_for_that_may_crash_where_connections_end(limit, sets):
    done = []
    socket = SimpleNamespace(
        getsockopt=lambda _: limit, setsockopt=lambda *option: done.append(option)
    )
    iopub = SimpleNamespace(socket=socket, schedule=lambda work: work())
    adapter.Kernel.lift_send_limit(SimpleNamespace(_kernel=SimpleNamespace(iopub_thread=iopub)))
    assert done == sets
