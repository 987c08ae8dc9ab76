"""The leak check sees what it is for."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import leaks
from tests.waiting import wait_until

FOREVER = "import threading; threading.Event().wait()"
#: Starts a session of its own and lets the first process end, as an agent does.
DETACH = f"""
import subprocess, sys
command = [sys.executable, "-c", {FOREVER!r}]
quiet = {{"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}}
child = subprocess.Popen(command, start_new_session=True, **quiet)
print(child.pid, flush=True)
child.returncode = 0
"""


@pytest.fixture
def look(run_root):
    """Take a snapshot now; the returned function lists what came since."""
    before = leaks.snapshot(run_root, detached=True)

    def since(patience_s: float = 0.0) -> leaks.Leaks:
        return leaks.find_leaks(before, run_root, patience_s=patience_s)

    return since


def test_nothing_new_is_no_leak(look):
    assert not look()
    assert not look(0.05)


def test_a_child_process_is_a_leak(look):
    with subprocess.Popen([sys.executable, "-c", FOREVER]) as child:
        found = look()
        leaks.end(found.processes)
    assert [p.pid for p in found.processes] == [child.pid]
    assert str(child.pid) in found.describe()
    assert not look(5)


def test_a_process_that_left_our_tree_is_a_leak(look):
    output = subprocess.run(
        [sys.executable, "-c", DETACH], capture_output=True, text=True, check=True
    ).stdout
    found = look(0.05)
    leaks.end(found.processes)
    assert [p.pid for p in found.processes] == [int(output)]


def test_patience_waits_for_a_process_that_is_ending(look):
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        assert look().processes
        child.stdin.close()
        child.wait()
        assert not look(5)


def test_an_open_descriptor_is_a_leak(look):
    reading, writing = os.pipe()
    found = look()
    os.close(reading)
    os.close(writing)
    assert len(found.others) == 2
    assert all(line.startswith("fd ") for line in found.others)
    assert not look()


def test_a_run_folder_is_a_leak(look, run_root):
    folder = run_root / "ipv" / "01234567"
    folder.mkdir(parents=True)
    assert look().others == ["run folder: 01234567"]
    folder.rmdir()


@pytest.mark.skipif(not leaks.SHARED_MEMORY.is_dir(), reason="no /dev/shm here")
def test_shared_memory_is_a_leak(look, run_root):
    segment = leaks.SHARED_MEMORY / f"ipv-{run_root.name}"
    segment.touch()
    found = look()
    segment.unlink()
    assert found.others == [f"shared memory: {segment.name}"]


def test_a_test_that_leaks_fails(tmp_path):
    (tmp_path / "test_it.py").write_text(
        "import os, subprocess, sys\n"
        "def test_leaks_a_process():\n"
        f"    subprocess.Popen([sys.executable, '-c', {FOREVER!r}]).returncode = 0\n"
        "def test_leaks_a_pipe():\n    os.pipe()\n"
        "def test_leaks_nothing():\n    pass\n"
    )
    repository = Path(__file__).parent.parent
    options = ["-q", "-p", "no:cacheprovider", "-p", "tests.conftest", "-c", os.devnull]
    result = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "--rootdir", tmp_path, tmp_path / "test_it.py"],
        cwd=repository,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert "3 passed, 2 errors" in result.stdout, result.stdout + result.stderr
    assert result.stdout.count("left behind:") >= 2, result.stdout


def test_every_test_has_folders_of_its_own(run_root):
    assert os.environ["XDG_RUNTIME_DIR"] == str(run_root)
    assert run_root.stat().st_mode & 0o777 == 0o700
    for variable in ("IPYTHONDIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR"):
        assert Path(os.environ[variable]).is_relative_to(run_root)
    # Socket names are appended to <root>/ipv/<8 hex>/.
    assert len(str(run_root)) < 40


def test_wait_until_returns_the_value_or_fails_in_time():
    answers = iter([0, "", "yes"])
    assert wait_until(lambda: next(answers)) == "yes"
    with pytest.raises(AssertionError, match=r"the moon did not come true within 0\.01 s"):
        wait_until(lambda: False, 0.01, "the moon")
