"""The view behind the magics without a suffix: made when it is first needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ipyviews
from ipyviews.launching.rundir import open_clusters

if TYPE_CHECKING:
    from ipyviews import Client, DirectView

#: Said when nobody asked for a number.
ONE_PER_CORE = ", one per core (for another number: %ipyviews stop, %ipyviews start -n 4)"


class DefaultView:
    """All engines of the running cluster; a local cluster is started where none is for us."""

    def __init__(self) -> None:
        self._view: DirectView | None = None

    def __call__(self) -> DirectView:
        """Return the view, saying in one line what had to be done to get it.

        Raises
        ------
        ClusterError
            When several clusters run and none is named "default", or none can be started.
        """
        return self._found() or self.start()

    def known(self) -> DirectView | None:
        """Return the view in use; None before the first use, and when its cluster is gone."""
        return None if self.client is None else self._view

    @property
    def client(self) -> Client | None:
        """The client in use; None before the first use, and when its cluster is gone."""
        view = self._view
        if view is None or view.client.connection.failure is not None:
            return None
        found: Client = view.client
        return found

    def find(self) -> Client | None:
        """Return the client in use, or one of a cluster that runs; starts nothing."""
        view = self._found()
        return None if view is None else view.client

    def start(self, n: int | None = None, kernel: str | None = None) -> DirectView:
        """Start a cluster that ends with this process, and say so in one line."""
        client = ipyviews.Cluster(n=n, kernel=kernel).start_and_connect_sync()
        print(f"Started {_count(client)}{'' if n else ONE_PER_CORE}")
        return self._use(client)

    def stop(self) -> None:
        """End the cluster in use."""
        client = self.client
        if client is not None:
            # The client's own shutdown does not wait until the engines are gone.
            cluster = client.cluster or ipyviews.Cluster.from_file(cluster_id=client.cluster_id)
            client.close()
            cluster.stop_cluster_sync()
            self._view = None

    def _found(self) -> DirectView | None:
        if self.client is not None:
            return self._view
        return self._use(_connect()) if open_clusters() else None

    def _use(self, client: Client) -> DirectView:
        self._view = view = client.direct_view("all", block=True)
        return view


def _connect() -> Client:
    client = ipyviews.Client()
    print(f"Connected to {_count(client)} of the running cluster {client.cluster_id!r}.")
    return client


def _count(client: Client) -> str:
    return f"{len(client)} engine{'' if len(client) == 1 else 's'}"
