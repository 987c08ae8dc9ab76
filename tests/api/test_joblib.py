"""Engines as a backend of joblib."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time

import pytest

import ipyviews as ipp
from tests.client.fakes import FakeController
from tests.waiting import wait_until

joblib = pytest.importorskip("joblib", reason="joblib is an optional extra")

row = pytest.mark.row


def power(n):
    return n * n


def where(_):
    return os.getpid()


def fail_at_three(n):
    if n == 3:
        raise LookupError("three")
    return n


def nested(n):
    inner = joblib.Parallel(n_jobs=2)(joblib.delayed(power)(i) for i in range(n))
    return os.getpid(), inner


@pytest.fixture
def backend(lv):
    """The name of a backend on all four engines."""
    lv.register_joblib_backend("four-engines")
    yield "four-engines"
    joblib.parallel.BACKENDS.pop("four-engines")


def run(function, items, **options):
    return joblib.Parallel(**options)(joblib.delayed(function)(item) for item in items)


@row("2.3-joblib", "11-new")
def test_parallel_calls_run_on_the_engines(rc, backend):
    with joblib.parallel_config(backend):
        assert run(power, range(500)) == [n * n for n in range(500)]
        assert set(run(where, range(40), batch_size=1)) <= set(rc[:].apply_sync(os.getpid))


@pytest.mark.parametrize("n_jobs", [None, 1, 2, -1])
def test_all_engines_are_used_however_many_jobs_are_asked_for(rc, backend, n_jobs):
    with joblib.parallel_config(backend):
        parallel = joblib.Parallel(n_jobs=n_jobs)
        assert parallel._backend.effective_n_jobs(n_jobs) == 4


def test_without_engines_it_says_so():
    fake = FakeController(0)
    with ipp.Client(fake.file, transport=fake.transport) as rc:
        rc.load_balanced_view().register_joblib_backend("no-engines")
        with pytest.raises(ipp.NoEnginesRegistered):
            run(power, range(3), backend="no-engines")
    joblib.parallel.BACKENDS.pop("no-engines")


def test_functions_of_a_notebook_are_sent(backend):
    space = {"__name__": "__main__"}
    exec("def triple(x):\n    return 3 * x", space)
    assert run(space["triple"], range(5), backend=backend) == [0, 3, 6, 9, 12]


@pytest.mark.parametrize("return_as", ["generator", "generator_unordered"])
def test_results_can_be_generated(backend, return_as):
    values = run(power, range(100), backend=backend, return_as=return_as)
    assert sorted(values) == [n * n for n in range(100)]


@pytest.mark.filterwarnings("ignore:.*not used:UserWarning")
@pytest.mark.parametrize("return_as", ["list", "generator"])
def test_an_error_is_raised_as_itself_and_the_rest_is_cancelled(lv, backend, return_as):
    with pytest.raises(LookupError, match="three") as caught:
        list(run(fail_at_three, range(50), backend=backend, return_as=return_as, batch_size=1))
    assert isinstance(caught.value, ipp.RemoteError)
    wait_until(lambda: not lv.outstanding)
    assert run(power, range(5), backend=backend) == [0, 1, 4, 9, 16]


def test_what_cannot_be_sent_is_an_error_and_nothing_waits(backend):
    items = [1, threading.Lock(), 2]
    with pytest.raises(ipp.UsageError, match="lock"):
        run(str, items, backend=backend)


def test_a_timeout_ends_it_and_stops_the_engines(rc, lv, backend):
    with pytest.raises(multiprocessing.TimeoutError):
        run(time.sleep, [60] * 6, backend=backend, timeout=0.3)
    wait_until(lambda: not lv.outstanding)
    assert rc[:].apply_sync(power, 2) == [4] * 4


def test_nested_parallel_calls_run_where_they_are_made(rc, backend):
    found = run(nested, range(4), backend=backend, batch_size=1)
    assert [inner for _, inner in found] == [[n * n for n in range(m)] for m in range(4)]
    assert {pid for pid, _ in found} <= set(rc[:].apply_sync(os.getpid))


def test_large_arguments_are_sent(backend):
    import numpy as np

    values = np.arange(200_000.0)
    assert run(np.sum, [values] * 3, backend=backend) == [values.sum()] * 3


def test_its_threads_end(backend):
    before = set(threading.enumerate())
    run(power, range(10), backend=backend)
    wait_until(lambda: set(threading.enumerate()) <= before)


@row("0-functions", "0-modules")
def test_the_backend_of_the_running_cluster(cluster4, rc):
    from ipyviews import joblib as ours

    assert ours.register is ipp.register_joblib_backend
    ipp.register_joblib_backend("running-cluster")
    try:
        with joblib.parallel_config("running-cluster"):
            assert set(run(where, range(20), batch_size=1)) <= set(rc[:].apply_sync(os.getpid))
    finally:
        joblib.parallel.BACKENDS.pop("running-cluster")
        ours._view.client.close()
