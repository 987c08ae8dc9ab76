"""What a client does with engines: abort, clear, signals, restarts, shutting down, closing."""

from __future__ import annotations

import concurrent.futures
import os
import signal
import socket
import time

import pytest

import ipyviews as ipp
from ipyviews.client.table import EngineTable
from ipyviews.launching import rundir
from tests.waiting import wait_until

row = pytest.mark.row
awaited = pytest.mark.awaited

# -- control ----------------------------------------------------------------------------------


@awaited
@row("1.6-abort-all", "1.6-abort-started", "1.6-abort-error")
def test_abort_stops_all_that_is_outstanding(rc, dv):
    running, queued = dv.apply_async(time.sleep, 30), dv.apply_async(time.sleep, 30)
    wait_until(lambda: sum(info["running"] for info in rc.status()["engines"]) >= 4)
    rc.abort()
    assert rc.wait(timeout=10)
    with pytest.raises(ipp.IPyViewsError) as caught:
        queued.get()
    assert all(isinstance(one, ipp.TaskAborted) for one in caught.value.exceptions)
    assert not running.successful()


@awaited
@row("1.6-abort-jobs")
def test_abort_takes_ids_results_and_lists_of_them(rc):
    view = rc[0]
    first = view.apply_async(time.sleep, 30)
    others = [view.apply_async(pow, 2, 3) for _ in range(5)]
    rc.abort(others[0].msg_ids[0])
    rc.abort(others[1])
    rc.abort([others[2], others[3].msg_ids[0]])
    rc.abort(rc.history[:0])
    for one in others[:4]:
        with pytest.raises(ipp.TaskAborted):
            one.get(10)
    rc.abort(first)
    assert others[4].get(10) == 8
    rc.abort(rc.history)


@row("1.6-abort-jobs")
def test_abort_may_be_for_the_tasks_of_some_engines(fake, fake_rc):
    fake.holding = True
    result = fake_rc[:].apply_async(pow, 2, 3)
    wait_until(lambda: len(fake.held) == 2)
    fake_rc.abort(targets=1, block=True)
    with pytest.raises(ipp.TaskAborted):
        result.split()[1].get(5)
    assert not result.split()[0].done()


@awaited
@row("1.6-abort-type")
@pytest.mark.parametrize("jobs", [5, 1.5, [5], [None], object()])
def test_abort_refuses_other_types(rc, jobs):
    with pytest.raises(TypeError, match=r"a task id, a result or a list|Invalid msg_id type"):
        rc.abort(jobs)


@row("1.6-nonblocking")
def test_control_calls_give_futures_unless_they_block(fake, fake_rc):
    fake.holding = True
    for ask in (
        lambda **o: fake_rc.abort(fake_rc[0].apply_async(pow, 1, 1), **o),
        fake_rc.abort,
        lambda **o: fake_rc.send_signal("SIGINT", **o),
        lambda **o: fake_rc.shutdown(0, **o),
        lambda **o: fake_rc.shutdown(0, restart=True, **o),
    ):
        future = ask(block=False)
        assert isinstance(future, concurrent.futures.Future)
        assert future.result(5) is None
        assert isinstance(ask(), concurrent.futures.Future)
        assert ask(block=True) is None


@awaited
@row("1.6-clear")
def test_clear_empties_the_namespaces(rc, dv):
    dv.push({"a": 1}, block=True)
    rc.clear([0, 1], block=True)
    assert dv["'a' in globals()"] == [False, False, True, True]
    rc.clear(block=True)
    assert dv["'a' in globals()"] == [False] * 4
    dv.execute("b = 2", block=True)
    assert dv["b"] == [2] * 4


@awaited
@row("1.6-send-signal-int", "1.6-send-signal-name")
def test_signals_are_sent_by_number_and_name(rc, dv):
    code = "import signal; got = []; signal.signal(signal.SIGUSR1, lambda *_: got.append(1))"
    dv.execute(code, block=True)
    rc.send_signal(int(signal.SIGUSR1), [0, 1])
    wait_until(lambda: dv["got"] == [[1], [1], [], []])
    rc.send_signal("SIGUSR1", 3)
    wait_until(lambda: dv["got"] == [[1], [1], [], [1]])


@awaited
@row("1.6-send-signal-bad")
@pytest.mark.parametrize("sig", ["SIGFOO", "getsignal", 0, -1, 1000])
def test_an_unknown_signal_is_one_sentence(rc, sig):
    with pytest.raises(ipp.UsageError, match="signal"):
        rc.send_signal(sig)


@awaited
@row("1.6-shutdown-restart")
def test_a_restarted_engine_keeps_its_id_and_the_others_their_names(rc, dv):
    dv.push({"a": 1}, block=True)
    pids = dv["__import__('os').getpid()"]
    rc[3].restart()
    rc.shutdown(2, restart=True, block=True)
    assert rc.ids == [0, 1, 2, 3]
    assert rc[:2]["a"] == [1, 1]
    assert not any(rc[2:]["'a' in globals()"])
    now = dv["__import__('os').getpid()"]
    assert now[:2] == pids[:2]
    assert set(now[2:]).isdisjoint(pids)


@row("1.6-engine-death", "1.6-shutdown-restart")
def test_an_engine_that_died_is_restarted_by_its_view(rc):
    result = rc[1].apply_async(lambda: __import__("os").kill(os.getpid(), 9))
    with pytest.raises(ipp.EngineError, match=r"(?s)ngine 1.*SIGKILL") as caught:
        result.get(10)
    assert caught.value.task == result.msg_ids[0]
    wait_until(lambda: rc.ids == [0, 2, 3])
    rc[1].restart()
    assert rc.ids == [0, 1, 2, 3]
    assert rc[1].apply_sync(pow, 2, 3) == 8


@row("1.6-shutdown-targets")
@pytest.mark.kernels
def test_engines_are_shut_down_and_then_all_of_it(run_root):
    with ipp.Cluster(n=2).start_and_connect_sync() as rc:
        folder = rc.cluster.connection_file.parent
        rc.shutdown(0, block=True)
        wait_until(lambda: rc.ids == [1])
        assert rc.shutdown(hub=True) is None
        with pytest.raises(RuntimeError, match="closed"):
            rc.ids
        wait_until(lambda: not rundir.is_running(folder))
        rc.cluster.stop_cluster_sync()


@row("1.6-shutdown-hub")
def test_shutting_the_hub_down_closes_the_client(fake, fake_rc):
    fake_rc.shutdown(hub=True)
    assert ("shutdown_request", {"cluster": True}, {}) in fake.requests
    with pytest.raises(ipp.ClusterError, match="closed"):
        fake_rc.ids


@row("1.6-closed-direct", "1.6-closed-balanced", "1.6-close")
def test_a_closed_client_says_so(fake_rc):
    view, balanced = fake_rc[:], fake_rc.load_balanced_view()
    fake_rc.close()
    fake_rc.close(linger=0)
    for use in (
        lambda: view.apply(pow, 1, 1),
        lambda: view.execute("1"),
        lambda: balanced.apply(pow, 1, 1),
        lambda: balanced.map_sync(abs, [1]),
        lambda: fake_rc[0],
        fake_rc.wait,
        fake_rc.wait_for_engines,
        fake_rc.abort,
        fake_rc.clear,
        fake_rc.status,
        fake_rc.table,
        fake_rc.shutdown,
        lambda: fake_rc.send_signal("SIGINT"),
    ):
        with pytest.raises(RuntimeError, match="This Client is closed") as caught:
            use()
        assert isinstance(caught.value, OSError)
        assert isinstance(caught.value, ipp.ClusterError)


@row("1.6-close")
def test_a_client_that_lost_its_controller_can_be_closed_and_then_says_so(fake, fake_rc):
    fake.do(lambda: fake.tell("bye_notice", {"reason": "somebody stopped it"}))
    wait_until(lambda: fake_rc.connection.failure)
    with pytest.raises(ipp.ControllerLost, match="somebody stopped it"):
        fake_rc.ids
    fake_rc.close()
    with pytest.raises(RuntimeError, match="closed"):
        fake_rc.ids


@row("1.6-spin")
def test_spinning_does_nothing_but_warn(fake_rc):
    for spin in (fake_rc.spin, fake_rc.spin_thread, fake_rc.stop_spin_thread):
        with pytest.warns(DeprecationWarning, match="does nothing"):
            spin()
    with pytest.warns(DeprecationWarning, match="spin_thread"):
        fake_rc.spin_thread(interval=2)


@row("1.6-dask")
def test_dask_comes_later(fake_rc):
    for verb in ("become_dask", "stop_dask", "become_distributed", "stop_distributed"):
        with pytest.raises(ipp.UsageError, match="cannot become dask workers yet"):
            getattr(fake_rc, verb)("all")


@awaited
def test_the_table_has_a_row_for_each_engine(rc):
    table = rc.table()
    assert len(table) == 4
    for engine, line in enumerate(table):
        assert line["engine"] == engine
        assert line["state"] == "live"
        assert line["pid"] == rc[engine].apply_sync(os.getpid)
        assert line["memory"] is None or line["memory"] > 10_000_000
        assert line["host"] == socket.gethostname()
    assert str(table).splitlines()[0].split() == [
        "engine", "host", "pid", "state", "running", "queued", "memory",
    ]  # fmt: skip
    assert table._repr_html_().count("<tr>") == 5


def test_the_table_shows_what_is_not_known_and_escapes_what_is():
    table = EngineTable([{"id": 0, "state": "lost", "host": "<b>"}])
    assert str(table).splitlines()[1].split() == ["0", "<b>", "-", "lost", "-", "-", "-"]
    assert "&lt;b&gt;" in table._repr_html_()
