"""What an engine has begun is known after its end; and the order of what waits there."""

from __future__ import annotations

import pytest

from ipyviews.engine import begun
from ipyviews.engine.backlog import Backlog, Call, Request
from ipyviews.engine.begun import SLOTS, Begun


@pytest.fixture
def file(tmp_path) -> str:
    return str(tmp_path / "e0.json")


@pytest.fixture
def engine(file):
    page = Begun(file)
    page.open("e0.1")
    yield page
    page.close()


def test_what_was_not_begun_is_told_from_what_was_and_what_had_ended(engine, file):
    for number in (0, 1):
        assert engine.begin(number)
    engine.end(0)
    assert begun.stop(file, "e0.1", [0, 1, 2]) == ({2}, {0})


def test_after_it_was_asked_nothing_is_begun(engine, file):
    engine.begin(0)
    assert begun.stop(file, "e0.1", [0, 1]) == ({1}, set())
    assert not engine.begin(1)


@pytest.mark.parametrize("laps", [1, 3, 81])
def test_numbers_come_round(engine, file, laps):
    for number in range(laps * SLOTS + 5):
        assert engine.begin(number)
        engine.end(number)
    sent = range(laps * SLOTS, laps * SLOTS + 10)
    assert begun.stop(file, "e0.1", sent) == (set(sent[5:]), set(sent[:5]))


def test_of_another_life_nothing_is_known(engine, file):
    assert begun.stop(file, "e0.2", [0]) == (set(), set())


def test_without_a_file_nothing_is_known(file):
    assert begun.stop(file, "e0.1", [0]) == (set(), set())
    page = Begun(f"{file}/not/a/folder")
    page.open("e0.1")
    assert page.begin(0)
    page.end(0)


def test_of_more_calls_than_there_are_bytes_nothing_is_known(engine, file):
    assert begun.stop(file, "e0.1", range(SLOTS + 1)) == (set(), set())


def test_the_file_goes_when_it_was_read(engine, file, tmp_path):
    begun.stop(file, "e0.1", [])
    assert not list(tmp_path.iterdir())


def test_the_next_life_has_a_file_of_its_own(engine, file):
    engine.begin(0)
    after = Begun(file)
    after.open("e0.2")
    assert begun.stop(file, "e0.2", [0]) == ({0}, set())
    after.close()


# -- the queue -------------------------------------------------------------------------------------


def calls(*names: str, **ours) -> list[Call]:
    request = Request([], {"session": "life"}, ours, {}, [])
    return [Call(name, request, b"", []) for name in names]


def taken(work: Backlog) -> list[str]:
    names = []
    while (call := work.take()) is not None:
        names.append(call.attempt)
        work.running = None
    return names


def test_direct_calls_go_before_others_in_their_own_order():
    work = Backlog()
    work.add(calls("a", "b"))
    work.add(calls("1", direct=True, urgent=True))
    work.add(calls("2", "3", direct=True))
    assert taken(work) == ["1", "2", "3", "a", "b"]


def test_an_urgent_call_goes_before_what_is_not_direct():
    work = Backlog()
    work.add(calls("1", direct=True))
    work.add(calls("a"))
    work.add(calls("b", urgent=True))
    assert taken(work) == ["1", "b", "a"]


def test_it_is_ahead_while_calls_wait_behind_the_one_that_runs_or_runs_next():
    work = Backlog()
    assert not work.is_ahead
    work.add(calls("a"))
    assert not work.is_ahead
    work.add(calls("b"))
    assert work.is_ahead
    work.take()
    assert work.is_ahead
    work.running = None
    work.take()
    assert not work.is_ahead


def test_direct_calls_are_given_back_only_when_asked_for(monkeypatch):
    work = Backlog()
    work.add(calls("run"))
    assert work.take() is not None
    work.add(calls("a"))
    work.add(calls("1", "2", direct=True))
    work.since -= 1.0
    assert [call.attempt for call in work.take_overdue()] == ["a"]
    assert work.take_overdue() == []
    assert [call.attempt for call in work.remove({"2", "run"})] == ["2"]
    work.running = None
    assert taken(work) == ["1"]


def test_what_may_not_begin_any_more_is_not_taken(engine, file):
    work = Backlog(begun=engine)
    one, other = calls("a", "b")
    one.number, other.number = 0, 1
    work.add([one, other])
    assert work.take() is one
    work.running = None
    begun.stop(file, "e0.1", [0, 1])
    assert work.take() is None
