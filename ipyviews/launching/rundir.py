"""The private run folder of a cluster, and finding the clusters that run.

A cluster is one folder, ``$XDG_RUNTIME_DIR/ipv/<8 hex>`` or ``/tmp/ipv-<uid>/<8 hex>``, which only
its user can enter. It lives as long as somebody, the agent, holds the lock on ``<folder>/lock``;
processes that died cannot hold one, so no pid is ever trusted. Nothing is read from the current
directory.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
import stat
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ipyviews.errors import ClusterError, UsageError

#: Longest name made inside a folder; ZeroMQ cuts nothing, it refuses.
LONGEST_NAME = "e999999-ipc-apply"
#: Longest path of a unix socket [bytes], `zmq.IPC_PATH_MAX_LEN`.
LONGEST_PATH = 107
#: A folder younger than this [s] may not be locked yet.
SETTLING = 10.0

#: Says why a cluster ends whose controller cannot say it.
END_FILE = "ended"

_FOLDER_NAME = re.compile(r"[0-9a-f]{8}")
_HOW_TO_START = "start one with `ipyviews start`, or `Cluster(n=4)`"


class NoCluster(ClusterError, FileNotFoundError):
    """A `ClusterError` that is also the OSError of a missing connection file."""


class NoFile(UsageError, FileNotFoundError):
    """A `UsageError` that is also a FileNotFoundError."""


@dataclass(frozen=True)
class ClusterFile:
    """The connection file of a running cluster, as its controller wrote it."""

    #: Absolute path of ``cluster.json``.
    path: Path
    #: Its content; see docs/protocol.md.
    info: dict[str, Any] = field(repr=False)

    @property
    def folder(self) -> Path:
        """The run folder."""
        return Path(self.info["ipyviews"]["folder"])

    @property
    def cluster_id(self) -> str:
        """The name of the cluster."""
        return str(self.info["ipyviews"]["cluster_id"])

    @property
    def profile(self) -> str:
        """The profile it was started for."""
        return str(self.info["ipyviews"].get("profile") or "default")

    @property
    def n(self) -> int:
        """Engines wanted when it was written."""
        return int(self.info["ipyviews"]["n"])

    @property
    def pid(self) -> int:
        """Process id of the controller."""
        return int(self.info["ipyviews"]["pid"])

    @property
    def owner(self) -> int | None:
        """Process id of the program an attached cluster belongs to; None for a detached one."""
        owner = self.info["ipyviews"].get("owner")
        return None if owner is None else int(owner)


def base_folder() -> Path:
    """Name the folder that holds this user's run folders; it need not exist."""
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    if runtime.startswith("/") and os.access(runtime, os.W_OK | os.X_OK):
        return Path(runtime) / "ipv"
    return Path(f"/tmp/ipv-{os.getuid()}")  # noqa: S108 - checked by `_ensure_private`


def create_folder() -> Path:
    """Make a new run folder that only this user can enter.

    Raises
    ------
    ClusterError
        If the folder above it belongs to somebody else, is a link or can be entered by others, or
        if the path is too long for sockets.
    """
    base = base_folder()
    _ensure_private(base)
    folder = base / os.urandom(4).hex()
    _check_length(folder)
    folder.mkdir(0o700)
    _check_private(folder)
    return folder


def take_lock(folder: Path, *, wait: bool = False) -> int:
    """Lock a run folder and return the file descriptor that holds the lock.

    The lock goes with the descriptor to whoever inherits it and ends with its last copy. Its maker
    waits: somebody may be asking `is_running` at this very moment.

    Raises
    ------
    BlockingIOError
        If another process holds it.
    """
    fd = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        os.close(fd)
        raise
    return fd


def is_running(folder: Path) -> bool:
    """Tell whether somebody holds the lock of a run folder."""
    try:
        fd = os.open(folder / "lock", os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def read_description(path: Any) -> dict[str, Any] | None:
    """Read a file that `Cluster.write_cluster_file` wrote; None for anything else."""
    with contextlib.suppress(OSError, TypeError, ValueError):
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        if isinstance(content, dict) and "cluster" in content:
            return content
    return None


def controller_pid(folder: Path) -> int | None:
    """Return the process id of a cluster's controller, the latest one; None if it tells none."""
    try:
        return _read_cluster_file(folder / "cluster.json").pid
    except UsageError:
        return None


def write_private(path: Path, text: str) -> None:
    """Write a file (0600) so that readers see the old or the whole new content, never a part."""
    draft = path.with_name(f".{path.name}.{os.urandom(4).hex()}")
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            file.write(text)
        draft.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            draft.unlink()
        raise


def list_clusters() -> list[ClusterFile]:
    """List this user's running clusters that can be connected to, oldest first."""
    found = []
    for folder in _run_folders():
        if is_running(folder):
            with contextlib.suppress(UsageError, OSError):
                found.append(_read_cluster_file(folder / "cluster.json"))
    return found


def is_one_starting() -> bool:
    """Tell whether a cluster is coming up that cannot be connected to yet."""
    folders = (folder for folder in _run_folders() if is_running(folder))
    return any(not (folder / "cluster.json").exists() for folder in folders)


def open_clusters(profile: str | None = None) -> list[ClusterFile]:
    """Return the running clusters that this process may take without naming them.

    Those are its own, the newest last; else the one named "default"; else the detached ones and
    those whose owner is gone. What another living process started for itself is not among them.

    Parameters
    ----------
    profile
        Only those of this profile; None for all.
    """
    running = _of_profile(list_clusters(), profile)
    own = [file for file in running if file.owner == os.getpid()]
    default = [file for file in running if file.cluster_id == "default"]
    free = [file for file in running if file.owner is None or not _is_alive(file.owner)]
    return own[-1:] or default or free


def find_cluster(
    which: str | os.PathLike[str] | None = None,
    *,
    anybodys: bool = False,
    profile: str | None = None,
) -> ClusterFile:
    """Find one running cluster.

    Parameters
    ----------
    which
        A cluster id; or the path of a cluster file or run folder (a path object, or a text with a
        slash in it); or None for the one of `open_clusters`.
    anybodys
        Whether None may also mean the only cluster there is, if another process owns it.
    profile
        Only clusters of this profile; None for all.

    Raises
    ------
    ClusterError
        If there is none (then also a FileNotFoundError), or several to choose from.
    UsageError
        If the file is not a cluster file.
    """
    if which is not None and (not isinstance(which, str) or "/" in which):
        return _running_at(Path(which).absolute())
    running = _of_profile(list_clusters(), profile)
    of = "" if profile is None else f" of profile {profile!r}"
    if which is not None:
        for file in running:
            if file.cluster_id == which:
                return file
        there = f"running: {_names(running)}" if running else _HOW_TO_START
        raise NoCluster(f"no cluster named {which!r}{of} is running; {there}{_nowhere()}.")
    found = open_clusters(profile) or (running if anybodys else [])
    if len(found) > 1:
        raise ClusterError(
            f"several clusters are running; say which as cluster_id: {_names(found)}."
        )
    if not found:
        others = f" (other programs have {_names(running)}: name it to join)" if running else ""
        raise NoCluster(f"no cluster{of} is running{others}; {_HOW_TO_START}{_nowhere()}.")
    return found[0]


def _nowhere() -> str:
    return f" (no controller was found below {base_folder()})"


def _of_profile(files: list[ClusterFile], profile: str | None) -> list[ClusterFile]:
    return [file for file in files if profile is None or file.profile == profile]


def _names(files: list[ClusterFile]) -> str:
    return ", ".join(sorted(file.cluster_id for file in files))


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def sweep() -> list[Path]:
    """Remove run folders whose cluster died without removing them; returns the removed ones."""
    return [folder for folder in _run_folders() if _is_settled(folder) and _remove_dead(folder)]


def _remove_dead(folder: Path) -> bool:
    try:
        fd = take_lock(folder)
    except OSError:
        return False
    try:
        remove_folder(folder)
    finally:
        os.close(fd)
    return True


def remove_folder(folder: Path) -> None:
    """Remove a run folder and all in it; nothing happens where others remove it too.

    With it goes what its cluster has left in shared memory.
    """
    from ipyviews.engine import segments  # noqa: PLC0415 - only where a cluster ends

    segments.sweep(folder.name)
    shutil.rmtree(folder, ignore_errors=True)
    if folder.exists():
        shutil.rmtree(folder, ignore_errors=True)


def _run_folders() -> list[Path]:
    base = base_folder()
    try:
        _check_private(base)
        found = [path for path in base.iterdir() if _FOLDER_NAME.fullmatch(path.name)]
    except (OSError, ClusterError):
        return []
    ages = {}
    for path in found:
        # Others end while we look.
        with contextlib.suppress(FileNotFoundError):
            status = path.lstat()
            if stat.S_ISDIR(status.st_mode):
                ages[path] = status.st_ctime
    return sorted(ages, key=ages.__getitem__)


def _is_settled(folder: Path) -> bool:
    try:
        return time.time() - folder.lstat().st_mtime > SETTLING
    except OSError:
        return False


def _running_at(path: Path) -> ClusterFile:
    file = _read_cluster_file(path / "cluster.json" if path.is_dir() else path)
    if not is_running(file.folder):
        raise NoCluster(f"the cluster of {file.path} is not running any more; {_HOW_TO_START}.")
    return file


def _read_cluster_file(path: Path) -> ClusterFile:
    try:
        info = json.loads(path.read_text(encoding="utf-8"))
        file = ClusterFile(path, info)
        _ = file.folder, file.cluster_id, file.n, file.pid
    except FileNotFoundError:
        raise NoFile(f"{path} does not exist; {_HOW_TO_START}.") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path} is not a cluster file ({type(error).__name__}).") from None
    return file


def _ensure_private(base: Path) -> None:
    # Made private from the start, so that nobody can slip in between mkdir and chmod.
    with contextlib.suppress(FileExistsError):
        base.mkdir(0o700)
    _check_private(base)


def _check_private(folder: Path) -> None:
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode):
        raise ClusterError(f"{folder} must be a folder, not a link or file; remove it.")
    if status.st_uid != os.getuid():
        raise ClusterError(
            f"{folder} belongs to another user; set XDG_RUNTIME_DIR to one of yours."
        )
    if status.st_mode & 0o077:
        raise ClusterError(f"others can enter {folder}; run `chmod 700 {folder}`.")


def _check_length(folder: Path) -> None:
    length = len(os.fsencode(folder / LONGEST_NAME))
    if length > LONGEST_PATH:
        raise ClusterError(
            f"{folder} is {length - LONGEST_PATH} bytes too long for sockets; "
            "set XDG_RUNTIME_DIR to a shorter path."
        )
