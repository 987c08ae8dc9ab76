"""Engines as a backend of joblib, under the module name of ipyparallel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ipyviews
from ipyviews.launching.rundir import open_clusters

if TYPE_CHECKING:
    from ipyviews.client.balanced import LoadBalancedView

__all__ = ["register", "register_joblib_backend"]

_view: LoadBalancedView | None = None


def register_joblib_backend(name: str = "ipyparallel", make_default: bool = False) -> None:
    """Let joblib run on the engines of the running cluster; where none is, one is started.

    Parameters
    ----------
    name
        For ``Parallel(backend=name)`` and ``parallel_config(backend=name)``.
    make_default
        Whether joblib uses it when no backend is named.

    Raises
    ------
    ModuleNotFoundError
        joblib is not installed.

    Examples
    --------
    ::

        ipyviews.register_joblib_backend()
        with joblib.parallel_config("ipyparallel"):
            joblib.Parallel()(joblib.delayed(pow)(i, 2) for i in range(10))
    """
    # joblib is an optional extra.
    from ipyviews.client.joblib import register_view  # noqa: PLC0415

    register_view(name, _default_view, make_default=make_default)


#: The name in ipyparallel's module.
register = register_joblib_backend


def _default_view() -> LoadBalancedView:
    """Return a view of the cluster in use, connecting or starting one when there is none."""
    global _view  # noqa: PLW0603 - as long as the process uses joblib
    if _view is None or _view.client.connection.failure is not None:
        client = ipyviews.Client() if open_clusters() else _start()
        _view = client.load_balanced_view()
    return _view


def _start() -> ipyviews.Client:
    return ipyviews.Cluster().start_and_connect_sync()
