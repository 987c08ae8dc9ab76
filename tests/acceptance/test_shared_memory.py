"""Large arrays by shared memory: right, private, one copy for all, and nothing left."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections import Counter
from functools import partial
from pathlib import Path

import psutil
import pytest

import ipyviews
from ipyviews.engine import segments

numpy = pytest.importorskip("numpy")

pytestmark = [
    pytest.mark.kernels,
    pytest.mark.skipif(not segments.place(), reason="no /dev/shm here"),
]

MIB = 1024 * 1024


def array(megabytes, start=0):
    return numpy.arange(start, start + megabytes * MIB // 8, dtype=numpy.float64)


def owners(rc):
    """How many segments each owner has now."""
    return Counter(map(segments.owner_of, segments.names(rc.cluster.connection_file.parent.name)))


def mine(rc):
    return owners(rc)[rc.connection.session]


def pss(processes):
    return sum(process.memory_full_info().pss for process in processes)


@pytest.fixture
def clean(rc, wait_until):
    """The shared cluster with nothing of earlier tests in shared memory by this client."""
    rc[:].execute("%reset -f", block=True)
    return rc


# -- what arrives ------------------------------------------------------------------------------


def test_an_array_is_right_on_every_engine_and_there_once(clean, interactive):
    sent = array(8)
    clean[:].push({"a": sent}, block=True)
    assert clean[:].apply_sync(interactive("lambda: float(a.sum())")) == [float(sent.sum())] * 4
    assert mine(clean) == 1


def test_arrays_are_writable_and_writes_are_private(clean, interactive):
    sent = array(4)
    clean[:].push({"a": sent}, block=True)
    clean[1].execute("a[:] = -1", block=True)
    first = clean[:].apply_sync(interactive("lambda: float(a[1])"))
    assert (first, sent[1]) == ([1.0, -1.0, 1.0, 1.0], 1.0)


def test_an_array_may_change_here_as_soon_as_it_was_sent(clean, interactive):
    sent = array(4)
    pushed = clean[:].push({"a": sent}, block=False)
    sent[:] = -1
    pushed.get()
    assert clean[:].apply_sync(interactive("lambda: float(a[-1])")) == [4 * MIB / 8 - 1] * 4


def test_results_are_writable_and_their_engine_does_not_see_it(clean, interactive):
    clean[0].push({"a": array(4)}, block=True)
    got = clean[0].pull("a", block=True)
    got[:] = -1
    assert clean[0].apply_sync(interactive("lambda: float(a[1])")) == 1.0
    assert owners(clean)["e0.1"] == 1


def test_scatter_and_gather(clean):
    sent = array(16)
    clean[:].scatter("part", sent, block=True)
    assert numpy.array_equal(clean[:].gather("part", block=True), sent)
    assert mine(clean) == 4


def test_arguments_and_results_of_a_map(clean):
    inputs = [array(2, start) for start in range(8)]
    results = clean.load_balanced_view().map_sync(lambda x: x * 2, inputs)
    assert all(numpy.array_equal(r, i * 2) for r, i in zip(results, inputs, strict=True))


@pytest.mark.parametrize(
    "make",
    [bytes, bytearray, lambda raw: memoryview(bytearray(raw)), lambda raw: [raw, {"k": raw}]],
    ids=["bytes", "bytearray", "memoryview", "nested"],
)
def test_other_large_things_arrive_too(clean, make):
    value = make(os.urandom(2 * MIB))
    assert clean[2].apply_sync(lambda x: x, value) == value


def test_what_is_returned_may_be_the_argument(clean):
    sent = array(4)
    view = clean[:].apply_sync(lambda x: x[::-1], sent)
    assert all(numpy.array_equal(one, sent[::-1]) for one in view)


def test_an_async_function_takes_and_returns_arrays(clean):
    async def double(x):
        return x * 2

    sent = array(4)
    assert numpy.array_equal(clean[0].apply_sync(double, sent), sent * 2)


def test_a_later_push_does_not_change_what_is_kept_of_an_earlier_one(clean, interactive):
    clean[:].push({"a": array(4)}, block=True)
    clean[:].execute("kept = a[:10]", block=True)
    for start in (100, 200, 300):
        clean[:].push({"a": array(4, start)}, block=True)
    kept, last = clean[3].apply_sync(interactive("lambda: (kept.tolist(), float(a[0]))"))
    assert (kept, last) == (list(range(10)), 300.0)


def test_what_a_forked_child_drops_is_still_its_parents(clean, interactive):
    fork = (
        "import os\n"
        "child = os.fork()\n"
        "if not child:\n"
        "    del a\n"
        "    os._exit(0)\n"
        "code = os.waitpid(child, 0)[1]\n"
    )
    clean[0].push({"a": array(4)}, block=True)
    clean[0].execute(fork, block=True)
    assert clean[0].pull("code", block=True) == 0
    for start in (100, 200):
        clean[1].push({"b": array(4, start)}, block=True)
    assert clean[0].apply_sync(interactive("lambda: float(a[1])")) == 1.0


def test_what_a_forked_child_has_stays_as_it_was(clean, interactive):
    fork = (
        "import os\n"
        "(begin, go), (answer, told) = os.pipe(), os.pipe()\n"
        "child = os.fork()\n"
        "if not child:\n"
        "    os.close(go)\n"
        "    os.read(begin, 1)\n"
        "    os.write(told, str(a[-1] - a[0]).encode())\n"
        "    os._exit(0)\n"
        "del a\n"
    )
    ask = "os.write(go, b'x'); seen = float(os.read(answer, 30)); os.waitpid(child, 0)"
    sent = array(4)
    clean[0].push({"a": sent}, block=True)
    clean[0].execute(fork, block=True)
    for _ in range(5):
        clean[0].apply_sync(len, numpy.zeros_like(sent))
    clean[0].execute(ask, block=True)
    assert clean[0].pull("seen", block=True) == sent[-1] - sent[0]


# -- what it costs -----------------------------------------------------------------------------


def test_a_push_to_four_engines_takes_the_memory_of_one_array(clean, members, interactive):
    everybody = members(clean)
    sent = array(64)
    touch = partial(clean[:].apply_sync, interactive("lambda: float(a.sum())"))
    clean[:].push({"a": sent[: MIB // 4]}, block=True)
    touch()
    before, controller = pss(everybody.all()), pss([everybody.controller])
    clean[:].push({"a": sent}, block=True)
    touch()
    assert pss(everybody.all()) - before < 1.2 * sent.nbytes
    assert pss([everybody.controller]) - controller < 4 * MIB


def test_segments_are_used_again(clean):
    before = owners(clean)["e0.1"]
    for start in range(10):
        clean[:].push({"a": array(2, start)}, block=True)
        clean[0].pull("a", block=True)
        clean[:].apply_sync(len, array(2))
    # One that is held, one for the next push, and one for arguments.
    assert mine(clean) <= 3
    assert owners(clean)["e0.1"] <= before + 3


@pytest.mark.parametrize("how", ["del a", "a = None", "%reset -f", "a = a[:2].copy()"])
def test_a_segment_comes_back_when_its_name_is_gone(clean, how, wait_until):
    clean[:].push({"a": array(2)}, block=True)
    clean[:].execute(how, block=True)
    assert mine(clean) == 1
    pool = clean.connection._sharing._sender._pool
    wait_until(lambda: pool.next_end() is not None, 5, "the release")


def test_what_calls_were_sent_comes_back_with_their_replies(clean):
    for start in range(5):
        clean[:].apply_sync(lambda x: float(x.sum()), array(2, start))
    assert mine(clean) == 1


def test_a_failed_call_holds_nothing_for_long(clean):
    for start in range(5):
        with pytest.raises(ipyviews.RemoteError):
            clean[0].apply_sync(lambda x: 1 / 0, array(2, start))
    assert mine(clean) <= 2


def test_small_arrays_are_messages(clean):
    clean[:].push({"a": numpy.zeros(segments.SHARE_FROM // 16)}, block=True)
    assert mine(clean) == 0


# -- where it is not used ----------------------------------------------------------------------


@pytest.mark.parametrize("switch", ["option", "environment", "keep_results"])
def test_a_cluster_without_shared_memory(start, switch, monkeypatch):
    if switch == "environment":
        monkeypatch.setenv("IPYVIEWS_SHARED_MEMORY", "0")
    rc = start(1, **{"option": {"shared_memory": False}}.get(switch, {}))
    if switch == "keep_results":
        rc = start(1, keep_results=True)
    sent = array(4)
    assert numpy.array_equal(rc[0].apply_sync(lambda x: x, sent), sent)
    assert not owners(rc)


def test_engines_that_see_another_folder_are_sent_messages(clean):
    clean.connection._sharing._engines[1]["place"] = "elsewhere"
    sent = array(4)
    assert clean[0, 1].apply_sync(lambda x: float(x.sum()), sent) == [float(sent.sum())] * 2
    assert mine(clean) == 0
    assert clean[0].apply_sync(lambda x: float(x.sum()), sent) == float(sent.sum())
    assert mine(clean) == 1


def test_an_engine_that_cannot_map_it_passes_a_balanced_call_on(start):
    rc = start(2)
    elsewhere = "import ipyviews.engine.segments as s; s.place = lambda: 'elsewhere'"
    rc[0].execute(elsewhere, block=True)
    view = rc.load_balanced_view()
    pids = view.map_sync(lambda x: (__import__("os").getpid(), float(x[1])), [array(2)] * 4)
    assert set(pids) == {(rc[1].apply_sync(os.getpid), 1.0)}


def test_without_room_arrays_are_messages_and_one_warning_says_so(start, monkeypatch):
    rc = start(1)
    monkeypatch.setattr(segments, "room", lambda: 0)
    with pytest.warns(RuntimeWarning, match="Large arrays are sent as messages"):
        assert rc[0].apply_sync(len, array(2)) == 2 * MIB // 8
    assert rc[0].apply_sync(len, array(2)) == 2 * MIB // 8


def test_a_kernel_without_ipyviews_shares_memory_all_the_same(start, tmp_path):
    hidden = "import sys; sys.modules['ipyviews'] = None; import ipykernel.kernelapp as app; "
    argv = [sys.executable, "-c", hidden + "app.launch_new_instance()", "-f", "{connection_file}"]
    folder = Path(os.environ["JUPYTER_DATA_DIR"]) / "kernels" / "bare"
    folder.mkdir(parents=True)
    spec = {"argv": argv, "display_name": "bare", "language": "python"}
    (folder / "kernel.json").write_text(json.dumps(spec))
    rc = start(2, kernel="bare", cwd=tmp_path)
    value = memoryview(bytearray(os.urandom(2 * MIB)))
    rc[:].push({"a": value}, block=True)
    assert rc[:].pull("a", block=True) == [value] * 2
    assert set(owners(rc)) == {rc.connection.session, "e0.1", "e1.1"}


# -- who dies ----------------------------------------------------------------------------------


def test_closing_a_client_leaves_nothing_of_it(cluster4):
    with cluster4.connect_client_sync() as client:
        client.cluster = cluster4
        client[:].push({"a": array(2)}, block=True)
        assert mine(client) == 1
    assert mine(client) == 0


def test_results_outlive_the_cluster(start):
    rc = start(1)
    got = rc[0].apply_sync(lambda: __import__("numpy").arange(2**20))
    rc.close()
    rc.cluster.stop_cluster_sync()
    assert got[-1] == MIB - 1


def test_a_killed_engine_leaves_nothing_though_its_result_is_kept(start, members, wait_until):
    rc = start(2)
    rc[:].push({"a": array(2)}, block=True)
    got = rc[0].pull("a", block=True)
    assert owners(rc)["e0.1"] == 1
    members(rc).engines[0].kill()
    wait_until(lambda: not owners(rc)["e0.1"], 10, "the removal of its segments")
    assert got[1] == 1.0
    # What it mapped is never written again: a dying process may still read it.
    sender = rc.connection._sharing._sender
    wait_until(lambda: all(s.is_spoiled for s in sender._pool.segments.values()), 5)


def test_a_killed_client_leaves_nothing(start, script, wait_until, interactive):
    rc = start(1)
    code = (
        "import sys, ipyviews, numpy\n"
        "client = ipyviews.Client(sys.argv[1])\n"
        "client[:].push({'b': numpy.zeros(500_000)}, block=True)\n"
        "print('1', flush=True)\n"
        "sys.stdin.readline()\n"
    )
    other = script(code, rc.cluster.connection_file)
    other.read()
    assert sum(owners(rc).values()) == 1
    os.kill(other.pid, signal.SIGKILL)
    wait_until(lambda: not owners(rc), 10, "the removal of its segments")
    assert rc[0].apply_sync(interactive("lambda: len(b)")) == 500_000


def test_a_call_that_runs_again_elsewhere_finds_its_data(start, members, wait_until):
    rc = start(2)
    sent = array(4)

    def slow(x, path):
        import pathlib
        import time

        if not pathlib.Path(path).exists():
            pathlib.Path(path).touch()
            time.sleep(60)
        return float(x.sum())

    path = rc.cluster.connection_file.parent / "started"
    result = rc.load_balanced_view().apply_async(slow, sent, str(path))
    wait_until(path.exists, 10)
    [busy] = [e["id"] for e in rc.status()["engines"] if e["running"]]
    members(rc).engines[busy].kill()
    assert result.get(20) == float(sent.sum())


def test_a_retry_finds_its_data(clean):
    def third_time(x):
        import sys

        sys.tries = getattr(sys, "tries", 0) + 1
        if sys.tries < 3:
            raise ValueError(sys.tries)
        return float(x.sum())

    sent = array(4)
    view = clean.load_balanced_view(targets=[0])
    with view.temp_flags(retries=5):
        assert view.apply_sync(third_time, sent) == float(sent.sum())


def test_work_of_a_client_that_left_a_detached_cluster_finds_its_data_and_its_result_is_kept(
    start, wait_until
):
    rc = start(1, detached=True)
    leaving = ipyviews.Client(rc.cluster.connection_file)
    sleeping = leaving[0].apply_async(__import__("time").sleep, 5)
    wait_until(lambda: rc.status()["engines"][0]["running"])
    result = leaving[0].apply_async(lambda x: x * 2, array(2))
    wait_until(lambda: rc.queue_status()[0]["queue"], 5)
    leaving.close()
    assert not sleeping.successful()
    [got] = rc.get_result(result.msg_ids, owner=False).get(20)
    assert numpy.array_equal(got, array(2) * 2)
    wait_until(lambda: not owners(rc), 10, "the removal of the segments")


def test_another_client_may_fetch_a_result_that_was_taken_already(start, wait_until):
    rc = start(1)
    with ipyviews.Client(rc.cluster.connection_file) as other:
        result = rc[0].apply_async(lambda: __import__("time").sleep(1) or b"".join([b"x"]))
        large = rc[0].apply_async(lambda: __import__("numpy").arange(2**20))
        name = large.msg_ids[0]
        wait_until(lambda: other.db_query({"msg_id": name}))
        fetched = other.get_result(large.msg_ids, owner=False, block=False)
        result.get()
        assert large.get()[-1] == MIB - 1
        del large
        for _ in range(3):
            rc[0].apply_sync(lambda: __import__("numpy").zeros(2**20))
        [got] = fetched.get(20)
        assert got[-1] == MIB - 1


def test_descriptors_do_not_grow_with_results(clean):
    kept = [clean[:].apply_sync(lambda i: __import__("numpy").full(2**18, i), i) for i in (1, 2)]
    me = psutil.Process()
    limit = 4 * len(kept) if sys.version_info < (3, 13) else 0
    before = me.num_fds()
    kept.clear()
    assert before - me.num_fds() <= limit
