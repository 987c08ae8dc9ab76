"""Several clusters by name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ipyviews.cluster import Cluster
from ipyviews.errors import UsageError
from ipyviews.launching import rundir

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable


class UnknownCluster(UsageError, KeyError):
    """A `UsageError` that is also a KeyError."""

    __str__ = Exception.__str__


class ClusterManager:
    """Clusters by ``<profile>:<cluster_id>``: those of this program and those that run.

    Examples
    --------
    >>> manager = ClusterManager()
    >>> key, cluster = manager.new_cluster(n=2, cluster_id="two")
    >>> key
    'default:two'
    >>> manager.get_cluster(key) is cluster
    True
    """

    def __init__(self) -> None:
        #: The clusters known, by key.
        self.clusters: dict[str, Cluster] = {}

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {', '.join(self.clusters) or 'no clusters'}>"

    def load_clusters(
        self,
        *,
        profile_dirs: Iterable[str | os.PathLike[str]] | None = None,
        profile_dir: str | os.PathLike[str] | None = None,
        profiles: Iterable[str] | None = None,
        profile: str | None = None,
        init_default_clusters: bool = False,
    ) -> dict[str, Cluster]:
        """Look for running clusters, and forget those that others have ended.

        Parameters
        ----------
        profile_dirs, profile_dir, profiles, profile
            Only clusters of these profiles, by name or folder; all if nothing is said.
        init_default_clusters
            Whether each profile named gets a cluster, not started, if none of it runs; the
            profile "default" if none is named.

        Returns
        -------
        dict
            The clusters known now, by key.
        """
        folders = [*(profile_dirs or ()), *([] if profile_dir is None else [profile_dir])]
        names = {*(profiles or ()), *([] if profile is None else [profile])}
        names |= {Path(folder).name.removeprefix("profile_") for folder in folders}
        self._forget_ended()
        for file in rundir.list_clusters():
            key = f"{file.profile}:{file.cluster_id}"
            if key not in self.clusters and (not names or file.profile in names):
                self.clusters[key] = Cluster.from_file(file)
        for name in (names or {"default"}) if init_default_clusters else ():
            if all(one.profile != name for one in self.clusters.values()):
                self.new_cluster(profile=name)
        return dict(self.clusters)

    def new_cluster(self, **options: Any) -> tuple[str, Cluster]:
        """Make a cluster; it is not started.

        Parameters
        ----------
        options
            Those of `Cluster`.

        Returns
        -------
        str, Cluster
            Its key, and itself.

        Raises
        ------
        UsageError
            There is one of this name.
        """
        cluster = Cluster(**options)
        key = f"{cluster.profile}:{cluster.cluster_id}"
        if key in self.clusters:
            raise UsageError(f"there is a cluster {key!r} already; choose another cluster_id.")
        self.clusters[key] = cluster
        return key, cluster

    def get_cluster(self, key: str) -> Cluster:
        """Return a cluster by its key.

        Raises
        ------
        UsageError
            There is none; also a KeyError.
        """
        if key not in self.clusters:
            there = ", ".join(self.clusters) or "none; load_clusters() looks for running ones"
            raise UnknownCluster(f"there is no cluster {key!r}; there are: {there}.")
        return self.clusters[key]

    def remove_cluster(self, key: str) -> None:
        """Forget a cluster; it is not stopped. Raises as `get_cluster`."""
        self.get_cluster(key)
        del self.clusters[key]

    def _forget_ended(self) -> None:
        for key, cluster in list(self.clusters.items()):
            controller = cluster.controller
            if controller is not None and controller.state != "running":
                del self.clusters[key]
