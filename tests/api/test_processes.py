"""Clients and forked processes: what a child is told, and what the parent must not notice."""

from __future__ import annotations

import multiprocessing
import threading

import pytest

import ipyviews as ipp
from tests.engine.kernelbox import interactive

FORK = multiprocessing.get_context("fork")

SENTENCE = "made in another process: create a new Client()"


def in_child(function, *arguments):
    """Run a function in a forked child and return what it returns, or its error's text."""

    def run(pipe):
        try:
            pipe.send(function(*arguments))
        except Exception as error:  # noqa: BLE001 - the test looks at it
            pipe.send(f"{type(error).__name__}: {error}")

    here, there = FORK.Pipe()
    child = FORK.Process(target=run, args=(there,))
    child.start()
    there.close()
    try:
        assert here.poll(20), "the child hangs"
        return here.recv()
    finally:
        here.close()
        child.kill()
        child.join()
        child.close()


VERBS = {
    "apply": lambda rc: rc[:].apply_sync(len, "a"),
    "execute": lambda rc: rc[0].execute("1", block=True),
    "map": lambda rc: rc.load_balanced_view().map_sync(len, ["a"]),
    "ids": lambda rc: rc.ids,
    "status": lambda rc: rc.queue_status(),
    "wait": lambda rc: rc.wait_for_engines(1),
}


@pytest.mark.parametrize("verb", VERBS.values(), ids=VERBS.keys())
def test_a_client_in_a_forked_child_says_so(rc, verb):
    rc[:].apply_sync(len, "a")
    assert SENTENCE in in_child(verb, rc)


def test_a_pending_result_in_a_forked_child_says_so(rc):
    result = rc[0].apply_async(interactive("import time\nf = lambda: time.sleep(0.5) or 5")["f"])
    assert SENTENCE in in_child(result.get, 10)
    assert result.get(10) == 5


def test_a_result_that_was_there_is_still_there(rc):
    result = rc[0].apply_async(int, "5")
    result.wait(10)
    assert in_child(result.get, 0) == 5


@pytest.mark.parametrize("end", [lambda rc: rc.close(), repr], ids=["close", "exit"])
def test_the_parent_does_not_notice_a_childs_end(rc, end):
    for _ in range(3):
        in_child(end, rc)
        assert rc[:].apply_sync(len, "abc") == [3] * 4


def test_a_child_forked_while_locks_are_held_does_not_hang(rc):
    held, let_go = threading.Event(), threading.Event()

    def hold():
        with rc.connection.ledger.lock:
            held.set()
            let_go.wait(20)

    holder = threading.Thread(target=hold)
    holder.start()
    try:
        held.wait(10)
        assert SENTENCE in in_child(VERBS["apply"], rc)
    finally:
        let_go.set()
        holder.join()


def test_a_child_makes_a_client_of_its_own(rc):
    def own():
        with ipp.Client() as client:
            return client[:].apply_sync(len, "abc")

    assert in_child(own) == [3] * 4
    assert rc[:].apply_sync(len, "ab") == [2] * 4


def square(x):
    return x * x


def test_multiprocessing_works_beside_a_client(rc):
    result = rc[:].apply_async(interactive("import time\nf = lambda: time.sleep(0.3) or 1")["f"])
    with FORK.Pool(2) as pool:
        assert pool.map(square, range(10)) == [x * x for x in range(10)]
    assert result.get(10) == [1] * 4


def pooled():
    """Use a pool in a call."""
    import multiprocessing

    with multiprocessing.get_context("fork").Pool(2) as pool:
        return pool.map(abs, range(-5, 0))


def test_multiprocessing_works_on_an_engine(rc):
    for _ in range(2):
        assert rc[:2].apply_sync(pooled) == [[5, 4, 3, 2, 1]] * 2
    code = (
        "import multiprocessing\nwith multiprocessing.get_context('fork').Pool(2) as pool:\n"
        " print(pool.map(abs, [-1]))"
    )
    result = rc[2].execute(code, block=True)
    assert result.stdout.strip() == "[1]"


FORKS = {
    "ends itself": ("os._exit(3)", 3),
    "returns": ("return 'child'", 0),
    "exits": ("sys.exit()", 0),
    "fails": ("1 / 0", 1),
    "prints": ("return print('child')", 0),
}


@pytest.mark.parametrize(("deed", "code"), FORKS.values(), ids=FORKS.keys())
def test_a_child_forked_by_a_call_ends_with_it(rc, deed, code):
    source = (
        "import os, sys\ndef f():\n child = os.fork()\n if child == 0:\n  "
        f"{deed}\n return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])"
    )
    assert rc[0].apply_async(interactive(source)["f"]).get(20) == code
    assert rc[0].apply_async(len, "a").get(20) == 1
