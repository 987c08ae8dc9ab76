"""Looking back: results by number and id, the controller's records, purging, running again."""

from __future__ import annotations

import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import ipyviews as ipp
from ipyviews.errors import CompositeError, RemoteError, UsageError
from tests.conftest import use_folders
from tests.waiting import wait_until

row = pytest.mark.row
awaited = pytest.mark.awaited


def fail(word):
    raise ValueError(word)


@pytest.fixture
def other(cluster4):
    """A second client of the shared cluster."""
    with cluster4.connect_client_sync() as client:
        yield client


@pytest.fixture(scope="module")
def keeping(session_folder):
    """A cluster of two engines that keeps results, and writes its history."""
    root = Path(tempfile.mkdtemp(prefix="k", dir=session_folder))
    with pytest.MonkeyPatch.context() as patch:
        use_folders(patch, root)
        cluster = ipp.Cluster(n=2, keep_results=True, history_file=root / "tasks.db")
        cluster.start_and_connect_sync().close()
        patch.undo()
        yield cluster
        cluster.stop_cluster_sync()


@pytest.fixture
def kept(cluster4, keeping):
    """Two clients of the cluster that keeps results."""
    with keeping.connect_client_sync() as one, keeping.connect_client_sync() as two:
        yield one, two


# -- results this client knows --------------------------------------------------------------------


@row("1.5-get-result-last", "1.5-get-result-index", "1.5-get-result-ar")
def test_results_are_found_by_number_and_by_themselves(rc, dv, lv):
    first, second = dv.apply_async(abs, -1), lv.apply_async(abs, -2)
    assert rc.get_result() is rc.get_result(None) is rc.get_result(-1) is second
    assert rc.get_result(0) is rc.get_result(-2) is first
    assert rc.get_result(first) is first
    with pytest.raises(UsageError, match="no call 7: 2 were made"):
        rc.get_result(7)
    with pytest.raises(IndexError):
        rc.get_result(-3)
    with pytest.raises(TypeError, match="named by the number of a call"):
        rc.get_result(1.5)


@awaited
@row("1.5-get-result-id", "1.5-get-result-ar")
def test_results_are_found_by_id_and_lists_of_all_these_are_joined(rc, dv, lv):
    first, second = dv.apply_async(abs, -1), lv.apply_async(abs, -2)
    assert rc.get_result(second.msg_ids[0]).get() == 2
    assert rc.get_result(first.msg_ids).get() == [1] * 4
    assert rc.get_result([second.msg_ids[0]]).get() == [2]
    assert rc.get_result([1, first.msg_ids[3], first]).get() == [2, 1, 1, 1, 1, 1]


@row("1.5-get-result-block")
def test_get_result_waits_when_it_blocks(rc, dv):
    slow = dv.apply_async(time.sleep, 0.2)
    found = rc.get_result(slow.msg_ids, block=True)
    assert found.done()
    rc.block = True
    slow = dv.apply_async(time.sleep, 0.2)
    assert rc.get_result(-1).done()


@row("1.5-get-result-owner")
def test_owner_is_accepted_and_results_stay_as_long_as_they_are_held(rc, lv):
    result = lv.apply_async(abs, -3)
    assert rc.get_result(result.msg_ids[0], owner=True).get() == 3
    assert rc.get_result(result.msg_ids[0], owner=False).get() == 3


@row("1.2-metadata")
def test_metadata_is_known_by_id_while_results_are_kept(rc, dv):
    result = dv.apply_async(abs, -1)
    assert set(rc.metadata) == set(result.msg_ids)
    assert len(rc.metadata) == 4
    result.wait()
    assert [rc.metadata[name].engine_id for name in result.msg_ids] == [0, 1, 2, 3]
    with pytest.raises(KeyError):
        rc.metadata["submitted"]


# -- results the controller knows -----------------------------------------------------------------


@awaited
@row("1.5-get-result-hub")
def test_a_cell_of_another_client_is_told_with_its_output(rc, other):
    code = """
from IPython.display import HTML, display
display(HTML("<b>bold</b>"))
print("hello")
6 * 7
"""
    cell = other[0].execute(code, silent=False)
    cell.wait()
    found = rc.get_result(cell.msg_ids[0])
    assert isinstance(found, ipp.AsyncHubResult)
    assert found.get().data["text/plain"] == "42"
    assert found.stdout == "hello\n"
    assert found.outputs[0]["data"]["text/html"] == "<b>bold</b>"
    assert found.execute_input == code
    assert found.engine_id == 0
    assert found.completed - found.started < timedelta(seconds=10)


@row("1.5-get-result-hub", "8.4-payload")
def test_a_value_that_left_is_answered_by_one_sentence_that_says_how_to_keep_it(rc, other):
    done = other[:].apply_async(abs, -1)
    done.wait()
    with pytest.raises(KeyError, match=r"Cluster\(keep_results=True\)") as caught:
        rc.get_result(done.msg_ids[0]).get()
    assert "\n" not in str(caught.value)
    with pytest.raises(CompositeError) as several:
        rc.get_result(done.msg_ids).get()
    assert "(4 times)" in str(several.value)


@row("1.5-get-result-hub")
def test_a_failure_is_told_without_keeping_results(rc, other):
    failed = other[1].apply_async(fail, "wrong")
    failed.wait()
    with pytest.raises(RemoteError, match="wrong") as caught:
        rc.get_result(failed.msg_ids[0]).get()
    assert caught.value.ename == "ValueError"


@row("1.5-get-result-hub")
def test_a_pending_result_of_another_client_is_waited_for_and_comes_without_keeping(rc, other):
    slow = other[0].apply_async(lambda: __import__("time").sleep(0.3) or "value")
    wait_until(lambda: rc.db_query({"msg_id": slow.msg_ids[0]}, "status"))
    found = rc.get_result(slow.msg_ids[0])
    assert not found.done()
    assert found.get(timeout=10) == "value"
    assert slow.get() == "value"


@row("1.5-get-result-hub", "8.4-none")
def test_an_id_nobody_knows_is_a_key_error(rc):
    with pytest.raises(KeyError, match="no record of nothing"):
        rc.get_result("nothing")
    with pytest.raises(KeyError, match="no record of nothing"):
        rc.result_status("nothing")


@row("1.5-get-result-hub", "1.5-get-result-index", "8.4-payload")
def test_kept_results_are_there_for_every_client_and_for_the_first_one_again(kept):
    one, two = kept
    names = one[:].apply_async(lambda: "value").msg_ids
    one.wait()
    one[:].apply_sync(abs, 1)
    assert two.get_result(names).get() == ["value", "value"]
    assert two.get_result(names[0]).get() == "value"
    assert one.get_result(0).get() == ["value", "value"]
    assert isinstance(one.get_result(0), ipp.AsyncHubResult)
    records = two.db_query({"msg_id": names[0]}, ["buffers", "result_buffers"])
    assert len(records[0]["buffers"]) >= 2
    assert all(isinstance(buffer, bytes) for buffer in records[0]["result_buffers"])


# -- status ---------------------------------------------------------------------------------------


@awaited
@row("1.5-result-status", "1.5-result-status-results")
def test_result_status_sorts_tasks_and_adds_values(rc, dv, other):
    done, slow = dv.apply_async(abs, -5), rc[0].apply_async(time.sleep, 0.5)
    theirs = other[1].execute("8", silent=False)
    done.wait()
    theirs.wait()
    names = [*done.msg_ids, *slow.msg_ids, *theirs.msg_ids]
    told = rc.result_status(names)
    assert told["status"] == "ok"
    assert told["pending"] == slow.msg_ids
    assert told["completed"] == [*done.msg_ids, *theirs.msg_ids]
    told = rc.result_status(names, status_only=False)
    assert [told[name] for name in done.msg_ids] == [5] * 4
    assert told[theirs.msg_ids[0]].data["text/plain"] == "8"
    assert slow.msg_ids[0] not in told


@awaited
@row("1.5-result-status-errors")
def test_failures_that_are_fetched_are_raised(rc, dv):
    one, all_ = rc[0].apply_async(fail, "one"), dv.apply_async(fail, "all")
    one.wait(), all_.wait()
    assert rc.result_status(one.msg_ids)["completed"] == one.msg_ids
    with pytest.raises(ValueError, match="one"):
        rc.result_status(one.msg_ids, status_only=False)
    with pytest.raises(CompositeError, match="result_status") as caught:
        rc.result_status(all_, status_only=False)
    assert len(caught.value.exceptions) == 4


# -- again ----------------------------------------------------------------------------------------


@awaited
@row("1.5-resubmit", "1.5-resubmit-metadata")
def test_a_recorded_cell_is_run_again_under_a_new_id(rc):
    cell = rc[0].execute("print('again'); 5", silent=False)
    cell.wait()
    again = rc.resubmit(cell.msg_ids[0], metadata={"not": "used"})
    assert isinstance(again, ipp.AsyncHubResult)
    assert again.get().data["text/plain"] == "5"
    assert again.stdout == "again\n"
    assert again.msg_ids != cell.msg_ids
    assert rc.history[-1] == again.msg_ids[0]
    record = rc.db_query({"msg_id": cell.msg_ids[0]}, "resubmitted")[0]
    assert record["resubmitted"] == again.msg_ids[0]


@row("1.5-resubmit")
def test_kept_calls_are_run_again_also_by_another_client(kept):
    one, two = kept
    calls = one.load_balanced_view().map_async(pow, [2, 3], [5, 2])
    assert calls.get() == [32, 9]
    assert two.resubmit(calls.msg_ids, block=True).get() == [32, 9]
    again = one.resubmit(calls)
    assert again.get() == [32, 9]
    assert len(set(again.msg_ids + calls.msg_ids)) == 4


@row("1.5-resubmit-in-flight")
def test_a_task_that_is_not_done_is_run_a_second_time(rc):
    slow = rc[0].apply_async(lambda: __import__("time").sleep(0.3) or 7)
    again = rc.resubmit(slow)
    assert again.get() == [7] if len(again) > 1 else again.get() == 7
    assert slow.get() == 7


@awaited
@row("1.5-resubmit-unknown")
def test_what_is_unknown_or_gone_is_not_run_again(rc, dv):
    with pytest.raises(KeyError, match="no record of task nothing"):
        rc.resubmit("nothing")
    gone = dv.apply_async(abs, 1)
    gone.wait()
    with pytest.raises(KeyError, match="keep_results"):
        rc.resubmit(gone.msg_ids)
    assert not rc.outstanding
    with pytest.raises(ValueError, match="at least one task"):
        rc.resubmit([])


# -- queues ---------------------------------------------------------------------------------------


@awaited
@row("1.5-queue-status", "1.5-queue-status-int", "1.5-queue-status-verbose")
def test_queue_status_counts_or_names_tasks_of_each_engine(rc, lv):
    before = rc.queue_status()
    assert set(before) == {0, 1, 2, 3, "unassigned"}
    slow = [rc[0].apply_async(time.sleep, 0.3) for _ in range(2)]
    names = [result.msg_ids[0] for result in slow]
    wait_until(lambda: rc.queue_status(0)["queue"] == 2)
    assert rc.queue_status(0, verbose=True)["queue"] == names
    assert set(rc.queue_status([0, 2])) == {0, 2, "unassigned"}
    for result in slow:
        result.wait()
    after = rc.queue_status(0)
    assert after == {"queue": 0, "tasks": 0, "completed": before[0]["completed"] + 2}
    assert rc.queue_status(0, verbose=True)["completed"][-2:] == names


@row("1.5-queue-status")
def test_balanced_tasks_are_told_where_they_run_or_as_unassigned(rc, lv):
    slow = lv.map_async(time.sleep, [0.4] * 12)
    wait_until(lambda: sum(rc.queue_status(one)["tasks"] for one in range(4)) >= 4)
    status = rc.queue_status(verbose=True)
    told = [name for one in range(4) for name in status[one]["tasks"]] + status["unassigned"]
    assert set(told) <= set(slow.msg_ids)
    assert len(told) > 4
    slow.abort()
    slow.wait()


# -- records --------------------------------------------------------------------------------------


@awaited
@row("1.5-hub-history")
def test_hub_history_names_tasks_of_all_clients_in_order(rc, dv, other):
    theirs = other[0].apply_async(abs, 1)
    theirs.wait()
    ours = dv.apply_async(abs, 1)
    ours.wait()
    assert rc.hub_history()[-5:] == [*theirs.msg_ids, *ours.msg_ids]


@awaited
@row("1.5-db-query", "1.5-db-query-keys", "1.5-db-query-times", "8.4-keys")
def test_records_are_found_by_a_query(rc, dv):
    began = datetime.now(UTC)
    cell = rc[2].execute("print('found')", silent=False)
    call = dv.apply_async(abs, 1)
    cell.wait(), call.wait()
    check = {"submitted": {"$gte": began}, "stdout": {"$glob": "fou*"}}
    (record,) = rc.db_query(check)
    assert record["msg_id"] == cell.msg_ids[0]
    assert record["engine_uuid"] == "e2"
    assert record["submitted"] >= began
    assert record["header"]["date"].utcoffset() == timedelta(0)
    assert {"buffers", "result_buffers"}.isdisjoint(record)
    naive = datetime.now() - timedelta(hours=1)  # noqa: DTZ005 - what people write
    found = rc.db_query({"msg_id": {"$in": call.msg_ids}, "started": {"$gt": naive}}, "queue")
    assert found == [{"msg_id": name, "queue": "mux"} for name in call.msg_ids]
    assert rc.db_query({"submitted": {"$lt": began}, "client_uuid": record["client_uuid"]}) == []
    failed = rc.db_query({"engine_uuid": "e1", "msg_id": call.msg_ids[1]}, ["engine_uuid"])
    assert failed == [{"msg_id": call.msg_ids[1], "engine_uuid": "e1"}]


@awaited
@row("8.4-unknown-operator")
def test_what_is_no_query_is_one_sentence(rc):
    for check in ({"label": {"$near": 1}}, {"lable": 1}):
        with pytest.raises(UsageError, match=r"\$near|lable"):
            rc.db_query(check)
    with pytest.raises(TypeError):
        rc.db_query("label")
    with pytest.raises(UsageError, match="no key 'lable'"):
        rc.db_query({}, keys="lable")


@row("8.4-sqlite")
def test_history_and_results_outlive_the_cluster_in_a_file(cluster4, tmp_path, session_folder):
    path = tmp_path / "tasks.db"
    with ipp.Cluster(n=1, keep_results=True, history_file=path) as rc:
        call = rc[0].apply_async(lambda: "kept")
        assert call.get() == "kept"
    with ipp.Cluster(n=0, history_file=path) as rc:
        assert rc.hub_history() == call.msg_ids
        assert rc.get_result(call.msg_ids[0]).get() == "kept"
        assert rc.db_query({"status": "ok"}, "queue")[0]["queue"] == "mux"


# -- purging --------------------------------------------------------------------------------------


@awaited
@row("1.5-purge-local")
def test_local_results_are_purged_by_job_by_engine_and_all(rc, dv, lv):
    first, second, third = dv.apply_async(abs, 1), lv.apply_async(abs, 2), dv.apply_async(abs, 3)
    first.wait(), second.wait(), third.wait()
    rc.purge_local_results(second)
    assert second.msg_ids[0] not in rc.results
    rc.purge_local_results(targets=[1])
    assert set(rc.results).isdisjoint({first.msg_ids[1], third.msg_ids[1]})
    assert {first.msg_ids[0], third.msg_ids[0]} <= set(rc.results)
    rc.purge_local_results("all")
    assert len(rc.results) == len(rc.metadata) == 0
    assert first.get() == [1] * 4


@awaited
@row("1.5-purge-local-outstanding", "1.5-purge-hub-pending")
def test_outstanding_tasks_are_not_purged(rc):
    slow = rc[1].apply_async(time.sleep, 0.3)
    for jobs, targets in ((slow, ()), ("all", ()), ((), 1)):
        with pytest.raises(RuntimeError, match=slow.msg_ids[0]):
            rc.purge_local_results(jobs, targets)
    wait_until(lambda: rc.db_query({"msg_id": slow.msg_ids[0]}, "status"))
    with pytest.raises(IndexError, match=slow.msg_ids[0]):
        rc.purge_hub_results(slow)
    slow.wait()
    rc.purge_results(slow)


@awaited
@row("1.5-purge-local-nothing")
def test_purging_nothing_is_refused(rc):
    for purge in (rc.purge_local_results, rc.purge_hub_results, rc.purge_results):
        with pytest.raises(ValueError, match="at least one of `jobs` and `targets`"):
            purge()


@awaited
@row("1.5-purge-hub", "8.4-none")
def test_records_are_purged_by_job_and_by_engine(rc, dv, other):
    cells = dv.execute("1", silent=False)
    cells.wait()
    rc.purge_hub_results(cells.msg_ids[0])
    rc.purge_hub_results(targets=[1, 2])
    left = [record["msg_id"] for record in rc.db_query({"msg_id": {"$in": cells.msg_ids}})]
    assert left == [cells.msg_ids[3]]
    with pytest.raises(KeyError):
        other.get_result(cells.msg_ids[0])


@awaited
@row("1.5-purge-results", "1.5-purge-everything")
def test_purging_here_and_there_and_everything(rc, dv):
    first, second = dv.apply_async(abs, 1), dv.apply_async(abs, 2)
    first.wait(), second.wait()
    rc.purge_results(first)
    assert set(rc.results) == set(second.msg_ids)
    assert set(rc.hub_history()).isdisjoint(first.msg_ids)
    assert rc.history == first.msg_ids + second.msg_ids
    # What other clients of this cluster left running has no record to be purged yet.
    wait_until(lambda: rc.queue_status()["unassigned"] == 0 and _nothing_runs(rc))
    rc.purge_everything()
    assert rc.history == []
    assert len(rc.results) == 0
    assert rc.hub_history() == []


def _nothing_runs(rc):
    queues = [queue for engine, queue in rc.queue_status().items() if engine != "unassigned"]
    return not any(queue["tasks"] or queue["queue"] for queue in queues)
