import email
from pathlib import Path

import pytest

from ipyviews import demo
from ipyviews.demo import Longest, Survey


@pytest.fixture
def module(tmp_path):
    def write(name, text):
        path = tmp_path / name
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return str(path)

    return write


def test_a_survey_counts_what_a_module_defines(module):
    path = module(
        "a.py",
        "class A:\n    async def f(self):\n        pass\n\n\ndef g():\n    x = 1\n    return x\n",
    )
    assert demo.survey(path) == Survey(1, 0, 2, 1, Longest(3, "g", path))


@pytest.mark.parametrize("text", ["def broken(:\n", b"# coding: nosuch\n", "x = '\0'\n"])
def test_what_cannot_be_parsed_is_counted_as_such(module, text):
    assert demo.survey(module("b.py", text)) == Survey(0, 1, 0, 0, Longest(0, "", ""))


def test_totals_add_up_and_keep_the_longest():
    surveys = [
        Survey(1, 0, 2, 1, Longest(3, "g", "a")),
        Survey(1, 0, 5, 0, Longest(9, "h", "b")),
        Survey(0, 1, 0, 0, Longest(0, "", "")),
    ]
    assert demo.total(surveys) == Survey(2, 1, 7, 1, Longest(9, "h", "b"))


def test_modules_are_those_of_the_library_without_what_was_installed(module, tmp_path):
    (tmp_path / "site-packages").mkdir()
    small, large = module("s.py", "1\n"), module("l.py", "1000\n")
    module("site-packages/x.py", "1\n")
    module("data.txt", "1\n")
    assert sorted(demo.modules(tmp_path)) == sorted([large, small])


def test_a_difference_is_an_error(capsys):
    right, wrong = (Survey(n, 0, 0, 0, Longest(0, "", "")) for n in (1, 2))
    assert demo.verdict([right, right], right) == 0
    assert demo.verdict([right, wrong], right) == 1
    assert "differ" in capsys.readouterr().err


@pytest.mark.kernels
def test_engines_find_the_same_as_a_local_run(run_root, monkeypatch, capsys):
    # A part of the library: the whole takes half a minute.
    monkeypatch.setattr(demo, "library", lambda: Path(email.__path__[0]))
    assert demo.main() == 0
    told = capsys.readouterr().out
    assert all(f"[stdout:{engine}]" in told for engine in range(4))
    _, _, even = told.partition("%%px_even")
    assert "[stdout:2]" in even
    assert "[stdout:1]" not in even
    assert "The totals are those of a plain local run." in told
    assert "x on " in told


@pytest.mark.kernels
def test_a_wrong_total_fails_the_demo(run_root, monkeypatch, capsys):
    monkeypatch.setattr(demo, "library", lambda: Path(email.__path__[0]) / "mime")
    here = demo.total
    calls = []

    def wrong_once(surveys):
        calls.append(1)
        found = here(surveys)
        return found._replace(classes=found.classes + (len(calls) == 1))

    monkeypatch.setattr(demo, "total", wrong_once)
    assert demo.main() == 1
    assert "The totals differ" in capsys.readouterr().err
