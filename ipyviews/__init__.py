"""Interactive parallel computing on ordinary Jupyter kernels.

>>> import ipyviews as ipp
>>> with ipp.Cluster(n=4) as rc:
...     rc[:].apply_sync(lambda: 6 * 7)
[42, 42, 42, 42]

Importing this package is cheap: a name is loaded when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from os import environ as _environ
from typing import TYPE_CHECKING, Any

from ipyviews.version import __version__, version_info

if TYPE_CHECKING:
    from concurrent.futures import ALL_COMPLETED, FIRST_COMPLETED, FIRST_EXCEPTION

    from IPython.core.interactiveshell import InteractiveShell

    from ipyviews import error
    from ipyviews.client.aio import AsyncClient
    from ipyviews.client.balanced import LoadBalancedView
    from ipyviews.client.broadcast import BroadcastView
    from ipyviews.client.client import Client
    from ipyviews.client.dependencies import Dependency, depend, dependent, require
    from ipyviews.client.directview import DirectView
    from ipyviews.client.executor import ViewExecutor
    from ipyviews.client.functions import ParallelFunction, RemoteFunction, parallel, remote
    from ipyviews.client.hubresults import AsyncHubResult
    from ipyviews.client.maps import AsyncMapResult
    from ipyviews.client.results import AsyncResult
    from ipyviews.client.serialize import (
        PrePickled,
        Reference,
        can,
        can_map,
        deserialize_object,
        interactive,
        pack_apply_message,
        serialize_object,
        uncan,
        uncan_map,
        unpack_apply_message,
        use_cloudpickle,
        use_dill,
        use_pickle,
    )
    from ipyviews.cluster import Cluster
    from ipyviews.clusters import ClusterManager
    from ipyviews.deaths import DeathReport
    from ipyviews.engine.binding import bind_kernel
    from ipyviews.errors import (
        AlreadyDisplayedError,
        ClusterError,
        CompositeError,
        ControllerLost,
        DependencyTimeout,
        EngineError,
        ImpossibleDependency,
        InvalidDependency,
        IPythonError,
        IPyViewsError,
        KernelError,
        LauncherError,
        NoEnginesRegistered,
        NotRunning,
        ProcessStateError,
        ProtocolError,
        RemoteError,
        TaskAborted,
        TaskError,
        TaskRejectError,
        TaskTimeout,
        TooManyPending,
        UnknownStatus,
        UnmetDependency,
        UsageError,
        VersionMismatch,
        collect_exceptions,
        unwrap_exception,
        wrap_exception,
    )
    from ipyviews.joblib import register_joblib_backend

#: Whether nobody watches: no streamed output and no progress bars by default.
_NONINTERACTIVE = _environ.get("IPP_NONINTERACTIVE", "") not in {"", "0"}

_ERRORS = "ipyviews.errors"
_SERIALIZE = "ipyviews.client.serialize"
#: Modules that programs reach as attributes.
_MODULES = ("datapub", "error", "joblib", "serialize", "util")

#: Where each public name lives.
_HOMES = {
    "ALL_COMPLETED": "concurrent.futures",
    "FIRST_COMPLETED": "concurrent.futures",
    "FIRST_EXCEPTION": "concurrent.futures",
    "AlreadyDisplayedError": _ERRORS,
    "AsyncClient": "ipyviews.client.aio",
    "AsyncHubResult": "ipyviews.client.hubresults",
    "AsyncMapResult": "ipyviews.client.maps",
    "AsyncResult": "ipyviews.client.results",
    "BroadcastView": "ipyviews.client.broadcast",
    "Client": "ipyviews.client.client",
    "Cluster": "ipyviews.cluster",
    "ClusterError": _ERRORS,
    "ClusterManager": "ipyviews.clusters",
    "CompositeError": _ERRORS,
    "ControllerLost": _ERRORS,
    "DeathReport": "ipyviews.deaths",
    "Dependency": "ipyviews.client.dependencies",
    "DependencyTimeout": _ERRORS,
    "DirectView": "ipyviews.client.directview",
    "EngineError": _ERRORS,
    "IPyViewsError": _ERRORS,
    "IPythonError": _ERRORS,
    "ImpossibleDependency": _ERRORS,
    "InvalidDependency": _ERRORS,
    "KernelError": _ERRORS,
    "LauncherError": _ERRORS,
    "LoadBalancedView": "ipyviews.client.balanced",
    "NoEnginesRegistered": _ERRORS,
    "NotRunning": _ERRORS,
    "ParallelFunction": "ipyviews.client.functions",
    "PrePickled": _SERIALIZE,
    "ProcessStateError": _ERRORS,
    "ProtocolError": _ERRORS,
    "Reference": _SERIALIZE,
    "RemoteError": _ERRORS,
    "RemoteFunction": "ipyviews.client.functions",
    "TaskAborted": _ERRORS,
    "TaskError": _ERRORS,
    "TaskRejectError": _ERRORS,
    "TaskTimeout": _ERRORS,
    "TooManyPending": _ERRORS,
    "UnknownStatus": _ERRORS,
    "UnmetDependency": _ERRORS,
    "UsageError": _ERRORS,
    "VersionMismatch": _ERRORS,
    "ViewExecutor": "ipyviews.client.executor",
    "bind_kernel": "ipyviews.engine.binding",
    "can": _SERIALIZE,
    "can_map": _SERIALIZE,
    "collect_exceptions": _ERRORS,
    "depend": "ipyviews.client.dependencies",
    "dependent": "ipyviews.client.dependencies",
    "deserialize_object": _SERIALIZE,
    "interactive": _SERIALIZE,
    "pack_apply_message": _SERIALIZE,
    "parallel": "ipyviews.client.functions",
    "register_joblib_backend": "ipyviews.joblib",
    "remote": "ipyviews.client.functions",
    "require": "ipyviews.client.dependencies",
    "serialize_object": _SERIALIZE,
    "uncan": _SERIALIZE,
    "uncan_map": _SERIALIZE,
    "unpack_apply_message": _SERIALIZE,
    "unwrap_exception": _ERRORS,
    "use_cloudpickle": _SERIALIZE,
    "use_dill": _SERIALIZE,
    "use_pickle": _SERIALIZE,
    "wrap_exception": _ERRORS,
}

__all__ = [
    "ALL_COMPLETED",
    "FIRST_COMPLETED",
    "FIRST_EXCEPTION",
    "AlreadyDisplayedError",
    "AsyncClient",
    "AsyncHubResult",
    "AsyncMapResult",
    "AsyncResult",
    "BroadcastView",
    "Client",
    "Cluster",
    "ClusterError",
    "ClusterManager",
    "CompositeError",
    "ControllerLost",
    "DeathReport",
    "Dependency",
    "DependencyTimeout",
    "DirectView",
    "EngineError",
    "IPyViewsError",
    "IPythonError",
    "ImpossibleDependency",
    "InvalidDependency",
    "KernelError",
    "LauncherError",
    "LoadBalancedView",
    "NoEnginesRegistered",
    "NotRunning",
    "ParallelFunction",
    "PrePickled",
    "ProcessStateError",
    "ProtocolError",
    "Reference",
    "RemoteError",
    "RemoteFunction",
    "TaskAborted",
    "TaskError",
    "TaskRejectError",
    "TaskTimeout",
    "TooManyPending",
    "UnknownStatus",
    "UnmetDependency",
    "UsageError",
    "VersionMismatch",
    "ViewExecutor",
    "__version__",
    "bind_kernel",
    "can",
    "can_map",
    "collect_exceptions",
    "depend",
    "dependent",
    "deserialize_object",
    "error",
    "interactive",
    "load_ipython_extension",
    "pack_apply_message",
    "parallel",
    "register_joblib_backend",
    "remote",
    "require",
    "serialize_object",
    "uncan",
    "uncan_map",
    "unpack_apply_message",
    "unwrap_exception",
    "use_cloudpickle",
    "use_dill",
    "use_pickle",
    "version_info",
    "wrap_exception",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"{__name__}.{name}")
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(home), name)
    # Found by the ordinary way from now on.
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*__all__, *_MODULES, *(name for name in globals() if name.startswith("__"))})


def load_ipython_extension(shell: InteractiveShell) -> None:
    """Register the ``%px`` magics; called by IPython on ``%load_ext ipyviews``."""
    # The one upward import, and the one place outside optional extras that is not at the top.
    from ipyviews_magics import load_ipython_extension as load  # noqa: PLC0415

    load(shell)
