"""What an engine keeps has bounds, and it tells them."""

from __future__ import annotations

import types

import pytest

from ipyviews.engine import backlog, names, sharing
from ipyviews.engine.backlog import Backlog, Call, Request
from ipyviews.engine.sharing import Sharing


def test_clients_that_left_are_forgotten_one_day(monkeypatch):
    monkeypatch.setattr(sharing, "MOST_LEFT", 3)
    shared = Sharing(types.SimpleNamespace(name="e0.1"), Backlog())
    for number in range(10):
        shared.client_left(f"c{number}")
    assert list(shared._left) == ["c7", "c8", "c9"]


def test_only_clients_whose_code_is_there_are_remembered():
    scope = names.Scope({})
    for number in range(5):
        scope.client = f"c{number}"
        scope.inject("helper", number)
        scope.let_go(scope.client)
    assert scope.gone == {"c4"}
    scope.let_go("somebody else")
    assert scope.gone == {"c4"}


def test_attempts_that_are_remembered_have_a_bound(monkeypatch):
    monkeypatch.setattr(backlog, "MEMORY", 5)
    work = Backlog()
    request = Request([], {"msg_id": "r", "session": "s"}, {}, {}, [])
    for number in range(20):
        call = Call(f"a{number}", request, b"", [])
        work.add([call])
        work.remove({call.attempt})
    assert work.remembered == 5


@pytest.mark.kernels
def test_an_engine_tells_its_bounds_with_a_ping(box):
    told = box.ping()["bounds"]
    assert set(told) >= {"functions", "attempts"}
    assert all(one["now"] <= one["most"] for one in told.values())
