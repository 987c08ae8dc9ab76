"""What the constructors of the clients take: where the cluster is, and what is not there yet."""

from __future__ import annotations

import os
import sys
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ipyviews.client import nesting
from ipyviews.errors import UsageError
from ipyviews.launching import rundir

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ipyviews.client.address import Source

#: Options of a Jupyter session. Messages have one form here, and the key comes from the file.
SESSION_OPTIONS = frozenset(
    {
        "adapt_version",
        "auth",
        "buffer_threshold",
        "check_pid",
        "config",
        "copy_threshold",
        "digest_history_size",
        "digest_mod",
        "item_threshold",
        "key",
        "keyfile",
        "log",
        "metadata",
        "none",
        "pack",
        "packer",
        "parent",
        "session",
        "signature_scheme",
        "unpack",
        "unpacker",
        "username",
    }
)

_SSH = ("sshserver", "sshkey", "password", "paramiko")
_CURVE = ("curve_serverkey", "curve_publickey", "curve_secretkey")

#: How often it is looked whether a cluster has come up [s].
LOOK_S = 0.05


def check_options(options: Mapping[str, Any]) -> None:
    """Refuse what does not exist and what is not there yet.

    Raises
    ------
    UsageError
        Asked for a tunnel or for Curve keys.
    TypeError
        There is no such option.
    """
    for name in _SSH:
        if options.get(name):
            raise UsageError(
                f"{name}: tunnels are not there yet; run the client on the host of the cluster."
            )
    for name in _CURVE:
        if options.get(name):
            raise UsageError(f"{name}: Curve keys are not used yet; leave it out.")
    if os.environ.get("IPP_CURVE_SERVERKEY"):
        warnings.warn(
            "IPP_CURVE_SERVERKEY is ignored: Curve keys are not used yet.",
            RuntimeWarning,
            stacklevel=3,
        )
    for name in options:
        if name not in SESSION_OPTIONS and name not in (*_SSH, *_CURVE, "url_or_file"):
            raise TypeError(f"a client has no option {name!r}; see help(ipyviews.Client).")


def find_source(
    connection_info: Source | None,
    old_name: Any,
    cluster_id: str | None,
    profile: str | None,
    patience_s: float,
) -> Source:
    """Say where the cluster is.

    Parameters
    ----------
    connection_info, cluster_id, profile
        See `Client`.
    old_name
        The connection file under a name of old.
    patience_s
        How long to wait while a cluster is starting [s].

    Raises
    ------
    UsageError, ClusterError
        It is nowhere; the sentence says what to do.
    """
    if old_name is not None:
        warnings.warn(
            "url_file is an old name: give the connection file as the first argument.",
            DeprecationWarning,
            stacklevel=3,
        )
        connection_info = old_name if connection_info is None else connection_info
    if isinstance(connection_info, str) and "://" in connection_info:
        raise UsageError(
            f"{connection_info[:100]!r} is the address of a socket: give the path of a "
            "cluster.json, or its content as a dict."
        )
    deadline, told = time.monotonic() + patience_s, False
    while True:
        try:
            return _look(connection_info, cluster_id, profile)
        except (rundir.NoCluster, rundir.NoFile):
            if time.monotonic() >= deadline or not rundir.is_one_starting():
                raise
            if not told:
                sys.stderr.write("Waiting for the connection file of a cluster that is starting\n")
            told = True
            time.sleep(LOOK_S)


def name_of_profile(profile: str | None, profile_dir: str | os.PathLike[str] | None) -> str | None:
    """Return the name of a profile that was given by name or by its folder."""
    if profile is None and profile_dir is not None:
        return Path(profile_dir).name.removeprefix("profile_")
    return profile


def _look(source: Source | None, cluster_id: str | None, profile: str | None) -> Source:
    if source is None:
        own = nesting.own_cluster() if cluster_id is profile is None else None
        return own or rundir.find_cluster(cluster_id, profile=profile)
    if isinstance(source, str | os.PathLike) and not Path(source).expanduser().exists():
        raise rundir.NoFile(
            f"{os.fspath(source)} does not exist, so no controller was found: give the path of "
            "the cluster.json of a running cluster; `ipyviews list` shows them."
        )
    return source
