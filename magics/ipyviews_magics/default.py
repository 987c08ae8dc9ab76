"""The view behind the magics without a suffix: made when it is first needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ipyviews
from ipyviews.launching.rundir import open_clusters

if TYPE_CHECKING:
    from ipyviews import Client, DirectView


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
        if self._view is None or self._view.client.connection.failure is not None:
            client = _connect() if open_clusters() else _start()
            self._view = client.direct_view("all", block=True)
        return self._view


def _connect() -> Client:
    client = ipyviews.Client()
    print(f"Connected to {_count(client)} of the running cluster {client.cluster_id!r}.")
    return client


def _start() -> Client:
    client: Client = ipyviews.Cluster().start_and_connect_sync()
    print(
        f"Started {_count(client)}, one per core "
        "(another number: ipyviews.Cluster(n=4).start_and_connect_sync(activate=True))"
    )
    return client


def _count(client: Client) -> str:
    return f"{len(client)} engine{'' if len(client) == 1 else 's'}"
