"""Reaching an engine as the ordinary kernel it is."""

from __future__ import annotations

from typing import Any


def bind_kernel(**_options: Any) -> str:
    """Return the connection file of the kernel this runs in, for ``jupyter console --existing``.

    An engine is an ordinary kernel, so nothing needs to be bound; the options of ipyparallel's
    function of this name are accepted and mean nothing.

    Raises
    ------
    RuntimeError
        This is no kernel.
    """
    from ipykernel.connect import get_connection_file  # noqa: PLC0415 - clients import this file

    return str(get_connection_file())
