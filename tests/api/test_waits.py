"""Whatever dies, every public wait comes to an end within seconds, and says what died."""

from __future__ import annotations

import asyncio
import concurrent.futures
import inspect
import re
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

import ipyviews as ipp
from ipyviews.client import returning
from tests.client.fakes import FakeController
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

#: No wait may take longer to end [s].
SOON_S = 5.0

#: What a death is called in the error that ends a wait for work.
DEATHS = {
    "engine": (ipp.EngineError, "killed by SIGKILL"),
    "controller": (ipp.ControllerLost, "process 4242.*has died"),
    "thread": (ipp.ClusterError, "I/O thread failed with ZeroDivisionError"),
}


def work(rc: Any) -> ipp.AsyncResult:
    return rc[:].apply_async(pow, 2, 3)


def worked(view: Any) -> None:
    view.apply_async(pow, 2, 3)
    view.wait()


def items(rc: Any) -> ipp.AsyncMapResult:
    return rc.load_balanced_view().map_async(abs, [-1, -2, -3])


def blocking(view: Any) -> Any:
    view.block = True
    return view


def drained(executor: Any, call: Callable[[Any], Any]) -> Any:
    future = call(executor)
    executor.shutdown()
    return future.result()


async def awaited(result: Any) -> Any:
    return await result


async def wrapped(result: Any) -> Any:
    return await asyncio.wrap_future(result)


async def each(result: Any) -> list[Any]:
    return [one async for one in result]


#: Waits for work that raise what ended it.
RAISING: dict[str, Callable[[Any], Any]] = {
    "ar.get": lambda rc: work(rc).get(),
    "ar.get of one": lambda rc: rc[0].apply_async(pow, 2, 3).get(),
    "ar.get for the first exception": lambda rc: work(rc).get(return_when=ipp.FIRST_EXCEPTION),
    "ar.result": lambda rc: work(rc).result(),
    "ar.r": lambda rc: work(rc).r,
    "ar.get_dict": lambda rc: work(rc).get_dict(),
    "ar.result_dict": lambda rc: work(rc).result_dict,
    "iteration": lambda rc: list(work(rc)),
    "iteration of a map": lambda rc: list(items(rc)),
    "await ar": lambda rc: asyncio.run(awaited(work(rc))),
    "async for": lambda rc: asyncio.run(each(items(rc))),
    "asyncio.wrap_future": lambda rc: asyncio.run(wrapped(work(rc))),
    "apply_sync": lambda rc: rc[:].apply_sync(pow, 2, 3),
    "blocking apply": lambda rc: blocking(rc[:]).apply(pow, 2, 3),
    "map_sync": lambda rc: rc[:].map_sync(abs, [-1, -2]),
    "execute": lambda rc: rc[:].execute("1", block=True),
    "push": lambda rc: rc[:].push({"a": 1}, block=True),
    "pull": lambda rc: rc[:].pull("a", block=True),
    "dv[name]": lambda rc: rc[:]["a"],
    "scatter": lambda rc: rc[:].scatter("a", [1, 2], block=True),
    "gather": lambda rc: rc[:].gather("a", block=True),
    "dv.clear": lambda rc: rc[:].clear(block=True),
    "rc.clear": lambda rc: rc.clear(block=True),
    "dv.imap": lambda rc: list(rc[:].imap(abs, [-1, -2])),
    "bv.apply_sync": lambda rc: rc.broadcast_view().apply_sync(pow, 2, 3),
    "lv.apply_sync": lambda rc: rc.load_balanced_view().apply_sync(pow, 2, 3),
    "lv.map_sync": lambda rc: rc.load_balanced_view().map_sync(abs, [-1, -2]),
    "lv.imap": lambda rc: list(rc.load_balanced_view().imap(abs, [-1, -2])),
    "lv.execute": lambda rc: rc.load_balanced_view().execute("1", block=True),
    "executor.map": lambda rc: list(rc.executor().map(abs, [-1, -2])),
    "executor.submit": lambda rc: rc.executor().submit(pow, 2, 3).result(),
    "executor.shutdown": lambda rc: drained(rc.executor(), lambda one: one.submit(pow, 2, 3)),
    "remote function": lambda rc: rc[:].remote(block=True)(pow)(2, 3),
    "parallel function": lambda rc: rc[:].parallel(block=True)(abs)([-1, -2]),
}

#: Waits for work that return when it has ended, whatever became of it.
RETURNING: dict[str, Callable[[Any], Any]] = {
    "ar.wait": lambda rc: work(rc).wait(),
    "ar.wait for the first": lambda rc: work(rc).wait(return_when=ipp.FIRST_COMPLETED),
    "ar.wait_for_output": lambda rc: work(rc).wait_for_output(),
    "ar.wait_interactive": lambda rc: work(rc).wait_interactive(),
    "ar.exception": lambda rc: work(rc).exception(),
    "get_result(block=True)": lambda rc: [work(rc), rc.get_result(-1, block=True)],
    "dv.wait": lambda rc: worked(rc[:]),
    "rc.wait": lambda rc: [work(rc), rc.wait()],
    "rc.wait of a result": lambda rc: rc.wait(work(rc)),
    "rc.wait of ids": lambda rc: rc.wait(work(rc).msg_ids),
    "rc.wait_interactive": lambda rc: [work(rc), rc.wait_interactive()],
    "futures.wait": lambda rc: concurrent.futures.wait([work(rc)]),
    "futures.as_completed": lambda rc: list(concurrent.futures.as_completed([work(rc)])),
}

#: Those of them that are a second step, after the work was sent.
BEGUN_LATER = {"dv.wait", "rc.wait", "rc.wait_interactive", "get_result(block=True)"}

#: What asks the controller, by the request it makes.
ASKING: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "status": ("status", lambda rc: rc.status()),
    "table": ("status", lambda rc: rc.table()),
    "queue_status": ("queue", lambda rc: rc.queue_status()),
    "interrupt": ("interrupt", lambda rc: rc.interrupt()),
    "abort": ("cancel", lambda rc: [work(rc), rc.abort(block=True)]),
    "ar.abort": ("cancel", lambda rc: work(rc).abort()),
    "send_signal": ("signal", lambda rc: rc.send_signal("SIGINT", block=True)),
    "start_engines": ("start", lambda rc: rc.start_engines()),
    "restart": ("restart", lambda rc: rc.restart()),
    "dv.restart": ("restart", lambda rc: rc[0].restart()),
    "shutdown(restart=True)": ("restart", lambda rc: rc.shutdown(restart=True, block=True)),
    "shutdown": ("shutdown", lambda rc: rc.shutdown(block=True)),
    "shutdown(hub=True)": ("shutdown", lambda rc: rc.shutdown(hub=True)),
    "future of a request": ("shutdown", lambda rc: rc.shutdown(block=False).result()),
    "hub_history": ("history", lambda rc: rc.hub_history()),
    "db_query": ("db", lambda rc: rc.db_query({})),
    "purge_hub_results": ("purge", lambda rc: rc.purge_hub_results("all")),
    "result_status": ("result", lambda rc: rc.result_status("x-1.0")),
    "hub result": ("result", lambda rc: rc.get_result("x-1.0").get()),
    "resubmit": ("resubmit", lambda rc: rc.resubmit("x-1.0").get()),
}

#: Waits of an AsyncClient: coroutines of the client, awaited results, and async iteration.
AWAITING: dict[str, Callable[[Any], Any]] = {
    "apply": lambda rc: rc[:].apply(pow, 2, 3),
    "map": lambda rc: rc.load_balanced_view().map(abs, [-1, -2]),
    "execute": lambda rc: rc[:].execute("1"),
    "push": lambda rc: rc[:].push({"a": 1}),
    "dv[name]": lambda rc: rc[:]["a"],
    "clear": lambda rc: rc.clear(),
    "async for": lambda rc: each(items(rc)),
}


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(returning, "DOUBT_S", 0.02)


@pytest.fixture
def fake():
    fake = FakeController()
    fake.holding = True
    return fake


def die(fake: FakeController, connection: Any, death: str) -> None:
    """Let one of the three end, as the others see it."""
    if death == "controller":
        fake.die()
    elif death == "thread":
        connection._io.post(lambda: 1 / 0)
    else:
        for info in fake.engines.values():
            info |= {"state": "lost", "reason": "it was killed by SIGKILL"}
        fake.do(lambda: lose_engines(fake))


def lose_engines(fake: FakeController) -> None:
    def refuse(task: str, engine: int, _run: object) -> None:
        cells = any(name == "execute_request" for name, _, _ in fake.requests)
        sentence = f"engine {engine} was killed by SIGKILL"
        kind = "execute" if cells else "apply"
        fake.refuse(task, kind, "engine_lost", "EngineError", sentence)

    # Also what is sent before the client knows.
    fake._start = refuse
    for entry in fake.held:
        refuse(*entry)
    fake.held.clear()
    fake.tell("engines_notice", fake._table())


def asked(fake: FakeController, name: str) -> bool:
    return any(request == f"{name}_request" for request, _, _ in fake.requests)


def end_of(wait: Callable[[], Any]) -> concurrent.futures.Future[Any]:
    """Begin to wait in a thread; the future has what came of it."""
    future: concurrent.futures.Future[Any] = concurrent.futures.Future()

    def run() -> None:
        try:
            future.set_result(wait())
        except BaseException as error:  # noqa: BLE001
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


def check_error(error: BaseException | None, death: str) -> None:
    kind, sentence = DEATHS[death]
    assert error is not None
    members = getattr(error, "exceptions", [error])
    assert all(isinstance(one, kind) for one in members), members
    assert re.search(rf"(?s){sentence}", str(members[0])), members[0]


@pytest.mark.parametrize("death", DEATHS)
@pytest.mark.parametrize("wait", RAISING)
def test_a_wait_for_a_value_raises_what_ended_the_work(fake, fake_rc, wait, death):
    future = end_of(lambda: RAISING[wait](fake_rc))
    wait_until(lambda: fake.held)
    die(fake, fake_rc.connection, death)
    check_error(future.exception(SOON_S), death)


@pytest.mark.parametrize("death", DEATHS)
@pytest.mark.parametrize("wait", RETURNING)
def test_a_wait_for_the_end_returns_when_the_work_has_ended(fake, fake_rc, wait, death):
    future = end_of(lambda: RETURNING[wait](fake_rc))
    wait_until(lambda: fake.held)
    die(fake, fake_rc.connection, death)
    if wait in BEGUN_LATER and (error := future.exception(SOON_S)) is not None:
        # The death was faster than the step from the work to the wait, which says so at once.
        assert death != "engine"
        check_error(error, death)
        return
    found = future.result(SOON_S)
    if wait == "ar.exception":
        check_error(found, death)
    elif isinstance(found, bool):
        assert found is True


@pytest.mark.parametrize("death", ["controller", "thread"])
@pytest.mark.parametrize("wait", ASKING)
def test_a_request_ends_with_the_controller_or_the_thread(fake, fake_rc, wait, death):
    name, ask = ASKING[wait]
    setattr(fake, f"_on_{name}", lambda _content: None)
    future = end_of(lambda: ask(fake_rc))
    wait_until(lambda: asked(fake, name))
    die(fake, fake_rc.connection, death)
    error = future.exception(SOON_S)
    if wait == "shutdown(hub=True)" and death == "controller":
        assert error is None, "that was what was asked"
    else:
        check_error(error, death)


@pytest.mark.parametrize("death", DEATHS)
@pytest.mark.parametrize("how", ["block", "future", "bar"])
def test_the_wait_for_engines_ends(fake, fake_rc, how, death):
    options = {"block": how != "future", "interactive": how == "bar"}
    future = end_of(lambda: fake_rc.wait_for_engines(3, **options))
    if how == "future":
        future = end_of(future.result(SOON_S).result)
    wait_until(lambda: fake_rc.connection._watches._watched)
    die(fake, fake_rc.connection, death)
    check_error(future.exception(SOON_S), death)


def test_a_restart_of_an_engine_that_does_not_come_back_says_why(fake, fake_rc):
    reason = "it did not start: exit code 1; its last words: no module named spam"
    lost = [info | {"state": "lost", "reason": reason} for info in fake.engines.values()]
    fake._on_restart = lambda _content: {"engines": lost}
    for restart in (fake_rc.restart, fake_rc[0].restart):
        with pytest.raises(ipp.EngineError, match=r"Engine 0.*no module named spam"):
            restart()


@pytest.mark.parametrize("death", ["controller", "thread"])
def test_the_wait_for_room_ends(fake, fake_rc, death, monkeypatch):
    from ipyviews.client import ledger

    monkeypatch.setattr(ledger, "MAX_TASKS", 1)
    fake_rc[0].apply_async(pow, 1, 1)
    future = end_of(lambda: fake_rc[0].apply_async(pow, 1, 1))
    wait_until(lambda: fake.held)
    die(fake, fake_rc.connection, death)
    check_error(future.exception(SOON_S), death)


@pytest.mark.parametrize("death", ["controller", "thread"])
def test_a_callback_that_ends_the_thread_does_not_keep_others_waiting(fake, fake_rc, death):
    """Even when it does so again while everybody is told."""

    def leave(_: object) -> None:
        raise SystemExit

    results = [fake_rc[0].apply_async(pow, 1, 1) for _ in range(3)]
    for result in results:
        result.add_done_callback(leave)
    wait_until(lambda: len(fake.held) == 3)
    die(fake, fake_rc.connection, death)
    for result in results:
        assert isinstance(result.exception(SOON_S), ipp.ClusterError)


# -- with await -------------------------------------------------------------------------------


def in_a_loop(
    fake: FakeController, wait: Callable[[Any], Any], is_asked: Callable[[], Any], death: str
) -> BaseException | Any:
    """Await `wait` of an AsyncClient while something dies; returns the error or the value."""

    async def run() -> Any:
        async with ipp.AsyncClient(fake.file, transport=fake.transport) as rc:
            waiting = wait(rc)
            task = asyncio.ensure_future(
                waiting if inspect.iscoroutine(waiting) else awaited(waiting)
            )
            await asyncio.sleep(0)
            await asyncio.to_thread(wait_until, is_asked)
            await asyncio.to_thread(die, fake, rc.connection, death)
            return await asyncio.wait_for(task, SOON_S)

    with suppress(TimeoutError):
        try:
            return asyncio.run(run())
        except Exception as error:  # noqa: BLE001
            if not isinstance(error, TimeoutError):
                return error
    pytest.fail("the wait did not end")


@pytest.mark.parametrize("death", DEATHS)
@pytest.mark.parametrize("wait", AWAITING)
def test_an_awaited_result_raises_what_ended_the_work(fake, wait, death):
    check_error(in_a_loop(fake, AWAITING[wait], lambda: fake.held, death), death)


@pytest.mark.parametrize("death", DEATHS)
@pytest.mark.parametrize("interactive", [False, True])
def test_an_awaited_wait_ends(fake, interactive, death):
    def wait(rc: Any) -> Any:
        work(rc)
        return rc.wait_interactive(interval=0.05) if interactive else rc.wait()

    assert in_a_loop(fake, wait, lambda: fake.held, death) is (None if interactive else True)


@pytest.mark.parametrize("death", ["controller", "thread"])
@pytest.mark.parametrize("wait", [name for name in ASKING if name not in ("ar.abort", "abort")])
def test_an_awaited_request_ends(fake, wait, death):
    name, ask = ASKING[wait]
    if wait == "future of a request":
        ask = lambda rc: rc.shutdown()
    elif wait in ("hub result", "resubmit"):
        ask = lambda rc: later(rc, wait)
    setattr(fake, f"_on_{name}", lambda _content: None)
    found = in_a_loop(fake, ask, lambda: asked(fake, name), death)
    if wait == "shutdown(hub=True)" and death == "controller":
        assert found is None
    else:
        check_error(found, death)


async def later(rc: Any, wait: str) -> Any:
    verb = rc.get_result if wait == "hub result" else rc.resubmit
    result = verb("x-1.0")
    return await (await result if inspect.iscoroutine(result) else result)


@pytest.mark.parametrize("death", DEATHS)
def test_the_awaited_wait_for_engines_ends(fake, death):
    found = in_a_loop(fake, lambda rc: rc.wait_for_engines(3), lambda: True, death)
    check_error(found, death)
