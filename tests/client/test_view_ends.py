"""Every wait of a view ends: when the controller dies, and when the I/O thread does."""

from __future__ import annotations

import asyncio
import itertools
import queue
import threading

import pytest

from ipyviews.client import ledger, returning
from ipyviews.errors import ClusterError
from tests.waiting import wait_until


def sync_imports(view):
    with view.sync_imports(quiet=True):
        import colorsys  # noqa: F401


def waiting_for_the_input(view):
    source = queue.Queue()
    try:
        return next(view.imap(abs, iter(source.get, None)))
    finally:
        source.put(None)


def executor_with_endless_input(view):
    with view.executor as executor:
        values = executor.map(abs, itertools.count())
    return list(values)


async def iterate(view):
    return [value async for value in view.imap(abs, itertools.count())]


def joblib(view):
    joblib = pytest.importorskip("joblib", reason="joblib is an optional extra")
    view = view.client.load_balanced_view()
    view.register_joblib_backend("ends")
    try:
        return joblib.Parallel(backend="ends")(joblib.delayed(pow)(n, 2) for n in range(50))
    finally:
        joblib.parallel.BACKENDS.pop("ends")


WAITS = {
    "apply": lambda view: view.apply_sync(pow, 2, 2),
    "map": lambda view: view.map_sync(abs, [1, 2]),
    "balanced map": lambda view: view.client.load_balanced_view().map_sync(abs, range(500)),
    "execute": lambda view: view.execute("1", block=True),
    "push": lambda view: view.push({"a": 1}, block=True),
    "pull": lambda view: view["a"],
    "scatter": lambda view: view.scatter("a", range(4), block=True),
    "gather": lambda view: view.gather("a", block=True),
    "clear": lambda view: view.clear(block=True),
    "get_result": lambda view: view.apply(pow, 2, 2) and view.get_result(block=True).get(),
    "wait": lambda view: view.apply(pow, 2, 2) and view.wait() and view.get_result().get(),
    "use_pickle": lambda view: view.set_flags(block=True).use_pickle(),
    "remote": lambda view: view.remote(block=True)(pow)(2, 2),
    "parallel": lambda view: view.parallel(block=True)(len)([1, 2]),
    "imap": lambda view: list(view.imap(abs, itertools.count())),
    "imap, unordered": lambda view: list(view.imap(abs, itertools.count(), ordered=False)),
    "imap, awaited": lambda view: asyncio.run(iterate(view)),
    "imap, waiting for its input": waiting_for_the_input,
    "executor": executor_with_endless_input,
    "sync_imports": sync_imports,
    "joblib": joblib,
}


def crash(fake, rc):
    rc.connection.later(0, lambda: 1 / 0)


def die(fake, rc):
    fake.die()


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(returning, "DOUBT_S", 0.02)
    monkeypatch.setattr(ledger, "MAX_TASKS", 100)


def our_threads():
    return {thread for thread in threading.enumerate() if "ipyviews-" in thread.name}


@pytest.mark.parametrize("death", [crash, die])
@pytest.mark.parametrize("wait", WAITS)
def test_a_wait_ends_with_the_cause(fake, rc, dv, death, wait):
    before = our_threads()
    fake.holding = True
    threading.Timer(0.1, death, (fake, rc)).start()
    with pytest.raises(ClusterError, match=r"I/O thread failed|has died"):
        WAITS[wait](dv)
    # That of this client's connection is among those before, and ends as well.
    wait_until(lambda: our_threads() < before)
