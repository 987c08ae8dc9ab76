"""What is `AsyncClient`'s own: it never blocks its loop, and what is given up goes on.

That its verbs do what those of `Client` do is said by the tests that run with both.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import threading

import pytest

import ipyviews as ipp
from ipyviews.client import ledger, waits
from tests.client.fakes import FakeController, engine_info
from tests.waiting import eventually

#: The loop must never be held up for longer than this [s].
LONGEST_S = 0.5


@pytest.fixture
async def rc(fake):
    async with ipp.AsyncClient(fake.file, transport=fake.transport) as client:
        yield client


@pytest.fixture
def dv(rc):
    return rc[:]


async def longest_pause(stop: asyncio.Event) -> float:
    """Measure the longest time the loop did not turn [s]."""
    loop, longest = asyncio.get_running_loop(), 0.0
    while not stop.is_set():
        before = loop.time()
        await asyncio.sleep(0.001)
        longest = max(longest, loop.time() - before)
    return longest


# -- the same verbs ---------------------------------------------------------------------------


def test_it_has_every_verb_of_the_client():
    verbs = [name for name in dir(ipp.Client) if not name.startswith("_")]
    # Registering magics is for people, and these run cells that block.
    missing = {name for name in verbs if not hasattr(ipp.AsyncClient, name)} - {"activate"}
    assert missing == set()


@pytest.mark.parametrize(
    "name", [name for name in vars(ipp.Client) if not name.startswith("_") and name != "activate"]
)
def test_its_verbs_take_the_same_arguments(name):
    theirs = inspect.signature(getattr(ipp.Client, name)).parameters
    own = inspect.signature(getattr(ipp.AsyncClient, name)).parameters
    # Who awaits decides itself whether to wait, and where to draw.
    left_out = {"block", "interactive", "widget"}
    assert [one for one in own if one not in left_out] == [
        one for one in theirs if one not in left_out
    ]
    assert all(own[one].default == theirs[one].default for one in own)


async def test_a_file_is_found_and_refused_as_by_the_client(fake, tmp_path):
    path = tmp_path / "cluster.json"
    path.write_text(json.dumps(fake.file))
    async with ipp.AsyncClient(path, transport=fake.transport, profile="work") as rc:
        assert rc.ids == [0, 1]
        assert rc.profile == "work"
    for options, error in (
        ({"connection_info": "/none.json"}, OSError),
        ({"connection_info": "tcp://127.0.0.1:1"}, ValueError),
        ({"sshserver": "there"}, ipp.UsageError),
        ({"usernam": "me"}, TypeError),
        ({}, ipp.ClusterError),
    ):
        with pytest.raises(error):
            ipp.AsyncClient(**options)


async def test_a_silent_controller_is_a_timeout_error():
    fake = FakeController(key="another key")
    with pytest.raises(TimeoutError, match="did not answer"):
        async with ipp.AsyncClient(fake.file, transport=fake.transport, timeout=0.1):
            pass


async def test_it_may_be_connected_and_closed_without_a_block(fake):
    rc = await ipp.AsyncClient(fake.file, transport=fake.transport).connect()
    assert await rc[0].apply(pow, 2, 3) == 8
    await rc.aclose()
    await rc.aclose()
    for use in (rc.status, rc.wait, rc.wait_for_engines, rc.abort, rc.table):
        with pytest.raises(RuntimeError, match="This Client is closed"):
            await use()


# -- never blocking ---------------------------------------------------------------------------


async def test_results_of_its_views_are_awaited_alone_and_together(fake, rc, dv):
    lv = rc.load_balanced_view()
    assert await dv.apply(pow, 2, 3) == [8, 8]
    assert await asyncio.gather(lv.apply(pow, 2, 2), lv.map(abs, [-1])) == [4, [1]]
    assert [one async for one in lv.map_async(abs, range(-3, 0))] == [3, 2, 1]
    dv["a"] = 5
    assert await dv["a"] == [5, 5]
    assert await asyncio.wait_for(dv.pull("a"), 5) == [5, 5]
    async with asyncio.timeout(5):
        await dv.scatter("b", [1, 2])
        assert await dv.gather("b") == [1, 2]


@pytest.mark.parametrize(
    "use",
    [
        lambda dv: dv.apply_sync(pow, 2, 2),
        lambda dv: dv.map_sync(abs, [1]),
        lambda dv: dv.execute("1", block=True),
        lambda dv: dv.push({"a": 1}, block=True),
        lambda dv: dv.set_flags(block=True).apply(pow, 2, 2),
    ],
)
async def test_blocking_calls_are_refused_with_what_to_do_instead(dv, use):
    with pytest.raises(ipp.UsageError, match="await the result"):
        use(dv)


async def test_too_many_unanswered_calls_raise_instead_of_waiting(fake, rc, monkeypatch):
    monkeypatch.setattr(ledger, "MAX_TASKS", 3)
    fake.holding = True
    for _ in range(3):
        rc[0].apply(pow, 2, 2)
    with pytest.raises(ipp.TooManyPending, match="await some results"):
        rc[0].apply(pow, 2, 2)


async def test_many_waits_at_once_need_no_threads_and_leave_the_loop_free(fake, rc, dv):
    fake.holding = True
    for handler in ("_on_status", "_on_restart"):
        setattr(fake, handler, lambda _content: None)
    result = dv.apply(pow, 2, 3)
    await eventually(lambda: len(fake.held) == 2)
    threads, stop = threading.active_count(), asyncio.Event()
    pause = asyncio.ensure_future(longest_pause(stop))
    waits = [
        asyncio.ensure_future(wait)
        for _ in range(50)
        for wait in (
            rc.wait(result),
            rc.wait(result.msg_ids),
            rc.wait_for_engines(3),
            rc.status(),
            rc.restart(0),
        )
    ]
    await asyncio.sleep(0)
    assert await rc.wait(result, timeout=0.05) is False
    assert threading.active_count() == threads
    await rc.abort(result)
    fake.engines[2] = engine_info(2)
    await asyncio.to_thread(fake.notice)
    done = [waits[i] for i in range(len(waits)) if i % 5 < 3]
    assert set(await asyncio.wait_for(asyncio.gather(*done), 10)) == {True, None}
    stop.set()
    assert await pause < LONGEST_S
    rest = [wait for wait in waits if not wait.done()]
    await asyncio.to_thread(fake.die)
    ended = await asyncio.wait_for(asyncio.gather(*rest, return_exceptions=True), 10)
    assert {type(one) for one in ended} == {ipp.ControllerLost}


async def test_a_wait_that_is_given_up_stops_nothing(fake, rc, dv):
    fake.holding = True
    result = dv.apply(pow, 2, 3)
    for wait in (rc.wait(result), rc.wait(), rc.wait_interactive(interval=0.01)):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(wait, 0.05)
    assert "cancel_request" not in fake.names()
    await asyncio.to_thread(fake.release)
    assert await result == [8, 8]


async def test_a_request_that_is_given_up_is_nobody_elses_trouble(fake, rc):
    fake._on_status = lambda _content: None
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(rc.status(), 0.05)
    del fake._on_status
    assert len((await rc.status())["engines"]) == 2


async def test_the_wait_for_engines_has_an_end(rc):
    with pytest.raises(TimeoutError, match="5 engines not ready"):
        await rc.wait_for_engines(5, timeout=0.05)


async def test_a_loop_that_ends_first_disturbs_nothing(fake, caplog):
    """The job ends after the loop of somebody who has waited for it."""
    fake.holding = True
    with ipp.Client(fake.file, transport=fake.transport) as rc:
        result = rc[:].apply_async(pow, 2, 3)

        async def give_up() -> None:
            jobs = waits.Jobs(rc, result)
            assert await jobs.awaited(0.01) is False

        await asyncio.to_thread(asyncio.run, give_up())
        await asyncio.to_thread(fake.release)
        assert await result == [8, 8]
    assert caplog.text == ""
