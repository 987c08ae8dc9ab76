"""Reading a cluster's connection file."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ipyviews.errors import ClusterError, UsageError, VersionMismatch
from ipyviews.launching.rundir import NoFile
from ipyviews.version import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ipyviews.launching.rundir import ClusterFile

    Source = str | os.PathLike[str] | Mapping[str, Any] | ClusterFile


@dataclass(frozen=True, slots=True)
class Address:
    """Where a controller is and how to talk to it."""

    shell_url: str
    control_url: str
    key: bytes = field(repr=False)
    #: The controller's name in this life; messages are addressed to it.
    life: str
    cluster_id: str
    version: str
    #: Process id of the controller; it need not be on this host.
    pid: int
    #: Where this was read, for sentences.
    origin: str
    profile: str = "default"
    #: How the controller chooses engines.
    scheme: str = "leastload"
    #: How names of its segments of shared memory begin; empty where it uses none.
    segments: str = ""
    #: The cluster's run folder, on its own host; empty if the file does not say.
    folder: str = ""
    #: The public key of its sockets; None over ipc.
    server: bytes | None = field(default=None, repr=False)

    @property
    def is_remote(self) -> bool:
        """Whether there may be a network between it and this process."""
        return self.shell_url.startswith("tcp://")


def read_address(source: Source) -> Address:
    """Read where a controller is.

    Parameters
    ----------
    source
        A connection file, the folder it is in, its content as a dict, or a `ClusterFile`.

    Raises
    ------
    UsageError
        There is no such file, or it is not a connection file of ipyviews.
    VersionMismatch
        The controller is of a version this client does not fit.
    """
    content, origin = _content(source)
    try:
        address = _address(content, origin)
    except (KeyError, TypeError, ValueError) as error:
        what = f"the key {error}" if isinstance(error, KeyError) else str(error)
        raise UsageError(
            f"{origin} is not a connection file of ipyviews: {what} is missing or wrong; "
            "give the path of a cluster.json."
        ) from None
    check_version(address.version, origin)
    return address


def check_version(version: str, origin: str) -> None:
    """Raise `VersionMismatch` unless a controller of `version` and this client fit together."""
    ours = __version__
    if version.split(".")[:2] != ours.split(".")[:2]:
        raise VersionMismatch(
            f"The controller of {origin} is ipyviews {version}, this client is {ours}: "
            "use the same version on both sides, or start a new cluster."
        )


def check_alive(address: Address) -> None:
    """Raise `ClusterError` at once when it is certain that nobody will answer."""
    path = address.shell_url.removeprefix("ipc://")
    if path != address.shell_url and not os.path.exists(path):  # noqa: PTH110 - may be abstract
        raise ClusterError(
            f"The cluster of {address.origin} is not running any more (its controller had process "
            f"id {address.pid}): start a new one with `ipyviews start` or Cluster(n=4)."
        )


def _content(source: Source) -> tuple[Mapping[str, Any], str]:
    info = getattr(source, "info", None)
    if info is not None:
        return info, str(getattr(source, "path", "the connection file"))
    if isinstance(source, str | os.PathLike):
        return _read_file(Path(source).expanduser())
    return source, "the connection info"  # type: ignore[return-value]


def _read_file(path: Path) -> tuple[Mapping[str, Any], str]:
    path = path / "cluster.json" if path.is_dir() else path
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise NoFile(
            f"The connection file {path} cannot be read ({error.strerror}): give the path of the "
            "cluster.json of a running cluster; `ipyviews list` shows them."
        ) from None
    except ValueError:
        raise UsageError(
            f"{path} is not a connection file of ipyviews: it is not JSON; "
            "give the path of a cluster.json."
        ) from None
    return content, str(path)


def _address(content: Mapping[str, Any], origin: str) -> Address:
    ours = content["ipyviews"]
    server = content.get("curve_publickey")
    if content["transport"] == "tcp" and not server:
        raise KeyError("curve_publickey")
    if not content["key"]:
        raise ValueError("the key, which is empty,")
    return Address(
        shell_url=_url(content, "shell_port"),
        control_url=_url(content, "control_port"),
        key=str(content["key"]).encode(),
        life=str(ours["life"]),
        cluster_id=str(ours["cluster_id"]),
        version=str(ours["version"]),
        pid=int(ours["pid"]),
        origin=origin,
        profile=str(ours.get("profile") or "default"),
        scheme=str(ours.get("scheme") or "leastload"),
        segments=str(ours.get("segments") or ""),
        server=str(server).encode() if server else None,
        folder=str(ours.get("folder") or ""),
    )


def _url(content: Mapping[str, Any], port: str) -> str:
    transport, ip, number = content["transport"], content["ip"], int(content[port])
    if transport not in ("ipc", "tcp"):
        raise ValueError(f"the transport {transport!r}")
    return f"{transport}://{ip}-{number}" if transport == "ipc" else f"{transport}://{ip}:{number}"
