"""Pickling by hand; see `ipyviews.client.serialize`."""

from __future__ import annotations

from ipyviews.client.serialize import (
    PrePickled,
    Reference,
    can,
    can_map,
    deserialize_object,
    interactive,
    pack_apply_message,
    serialize_object,
    uncan,
    uncan_map,
    unpack_apply_message,
    use_cloudpickle,
    use_dill,
    use_pickle,
)

__all__ = [
    "PrePickled",
    "Reference",
    "can",
    "can_map",
    "deserialize_object",
    "interactive",
    "pack_apply_message",
    "serialize_object",
    "uncan",
    "uncan_map",
    "unpack_apply_message",
    "use_cloudpickle",
    "use_dill",
    "use_pickle",
]
