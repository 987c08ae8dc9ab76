"""What is in the distributions, and what an installation brings."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tarfile
import zipfile
from importlib.metadata import entry_points, requires
from pathlib import Path

import pytest
from jupyter_client.kernelspec import KernelSpecManager

ROOT = Path(__file__).parent.parent
KERNEL_JSON = "share/jupyter/kernels/ipyviews-engine/kernel.json"
DEPENDENCIES = {"cloudpickle", "ipykernel", "ipython", "jupyter-client", "pyzmq", "tqdm"}
ARGUMENTS = ["-m", "ipykernel_launcher", "-f", "{connection_file}", "--ext=ipyviews.engine"]


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> dict[str, set[str]]:
    """File names in the wheel and, without the top folder, in the sdist."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (wheel,), (sdist,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    with zipfile.ZipFile(wheel) as archive:
        in_wheel = set(archive.namelist())
    with tarfile.open(sdist) as archive:
        in_sdist = {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}
    return {"wheel": in_wheel, "sdist": in_sdist}


def sources(folder: str) -> set[str]:
    root = ROOT / folder
    files = (path for path in root.rglob("*") if path.suffix == ".py" or path.name == "py.typed")
    return {str(path.relative_to(root.parent)) for path in files}


def test_the_wheel_holds_both_packages_and_nothing_else(built):
    code = {name for name in built["wheel"] if ".dist-info/" not in name and ".data/" not in name}
    assert code == sources("ipyviews") | sources("magics/ipyviews_magics")
    assert {"ipyviews/py.typed", "ipyviews_magics/py.typed"} <= code


def test_the_wheel_holds_kernelspec_licence_and_entry_points(built):
    names = {re.sub(r"^ipyviews-[^/]*\.(data|dist-info)/", "", name) for name in built["wheel"]}
    assert {f"data/{KERNEL_JSON}", "licenses/LICENSE", "entry_points.txt"} <= names


def test_the_sdist_holds_what_the_tests_need(built):
    needed = ["pyproject.toml", "README.md", "LICENSE", "docs/design.md", "tests/conftest.py"]
    assert {*needed, "kernelspec/ipyviews-engine/kernel.json"} <= built["sdist"]
    assert "magics/ipyviews_magics/__init__.py" in built["sdist"]


def test_the_installation_brings_an_ordinary_kernelspec():
    spec = KernelSpecManager().get_kernel_spec("ipyviews-engine")
    assert spec.argv[1:] == ARGUMENTS
    assert spec.language == "python"
    assert "kernel_provisioner" not in spec.metadata
    content = json.loads((Path(spec.resource_dir) / "kernel.json").read_text())
    assert content == json.loads((ROOT / "kernelspec/ipyviews-engine/kernel.json").read_text())


def test_the_entry_points_can_be_loaded():
    (command,) = entry_points(group="console_scripts", name="ipyviews")
    assert callable(command.load())
    (provisioner,) = entry_points(group="jupyter_client.kernel_provisioners", name="ipyviews-agent")
    assert provisioner.load().__name__ == "AgentProvisioner"


def test_only_what_is_needed_is_required():
    always = [line for line in requires("ipyviews") or () if "extra" not in line]
    assert {re.split(r"[<>=!~ ;]", line)[0] for line in always} == DEPENDENCIES
