"""The engine extension: makes a stock ipykernel take calls on a channel of its own.

Loaded by ``--ext=ipyviews.engine``, by ``%load_ext ipyviews.engine``, or sent as source under
another package name: imports inside are relative, and nothing of ipyviews beside this package is
imported. Clients import a few of its modules too, so this one loads nothing until a kernel asks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .extension import Extension

_loaded: Extension | None = None


def load_ipython_extension(shell: Any) -> None:
    """Open the apply channel of the kernel that `shell` belongs to.

    A kernel that listens on TCP without encryption stays the plain kernel it is.
    """
    from .adapter import is_plain  # noqa: PLC0415 - clients must not load zmq and IPython
    from .extension import Extension  # noqa: PLC0415

    global _loaded  # noqa: PLW0603 - one extension per process, as IPython has it
    if _loaded is None and not is_plain(shell):
        _loaded = Extension(shell)


def extension_here() -> Extension | None:
    """Return the extension of this process's kernel; None if it is no engine."""
    return _loaded


def unload_ipython_extension(shell: Any) -> None:
    """Close the apply channel and undo everything; queued calls are lost."""
    del shell
    global _loaded  # noqa: PLW0603
    if _loaded is not None:
        _loaded.close()
        _loaded = None


def join(name: str) -> str:
    """Load the extension if need be, take a name, and report; the controller calls it at joining.

    Parameters
    ----------
    name
        ``"e<id>.<incarnation>"``; from now on messages to others are refused.

    Returns
    -------
    str
        JSON with ``apply_url, python, ipykernel, version, pid, has_cloudpickle, place``.
    """
    from IPython import get_ipython  # noqa: PLC0415

    shell: Any = get_ipython()
    shell.extension_manager.load_extension(__name__)
    if _loaded is None:
        raise RuntimeError("it listens on TCP without encryption, where no calls are taken")
    return _loaded.join(name)
