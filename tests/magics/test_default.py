from types import SimpleNamespace

import pytest
from IPython.core.error import UsageError

from ipyviews_magics import default
from ipyviews_magics.cluster import ClusterMagic
from tests.magics.fakes import FakeClient


class Client(FakeClient):
    cluster_id = "mine"

    def __len__(self):
        return len(self.ids)

    def close(self):
        self.connection.failure = "closed"

    def restart(self, targets, now, setup):
        self.restarted = (targets, now, setup)

    def table(self):
        return f"{len(self)} engines"

    def direct_view(self, targets, **flags):
        return SimpleNamespace(client=self, targets=targets, **flags)


@pytest.fixture
def made(monkeypatch):
    """What was made, in order; clusters that run are in ``running``."""
    made = SimpleNamespace(names=[], running=[], clients=[])

    def connect():
        made.names.append("client")
        return Client([0, 1])

    class Cluster:
        def __init__(self, n, kernel):
            self.n = n or 1

        def start_and_connect_sync(self):
            made.names.append("cluster")
            client = Client(range(self.n))
            client.cluster = self
            client.connection.engines = {engine: {} for engine in client.ids}
            made.clients.append(client)
            return client

        def stop_cluster_sync(self):
            made.names.append("stopped")

    monkeypatch.setattr(default, "open_clusters", lambda: made.running)
    monkeypatch.setattr(default.ipyviews, "Client", connect)
    monkeypatch.setattr(default.ipyviews, "Cluster", Cluster)
    return made


def test_nothing_is_made_before_the_first_use(made):
    default.DefaultView()
    assert made.names == []


def test_where_no_cluster_runs_one_is_started_and_kept(made, capsys):
    view = default.DefaultView()
    first = view()
    assert (first.targets, first.block) == ("all", True)
    assert capsys.readouterr().out.startswith("Started 1 engine, one per core (for")
    assert view() is first
    assert capsys.readouterr().out == ""
    assert made.names == ["cluster"]


def test_a_cluster_that_runs_is_used(made, capsys):
    made.running.append("a cluster")
    default.DefaultView()()
    assert made.names == ["client"]
    assert capsys.readouterr().out == "Connected to 2 engines of the running cluster 'mine'.\n"


def test_after_the_connection_is_lost_there_is_a_new_one(made):
    view = default.DefaultView()
    view().client.connection.failure = RuntimeError("gone")
    made.running.append("a cluster")
    view()
    assert made.names == ["cluster", "client"]


@pytest.fixture
def magic(made):
    return ClusterMagic(default.DefaultView()).run


@pytest.fixture
def started(magic, made):
    magic("start -n 3")
    return SimpleNamespace(magic=magic, client=made.clients[0])


def test_a_cluster_is_started_from_a_cell(magic, capsys):
    magic("start -n 3")
    assert capsys.readouterr().out == "Started 3 engines\n"
    assert magic("status") == "3 engines"


def test_a_second_start_says_what_is_there(magic):
    magic("start -n 3")
    with pytest.raises(UsageError, match="'mine' with 3 engines is in use"):
        magic("start -n 3")


def test_status_starts_nothing(magic, made, capsys):
    assert magic("status") is None
    assert "%ipyviews start" in capsys.readouterr().out
    assert made.names == []


def test_a_stopped_cluster_is_no_longer_in_use(magic, made, capsys):
    magic("start -n 2")
    magic("stop")
    assert made.names == ["cluster", "stopped"]
    magic("stop")
    assert capsys.readouterr().out.splitlines()[1:] == [
        "Stopped the cluster 'mine'.",
        "No cluster is running.",
    ]


@pytest.mark.parametrize(
    ("line", "meant", "said"),
    [
        ("restart", ("all", False, True), "engines 0, 1, 2"),
        ("restart 2", (2, False, True), "engine 2"),
        ("restart 1: --now", ([1, 2], True, True), "engines 1, 2"),
        ("restart 0 --no-setup", (0, False, False), "engine 0"),
    ],
)
def test_engines_are_restarted(started, capsys, line, meant, said):
    started.magic(line)
    assert started.client.restarted == meant
    assert capsys.readouterr().out.endswith(f"Restarted {said}.\n")


def test_a_restart_without_a_cluster_says_so(magic):
    with pytest.raises(UsageError, match="nothing to restart"):
        magic("restart")


@pytest.mark.parametrize("line", ["", "begin", "start -n none", "start -n 0", "stop now"])
def test_other_words_are_answered_with_those_there_are(magic, line):
    with pytest.raises(UsageError, match=r"status \| stop \| restart"):
        magic(line)
