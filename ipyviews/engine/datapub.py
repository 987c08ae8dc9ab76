"""Showing the client values while a call still runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import extension_here, pickling

if TYPE_CHECKING:
    from collections.abc import Mapping


def publish_data(data: Mapping[str, Any]) -> None:
    """Send values to the client that made the running call: there they are in ``ar.data``.

    Parameters
    ----------
    data
        Name to value; a later value replaces the earlier one of the same name.

    Raises
    ------
    TypeError
        It is no dict with names.
    RuntimeError
        This is not an engine.

    Examples
    --------
    >>> def steps():
    ...     for i in range(100):
    ...         publish_data({"step": i})
    >>> ar = rc[0].apply_async(steps)
    >>> ar.get()
    >>> ar.data
    {'step': 99}
    """
    if not isinstance(data, dict) or not all(isinstance(name, str) for name in data):
        raise TypeError(f"publish_data takes a dict of names to values, not {data!r}")
    extension = extension_here()
    if extension is None:
        raise RuntimeError("publish_data() works in code that runs on an engine")
    # In one piece: iopub sends later, when the call may have changed an array.
    frame, _, _ = pickling.dumps(data, in_band=True)
    extension.publish("data_message", {"keys": list(data)}, [frame])
