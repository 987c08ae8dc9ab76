"""What the agent decides when a controller has died, without any process."""

import time

import pytest

from ipyviews.launching import agent as module
from ipyviews.launching import rundir
from ipyviews.launching.agent import Agent


@pytest.fixture
def agent(tmp_path, monkeypatch):
    """An agent that runs nothing, whose controller was ready and whose owner is gone."""
    config = {"detached": False, "grace": 5.0, "idle_limit": None, "provisioner": "agent"}
    monkeypatch.setattr(Agent, "_tell_starter", lambda _self, **_: None)
    monkeypatch.setattr(Agent, "_start_controller", lambda _self: None)
    made = Agent(tmp_path, config, 0o077)
    made._on_ready({})
    made._has_owner = False
    yield made
    for sock in (made._listener, made._wake_read, made._wake_write, made._selector):
        sock.close()


def refuse(_agent):
    raise BlockingIOError(11, "Resource temporarily unavailable")


def no_room(_path, _text):
    raise OSError(28, "No space left on device")


def test_a_controller_that_cannot_be_started_ends_the_cluster_with_the_reason(agent, monkeypatch):
    monkeypatch.setattr(Agent, "_start_controller", refuse)
    agent._on_controller_exit(-9)
    told = (agent._folder / rundir.END_FILE).read_text()
    assert told == (
        "the controller died: killed by SIGKILL, and no other could be started: "
        "Resource temporarily unavailable"
    )
    agent._timers["end"][1]()
    assert agent._is_ending


def test_a_reason_that_cannot_be_written_ends_the_cluster_all_the_same(agent, monkeypatch):
    monkeypatch.setattr(module.rundir, "write_private", no_room)
    for _ in range(module.MOST_RETURNS + 1):
        agent._on_controller_exit(-9)
    assert "end" in agent._timers


def test_clients_have_the_whole_grace_once_there_is_another_controller(agent):
    agent._on_clients({"n": 1})
    agent._on_controller_exit(-9)
    first, _ = agent._timers["deserted"]
    assert first > time.monotonic() + 5.0
    agent._on_controller_exit(-9)
    second, _ = agent._timers["deserted"]
    assert second > first
    agent._on_ready({})
    last, _ = agent._timers["deserted"]
    assert last <= time.monotonic() + 5.0
    agent._on_ready({})
    assert agent._timers["deserted"][0] == last


def test_a_client_that_came_back_before_ready_keeps_the_cluster(agent):
    agent._on_controller_exit(-9)
    agent._on_clients({"n": 1})
    agent._on_ready({})
    assert "deserted" not in agent._timers


def test_an_owner_that_ends_during_a_takeover_does_not_end_the_cluster_before_it_is_done(
    agent, monkeypatch
):
    agent._has_owner = True
    agent._on_controller_exit(-9)
    monkeypatch.setattr(module.os, "read", lambda *_: b"")
    monkeypatch.setattr(agent._selector, "unregister", lambda _: None)
    agent._on_owner()
    assert agent._timers["deserted"][0] > time.monotonic() + 5.0
