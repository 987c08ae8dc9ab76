"""Floods of output on a page."""

from __future__ import annotations

import pytest

from ipyviews.client import flood
from tests.client.screens import Cell

# -- too much -------------------------------------------------------------------------------------


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(flood, "LINES", 6)
    monkeypatch.setattr(flood, "DISPLAYS", 4)
    monkeypatch.setattr(flood, "LEAST", (1, 10_000, 1))
    monkeypatch.setattr(flood, "TAIL_LINES", 4)


def lines(first, last):
    return "".join(f"{number}\n" for number in range(first, last))


def test_of_a_flood_the_first_lines_a_count_and_the_last_are_on_the_page(small):
    cell = Cell(2)
    for start in range(0, 1000, 100):
        cell.prints(0, lines(start, start + 100))
    cell.prints(1, "few\n")
    cell.ends()
    assert cell.page.text == (
        "[stdout:0] \n0\n1\n2\n[stdout:1] \nfew\n"
        "<… 997 more lines: `ar.stdout` has all of them\n[stdout:0] 998\n[stdout:0] 999>"
    )


def test_the_count_is_told_while_it_floods_but_not_above_the_first_lines_of_others(small):
    cell = Cell(2)
    cell.prints(0, lines(0, 100))
    cell.time.pass_(0.5)
    cell.prints(1, lines(0, 100))
    cell.time.pass_(2)
    assert cell.page.text.startswith("[stdout:0] \n0\n1\n2\n[stdout:1] \n0\n1\n2\n<… 194 more")
    cell.prints(1, lines(0, 100))
    cell.time.pass_(1)
    assert "… 294 more lines" in cell.page.text


def test_a_line_that_comes_in_two_pieces_is_counted_once(small):
    cell = Cell(2)
    cell.prints(0, lines(0, 5) + "the be")
    cell.time.pass_(1)
    cell.prints(0, "ginning\nthe e")
    cell.time.pass_(1)
    cell.prints(0, "nd\n")
    cell.ends()
    assert cell.page.text.endswith(
        "<… 4 more lines: `ar.stdout` has all of them\n"
        "[stdout:0] the beginning\n[stdout:0] the end>"
    )


def test_the_count_stays_when_all_is_over(small):
    cell = Cell(2)
    cell.prints(0, lines(0, 100))
    cell.ends()
    before = len(cell.page.messages)
    cell.time.pass_(5)
    assert len(cell.page.messages) == before


def test_a_flood_is_few_messages():
    cell = Cell(16)
    for start in range(0, 10_000, 10):
        for engine in range(16):
            cell.prints(engine, lines(start, start + 10))
        cell.time.pass_(0.005)
    cell.ends()
    assert "… 158,000 more lines" in cell.page.text
    assert len(cell.page.messages) < 150
    assert sum(len(str(content)) for _, content in cell.page.messages) < 500_000


def test_displays_are_counted_too(small):
    cell = Cell(2)
    for number in range(10):
        cell.displays(0, f"figure {number}")
    cell.ends()
    assert cell.page.text == (
        "[output:0]\n<figure 0>[output:0]\n<figure 1>"
        "<… 8 more displays: `ar.outputs` has all of them>"
    )


def test_what_the_result_dropped_is_told(small, monkeypatch):
    monkeypatch.setattr("ipyviews.client.outputs.TEXT_LIMIT", 150)
    cell = Cell(2)
    cell.tasks[0].written().add("stream", {"name": "stdout", "text": lines(0, 100)})
    cell.prints(0, lines(0, 100))
    cell.ends()
    assert "`ar.stdout` has all but 140 characters" in cell.page.text


def test_a_terminal_shows_everything(small):
    cell = Cell(1, is_page=False)
    cell.prints(0, lines(0, 100))
    cell.ends()
    assert cell.page.text == f"[stdout:0] \n{lines(0, 100)}"


def test_a_cell_that_is_cleared_begins_again(small):
    cell = Cell(1)
    for _ in range(3):
        cell.message(0, "clear_output", wait=True)
        cell.prints(0, lines(0, 5))
        cell.time.pass_(1)
    assert cell.page.text == f"[stdout:0] \n{lines(0, 5)}"
