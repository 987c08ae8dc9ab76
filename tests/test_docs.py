"""The pages say what the code does."""

from __future__ import annotations

import ast
import builtins
import re
import subprocess
import sys
from pathlib import Path

import pytest

import ipyviews
from ipyviews.controller import performer
from ipyviews.core import tasks
from ipyviews.core.effects import Verdict

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
DESIGN = (ROOT / "docs/design.md").read_text(encoding="utf-8")
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)


def test_the_readme_gives_the_two_commands():
    commands = [line for block in blocks(README, "sh") for line in block.splitlines()]
    assert "python -m pip install . && python -m ipyviews demo" in commands
    assert "python -m pip install -e '.[test]' && python -m pytest" in commands


def test_the_state_diagram_is_that_of_the_transition_table():
    assert [block.strip() for block in blocks(DESIGN, "mermaid")] == [tasks.diagram()]


def test_the_layers_are_those_that_are_checked():
    text = (ROOT / "pyproject.toml").read_text()
    layers = re.search(r"^layers = \[(.*?)^\]", text, re.MULTILINE | re.DOTALL)[1]
    checked = re.findall(r"(?:ipyviews\.|ipyviews_)(\w+)", layers)
    drawing = DESIGN.split("## Layers")[1].split("```")[1]
    rooms = [line.split("  ")[0] for line in drawing.splitlines()]
    names = [name for room in rooms for name in re.findall(r"[._](\w+)", room)]
    assert [name for name in names if name != "demo"] == checked


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_named_in_pages_exist(page):
    rooms = [ROOT, ROOT / "ipyviews", page.parent]
    later = page.read_text(encoding="utf-8").partition("## Room for what comes")[0]
    for name in re.findall(r"`((?:\.?\w+/)+\w+(?:\.py|\.md)?)`", later):
        if not name.startswith(("ipyviews/store", "share/")):
            assert any((room / name).exists() for room in rooms), name


def test_python_in_the_readme_is_python():
    examples = blocks(README, "python")
    assert examples
    for example in examples:
        ast.parse(example)


def test_the_reference_has_every_public_name():
    pages = "\n".join(path.read_text() for path in (ROOT / "docs/reference").glob("*.md"))
    documented = set(re.findall(r"^\.\. auto\w+:: (\w+)$", pages, re.MULTILINE))
    # Texts, modules and second names of the same thing have no entry of their own.
    names = {name for name in ipyviews.__all__ if callable(getattr(ipyviews, name))}
    aliases = {name for name in names if getattr(ipyviews, name).__name__ != name}
    assert names - aliases - {"load_ipython_extension"} <= documented


def test_errors_named_in_the_readme_exist():
    named = set(re.findall(r"`(?:except )?(\w+Error)\b", README))
    assert "RemoteError" in named
    for name in named:
        assert hasattr(ipyviews, name) or hasattr(builtins, name), name


@pytest.mark.kernels
def test_the_example_of_the_readme_runs(tmp_path):
    (example,) = blocks(README, "python")
    script = tmp_path / "example.py"
    script.write_text(example)
    command = [sys.executable, "-W", "error", str(script)]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    squares = sum(x**2 for x in range(100))
    assert (result.stdout, result.stderr) == (f"[5, 5, 5, 5]\n{squares}\n", "")


def test_every_verdict_is_in_the_performer_and_the_protocol():
    assert set(performer.ENAMES) == set(Verdict) - {Verdict.REPLIED}


def test_the_changelog_knows_this_version():
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert "## [Unreleased]" in changes or f"## [{ipyviews.__version__}]" in changes


GUARANTEES = (ROOT / "docs/guarantees.md").read_text(encoding="utf-8")


def test_each_promise_names_a_test_that_there_is():
    rows = [row.strip("|").split("|") for row in GUARANTEES.splitlines() if row.startswith("| ")]
    promises = [row for row in rows if row[0].strip() != "promise"]
    assert len(promises) > 20
    for promise, proof in promises:
        files = re.findall(r"`(tests/[\w/]+\.py)`", proof)
        assert files, promise
        for file in files:
            assert (
                "def test_" in (ROOT / file).read_text() or "TestCase" in (ROOT / file).read_text()
            )


def test_what_is_not_promised_is_said():
    assert GUARANTEES.partition("## What is not promised")[2].count("- **") >= 5
