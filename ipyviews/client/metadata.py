"""What is known of one task, as users read it."""

from __future__ import annotations

from typing import Any

METADATA_KEYS = (
    "msg_id",
    "submitted",
    "started",
    "completed",
    "received",
    "engine_uuid",
    "engine_id",
    "follow",
    "after",
    "status",
    "execute_input",
    "execute_result",
    "error",
    "stdout",
    "stderr",
    "outputs",
    "data",
    "label",
)


class Metadata(dict[str, Any]):
    """What is known of one task: a dict with fixed keys, which are also attributes.

    Times are timezone-aware UTC datetimes or None; ``stdout`` and ``stderr`` are texts,
    ``outputs`` a list, ``data`` a dict; everything else is None until it is known.

    Raises
    ------
    KeyError, AttributeError
        There is no such key, for reading or writing.

    Examples
    --------
    >>> known = Metadata(engine_id=3)
    >>> known.engine_id, known["stdout"], known.started
    (3, '', None)
    """

    def __init__(self, **known: Any) -> None:
        super().__init__(dict.fromkeys(METADATA_KEYS))
        super().update(stdout="", stderr="", outputs=[], data={})
        for key, value in known.items():
            self[key] = value

    def __setitem__(self, key: str, value: Any) -> None:
        if key not in METADATA_KEYS:
            raise KeyError(key)
        super().__setitem__(key, value)

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None

    def __setattr__(self, name: str, value: Any) -> None:
        try:
            self[name] = value
        except KeyError:
            raise AttributeError(name) from None

    def __reduce__(self) -> tuple[Any, ...]:
        # Without this a copy would be filled before its keys are there.
        return _load, (dict(self),)


def _load(known: dict[str, Any]) -> Metadata:
    return Metadata(**known)
