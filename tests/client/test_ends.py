"""Every wait for a result ends: when the controller dies, and when the I/O thread does."""

from __future__ import annotations

import asyncio
import threading
from concurrent import futures

import pytest

from ipyviews.errors import ClusterError
from tests.waiting import wait_until


async def iterate(result):
    return [value async for value in result]


async def as_awaited(result):
    return await result


def in_callback(result):
    seen = threading.Event()
    result.add_done_callback(lambda _: seen.set())
    assert seen.wait(5)
    return result.get()


WAITS = {
    "get": lambda result: result.get(),
    "r": lambda result: result.r,
    "result": lambda result: result.result(),
    "exception": lambda result: result.exception(),
    "wait": lambda result: result.wait() and result.get(),
    "wait with a time": lambda result: result.wait(60) and result.get(),
    "wait for one": lambda result: result.wait(return_when="FIRST_COMPLETED") and result.get(),
    "wait for output": lambda result: result.wait_for_output() and result.get(),
    "bar": lambda result: result.wait_interactive(0.05, widget=False) or result.get(),
    "dict": lambda result: result.get_dict(),
    "iteration": list,
    "parts": lambda result: [part.get() for part in result.split()],
    "futures.wait": lambda result: futures.wait([result]) and result.get(),
    "as_completed": lambda result: [one.get() for one in futures.as_completed([result])],
    "callback": in_callback,
    "await": lambda result: asyncio.run(as_awaited(result)),
    "async iteration": lambda result: asyncio.run(iterate(result)),
}


def crash(fake, rc):
    rc.connection.later(0, lambda: 1 / 0)


def die(fake, rc):
    fake.die()


@pytest.mark.parametrize("death", [crash, die])
@pytest.mark.parametrize("wait", WAITS)
def test_a_wait_ends_with_the_cause(fake, rc, dv, death, wait):
    fake.holding = True
    result = dv.apply_async(pow, 2, 2)
    wait_until(lambda: len(fake.held) == 2)
    threading.Timer(0.05, death, (fake, rc)).start()
    try:
        error = WAITS[wait](result)
    except ClusterError as raised:
        error = raised
    assert isinstance(error, ClusterError)
    assert "create a new Client()" in str(error) or "has died" in str(error)
    wait_until(result.done)


def test_waiting_to_be_sent_ends_too(rc, dv):
    gate = threading.Event()
    rc.connection._io.post(gate.wait)
    rc.connection._io.post(lambda: 1 / 0)
    result = dv.apply_async(pow, 2, 2)
    assert not result.sent
    threading.Timer(0.05, gate.set).start()
    # What will never be sent may be changed too.
    result.wait_for_send()
    with pytest.raises(ClusterError):
        result.get()


def test_a_closed_client_ends_what_is_awaited(fake, rc, dv):
    fake.holding = True
    result = dv.apply_async(pow, 2, 2)
    threading.Timer(0.05, rc.close).start()
    with pytest.raises(ClusterError, match="closed"):
        result.get()
