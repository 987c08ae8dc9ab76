"""What a controller is told at its start: `config.json` in its run folder."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ipyviews.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path


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
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(
            f"{path} is not the settings of a cluster ({type(error).__name__}: {error}); "
            "start clusters with ipyviews.Cluster or `ipyviews start`"
        ) from None


def _parse(folder: Path, value: dict[str, Any]) -> Config:
    kernels = tuple(None if name is None else str(name) for name in value.get("kernels") or ())
    cwd = value.get("cwd")
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
    )
