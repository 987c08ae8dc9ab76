"""What may be forked."""

import os
import subprocess
import sys
import threading
import types

import pytest

from ipyviews.launching import forkserver
from ipyviews.launching.forkserver import WarmImage, kernel_arguments

ENGINE = [sys.executable, "-m", "ipykernel_launcher", "-f", "/x/e0.json", "--ext=ipyviews.engine"]


@pytest.fixture
def image(monkeypatch):
    """An image that looks warm in a process that looks single-threaded."""
    monkeypatch.setattr(threading, "active_count", lambda: 1)
    monkeypatch.setattr(forkserver, "_count_tasks", lambda: 1)
    image = WarmImage()
    image.problem = None
    return image


def env(**changes):
    return {**os.environ, **changes}


def test_stock_kernel_of_this_interpreter_is_forked(image):
    assert image.refusal(ENGINE, env()) is None


def test_flag_of_the_stock_kernelspec_does_no_harm(image):
    assert image.refusal([ENGINE[0], "-Xfrozen_modules=off", *ENGINE[1:]], env()) is None


@pytest.mark.parametrize(
    "argv",
    [
        ["/usr/bin/python3", *ENGINE[1:]],
        [sys.executable, "-m", "bash_kernel", "-f", "/x/e0.json"],
        [sys.executable, "-O", *ENGINE[1:]],
        [sys.executable, "-m", "ipykernel_launcher"],
        [],
    ],
)
def test_other_commands_are_executed(image, argv):
    assert image.refusal(argv, env()) is not None


@pytest.mark.parametrize("name", ["PYTHONPATH", "PYTHONHASHSEED", "LD_PRELOAD", "LC_ALL"])
def test_variables_read_at_start_are_not_set_by_a_fork(image, name):
    assert image.refusal(ENGINE, env(**{name: "other"})).startswith(f"{name} differs")


def test_removed_variable_counts_as_changed(image, monkeypatch):
    monkeypatch.setenv("PYTHONNOUSERSITE", "1")
    image = WarmImage()
    image.problem = None
    without = env()
    del without["PYTHONNOUSERSITE"]
    assert image.refusal(ENGINE, without).startswith("PYTHONNOUSERSITE differs")


def test_other_variables_are_set_by_a_fork(image):
    assert image.refusal(ENGINE, env(MY_OPTION="1", JPY_PARENT_PID="1")) is None


def test_thread_limits_are_set_by_a_fork_while_no_library_has_read_them(image, monkeypatch):
    for library in ("numpy", "scipy", "torch", "jax", "tensorflow", "numba", "cupy"):
        monkeypatch.delitem(sys.modules, library, raising=False)
    assert image.refusal(ENGINE, env(OMP_NUM_THREADS="1")) is None


@pytest.mark.parametrize("name", ["OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES"])
def test_thread_limits_are_not_set_by_a_fork_once_a_library_has_read_them(image, monkeypatch, name):
    monkeypatch.setitem(sys.modules, "numpy", types.ModuleType("numpy"))
    assert image.refusal(ENGINE, env(**{name: "1"})).startswith(f"{name} differs")


@pytest.mark.parametrize(("threads", "tasks"), [(2, 1), (1, 2)])
def test_second_thread_forbids_forking(image, monkeypatch, threads, tasks):
    monkeypatch.setattr(threading, "active_count", lambda: threads)
    monkeypatch.setattr(forkserver, "_count_tasks", lambda: tasks)
    assert "2 threads" in image.refusal(ENGINE, env())


def test_cold_image_is_not_forked():
    assert WarmImage().refusal(ENGINE, env()) == "the image is still cold"


def test_image_without_ipykernel_says_why(monkeypatch):
    monkeypatch.setitem(sys.modules, "ipykernel.kernelapp", None)
    image = WarmImage()
    image.warm_up()
    assert "ipykernel" in image.refusal(ENGINE, env())


def test_arguments_of_the_kernel_follow_the_module():
    assert kernel_arguments(ENGINE) == ["-f", "/x/e0.json", "--ext=ipyviews.engine"]


def test_a_crash_right_after_the_fork_is_told():
    program = (
        "import ctypes, faulthandler, os\n"
        "from ipyviews.launching import children\n"
        "faulthandler.enable()\n"
        "pid = children._fork()\n"
        "if not pid: ctypes.string_at(0)\n"
        "raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -11)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 1
    assert "in string_at" in ended.stderr


def test_what_only_the_controller_imports_is_not_in_the_image_it_is_forked_from():
    look = (
        "import sys; from ipyviews.launching.forkserver import WarmImage; "
        "print(WarmImage().take_in_common(), *sys.modules)"
    )
    told = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    can_be_forked, *modules = told.stdout.split()
    assert can_be_forked == str(sys.platform == "linux")
    assert not any(name.startswith("ipyviews.controller") for name in modules)
    assert sys.platform != "linux" or "zmq" in modules
