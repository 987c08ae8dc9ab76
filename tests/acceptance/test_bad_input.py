"""Whatever is wrong gets one clear error, at once, and the next call works."""

from __future__ import annotations

import json
import threading
import time

import pytest

import ipyviews

pytestmark = pytest.mark.kernels

AT_ONCE_S = 1.0


@pytest.fixture
def works(rc):
    """Check at the end that the next call works."""
    yield
    assert rc[:].apply_sync(lambda: 1) == [1] * 4


@pytest.fixture
def info(rc):
    return json.loads(rc.cluster.cluster_file.read_text())


def refused(call, kind, *words):
    """Expect one error of `kind`, soon, in one sentence that has all the words."""
    started = time.monotonic()
    with pytest.raises(kind) as caught:
        call()
    assert time.monotonic() - started < AT_ONCE_S
    sentence = str(caught.value)
    for word in words:
        assert word in sentence, sentence
    assert "\n" not in sentence
    assert len(sentence) < 300


def test_an_unknown_engine(rc, works):
    refused(lambda: rc[99], IndexError, "99")
    refused(lambda: rc[[0, 99]], KeyError, "99")
    refused(lambda: rc.direct_view([99]).apply_sync(lambda: 1), ipyviews.UsageError, "99")
    refused(lambda: rc["all"], TypeError)


def test_an_empty_target_list(rc, works):
    empty = rc[10:]
    refused(lambda: empty.apply_sync(lambda: 1), ipyviews.UsageError, "no engine")
    refused(lambda: empty.execute("1"), ipyviews.UsageError, "no engine")


def test_no_engines(start):
    rc = start(0)
    refused(lambda: rc[:], ipyviews.NoEnginesRegistered)
    balanced = rc.load_balanced_view()
    refused(lambda: balanced.apply_async(lambda: 1).get(5), ipyviews.NoEnginesRegistered)


def test_no_cluster():
    refused(ipyviews.Client, ipyviews.ClusterError, "ipyviews start")


def test_a_connection_file_that_is_not_there_or_not_one(tmp_path, works):
    refused(lambda: ipyviews.Client(tmp_path / "none.json"), ipyviews.UsageError, "none.json")
    wrong = tmp_path / "wrong.json"
    wrong.write_text("[1, 2]")
    refused(lambda: ipyviews.Client(wrong), ipyviews.UsageError, "wrong.json")
    wrong.write_text('{"transport": "ipc", "key": ')
    refused(lambda: ipyviews.Client(wrong), ipyviews.UsageError, "wrong.json")


def test_a_controller_of_another_version(info, works):
    info["ipyviews"]["version"] = "99.0"
    refused(lambda: ipyviews.Client(info), ipyviews.VersionMismatch, "99.0", ipyviews.__version__)


def test_a_key_that_does_not_fit(info, works):
    info["key"] = "0" * 64
    started = time.monotonic()
    with pytest.raises(ipyviews.ClusterError):
        ipyviews.Client(info, timeout=2)
    assert time.monotonic() - started < 10


def test_code_that_is_not_text(rc, works):
    refused(lambda: rc[:].execute(5), TypeError, "text")
    refused(lambda: rc[:].execute(None), TypeError, "text")


def test_a_callable_that_is_not_one(rc, works):
    refused(lambda: rc[:].apply_sync(5), TypeError, "callable")


def test_a_callable_that_cannot_be_pickled_names_the_variable(rc, works):
    stubborn = threading.Lock()

    def uses_it():
        return stubborn

    refused(lambda: rc[:].apply_sync(uses_it), ipyviews.UsageError, "stubborn")


def test_an_argument_that_cannot_be_pickled(rc, works):
    refused(lambda: rc[:].apply_sync(len, threading.Lock()), ipyviews.UsageError, "lock")


def test_a_result_that_cannot_be_pickled(rc, works):
    with pytest.raises(ipyviews.RemoteError, match="lock"):
        rc[0].apply_sync(lambda: __import__("threading").Lock())


def test_a_missing_name_says_how_to_send_it(rc, works):
    notebook = {"__name__": "__main__", "thoughts": [1, 2]}
    exec("def use_it():\n    return thoughts", notebook)
    with pytest.raises(NameError, match="push") as caught:
        rc[0].apply_sync(notebook["use_it"])
    assert "thoughts" in str(caught.value)
    rc[0].push({"thoughts": [3]}, block=True)
    assert rc[0].apply_sync(notebook["use_it"]) == [3]


def test_names_and_flags_that_are_wrong(rc, works):
    refused(lambda: rc[:].push([1]), TypeError)
    refused(lambda: rc[:].pull(5), TypeError)
    refused(lambda: rc[:].set_flags(foo=1), KeyError, "foo")


def test_options_of_a_cluster_that_are_wrong():
    refused(lambda: ipyviews.Cluster(n=-1), ipyviews.UsageError)
    refused(
        lambda: ipyviews.Cluster(engines=4), ipyviews.UsageError, "the number of engines is n=4"
    )
    refused(lambda: ipyviews.Cluster(engins=4), TypeError, "engins")
    refused(
        lambda: ipyviews.Cluster(n=1, kernel="no-such").start_cluster_sync(),
        ipyviews.UsageError,
        "no-such",
    )


def test_a_closed_client_says_so(cluster4, works):
    client = cluster4.connect_client_sync()
    view = client[:]
    client.close()
    refused(lambda: view.apply_sync(lambda: 1), ipyviews.ClusterError)
