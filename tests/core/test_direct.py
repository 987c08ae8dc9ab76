"""Direct tasks: the caller names the engine."""

from ipyviews.core.effects import Dispatch, Reply, Run, Verdict
from ipyviews.core.events import Kind, Status
from ipyviews.ids import Attempt
from tests.core.desk import Desk


def test_a_task_is_sent_to_its_engine_at_once_when_nothing_runs_there():
    desk = Desk(engines=2)
    assert desk.submit("r.0", 1) == [Dispatch(Attempt("r.0", 1, 1, 1), Kind.APPLY)]


def test_the_reply_says_how_it_ended_and_which_runs_there_were():
    desk = Desk(engines=1)
    desk.submit("r.0", 0)
    attempt = Attempt("r.0", 0, 1, 1)
    assert desk.reply("r.0", after=2.0) == [
        Reply("r.0", "a", Verdict.REPLIED, attempt, "", (Run(0, 1, 0.0, 2.0, "ok"),))
    ]


def test_tasks_of_a_client_run_on_an_engine_in_the_order_submitted_whatever_their_kind():
    desk = Desk(engines=1)
    for number in range(6):
        (desk.submit if number % 2 else desk.cell)(f"r{number}.0", 0)
    for number in range(6):
        desk.reply(f"r{number}.0")
    assert desk.order == [f"r{number}.0" for number in range(6)]


def test_direct_and_balanced_tasks_of_a_client_run_on_an_engine_in_the_order_submitted():
    desk = Desk(engines=1)
    for number in range(6):
        desk.submit(f"r{number}.0", 0 if number % 2 else None)
    for number in range(6):
        desk.reply(f"r{number}.0")
    assert desk.order == [f"r{number}.0" for number in range(6)]


def test_an_unknown_engine_is_answered_at_once_with_the_engines_there_are():
    desk = Desk(engines=3)
    desk.submit("r.0", 7)
    assert desk.verdict("r.0") is Verdict.UNKNOWN_ENGINE
    assert desk.reason("r.0") == "there is no engine 7; engines: 0, 1, 2"


def test_a_sentence_names_only_some_of_many_engines():
    desk = Desk(engines=20)
    desk.submit("r.0", 99)
    assert desk.reason("r.0").endswith("13, 14, 15 and 4 more")


def test_without_any_engine_the_sentence_says_so():
    desk = Desk()
    desk.submit("r.0", 0)
    assert desk.reason("r.0") == "there is no engine 0; there are no engines"


def test_a_lost_engine_is_answered_at_once_with_the_reason_of_its_loss():
    desk = Desk(engines=2)
    desk.lose(0)
    desk.submit("r.0", 0)
    assert desk.verdict("r.0") is Verdict.UNKNOWN_ENGINE
    assert desk.reason("r.0") == "engine 0 is gone (killed by SIGKILL); engines: 1"


def test_a_call_on_a_kernel_without_apply_is_answered_at_once_and_a_cell_runs():
    desk = Desk()
    desk.join(3, can_apply=False)
    desk.submit("r.0", 3)
    assert desk.verdict("r.0") is Verdict.UNKNOWN_ENGINE
    assert desk.reason("r.0") == "engine 3 runs a kernel without apply; use execute"
    desk.cell("s.0", 3)
    assert desk.runs_on("s.0") == 3


def test_a_task_waits_for_an_engine_that_is_being_started():
    desk = Desk()
    desk.expect(0)
    desk.submit("r.0", 0)
    assert desk.running == []
    desk.join(0)
    assert desk.runs_on("r.0") == 0


def test_a_call_that_waited_is_answered_when_the_engine_turns_out_to_have_no_apply():
    desk = Desk()
    desk.expect(0)
    desk.submit("r.0", 0)
    desk.cell("s.0", 0)
    desk.join(0, can_apply=False)
    assert desk.verdict("r.0") is Verdict.UNKNOWN_ENGINE
    assert desk.runs_on("s.0") == 0


def test_a_failed_task_runs_again_on_its_engine_while_it_has_retries():
    desk = Desk(engines=2)
    desk.submit("r.0", 0, retries=2)
    for _ in range(3):
        assert desk.runs_on("r.0") == 0
        desk.fail("r.0")
    assert desk.verdict("r.0") is Verdict.REPLIED
    assert [run.outcome for run in desk.replies["r.0"].runs] == ["error"] * 3


def test_a_task_that_runs_again_goes_before_later_ones_of_its_client():
    desk = Desk(engines=1)
    desk.submit("r.0", 0, retries=1)
    desk.submit("r.1", 0)
    desk.fail("r.0")
    assert desk.running == ["r.0"]


def test_the_same_submission_twice_is_one_task():
    desk = Desk(engines=1)
    desk.submit("r.0", 0)
    assert desk.submit("r.0", 0) == []


def test_a_failing_cell_aborts_the_queued_cells_of_its_request_on_its_engine_and_nothing_else():
    desk = Desk(engines=2)
    desk.cell("r.0", 0)
    desk.cell("r.1", 0)
    desk.cell("r.2", 1)
    desk.cell("r.3", 1)
    desk.submit("r.4", 0)
    desk.cell("s.0", 0)
    desk.cell("t.0", 0, client="b")
    desk.cell("r.5", 0)
    desk.fail("r.0")
    aborted = [task for task in desk.replies if desk.verdict(task) is Verdict.ABORTED]
    assert aborted == ["r.1", "r.5"]
    assert desk.reason("r.1") == "an earlier cell of the same request failed on engine 0"


def test_a_cell_that_will_run_again_aborts_nothing():
    desk = Desk(engines=1)
    desk.cell("r.0", 0, retries=1)
    desk.cell("r.1", 0)
    desk.fail("r.0")
    assert "r.1" not in desk.replies
    desk.fail("r.0")
    assert desk.verdict("r.1") is Verdict.ABORTED


def test_a_failing_call_aborts_nothing():
    desk = Desk(engines=1)
    desk.submit("r.0", 0)
    desk.cell("r.1", 0)
    desk.fail("r.0")
    assert desk.running == ["r.1"]


def test_a_cell_the_kernel_aborted_is_not_run_again():
    desk = Desk(engines=1)
    desk.cell("r.0", 0, retries=3)
    desk.reply("r.0", Status.ABORTED)
    assert desk.verdict("r.0") is Verdict.REPLIED
