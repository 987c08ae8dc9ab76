from __future__ import annotations

import json
import os
import signal
import threading
import warnings

import pytest

from ipyviews.client import link, returning
from ipyviews.client.client import Client
from ipyviews.errors import (
    ClusterError,
    ControllerLost,
    EngineError,
    ProtocolError,
    UsageError,
    VersionMismatch,
)
from tests.client.fakes import FakeController, engine_info
from tests.waiting import wait_until

# -- connecting -------------------------------------------------------------------------------


def test_a_client_knows_the_engines_it_was_greeted_with(rc):
    assert rc.ids == [0, 1]
    assert len(rc) == 2
    assert "2 engines" in repr(rc)


def test_engines_that_do_not_live_have_no_id():
    fake = FakeController(3)
    fake.engines[1]["state"] = "starting"
    fake.engines[2]["state"] = "lost"
    with Client(fake.file, transport=fake.transport) as rc:
        assert rc.ids == [0]


def test_a_file_is_read_from_its_path_and_its_folder(fake, tmp_path):
    path = tmp_path / "cluster.json"
    path.write_text(json.dumps(fake.file))
    for source in (path, str(path), tmp_path):
        with Client(source, transport=fake.transport) as rc:
            assert rc.ids == [0, 1]


@pytest.mark.parametrize("text", ["not json", "[]", "{}", '{"key": "k"}', '{"ipyviews": 3}'])
def test_a_wrong_file_is_one_sentence_naming_it(tmp_path, text):
    path = tmp_path / "cluster.json"
    path.write_text(text)
    with pytest.raises(UsageError, match=r"cluster\.json is not a connection file") as caught:
        Client(path)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_one_sentence_naming_it(tmp_path):
    with pytest.raises(UsageError, match="nofile does not exist"):
        Client(tmp_path / "nofile")


def test_a_cluster_whose_sockets_are_gone_is_refused_at_once(fake):
    with pytest.raises(ClusterError, match="not running any more"):
        Client(fake.file)


def test_no_cluster_at_all_says_how_to_start_one():
    with pytest.raises(ClusterError, match="ipyviews start"):
        Client()


def test_a_file_of_another_version_is_refused(fake):
    file = fake.file
    file["ipyviews"]["version"] = "9.0.0"
    with pytest.raises(VersionMismatch, match=r"9\.0\.0"):
        Client(file, transport=fake.transport)


def test_a_controller_of_another_version_is_refused():
    fake = FakeController(version="9.0.0")
    with pytest.raises(VersionMismatch, match=r"9\.0\.0"):
        Client(fake.file, transport=fake.transport)


def test_a_key_mismatch_ends_at_the_timeout_and_names_the_causes():
    fake = FakeController(key="another key")
    with pytest.raises(ClusterError, match=r"within 0\.1 s.*key"):
        Client(fake.file, transport=fake.transport, timeout=0.1)


# -- losing the controller --------------------------------------------------------------------


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(returning, "DOUBT_S", 0.02)


def test_a_dead_controller_fails_what_waits_and_all_later_calls(fake, rc, quick):
    fake.holding = True
    waiting = [rc[:].apply_async(pow, 2, 2), rc.load_balanced_view().map_async(abs, [1, 2])]
    question = rc.connection.request("silence")
    fake.die()
    for result in waiting:
        error = result.exception(5)
        assert isinstance(error, ControllerLost)
        assert "process 4242" in str(error)
    assert question.done()
    for later in (lambda: rc.ids, lambda: rc[0], rc.status, rc.wait_for_engines):
        with pytest.raises(ControllerLost):
            later()


def test_a_broken_connection_that_comes_back_loses_nothing(fake, rc, quick):
    fake.do(rc.connection._link._disconnected)
    wait_until(lambda: "ping_request" in [name for name, _, _ in fake.requests])
    fake.do(lambda: None)
    assert not threading.Event().wait(0.1)
    assert rc[0].apply_sync(pow, 2, 3) == 8


def test_a_silent_controller_is_lost_after_some_pings(fake, monkeypatch):
    monkeypatch.setattr(link, "PING_S", 0.01)
    with Client(fake.file, transport=fake.transport) as rc:
        fake.holding = True
        result = rc[0].apply_async(pow, 2, 2)
        fake.mute = True
        with pytest.raises(ControllerLost, match="silent"):
            result.get(5)


def test_pings_that_are_answered_keep_the_connection(fake, monkeypatch):
    monkeypatch.setattr(link, "PING_S", 0.002)
    with Client(fake.file, transport=fake.transport) as rc:
        wait_until(lambda: [n for n, _, _ in fake.requests].count("ping_request") > 20)
        assert rc.ids == [0, 1]


def test_a_ping_of_the_controller_is_answered(fake, rc):
    fake.do(lambda: fake.tell("ping_request", {}))
    wait_until(lambda: "ping_reply" in [name for name, _, _ in fake.requests])


def test_a_controller_that_says_goodbye_is_quoted(fake, rc):
    fake.holding = True
    result = rc[0].apply_async(pow, 2, 2)
    fake.do(lambda: fake.tell("bye_notice", {"reason": "somebody stopped it"}))
    with pytest.raises(ControllerLost, match="somebody stopped it"):
        result.get(5)


def test_a_crash_of_the_io_thread_fails_everything_with_its_cause(fake, rc):
    fake.holding = True
    result = rc[0].apply_async(pow, 2, 2)

    def crash():
        raise ZeroDivisionError("bug")

    rc.connection._io.post(crash)
    with pytest.raises(ClusterError, match="I/O thread failed with ZeroDivisionError: bug"):
        result.get(5)
    with pytest.raises(ClusterError, match="ZeroDivisionError"):
        rc[0]


def test_a_message_that_does_not_verify_is_dropped(fake, rc, caplog):
    def forge():
        fake._wires[0].key = b"forged"
        fake.output("x", 0, "stream", {"name": "stdout", "text": "x"})
        fake._wires[0].key = b"the key"

    fake.do(forge)
    wait_until(lambda: "dropped" in caplog.text)
    assert rc[0].apply_sync(pow, 2, 3) == 8


def test_a_reply_that_is_not_json_fails_its_task_only(fake, rc):
    fake.holding = True
    result = rc[0].apply_async(pow, 2, 2)
    wait_until(lambda: fake.held)
    fake.do(lambda: fake.reply(fake.held[0][0], "apply", b"[1, 2]", engine=0))
    error = result.exception(5)
    assert "not an object" in str(error)
    fake.holding = False
    assert rc[0].apply_sync(pow, 2, 3) == 8


def test_a_request_the_controller_refuses_fails_all_its_tasks(fake, rc):
    fake.holding = True
    result = rc[:].apply_async(pow, 2, 2)
    wait_until(lambda: len(fake.held) == 2)
    request = fake.held[0][0].rpartition(".")[0]
    fake.do(lambda: fake.refuse(request, "apply", "", "ProtocolError", "no index"))
    assert all(isinstance(one, ProtocolError) for one in result.exception(5).exceptions)


# -- closing ----------------------------------------------------------------------------------


def test_close_says_goodbye_ends_the_thread_and_may_be_repeated(fake, rc):
    rc.close()
    rc.close()
    assert fake.names() == ["bye_request"]
    assert not rc.connection._io.is_alive()
    with pytest.raises(ClusterError, match="closed"):
        rc[:]


def test_close_fails_what_is_not_done(fake, rc):
    fake.holding = True
    result = rc[0].apply_async(pow, 2, 2)
    rc.close()
    with pytest.raises(ClusterError, match="closed"):
        result.get(5)


def test_a_client_may_be_closed_in_a_callback(fake, rc):
    fake.holding = True
    result = rc[0].apply_async(pow, 2, 2)
    result.add_done_callback(lambda _: rc.close())
    fake.release()
    wait_until(lambda: not rc.connection._io.is_alive())
    assert result.get(1) == 4


def test_a_dropped_client_closes_its_connection(fake):
    rc = Client(fake.file, transport=fake.transport)
    connection = rc.connection
    del rc
    wait_until(lambda: not connection._io.is_alive())


def test_a_client_in_a_forked_child_says_so(fake, rc):
    fake.holding = True
    result = rc[0].apply_async(pow, 2, 2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        outcome = 1
        try:
            signal.alarm(5)
            for ask in (lambda: rc.ids, result.get, rc.wait, lambda: rc[0]):
                with pytest.raises(ClusterError, match="made in another process"):
                    ask()
            rc.close()
            outcome = 0
        finally:
            os._exit(outcome)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    fake.release()
    assert result.get(5) == 4


# -- engines, credit --------------------------------------------------------------------------


def test_received_bytes_are_acknowledged_exactly(fake, rc):
    rc[:].apply_sync(bytes, 3_000_000)
    wait_until(lambda: fake.acknowledged == fake.sent_bytes > 6_000_000)


def test_engines_that_join_are_noticed(fake, rc):
    waiter = threading.Thread(target=rc.wait_for_engines, args=(3,))
    waiter.start()
    fake.engines[2] = engine_info(2)
    fake.notice()
    waiter.join(5)
    assert not waiter.is_alive()
    assert rc.ids == [0, 1, 2]


def test_waiting_for_engines_ends_at_its_timeout(rc):
    with pytest.raises(TimeoutError, match=r"5 engines not ready in 0\.05 .* ready: 2"):
        rc.wait_for_engines(5, timeout=0.05)


def test_waiting_for_engines_fails_when_one_did_not_start(fake, rc):
    fake.engines[2] = engine_info(2, state="starting")
    fake.notice()
    caught: list[Exception] = []

    def wait() -> None:
        try:
            rc.wait_for_engines(3)
        except EngineError as error:
            caught.append(error)

    waiter = threading.Thread(target=wait)
    waiter.start()
    del fake.engines[2]
    fake.failed = [[2, "it exited with code 1: no module named spam"]]
    fake.notice(n=3)
    waiter.join(5)
    assert "Engine 2 did not start" in str(caught[0])
    assert "spam" in str(caught[0])


def test_waiting_for_engines_fails_when_the_controller_dies(fake, rc, quick):
    threading.Timer(0.05, fake.die).start()
    with pytest.raises(ControllerLost):
        rc.wait_for_engines(3)


def test_an_error_of_the_controller_keeps_its_class(fake, rc):
    def answer(message_type):
        if message_type == "start_request":
            content = {"status": "error", "ename": "UsageError", "evalue": "no such kernel"}
            fake.loop.call_soon(
                lambda: fake.tell("start_reply", content, next(iter(rc.connection._asked)))
            )

    fake.on_request = answer
    fake._on_start = lambda _content: None
    with pytest.raises(UsageError, match="no such kernel"):
        rc.start_engines(2, "nokernel")


def test_questions_without_an_answer_end_at_their_timeout(fake, rc):
    fake._on_status = lambda _content: None
    with pytest.raises(TimeoutError, match=r"'status' within 0\.05 s"):
        rc.connection.ask("status", 0.05)
