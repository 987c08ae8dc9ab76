from types import SimpleNamespace

import pytest

from ipyviews_magics import default
from tests.magics.fakes import FakeClient


class Client(FakeClient):
    cluster_id = "mine"

    def __len__(self):
        return len(self.ids)

    def direct_view(self, targets, **flags):
        return SimpleNamespace(client=self, targets=targets, **flags)


@pytest.fixture
def made(monkeypatch):
    """What was made, in order; clusters that run are in ``running``."""
    made = SimpleNamespace(names=[], running=[])

    def connect():
        made.names.append("client")
        return Client([0, 1])

    class Cluster:
        def start_and_connect_sync(self):
            made.names.append("cluster")
            return Client([0])

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
    assert capsys.readouterr().out.startswith("Started 1 engine, one per core (")
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
