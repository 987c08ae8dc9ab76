"""What grows in a controller is bounded, and the numbers are told."""

from __future__ import annotations

import gc
import logging
import os

import pytest

from ipyviews.controller import bounds, garbage, logs
from tests.waiting import eventually


async def test_status_tells_what_is_kept_only_when_asked(start):
    world = await start(1)
    client = await world.client()
    await client.reply(client.apply("echo", b"x", targets=[0]) + ".0")
    assert "bounds" not in await client.ask("status")
    told = (await client.ask("status", bounds=True))["bounds"]
    kept = told["controller"]
    assert kept["records"] == {"now": 1, "most": 20_000, "dropped": 0}
    assert kept["clients"]["now"] == kept["ends"]["now"] == 1
    assert set(kept["log_bytes"]) == {"now", "most", "dropped"}
    assert list(told["engines"]) == ["0"]


async def test_an_engine_that_does_not_answer_is_told_as_such(start, monkeypatch):
    monkeypatch.setattr(bounds, "ENGINES_S", 0.02)
    world = await start(2)
    client = await world.client()
    monkeypatch.setattr(world.kernels[1], "_arrived", lambda *_: None)
    world.kernels[1]._ports["apply"].listen(lambda _frames: None)
    engines = (await client.ask("status", bounds=True))["bounds"]["engines"]
    assert engines["1"] is None


async def test_what_was_dropped_is_counted(start):
    world = await start(1)
    client = await world.client()
    world.driver.records.memory.limits = type(world.driver.records.memory.limits)(records=2)
    for _ in range(5):
        await client.reply(client.apply("echo", b"x", targets=[0]) + ".0")
    kept = (await client.ask("status", bounds=True))["bounds"]["controller"]
    assert kept["records"] == {"now": 2, "most": 2, "dropped": 3}


async def test_clients_that_left_a_detached_cluster_are_forgotten_once_their_work_is_done(start):
    world = await start(1, detached=True)
    known = world.driver._performer.state.clients.by_id
    idle, busy = await world.client(), await world.client()
    await idle.reply(idle.apply("echo", b"x", targets=[0]) + ".0")
    busy.apply("stall", b"", targets=[0])
    await eventually(lambda: world.kernels[0].running)
    waiting = busy.execute("print x", targets=[0])
    await world.settle()
    for client in (idle, busy):
        await client.ask("bye")
    assert list(known) == [busy.session]
    world.kernels[0].finish()
    await eventually(lambda: not known)
    assert world.driver.records.memory.get(f"{waiting}.0").end is not None


async def test_kernels_that_were_shut_down_are_let_go_of(start):
    world = await start(2)
    client = await world.client()
    await client.ask("shutdown", engines=[1])
    assert world.driver.fleet.launcher.forgotten == [world.kernels[1]]
    assert world.driver.fleet.find([1])[0].kernel is None


def test_a_long_file_of_a_process_keeps_its_end(tmp_path, monkeypatch):
    monkeypatch.setattr(logs, "MOST_BYTES", 1000)
    path = tmp_path / "log"
    writer = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for number in range(200):
        os.write(writer, b"line %d\n" % number)
    logs.cap(tmp_path, engines=False)
    os.write(writer, b"afterwards\n")
    os.close(writer)
    lines = path.read_text().splitlines()
    assert lines[0] == "[what was before is gone]"
    assert lines[-2:] == ["line 199", "afterwards"]
    assert all(line.startswith("line ") for line in lines[1:-1])
    assert path.stat().st_size < 600


def test_files_of_engines_are_shortened_where_there_is_no_agent(tmp_path, monkeypatch):
    monkeypatch.setattr(logs, "MOST_BYTES", 10)
    path = tmp_path / "e3.log"
    path.write_text("x" * 100)
    logs.cap(tmp_path, engines=False)
    assert path.stat().st_size == 100
    logs.cap(tmp_path, engines=True)
    assert path.stat().st_size < 50


def test_the_log_of_a_controller_has_two_files_for_its_user_only(tmp_path, monkeypatch):
    monkeypatch.setattr(logs, "MOST_BYTES", 1000)
    before = os.umask(0)
    try:
        handler = logs.PrivateLog(tmp_path / "controller.log")
        for number in range(100):
            record = logging.LogRecord("n", logging.INFO, "p", 1, f"line {number}" * 5, (), None)
            handler.emit(record)
        handler.close()
    finally:
        os.umask(before)
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == ["controller.log", "controller.log.1"]
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}
    assert logs.size(tmp_path) == sum(file.stat().st_size for file in files) <= 2000


class Loop:
    """A loop of which only the time is asked, and what is to come later."""

    def __init__(self):
        self.now, self.later = 0.0, []

    def time(self):
        return self.now

    def call_later(self, *more):
        self.later.append(more)


@pytest.fixture
def collections(monkeypatch):
    """Note what is collected, by generation, instead of collecting it."""
    collected = []
    monkeypatch.setattr(garbage.gc, "collect", lambda generation=2: collected.append(generation))
    monkeypatch.setattr(garbage.gc, "freeze", lambda: None)
    monkeypatch.setattr(garbage.gc, "disable", lambda: None)
    return collected


@pytest.mark.parametrize(
    ("gain", "is_idle", "times"), [(1 << 30, True, 1), (1 << 30, False, 0), (1, True, 0)]
)
def test_memory_is_given_back_when_much_was_gained_and_nothing_runs(
    monkeypatch, collections, gain, is_idle, times
):
    given = []
    sizes = iter([100, *[100 + gain] * 2])
    monkeypatch.setattr(garbage, "give_back", lambda: given.append(1))
    monkeypatch.setattr(garbage, "_resident", lambda: next(sizes))
    loop = Loop()
    garbage.Collector(loop, lambda: is_idle).look()
    assert len(given) == times
    assert len(loop.later) == 2
    assert gc.isenabled()


@pytest.mark.parametrize(
    ("looks", "expected"),
    [
        # New objects at each look, and whether there is nothing to do then.
        ([(9000, True), (9000, True), (10, True), (10, True)], [1, 1, 2]),
        ([(9000, False), (9000, True), (10, False), (10, True)], [1, 2]),
        ([(10, True)], []),
    ],
)
def test_between_the_calls_of_somebody_only_new_garbage_is_looked_for(
    monkeypatch, collections, looks, expected
):
    [counts, idle] = zip(*looks, strict=True)
    news, times = iter(counts), iter(idle)
    monkeypatch.setattr(garbage.gc, "get_count", lambda: (next(news), 0, 0))
    collector = garbage.Collector(Loop(), lambda: next(times))
    collections.clear()
    for _ in looks:
        collector.look()
    assert collections == expected


def test_a_controller_that_is_never_idle_collects_after_all(monkeypatch, collections):
    monkeypatch.setattr(garbage.gc, "get_count", lambda: (9000, 0, 0))
    loop = Loop()
    collector = garbage.Collector(loop, lambda: False)
    collector.look()
    loop.now = garbage.PATIENCE_S + 1
    collector.look()
    collector.look()
    assert collections == [2, 2]
