"""The client's options, attributes, and control of engines."""

from __future__ import annotations

import concurrent.futures
import json
import threading
import time
import warnings

import pytest

import ipyviews as ipp
from ipyviews.launching import rundir
from tests.client.fakes import FakeController, engine_info
from tests.waiting import wait_until

row = pytest.mark.row
awaited = pytest.mark.awaited


def connect(fake: FakeController, **options) -> ipp.Client:
    return ipp.Client(fake.file, transport=fake.transport, **options)


# -- options ----------------------------------------------------------------------------------


@row("1.1-session-options", "1.1-context", "1.1-cluster", "1.1-profile", "1.2-profile-debug")
def test_options_of_ipyparallel_are_accepted(fake):
    options = {
        "profile_dir": "/home/me/.ipython/profile_work",
        "ipython_dir": "/home/me/.ipython",
        "context": object(),
        "sshserver": None,
        "sshkey": None,
        "password": None,
        "paramiko": None,
        "cluster": "mine",
        "username": "me",
        "packer": "json",
        "digest_history_size": 3,
    }
    with connect(fake, **options) as rc:
        assert rc.cluster == "mine"
        assert rc.profile == "work"
        assert rc.debug is False
    with connect(fake) as rc:
        assert rc.profile == "default"
        assert rc.cluster is None


def test_an_unknown_option_is_named(fake):
    with pytest.raises(TypeError, match="no option 'usernam'"):
        connect(fake, usernam="me")


@row("1.1-ssh", "1.1-curve", "1.2-curve-keys")
@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"sshserver": "me@there"}, "tunnels are not there yet"),
        ({"sshkey": "key"}, "tunnels are not there yet"),
        ({"password": "x"}, "tunnels are not there yet"),
        ({"paramiko": True}, "tunnels are not there yet"),
        ({"curve_serverkey": b"k"}, "Curve keys are not used yet"),
    ],
)
def test_what_comes_later_is_one_sentence(fake, options, sentence):
    with pytest.raises(ipp.UsageError, match=sentence) as caught:
        connect(fake, **options)
    assert "\n" not in str(caught.value)


@row("1.1-curve", "1.2-curve-keys")
def test_a_curve_key_of_the_environment_is_warned_of(fake, monkeypatch):
    monkeypatch.setenv("IPP_CURVE_SERVERKEY", "key")
    with pytest.warns(RuntimeWarning, match="Curve keys are not used yet"):
        rc = connect(fake)
    assert (rc.curve_serverkey, rc.curve_publickey, rc.curve_secretkey) == (None, None, None)
    rc.close()


@row("1.1-zmq-url")
def test_the_address_of_a_socket_is_a_value_error():
    with pytest.raises(ValueError, match=r"'tcp://127\.0\.0\.1:5555' is the address of a socket"):
        ipp.Client("tcp://127.0.0.1:5555")


@row("1.1-connection-file", "1.1-connection-dict")
def test_a_connection_file_is_given_by_path_folder_or_content(fake, tmp_path):
    path = tmp_path / "cluster.json"
    path.write_text(json.dumps(fake.file))
    for info in (path, str(path), tmp_path, fake.file):
        with ipp.Client(info, transport=fake.transport) as rc:
            assert rc.ids == [0, 1]


@row("1.1-url-file", "1.1-url-or-file")
@pytest.mark.parametrize("name", ["url_file", "url_or_file"])
def test_old_names_of_the_connection_file_are_deprecated(fake, tmp_path, name):
    path = tmp_path / "cluster.json"
    path.write_text(json.dumps(fake.file))
    with pytest.warns(DeprecationWarning, match="give the connection file as the first argument"):
        rc = ipp.Client(**{name: path}, transport=fake.transport)
    assert rc.ids == [0, 1]
    rc.close()


@row("1.1-explicit-file-missing", "1.1-no-file")
@pytest.mark.parametrize(
    "options", [{}, {"cluster_id": "none"}, {"profile": "none"}, {"connection_info": "/none.json"}]
)
def test_no_connection_file_is_an_os_error_that_says_what_to_do(options):
    with pytest.raises(OSError, match="no controller was found") as caught:
        ipp.Client(**options)
    assert isinstance(caught.value, ipp.IPyViewsError)
    assert "ipyviews" in str(caught.value)
    assert "\n" not in str(caught.value)


@row("1.1-bad-file")
@pytest.mark.parametrize(
    ("content", "key"), [("not json", "not JSON"), ("{}", "ipyviews"), ('{"ipyviews": {}}', "port")]
)
def test_a_bad_connection_file_is_a_value_error_naming_the_key(tmp_path, content, key):
    path = tmp_path / "cluster.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=key) as caught:
        ipp.Client(path)
    assert "\n" not in str(caught.value)


@row("1.1-timeout-controller")
def test_a_silent_controller_is_a_timeout_error():
    fake = FakeController(key="another key")
    with pytest.raises(TimeoutError, match=r"did not answer within 0\.1 s") as caught:
        connect(fake, timeout=0.1)
    assert isinstance(caught.value, ipp.ClusterError)


@row("1.1-timeout-file")
def test_a_cluster_that_is_starting_is_waited_for(fake, run_root, capsys):
    folder = rundir.create_folder()
    lock = rundir.take_lock(folder)
    try:
        with pytest.raises(ipp.ClusterError, match="no cluster is running"):
            ipp.Client(timeout=0.1)
        assert "Waiting for the connection file" in capsys.readouterr().err
        info = fake.file
        info["ipyviews"] |= {"folder": str(folder), "owner": None}
        threading.Timer(
            0.1, rundir.write_private, (folder / "cluster.json", json.dumps(info))
        ).start()
        with ipp.Client(transport=fake.transport) as rc:
            assert rc.ids == [0, 1]
    finally:
        import os

        os.close(lock)
        rundir.remove_folder(folder)


@row("1.1-debug", "1.2-profile-debug")
def test_debug_shows_each_message(fake, capfd):
    with connect(fake, debug=True) as rc:
        assert rc.debug is True
        rc[0].apply_sync(pow, 2, 3)
        shown = capfd.readouterr().out
        for name in ("hello_request", "hello_reply", "apply_request", "apply_reply"):
            assert name in shown
        rc.debug = False
        rc[0].apply_sync(pow, 2, 3)
        assert capfd.readouterr().out == ""


@row("1.1-io-thread", "1.1-context-manager", "1.6-close")
def test_a_client_has_one_daemon_thread_until_it_is_closed(fake):
    before = set(threading.enumerate())
    with connect(fake) as rc:
        (own,) = set(threading.enumerate()) - before
        assert own.daemon
    assert not own.is_alive()
    rc.close(linger=1)


@row("1.1-dropped")
def test_a_client_that_is_dropped_is_closed(fake):
    before = set(threading.enumerate())
    rc = connect(fake)
    (own,) = set(threading.enumerate()) - before
    del rc
    wait_until(lambda: not own.is_alive())


# -- attributes -------------------------------------------------------------------------------


@awaited
@row("1.2-history", "1.2-outstanding")
def test_history_lists_ids_in_the_order_of_submission(rc, dv, lv):
    assert rc.history == []
    first, second = dv.apply_async(pow, 1, 1), lv.apply_async(pow, 1, 1)
    assert rc.history == first.msg_ids + second.msg_ids
    assert rc.history[-1:] == second.msg_ids
    first.get(), second.get()
    assert rc.outstanding == set()
    slow = dv.apply_async(time.sleep, 0.2)
    assert rc.outstanding == set(slow.msg_ids)


def test_history_forgets_the_oldest_of_very_many(monkeypatch):
    from ipyviews.client import history

    monkeypatch.setattr(history, "HISTORY", 100)
    names = history.History()
    for number in range(1_000):
        names.extend([str(number)])
    assert 100 <= len(names) <= 110
    assert names[-1] == "999"


@row("1.2-results")
def test_results_are_values_by_id_while_somebody_keeps_them(fake_rc):
    good = fake_rc[0].apply_async(pow, 2, 3)
    bad = fake_rc[0].apply_async(pow, 0, -1)
    good.wait()
    bad.wait()
    assert fake_rc.results[good.msg_ids[0]] == 8
    assert isinstance(fake_rc.results[bad.msg_ids[0]], ZeroDivisionError)
    assert set(fake_rc.results) == {*good.msg_ids, *bad.msg_ids}
    name = good.msg_ids[0]
    del good
    with pytest.raises(KeyError, match="no result under"):
        fake_rc.results[name]


@row("1.2-session")
def test_session_is_a_session_of_jupyter_with_the_clients_id_and_key(fake_rc):
    from jupyter_client.session import Session

    session = fake_rc.session
    assert isinstance(session, Session)
    assert session.key == fake_rc.connection.address.key
    task = fake_rc[0].apply_async(pow, 1, 1).msg_ids[0]
    assert task.startswith(session.session)


@row("1.2-cluster", "1.2-scheme")
def test_cluster_and_scheme_are_known(cluster4, rc):
    assert rc.cluster is cluster4
    assert rc._task_scheme == "leastload"


@row("1.1-cluster-id", "1.1-profile")
def test_a_cluster_is_found_by_its_id_and_profile(rc):
    for options in ({"cluster_id": "default"}, {"profile": "default"}, {}):
        with ipp.Client(**options) as other:
            assert other.cluster_id == rc.cluster_id == "default"
            assert other.ids == [0, 1, 2, 3]


@row("1.6-no-data-verbs", "1.6-low-level")
def test_a_client_moves_no_data():
    for name in (
        *("push", "pull", "execute", "map", "become_joblib"),
        *("send_apply_request", "send_execute_request", "create_message_futures"),
    ):
        assert not hasattr(ipp.Client, name)


# -- waiting ----------------------------------------------------------------------------------


@awaited
@row("1.5-wait-none", "1.5-wait-bool", "1.5-wait-forever")
def test_wait_is_for_all_that_is_outstanding(rc, dv):
    assert rc.wait() is True
    results = [dv.apply_async(time.sleep, 0.1), rc[0].apply_async(time.sleep, 0.1)]
    assert rc.wait(timeout=0.01) is False
    assert rc.wait(timeout=None) is True
    assert all(result.done() for result in results)


@awaited
@row("1.5-wait-int", "1.5-wait-id", "1.5-wait-result", "1.5-wait-future", "1.5-wait-collection")
def test_wait_takes_every_way_to_name_a_job(rc, dv):
    result = dv.apply_async(time.sleep, 0.1)
    pool = concurrent.futures.ThreadPoolExecutor(1)
    future = pool.submit(time.sleep, 0.2)
    for jobs in (-1, 0, result.msg_ids[0], result, future):
        assert rc.wait(jobs, 10) is True
    assert result.done()
    assert future.done()
    late = pool.submit(time.sleep, 0.2)
    assert rc.wait([late, result, -1, *result.msg_ids], 0.01) is False
    assert rc.wait({late, result.msg_ids[0]}, 10) is True
    assert rc.wait(iter([late]), -1) is True
    pool.shutdown()


@row("1.5-wait-future")
def test_wait_takes_whatever_has_a_done_callback(fake_rc):
    class Promise:
        def __init__(self):
            self.ended, self.callbacks = False, []

        def done(self):
            return self.ended

        def add_done_callback(self, call):
            self.callbacks.append(call)

        def end(self):
            self.ended = True
            for call in self.callbacks:
                call(self)

    promise = Promise()
    assert fake_rc.wait(promise, 0.01) is False
    threading.Timer(0.05, promise.end).start()
    assert fake_rc.wait([promise]) is True


@pytest.mark.parametrize("jobs", [3.5, object(), [None]])
def test_wait_refuses_what_names_nothing(fake_rc, jobs):
    with pytest.raises(ipp.UsageError, match="an id"):
        fake_rc.wait(jobs)


@awaited
@row("1.5-wait-interactive", "1.5-wait-interactive-nothing")
def test_wait_interactive_draws_a_bar_and_returns_at_once_without_work(rc, dv, capfd, monkeypatch):
    monkeypatch.delenv("CI", raising=False)
    began = time.monotonic()
    rc.wait_interactive()
    assert time.monotonic() - began < 10
    result = dv.apply_async(time.sleep, 0.1)
    rc.wait_interactive(result, interval=0.02)
    assert result.done()
    assert "4/4" in "".join(capfd.readouterr())
    slow = dv.apply_async(time.sleep, 0.3)
    rc.wait_interactive(interval=0.02, timeout=0.05)
    assert not slow.done()


@row("1.5-wait-engines-default", "1.5-wait-engines-default-timeout")
def test_wait_for_engines_is_for_the_clusters_size_and_has_an_end(fake, fake_rc, monkeypatch):
    import inspect

    assert fake_rc.wait_for_engines() is None
    assert inspect.signature(fake_rc.wait_for_engines).parameters["timeout"].default == 60.0
    fake.engines[2] = engine_info(2, state="starting")
    fake.notice()
    wait_until(lambda: 2 in fake_rc.connection.engines)
    with pytest.raises(TimeoutError, match="3 engines not ready in"):
        fake_rc.wait_for_engines(timeout=0.05)


@row("1.5-wait-engines-timeout")
def test_wait_for_engines_tells_what_was_wanted_and_what_is_there(fake_rc):
    with pytest.raises(
        TimeoutError, match=r"5 engines not ready in 0\.05 seconds\. Currently ready: 2"
    ):
        fake_rc.wait_for_engines(5, timeout=0.05)


@row("1.5-wait-engines-future")
def test_wait_for_engines_gives_a_future(fake, fake_rc):
    future = fake_rc.wait_for_engines(3, block=False)
    assert isinstance(future, concurrent.futures.Future)
    assert not future.done()
    fake.engines[2] = engine_info(2)
    fake.notice()
    assert future.result(5) is None
    late = fake_rc.wait_for_engines(9, block=False, timeout=0.01)
    assert isinstance(late.exception(5), TimeoutError)


@row("1.5-wait-engines-progress", "0-noninteractive-progress")
@pytest.mark.parametrize(
    ("options", "shell", "environment", "bar"),
    [
        ({}, None, "", False),
        ({}, object(), "", True),
        ({}, object(), "1", False),
        ({}, object(), "0", True),
        ({"interactive": True, "widget": False}, None, "1", True),
        ({"interactive": False}, object(), "", False),
    ],
)
def test_a_bar_of_engines_is_for_people(  # noqa: PLR0917
    fake_rc, capfd, monkeypatch, options, shell, environment, bar
):
    monkeypatch.setenv("IPP_NONINTERACTIVE", environment)
    monkeypatch.setattr("ipyviews.client.activation.shell", lambda: shell)
    fake_rc.wait_for_engines(2, **options)
    assert ("2/2" in "".join(capfd.readouterr())) is bar


@row("1.5-wait-engines-death", "1.5-wait-engines-stopped")
@pytest.mark.parametrize("how", ["starting", "stopped"])
def test_an_engine_that_goes_ends_the_wait_for_it(fake, fake_rc, how):
    future = fake_rc.wait_for_engines(3, block=False)
    if how == "starting":
        fake.failed = [[2, "exit code 1; its last words: no module named spam"]]
    else:
        fake.engines[2] = engine_info(2, state="lost", reason="it was shut down")
    fake.notice()
    error = future.exception(5)
    assert isinstance(error, ipp.EngineError)
    assert "Engine 2" in str(error)
    assert ("spam" if how == "starting" else "shut down") in str(error)


@row("1.5-wait-engines-death")
def test_an_engine_that_was_lost_before_does_not_end_the_wait_for_a_number(fake, fake_rc):
    """Somebody else may have started others, of which this client has not heard yet."""
    fake.engines[1] |= {"state": "lost", "reason": "it was shut down"}
    fake.notice()
    wait_until(lambda: fake_rc.ids == [0])
    with pytest.raises(ipp.EngineError, match="Engine 1 is gone: it was shut down"):
        fake_rc.wait_for_engines()
    future = fake_rc.wait_for_engines(2, block=False)
    with pytest.raises(TimeoutError):
        fake_rc.wait_for_engines(2, timeout=0.05)
    fake.engines[2] = engine_info(2)
    fake.notice()
    assert future.result(5) is None


def test_warnings_name_the_line_of_the_user(fake, tmp_path):
    path = tmp_path / "cluster.json"
    path.write_text(json.dumps(fake.file))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with ipp.Client(url_file=path, transport=fake.transport) as rc:
            rc.spin()
    assert [one.filename for one in caught] == [__file__, __file__]
