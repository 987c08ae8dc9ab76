"""Checking the options of a cluster before anything is started."""

from __future__ import annotations

import ipaddress
import os
import re
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ipyviews.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_CLUSTER_ID = re.compile(r"[\w.-]{1,64}")

#: Options of ipyparallel that change nothing here: there is one network, no configuration of
#: profiles, and nobody has to wait between controller and engines.
_WITHOUT_EFFECT = frozenset(
    {"controller_location", "delay", "load_profile", "log_level", "send_engines_connection_env"}
)
_LAUNCHERS = ("engines", "controller", "engine_launcher_class", "controller_launcher_class")


def absolute(path: str | os.PathLike[str] | None) -> str | None:
    """Make a path independent of the working directory."""
    return None if path is None else str(Path(path).absolute())


def check_others(options: Mapping[str, Any]) -> None:
    """Refuse options of ipyparallel that cannot be honoured, and those that nobody knows."""
    for name, value in options.items():
        if name in _LAUNCHERS:
            _check_launcher(name, value)
        elif name == "controller_args":
            if value:
                raise UsageError(
                    "controller_args are not passed on: say scheme=, prefetch=, keep_results= or "
                    "history_file= instead."
                )
        elif name not in _WITHOUT_EFFECT:
            raise TypeError(f"Cluster has no option {name!r}; see help(ipyviews.Cluster).")


def _check_launcher(name: str, value: Any) -> None:
    if isinstance(value, int):
        raise UsageError(f"{name}={value!r} names no launcher; the number of engines is n={value}.")
    text = value if isinstance(value, str) else getattr(value, "__name__", "")
    if value is not None and not text.rpartition(".")[2].lower().startswith("local"):
        raise UsageError(f"{name}={value!r}: only 'local' clusters are there yet.")


def transport(name: str, ip: str | None) -> dict[str, str]:
    """Check how a cluster is reached, and that it can be without anybody listening in.

    Parameters
    ----------
    name
        "ipc" or "tcp".
    ip
        Where its controller listens; an address of this host.
    """
    if name not in {"ipc", "tcp"}:
        raise UsageError(f'transport must be "ipc" or "tcp", not {name!r}.')
    address = "127.0.0.1" if ip in (None, "", "localhost") else str(ip)
    if name == "ipc" and address != "127.0.0.1":
        raise UsageError(f"controller_ip={ip!r} is for transport='tcp': over ipc there is none.")
    try:
        is_one = not ipaddress.IPv4Address(address).is_unspecified
    except ValueError:
        is_one = False
    if not is_one:
        raise UsageError(
            f"controller_ip={ip!r} must be one IPv4 address of this host: clients connect to it."
        )
    if name == "tcp" and (missing := _no_encryption()):
        raise UsageError(f"transport='tcp' needs encryption, which {missing} cannot do.")
    return {"transport": name, "ip": address}


def _no_encryption() -> str:
    """Name what is too old to encrypt; empty if nothing is. Over ipc nobody loads any of this."""
    import zmq  # noqa: PLC0415
    from ipykernel.kernelapp import IPKernelApp  # noqa: PLC0415
    from jupyter_client.manager import KernelManager  # noqa: PLC0415

    if not zmq.has("curve"):
        return "pyzmq (its libzmq is built without CURVE)"
    if not hasattr(KernelManager, "transport_encryption"):
        return f"jupyter_client {version('jupyter_client')} (8.10 can)"
    if "curve_secretkey" not in vars(IPKernelApp):  # Older ones inherit it, without a use for it.
        return f"ipykernel {version('ipykernel')} (7.4 can)"
    return ""


def check_names(provisioner: str, cluster_id: str | None) -> None:
    """Refuse a provisioner that is not there, and what is no name."""
    if provisioner not in {"agent", "plain"}:
        raise UsageError(f'provisioner must be "agent" or "plain", not {provisioner!r}.')
    if cluster_id and not _CLUSTER_ID.fullmatch(cluster_id):
        raise UsageError(
            f"cluster_id {cluster_id[:80]!r} must be at most 64 letters, digits, and any of _.-"
        )


def check_lifetime(idle_limit: float | None, *, detached: bool) -> None:
    """Refuse an idle limit that has no meaning."""
    if idle_limit is not None and not detached:
        raise UsageError("idle_limit is for detached clusters; this one ends with its owner.")
    if idle_limit is not None and not idle_limit > 0:
        raise UsageError(f"idle_limit must be a number of seconds above 0, not {idle_limit!r}.")


def check_scheme(scheme: str | None) -> str | None:
    """Refuse a scheme that is not there."""
    if scheme is not None:
        # Rarely needed in this process.
        from ipyviews.core.schemes import SCHEMES  # noqa: PLC0415

        if scheme not in SCHEMES:
            raise UsageError(f"there is no scheme {scheme!r}; there are {', '.join(SCHEMES)}.")
    return scheme


def check_prefetch(prefetch: int) -> int:
    """Refuse what is no number of calls."""
    if prefetch < 0:
        raise UsageError(f"prefetch must be a number of calls, 0 or more, not {prefetch!r}.")
    return prefetch


def shares_memory(wanted: bool | None) -> bool:
    """Decide whether a cluster uses shared memory, if need be by the environment."""
    return os.environ.get("IPYVIEWS_SHARED_MEMORY", "1") != "0" if wanted is None else bool(wanted)


def restart_limit(wanted: Any) -> tuple[int, float] | None:
    """Return how often an engine that dies is started again, and in how much time [s].

    Parameters
    ----------
    wanted
        None or False for never, True for 3 times in 60 s, a number of times in 60 s, or both.

    Raises
    ------
    UsageError
        It is nothing of that.
    """
    if wanted is None or wanted is False:
        return None
    pair = wanted if isinstance(wanted, tuple | list) else (3 if wanted is True else wanted, 60.0)
    if len(pair) == 2:
        times, seconds = pair
        if type(times) is int and times > 0 and isinstance(seconds, int | float) and seconds > 0:
            return times, float(seconds)
    raise UsageError(
        "restart must be True, a number of times in 60 s, or (times, seconds), above 0; "
        f"not {wanted!r:.80}."
    )


def check_kernels(names: Sequence[str | None]) -> None:
    """Raise `UsageError`, which lists the known ones, if a kernel name is unknown."""
    if any(names):
        # Loads jupyter_client, which a cluster of plain engines does not need in this process.
        from ipyviews.launching.kernels import EngineSpecs  # noqa: PLC0415

        specs = EngineSpecs()
        for name in {name for name in names if name is not None}:
            specs.get_kernel_spec(name)


def check_count(n: object) -> None:
    """Raise `UsageError` unless `n` is None or a number of engines."""
    if n is not None and (not isinstance(n, int) or n < 0):
        raise UsageError(f"n must be a number of engines, not {n!r}.")


def count_cores() -> int:
    """Count the cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
