"""Every statement about the API has a test, or says why not."""

from __future__ import annotations

import pytest

from tests.api import rows


def test_every_row_has_a_test_or_a_reason():
    assert rows.account().missing == []


def test_tests_name_rows_that_there_are_and_rows_are_well_formed():
    assert rows.account().faults == []


@pytest.fixture
def written(tmp_path):
    """Write rows and one test file, and return their account."""

    def write(table: str, code: str) -> rows.Account:
        (tmp_path / "rows.toml").write_text(table)
        tests = tmp_path / "tests"
        tests.mkdir()
        (tests / "test_it.py").write_text("import pytest\n" + code)
        return rows.account(tmp_path / "rows.toml", tests)

    return write


@pytest.mark.parametrize(
    "code",
    [
        "@pytest.mark.row('a', 'b')\ndef test_it(): pass",
        "pytestmark = [pytest.mark.kernels, pytest.mark.row('a', 'b')]",
        "CASES = [pytest.param(1, marks=pytest.mark.row('a')), pytest.mark.row('b')]",
        "row = pytest.mark.row\n@row('a')\n@row('b')\ndef test_it(): pass",
    ],
)
def test_marks_are_found(written, code):
    state = written('a.text = "x"\nb.text = "y"\nc.text = "z"\n', code)
    assert set(state.tests) == {"a", "b"}
    assert state.missing == ["c"]
    assert state.faults == []


def test_a_reason_stands_for_a_test(written):
    state = written('a.text = "x"\na.reason = "y"\n', "")
    assert state.missing == []


@pytest.mark.parametrize("mark", ["'nowhere'", "NAME", ""])
def test_a_mark_that_names_no_row_is_a_fault(written, mark):
    state = written('a.text = "x"\n', f"pytestmark = pytest.mark.row({mark})")
    assert len(state.faults) == 1


@pytest.mark.parametrize("row", ['a.reason = "y"', 'a.text = ""', 'a.text = "x"\na.why = "y"'])
def test_a_row_without_text_or_with_other_fields_is_a_fault(written, row):
    assert len(written(row, "").faults) == 1
