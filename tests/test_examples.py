"""The examples of docstrings and pages, run; those that need a cluster, on one."""

from __future__ import annotations

import doctest
import io
import pkgutil
import re
from importlib import import_module
from pathlib import Path

import pytest

import ipyviews
import ipyviews_magics

ROOT = Path(__file__).parent.parent
FLAGS = doctest.ELLIPSIS | doctest.IGNORE_EXCEPTION_DETAIL | doctest.REPORT_ONLY_FIRST_FAILURE
#: Examples with one of these are given a cluster.
NEEDS_CLUSTER = re.compile(r"\b(rc|dv|lv|view)\b|\b(Client|Cluster)\(")


def modules():
    for package in (ipyviews, ipyviews_magics):
        yield package.__name__
        for found in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
            if not found.name.endswith("__main__"):
                yield found.name


def examples_of_docstrings():
    finder = doctest.DocTestFinder(exclude_empty=True)
    for name in modules():
        module = import_module(name)
        yield from finder.find(module, name, module=module)


def examples_of_pages():
    parser = doctest.DocTestParser()
    for path in sorted(ROOT.joinpath("docs").glob("*.md")):
        text = path.read_text(encoding="utf-8")
        blocks = re.findall(r"^```pycon\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
        yield parser.get_doctest("\n".join(blocks), {}, path.name, str(path), 0)


ALL = [test for test in [*examples_of_docstrings(), *examples_of_pages()] if test.examples]


def needs_cluster(test: doctest.DocTest) -> bool:
    return any(NEEDS_CLUSTER.search(example.source) for example in test.examples)


def check(test: doctest.DocTest, **names: object) -> None:
    # A run takes the names away; what it defines is interactive, as in a notebook.
    test.globs = {**test.globs, **names, "__name__": "__main__"}
    assert not any(doctest.SKIP in example.options for example in test.examples)
    report = io.StringIO()
    runner = doctest.DocTestRunner(optionflags=FLAGS, verbose=False)
    result = runner.run(test, out=report.write)
    assert result.failed == 0, report.getvalue()


def by_name(tests):
    return [pytest.param(test, id=test.name) for test in tests]


@pytest.mark.parametrize("test", by_name(test for test in ALL if not needs_cluster(test)))
def test_an_example_is_right(test):
    check(test)


@pytest.mark.kernels
@pytest.mark.parametrize("test", by_name(test for test in ALL if needs_cluster(test)))
def test_an_example_on_a_cluster_is_right(test, rc):
    check(test, rc=rc, dv=rc[:], lv=rc.load_balanced_view(), ipp=ipyviews)


def test_pages_have_examples():
    assert {"getting-started.md", "views.md", "results.md"} <= {test.name for test in ALL}
