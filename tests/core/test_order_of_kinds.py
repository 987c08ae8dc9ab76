"""Calls and cells on one engine that takes more than one call at a time."""

from tests.core.desk import Desk


def test_balanced_calls_are_sent_ahead_up_to_the_bundle():
    desk = Desk(bundle=3, engines=1)
    for number in range(5):
        desk.submit(f"r.{number}")
    assert desk.running == ["r.0", "r.1", "r.2"]


def test_direct_calls_are_sent_ahead_up_to_the_bundle():
    desk = Desk(bundle=3, engines=1)
    for number in range(5):
        desk.submit(f"r.{number}", 0)
    assert desk.running == ["r.0", "r.1", "r.2"]


def test_cells_are_never_sent_ahead():
    desk = Desk(bundle=3, engines=1)
    desk.cell("r.0", 0)
    desk.cell("s.0", 0)
    assert desk.running == ["r.0"]


def test_a_cell_waits_until_the_calls_before_it_are_done():
    desk = Desk(bundle=3, engines=1)
    desk.submit("r.0", 0)
    desk.submit("r.1", 0)
    desk.cell("s.0", 0)
    desk.submit("t.0", 0)
    desk.reply("r.0")
    assert desk.running == ["r.1"]
    desk.reply("r.1")
    assert desk.running == ["s.0"]
    desk.reply("s.0")
    assert desk.running == ["t.0"]


def test_calls_of_others_do_not_keep_a_cell_waiting_for_ever():
    desk = Desk(bundle=2, engines=1)
    for number in range(10):
        desk.submit(f"r.{number}", client="b")
    desk.cell("s.0", 0)
    for number in range(3):
        desk.reply(f"r.{number}", after=1.0)
        if "s.0" in desk.running:
            break
    assert desk.running == ["s.0"]


def test_a_balanced_cell_goes_to_an_idle_engine_while_others_run_calls():
    desk = Desk(bundle=2, engines=2)
    desk.submit("r.0", 0)
    desk.cell("s.0")
    assert desk.runs_on("s.0") == 1


def test_an_engine_that_drained_for_a_cancelled_cell_takes_calls_again():
    desk = Desk(bundle=2, engines=1)
    desk.submit("r.0", 0)
    desk.submit("r.1", 0)
    desk.cell("s.0", 0)
    desk.submit("t.0", 0)
    desk.reply("r.0")
    desk.cancel("s.0")
    desk.reply("r.1")
    assert desk.running == ["t.0"]
