"""What a controller is told at its start: `config.json` in its run folder."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ipyviews.controller.setups import Limit
from ipyviews.core.schemes import DEFAULT, SCHEMES
from ipyviews.errors import UsageError


@dataclass(frozen=True, slots=True)
class Config:
    """One cluster's settings."""

    folder: Path
    cluster_id: str
    #: Engines to start at once. [count]
    n: int
    #: The kernelspec name of each of the first engines; None is the default one.
    kernels: tuple[str | None, ...]
    #: Added to the engines' environment.
    env: dict[str, str]
    cwd: str | None
    #: True when kernels are the agent's children, False when they are the controller's.
    agent: bool
    version: str
    #: True when the cluster outlives its clients, and so does what they have queued.
    detached: bool = False
    #: Process id of the program an attached cluster belongs to.
    owner: int | None = None
    #: A name clients may look for it by, besides its id.
    profile: str = "default"
    #: How an engine is chosen among those with room; see `ipyviews.core.schemes`.
    scheme: str = DEFAULT
    #: Most calls in flight on one engine [count]; 0 for as many as take a few milliseconds.
    prefetch: int = 0
    #: True to keep what calls are sent and return after delivery, so that it can be asked for.
    keep_results: bool = False
    #: Where records of tasks are written too; None for memory only.
    history_file: Path | None = None
    #: Whether large arrays go by shared memory. Not with `keep_results`: the controller, which is
    #: to keep them, must have them.
    shared_memory: bool = True
    #: How often each engine that dies is started again; None for never.
    restart: Limit | None = None
    #: "ipc", or "tcp" with encryption; and then the address at which the controller listens.
    transport: str = "ipc"
    ip: str = "127.0.0.1"

    def kernel(self, engine: int) -> str | None:
        """Return the kernelspec name for an engine; later ones take the last that was named."""
        if not self.kernels:
            return None
        return self.kernels[min(engine, len(self.kernels) - 1)]


def read_config(folder: Path) -> Config:
    """Read ``<folder>/config.json``.

    Raises
    ------
    UsageError
        When the file is missing or is not a cluster's settings.
    """
    path = folder / "config.json"
    try:
        return _parse(folder, json.loads(path.read_bytes()))
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(
            f"{path} is not the settings of a cluster ({type(error).__name__}: {error}); "
            "start clusters with ipyviews.Cluster or `ipyviews start`"
        ) from None


def _parse(folder: Path, value: dict[str, Any]) -> Config:
    kernels = tuple(None if name is None else str(name) for name in value.get("kernels") or ())
    cwd, history = value.get("cwd"), value.get("history_file")
    return Config(
        folder=folder,
        cluster_id=str(value["cluster_id"]),
        n=int(value["n"]),
        kernels=kernels,
        env={str(name): str(text) for name, text in (value.get("env") or {}).items()},
        cwd=None if cwd is None else str(cwd),
        agent=value.get("provisioner", "agent") == "agent",
        version=str(value["version"]),
        detached=value.get("detached") is True,
        owner=None if value.get("owner") is None else int(value["owner"]),
        profile=str(value.get("profile") or "default"),
        **_scheduling(value),
        keep_results=value.get("keep_results") is True,
        history_file=None if history is None else Path(history),
        shared_memory=value.get("shared_memory", True) is True and not value.get("keep_results"),
        restart=read_limit(value.get("restart")),
        transport=_transport(value),
        ip=str(value.get("ip") or "127.0.0.1"),
    )


def read_limit(value: Any) -> Limit | None:
    """Read how often engines are started again: ``[times, seconds]``, or None for never.

    Raises
    ------
    UsageError
        It is neither.
    """
    if value is None:
        return None
    try:
        limit = Limit(int(value[0]), float(value[1]))
    except (TypeError, ValueError, IndexError, KeyError):
        limit = Limit(0, 0.0)
    if limit.most < 1 or not limit.seconds > 0:
        raise UsageError(f"restart must be [times, seconds] or null, not {value!r:.80}")
    return limit


def _transport(value: dict[str, Any]) -> str:
    transport = value.get("transport", "ipc")
    if transport not in ("ipc", "tcp"):
        raise UsageError(f"there is no transport {transport!r}; there are ipc and tcp")
    return str(transport)


def _scheduling(value: dict[str, Any]) -> dict[str, Any]:
    scheme, prefetch = str(value.get("scheme") or DEFAULT), int(value.get("prefetch") or 0)
    if scheme not in SCHEMES:
        raise UsageError(f"there is no scheme {scheme!r}; there are {', '.join(SCHEMES)}")
    if prefetch < 0:
        raise UsageError(f"prefetch must be at least 0, not {prefetch}")
    return {"scheme": scheme, "prefetch": prefetch}
