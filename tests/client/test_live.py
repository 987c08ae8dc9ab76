"""Output as it comes, with a page, a terminal and a clock of the test's own."""

from __future__ import annotations

import pytest

from ipyviews.client import live, panes
from tests.client.screens import Cell

# -- when -----------------------------------------------------------------------------------------


def test_the_first_line_is_shown_at_once_and_later_ones_together_engine_by_engine():
    cell = Cell()
    cell.prints(1, "a\n")
    assert cell.page.text == "[stdout:1] \na\n"
    cell.prints(1, "b\n")
    cell.prints(0, "x\n")
    cell.prints(1, "c\n")
    assert len(cell.page.messages) == 1
    cell.time.pass_(live.TICK_S)
    assert cell.page.messages[1:] == [("stream", "[stdout:0] \nx\n[stdout:1] \nb\nc\n")]


def test_nothing_is_done_while_nothing_comes():
    cell = Cell()
    cell.prints(0, "a\n")
    cell.time.pass_(5)
    assert cell.time.due == []
    cell.prints(0, "b\n")
    assert cell.page.text == "[stdout:0] \na\nb\n"


def test_the_end_of_all_shows_everything_before_anybody_hears_of_it():
    cell = Cell()
    cell.prints(0, "a\n")
    cell.prints(1, "b")
    cell.ends(0)
    assert "b" not in cell.page.text
    cell.ends(1)
    assert cell.page.text == "[stdout:0] \na\n[stdout:1] \nb"


def test_what_comes_after_the_end_is_shown():
    cell = Cell()
    cell.ends()
    cell.prints(1, "from a thread\n")
    assert cell.page.text == "[stdout:1] \nfrom a thread\n"


def test_the_beginning_of_a_line_is_shown_after_a_moment():
    cell = Cell()
    cell.prints(0, "loading")
    assert cell.page.text == ""
    cell.time.pass_(0.3)
    assert cell.page.text == "[stdout:0] \nloading"
    cell.prints(0, " done\n")
    assert cell.page.text == "[stdout:0] \nloading done\n"


def test_the_beginning_of_a_line_is_not_overtaken_by_the_other_stream():
    cell = Cell(1)
    cell.prints(0, "loading ... ")
    cell.prints(0, "warning\n", "stderr")
    cell.prints(0, "done\n")
    cell.ends()
    assert cell.page.text == (
        "[stdout:0] \nloading ... \n[stderr:0] \nwarning\n[stdout:0] \ndone\n"
    )


def test_a_display_is_shown_at_once_for_it_may_soon_be_updated_or_closed():
    cell = Cell()
    cell.prints(0, "a\n")
    cell.displays(1, "widget")
    assert cell.page.text == "[stdout:0] \na\n[output:1]\n<widget>"


def test_updates_are_taken_together():
    cell = Cell()
    cell.displays(0, "0", "x")
    for number in range(1, 100):
        cell.displays(0, str(number), "x", "update_display_data")
    cell.time.pass_(live.TICK_S)
    assert cell.page.text == "[output:0]\n<99>"
    assert len(cell.page.messages) == 3


def test_a_page_that_fails_stops_nothing_else(caplog):
    cell = Cell()
    cell.prints(0, "a\n")
    cell.prints(0, "b\n")
    cell.page.write = None
    cell.time.pass_(1)
    assert "showing output failed" in caplog.text
    assert cell.time.due == []


# -- lines that are overwritten -------------------------------------------------------------------


def bar(cell, engine, text):
    cell.prints(engine, f"\r{text}", "stderr")


def test_each_engine_has_one_line_that_is_overwritten():
    cell = Cell()
    bar(cell, 0, "10 %")
    bar(cell, 1, "20 %")
    cell.prints(1, "a line\n")
    bar(cell, 0, "30 %")
    cell.time.pass_(live.TICK_S)
    assert cell.page.text == "<[stderr:0] 30 %\n[stderr:1] 20 %>[stdout:1] \na line\n"


def test_a_bar_that_has_ended_stays_until_something_comes_below_it_and_then_becomes_a_line():
    cell = Cell()
    bar(cell, 0, "50 %")
    bar(cell, 0, "100 %\n")
    cell.time.pass_(1)
    assert cell.page.text == "<[stderr:0] 100 %>"
    cell.prints(0, "next\n", "stderr")
    cell.time.pass_(1)
    assert cell.page.text == "<>[stderr:0] \n100 %\nnext\n"
    bar(cell, 0, "5 %")
    cell.time.pass_(1)
    assert cell.page.text == "<[stderr:0] 5 %>[stderr:0] \n100 %\nnext\n"
    bar(cell, 0, "50 %\n")
    cell.prints(0, "finished\n", "stderr")
    cell.ends()
    assert cell.page.text == "<>[stderr:0] \n100 %\nnext\n50 %\nfinished\n"


def test_of_two_bars_one_after_the_other_the_first_is_above():
    cell = Cell()
    for text in ("50 %", "first\n", "50 %", "second\n"):
        bar(cell, 0, text)
    cell.ends()
    assert cell.page.text == "<>[stderr:0] \nfirst\nsecond\n"


def test_a_bar_that_wipes_itself_out_leaves_nothing():
    cell = Cell()
    bar(cell, 0, "50 %")
    bar(cell, 0, "    ")
    cell.prints(0, "\r", "stderr")
    cell.ends()
    assert cell.page.text == "<>"


def test_a_line_that_was_overwritten_within_one_message_is_a_line():
    cell = Cell()
    cell.prints(0, "10 %\r20 %\r100 %\nnext\n")
    assert cell.page.text == "[stdout:0] \n100 %\nnext\n"


def test_equal_bars_are_told_once_when_folding():
    cell = Cell(3, fold=True)
    for engine, text in enumerate(("5 %", "5 %", "6 %")):
        bar(cell, engine, text)
    cell.time.pass_(live.TICK_S)
    assert cell.page.text == "<[stderr:0-1] 5 %\n[stderr:2] 6 %>"


def test_on_a_terminal_bars_that_have_ended_are_lines():
    cell = Cell(is_page=False)
    bar(cell, 0, "50 %")
    bar(cell, 1, "60 %")
    assert cell.page.text == "<[stderr:0] 50 %>"
    bar(cell, 0, "100 %\n")
    cell.ends()
    assert cell.page.text == "<>[stderr:0] \n100 %\n[stderr:1] \n60 %\n"


def test_a_bar_that_comes_after_the_end_is_written_to_a_terminal():
    cell = Cell(1, is_page=False)
    cell.ends()
    cell.prints(0, "late 50 %\rlate 100 %")
    cell.time.pass_(1)
    assert cell.page.text == "[stdout:0] \nlate 100 %\n"


# -- folding --------------------------------------------------------------------------------------


def test_equal_lines_of_all_are_shown_once_and_at_once():
    cell = Cell(3, fold=True)
    for engine in range(3):
        cell.prints(engine, "same\n")
    cell.time.pass_(live.TICK_S)
    assert cell.page.text == "[stdout:0-2] \nsame\n"


def test_who_differs_is_shown_alone():
    cell = Cell(4, fold=True)
    for engine, text in enumerate("aaba"):
        cell.prints(engine, f"begin\n{text}\n")
    cell.ends()
    assert cell.page.text == ("[stdout:0-3] \nbegin\n[stdout:0-1,3] \na\n[stdout:2] \nb\n")


def test_a_line_waits_a_moment_only_for_the_others():
    cell = Cell(2, fold=True)
    cell.prints(0, "a\nb\n")
    assert cell.page.text == ""
    cell.time.pass_(0.25)
    assert cell.page.text == "[stdout:0] \na\nb\n"
    cell.prints(1, "a\n")
    cell.time.pass_(0.25)
    assert cell.page.text == "[stdout:0] \na\nb\n[stdout:1] \na\n"


def test_an_engine_that_has_ended_is_not_waited_for():
    cell = Cell(3, fold=True)
    cell.ends(2)
    cell.prints(0, "a\n")
    cell.prints(1, "a\n")
    cell.time.pass_(live.TICK_S)
    assert cell.page.text == "[stdout:0-1] \na\n"


def test_equal_values_and_displays_are_shown_once():
    cell = Cell(2, fold=True)
    for engine in range(2):
        cell.displays(engine, "figure")
        cell.message(engine, "execute_result", data={"text/plain": "2"}, execution_count=engine + 5)
    cell.ends()
    assert cell.page.text == "[output:0-1]\n<figure><Out[0-1]: 2>"


def test_a_display_with_an_id_is_each_engine_s_own():
    cell = Cell(2, fold=True)
    cell.displays(0, "a", "x")
    cell.displays(1, "a", "x")
    cell.time.pass_(live.TICK_S)
    assert [place[0] for place in cell.page.places if place[0]] == ["engine-0-x", "engine-1-x"]


# -- clear_output ---------------------------------------------------------------------------------


def test_a_single_engine_clears_the_cell():
    cell = Cell(1)
    cell.prints(0, "before\n")
    cell.message(0, "clear_output", wait=True)
    cell.time.pass_(1)
    assert cell.page.text == "[stdout:0] \nbefore\n"
    cell.prints(0, "after\n")
    cell.time.pass_(1)
    assert cell.page.text == "[stdout:0] \nafter\n"
    cell.message(0, "clear_output", wait=False)
    cell.time.pass_(1)
    assert cell.page.text == ""


@pytest.mark.parametrize("engines", [1, 2])
def test_what_was_shown_before_a_last_clear_that_waits_stays(engines):
    cell = Cell(engines)
    for number in range(3):
        cell.prints(0, f"{number}\n")
        cell.message(0, "clear_output", wait=True)
    cell.ends()
    assert "2\n" in cell.page.text
    assert "1\n" not in cell.page.text


def test_one_of_several_engines_clears_its_own_part():
    cell = Cell(2)
    cell.displays(0, "old figure")
    cell.displays(1, "other")
    cell.message(0, "clear_output", wait=True)
    for number in range(50):
        cell.message(0, "clear_output", wait=True)
        cell.prints(0, f"state {number}\n")
        cell.displays(0, f"figure {number}")
    cell.ends()
    assert cell.page.text == ("[output:0]\n<[output:0]>[output:1]\n<other><state 49\n><figure 49>")
    assert len(cell.page.messages) < 10


def test_what_was_longer_before_a_clear_is_blank_after_it():
    cell = Cell(2)
    cell.message(0, "clear_output", wait=False)
    for text in "abc":
        cell.displays(0, text)
    cell.time.pass_(1)
    assert cell.page.text == "<[output:0]><a><b><c>"
    cell.message(0, "clear_output", wait=True)
    cell.displays(0, "d")
    cell.time.pass_(1)
    assert cell.page.text == "<[output:0]><d><><>"
    cell.message(0, "clear_output", wait=False)
    cell.time.pass_(1)
    assert cell.page.text == "<><><><>"


def test_what_is_about_to_be_replaced_is_not_blanked_meanwhile():
    cell = Cell(2)
    cell.message(0, "clear_output", wait=True)
    cell.prints(0, "state 1\n")
    cell.displays(0, "figure 1")
    cell.time.pass_(1)
    cell.message(0, "clear_output", wait=True)
    cell.prints(0, "state 2\n")
    cell.time.pass_(live.TICK_S)
    assert cell.page.text == "<[output:0]><state 2\n><figure 1>"
    cell.displays(0, "figure 2")
    cell.time.pass_(1)
    assert [content["data"]["text/plain"] for _, content in cell.page.messages] == [
        *("[output:0]", "state 1\n", "figure 1", "state 2\n", "figure 2")
    ]


def test_a_display_in_a_part_that_is_cleared_can_be_updated():
    cell = Cell(2)
    cell.message(0, "clear_output", wait=False)
    cell.displays(0, "old", "x")
    cell.displays(0, "new", "x", "update_display_data")
    cell.time.pass_(1)
    assert cell.page.text == "<[output:0]><new>"


def test_displays_for_which_a_part_has_no_room_are_counted(monkeypatch):
    monkeypatch.setattr(panes, "MOST", 2)
    cell = Cell(2)
    cell.message(0, "clear_output", wait=False)
    for text in "abcde":
        cell.displays(0, text)
    cell.ends()
    assert cell.page.text == ("<[output:0]><a><b><… 3 more displays: `ar.outputs` has all of them>")


def test_a_terminal_takes_nothing_back():
    cell = Cell(1, is_page=False)
    cell.prints(0, "a\n")
    cell.message(0, "clear_output", wait=False)
    cell.prints(0, "b\n")
    cell.ends()
    assert cell.page.text == "[stdout:0] \na\nb\n"
