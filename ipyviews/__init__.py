"""Interactive parallel computing on ordinary Jupyter kernels.

>>> import ipyviews as ipp
>>> with ipp.Cluster(n=4) as rc:  # doctest: +SKIP
...     rc[:].apply_sync(lambda: 6 * 7)
[42, 42, 42, 42]

Importing this package is cheap: a name is loaded when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ipyviews.version import __version__

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from ipyviews.client.aio import AsyncClient
    from ipyviews.client.balanced import LoadBalancedView
    from ipyviews.client.client import Client
    from ipyviews.client.directview import DirectView
    from ipyviews.client.maps import AsyncMapResult
    from ipyviews.client.results import AsyncResult
    from ipyviews.cluster import Cluster
    from ipyviews.errors import (
        AlreadyDisplayedError,
        ClusterError,
        CompositeError,
        ControllerLost,
        EngineError,
        ImpossibleDependency,
        IPythonError,
        IPyViewsError,
        KernelError,
        NoEnginesRegistered,
        ProtocolError,
        RemoteError,
        TaskAborted,
        TaskError,
        TaskTimeout,
        TooManyPending,
        UnmetDependency,
        UsageError,
        VersionMismatch,
    )

_ERRORS = "ipyviews.errors"

#: Where each public name lives.
_HOMES = {
    "AsyncClient": "ipyviews.client.aio",
    "AsyncMapResult": "ipyviews.client.maps",
    "AsyncResult": "ipyviews.client.results",
    "Client": "ipyviews.client.client",
    "Cluster": "ipyviews.cluster",
    "DirectView": "ipyviews.client.directview",
    "LoadBalancedView": "ipyviews.client.balanced",
    "AlreadyDisplayedError": _ERRORS,
    "ClusterError": _ERRORS,
    "CompositeError": _ERRORS,
    "ControllerLost": _ERRORS,
    "EngineError": _ERRORS,
    "IPyViewsError": _ERRORS,
    "IPythonError": _ERRORS,
    "ImpossibleDependency": _ERRORS,
    "KernelError": _ERRORS,
    "NoEnginesRegistered": _ERRORS,
    "ProtocolError": _ERRORS,
    "RemoteError": _ERRORS,
    "TaskAborted": _ERRORS,
    "TaskError": _ERRORS,
    "TaskTimeout": _ERRORS,
    "TooManyPending": _ERRORS,
    "UnmetDependency": _ERRORS,
    "UsageError": _ERRORS,
    "VersionMismatch": _ERRORS,
}

__all__ = [
    "AlreadyDisplayedError",
    "AsyncClient",
    "AsyncMapResult",
    "AsyncResult",
    "Client",
    "Cluster",
    "ClusterError",
    "CompositeError",
    "ControllerLost",
    "DirectView",
    "EngineError",
    "IPyViewsError",
    "IPythonError",
    "ImpossibleDependency",
    "KernelError",
    "LoadBalancedView",
    "NoEnginesRegistered",
    "ProtocolError",
    "RemoteError",
    "TaskAborted",
    "TaskError",
    "TaskTimeout",
    "TooManyPending",
    "UnmetDependency",
    "UsageError",
    "VersionMismatch",
    "__version__",
    "load_ipython_extension",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(home), name)
    # Found by the ordinary way from now on.
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})


def load_ipython_extension(shell: InteractiveShell) -> None:
    """Register the ``%px`` magics; called by IPython on ``%load_ext ipyviews``."""
    # The one upward import, and the one place outside optional extras that is not at the top.
    from ipyviews_magics import load_ipython_extension as load  # noqa: PLC0415

    load(shell)
