"""Engines of other languages and other environments beside ours."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import ipyviews
from ipyviews.client import inspection

pytestmark = pytest.mark.kernels

OTHER_MINORS = [f"3.{minor}" for minor in (11, 12, 13) if (3, minor) != sys.version_info[:2]]


def add_kernelspec(name, python, module="ipykernel_launcher", language="python"):
    """Install a kernelspec where this test's Jupyter looks."""
    folder = Path(os.environ["JUPYTER_DATA_DIR"]) / "kernels" / name
    folder.mkdir(parents=True)
    argv = [str(python), "-m", module, "-f", "{connection_file}"]
    spec = {"argv": argv, "display_name": name, "language": language}
    (folder / "kernel.json").write_text(json.dumps(spec))


@pytest.fixture
def mixed(start):
    """Two engines of Python and one of bash."""
    add_kernelspec("bash", sys.executable, "bash_kernel", "bash")
    return start(3, kernel=[None, None, "bash"])


def test_output_of_a_bash_engine_is_labelled_beside_python(mixed, capsys, tmp_path):
    (tmp_path / "greeting").write_text("hello\n")
    # A line that both IPython and bash take for a command.
    result = mixed[:].execute(f"cat {tmp_path}/greeting", silent=False, block=False)
    result.get(20)
    assert [text.split() for text in result.stdout] == [["hello"]] * 3
    result.display_outputs()
    shown = capsys.readouterr().out
    for engine in range(3):
        assert f"[stdout:{engine}]" in shown


def test_a_bash_engine_keeps_its_variables(mixed):
    mixed[2].execute("answer=42", block=True)
    result = mixed[2].execute("echo the answer is $answer", silent=False, block=False)
    result.get(20)
    assert result.stdout.strip() == "the answer is 42"


def test_a_call_on_a_bash_engine_is_a_clear_error(mixed):
    with pytest.raises(ipyviews.UsageError, match=r"Engine 2 .* bash"):
        mixed[2].apply_async(lambda: 1).get(20)
    assert mixed[:2].apply_sync(lambda: 1) == [1, 1]


def test_balanced_calls_pass_a_bash_engine_by(mixed):
    found = mixed.load_balanced_view().map_sync(lambda x: x + 1, range(50))
    assert found == list(range(1, 51))


def test_a_bash_engine_completes_its_own_language(mixed):
    told = inspection.complete(mixed, 2, "ech", 3).result()
    assert "echo" in told["matches"]


def test_a_bash_engine_is_interrupted(mixed, wait_until):
    result = mixed[2].execute("echo begun; sleep 60", silent=False, block=False)
    # Before that the kernel does not hear the signal.
    wait_until(lambda: "begun" in result.stdout)
    assert mixed.interrupt() == 1
    assert result.wait(5)
    assert mixed.ids == [0, 1, 2]


def find_python(version):
    """Find an interpreter of that version that runs, on PATH or in pyenv."""
    candidates = [shutil.which(f"python{version}")]
    root = os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv"
    candidates += sorted(Path(root).glob(f"versions/{version}.*/bin/python"))
    for candidate in filter(None, candidates):
        shown = subprocess.run(
            [candidate, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"],
            capture_output=True,
            text=True,
            check=False,
        )
        if shown.stdout.strip() == version:
            return str(candidate)
    return None


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """Make environments with nothing but ipykernel in them."""
    made = {}

    def environment(python, requirement="ipykernel"):
        if (python, requirement) not in made:
            folder = tmp_path_factory.mktemp("venv")
            subprocess.run([python, "-m", "venv", folder], check=True)
            made[python, requirement] = folder / "bin" / "python"
            command = [made[python, requirement], "-m", "pip", "install", "-q", requirement]
            subprocess.run(command, check=True, capture_output=True)
        return made[python, requirement]

    return environment


@pytest.mark.heavy
@pytest.mark.timeout(300)
@pytest.mark.parametrize("requirement", ["ipykernel", "ipykernel==6.29.5"])
def test_an_engine_without_ipyviews_takes_calls_and_maps(
    start, environment, interactive, tmp_path, requirement
):
    python = environment(sys.executable, requirement)
    add_kernelspec("bare", python)
    rc = start(2, kernel="bare", cwd=tmp_path)
    look = "from importlib.util import find_spec as f; found = f('ipyviews'), f('cloudpickle')"
    rc[:].execute(look, block=True)
    assert rc[:].pull("found", block=True) == [(None, None)] * 2

    rc[:].push({"factor": 3}, block=True)
    helper = interactive("lambda x: x * factor")
    assert rc[:].apply_sync(lambda x: helper(x) + 1, 2) == [7, 7]
    assert rc.load_balanced_view().map_sync(helper, range(100)) == [x * 3 for x in range(100)]
    assert rc[:].map_sync(helper, range(100)) == [x * 3 for x in range(100)]
    assert rc[0].execute("import sys; sys.executable", silent=False, block=True).get(10)
    assert rc[0].apply_sync(lambda: __import__("sys").prefix) == str(Path(python).parent.parent)
    with pytest.raises(ZeroDivisionError):
        rc[0].apply_sync(lambda: 1 / 0)


@pytest.mark.heavy
@pytest.mark.timeout(300)
@pytest.mark.parametrize("version", OTHER_MINORS)
def test_an_engine_of_another_python_refuses_a_lambda_and_takes_the_rest(
    start, environment, tmp_path, version
):
    interpreter = find_python(version)
    if interpreter is None:
        pytest.skip(f"no Python {version} here")
    add_kernelspec("other", environment(interpreter))
    rc = start(2, kernel=[None, "other"], cwd=tmp_path)
    with pytest.raises(ipyviews.UsageError, match=version.replace(".", r"\.")):
        rc[1].apply_sync(lambda: 1)
    import math

    assert rc[1].apply_sync(math.factorial, 20) == math.factorial(20)
    rc[1].push({"data": [1, {"two": 3}]}, block=True)
    assert rc[1]["data"] == [1, {"two": 3}]
    result = rc[1].execute("import sys; print('%d.%d' % sys.version_info[:2])", block=False)
    result.get(20)
    assert result.stdout.strip() == version
    assert rc[0].apply_sync(lambda: 1) == 1
    assert rc.ids == [0, 1]
