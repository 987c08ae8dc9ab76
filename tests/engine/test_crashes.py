"""The file that tells where a kernel crashed."""

import faulthandler
import subprocess
import sys

import pytest

from ipyviews.engine import crashes


@pytest.fixture
def file(tmp_path):
    """A connection file of this process, in which nothing else watches for crashes."""
    watched = faulthandler.is_enabled()
    faulthandler.disable()
    yield str(tmp_path / "kernel.json")
    crashes.stop()
    if watched:
        faulthandler.enable(sys.__stderr__)


def test_crash_is_in_the_file_once(tmp_path):
    file = str(tmp_path / "kernel.json")
    code = f"""
import ctypes, resource
from ipyviews.engine import crashes
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
crashes.watch({file!r})
ctypes.string_at(0)
"""
    ended = subprocess.run([sys.executable, "-c", code], check=False)
    assert ended.returncode == -11
    text = crashes.read(file)
    assert "Segmentation fault" in text
    assert "in string_at" in text
    assert crashes.read(file) == ""


def test_file_is_for_its_user_only_and_new_for_each_life(file, tmp_path):
    crashes.watch(file)
    path = tmp_path / "kernel.json.crash"
    assert path.stat().st_mode & 0o777 == 0o600
    path.write_text("of an earlier life")
    crashes.watch(file)
    assert crashes.read(file) == ""


def test_crashes_that_are_told_elsewhere_are_left_alone(file, tmp_path):
    with (tmp_path / "elsewhere").open("w") as elsewhere:
        faulthandler.enable(elsewhere)
        crashes.watch(file)
        assert not (tmp_path / "kernel.json.crash").exists()
        faulthandler.disable()


def test_nothing_goes_wrong_without_a_folder(tmp_path):
    watched = faulthandler.is_enabled()
    faulthandler.disable()
    crashes.watch(str(tmp_path / "missing" / "kernel.json"))
    assert not faulthandler.is_enabled()
    if watched:
        faulthandler.enable(sys.__stderr__)


def test_a_link_is_not_read(tmp_path):
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "kernel.json.crash").symlink_to(tmp_path / "secret")
    assert crashes.read(str(tmp_path / "kernel.json")) == ""
