"""Promises about the engine's code itself, and its parts without a kernel."""

from __future__ import annotations

import ast
import hmac
import importlib.metadata
import json
import os
import subprocess
import sys
from datetime import UTC, datetime
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
    assert [len(work.add(calls(name))) for name in ("a", "b", "a")] == [0, 0, 1]
    assert work.take().attempt == "a"
    assert work.take() is None
    work.running = None
    work.cells = 1
    assert work.take() is None
    work.cells = 0
    work.answered(["a"])
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
    assert not any(work.add(calls(name)) for name in "abcd")
    assert [call.attempt for call in work.add(calls("b"))] == ["b"]
    assert not work.add(calls("a"))


def test_what_had_not_begun_when_a_controller_died_can_be_queued_again():
    work = backlog.Backlog()
    work.add(calls("a", "b"))
    assert work.take().attempt == "a"
    work.drop_waiting()
    assert work.holds() == ["a"]
    assert work.unanswered.attempt == "a"
    assert not work.add(calls("b"))
    assert work.holds() == ["a", "b"]


def test_what_ran_when_a_controller_died_is_not_queued_again_until_its_answer_has_arrived():
    work = backlog.Backlog()
    work.add(calls("a", "b", "c"))
    for name in "ab":
        assert work.take().attempt == name
        if name == "a":
            work.answered(["a"])
            work.running = None
    work.drop_waiting()
    assert [call.attempt for call in work.add(calls("a", "b", "c"))] == ["a", "b"]
    assert work.holds() == ["b", "c"]
    work.acknowledged(["a"])
    assert not work.add(calls("a"))


@pytest.mark.parametrize("size", [1, 63, 64, 65, 200])
def test_a_signature_is_an_hmac_with_sha_256_whatever_the_length_of_the_key(size):
    key, parts = bytes(range(size)), [b"header", b"{}", b"{}", b"content"]
    expected = hmac.new(key, b"".join(parts), "sha256").hexdigest().encode()
    assert frames.sign(key, parts) == expected
    assert frames.sign(key, parts) == expected


@pytest.mark.parametrize("blanks", ["", " \n\t"])
def test_json_is_read_with_blanks_around_it_and_not_with_anything_else(blanks):
    packed = f'{blanks}{{"a": [1, "\u00fc"]}}{blanks}'.encode()
    assert frames.load(packed, "strict") == {"a": [1, "\u00fc"]}
    assert frames.load(memoryview(packed), "strict") == {"a": [1, "\u00fc"]}
    for wrong in (packed + b"x", packed[: packed.index(b"}")], b"", b"\xff"):
        with pytest.raises(ValueError, match=r"."):
            frames.load(wrong, "strict")


def test_a_message_has_the_date_of_its_making_in_utc():
    before = datetime.now(UTC)
    dates = [frames.date() for _ in range(1000)]
    after = datetime.now(UTC)
    assert sorted(dates) == dates
    assert all(before <= datetime.fromisoformat(date) <= after for date in (dates[0], dates[-1]))


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


def test_what_is_called_cloudpickle_in_the_folder_one_works_in_is_left_alone(tmp_path):
    (tmp_path / "cloudpickle.py").write_text("raise SystemExit('read')")
    program = (
        "import sys; from ipyviews.engine import names; sys.path.insert(0, '');"
        "print(names.cloudpickle().__version__, sys.path[0] == '')"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", program],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == f"{importlib.metadata.version('cloudpickle')} True\n", done.stderr


@pytest.mark.parametrize(
    ("option", "setting", "is_found"), [("-P", "", True), ("-P", "1", False), ("-I", "", True)]
)
def test_the_folder_one_works_in_is_looked_in_unless_its_user_says_no(
    tmp_path, option, setting, is_found
):
    (tmp_path / "helper_of_a_user.py").write_text("")
    program = (
        f"import sys; sys.path.insert(0, {str(Path(ipyviews.engine.__file__).parents[2])!r})\n"
        "from ipyviews.engine import names; before = len(sys.path)\n"
        "names.find_modules_here(); names.find_modules_here()\n"
        "import helper_of_a_user; print(len(sys.path) - before)"
    )
    done = subprocess.run(
        [sys.executable, option, "-c", program],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONSAFEPATH": setting},
    )
    assert (done.stdout == "1\n") is is_found, done.stderr
    assert ("ModuleNotFoundError" in done.stderr) is not is_found
