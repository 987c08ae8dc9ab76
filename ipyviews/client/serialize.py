"""Pickling by hand, and by which pickler views send; the names of ipyparallel's ``serialize``.

Views need none of this: it is for programs that keep or move what they will send later.
"""

from __future__ import annotations

import builtins
import sys
import types
from typing import TYPE_CHECKING, Any

from ipyviews.engine import names, pickling
from ipyviews.engine.names import Reference, uncan_map
from ipyviews.engine.pickling import PrePickled, can_map
from ipyviews.protocol.payload import DEFAULT, Pickling, check_method, pack_calls

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, MutableMapping, Sequence

    Frame = bytes | bytearray | memoryview

__all__ = [
    "PrePickled",
    "Reference",
    "can",
    "can_map",
    "default_pickling",
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

_default = DEFAULT


def default_pickling() -> Pickling:
    """Return how views made from now on will send."""
    return _default


def use_pickle() -> None:
    """Let views made from now on send as at first: functions run with the engine's names.

    Views that exist keep what they use; `View.use_pickle` changes one of them. Here as in
    ipyparallel, functions and classes of a notebook can be sent all the same.
    """
    _use("pickle")


def use_cloudpickle() -> None:
    """Let views made from now on send by cloudpickle.

    Functions then bring the globals they use from here, data too, and don't see the engine's.
    Views that exist keep what they use; `View.use_cloudpickle` changes one of them.
    """
    _use("cloudpickle")


def use_dill() -> None:
    """Let views made from now on send by dill.

    As `use_cloudpickle`, for what only dill can pickle. The engines need dill, too.

    Raises
    ------
    UsageError
        dill is not installed here.
    """
    _use("dill")


def _use(by: pickling.Method) -> None:
    check_method(by)
    global _default  # noqa: PLW0603 - what is asked for is a default of this process
    _default = Pickling(by)


def interactive(f: Callable[..., Any]) -> Any:
    """Make a function of a module behave as if it were defined in the notebook.

    Parameters
    ----------
    f
        A function; other callables are returned as they are.

    Returns
    -------
    function
        On an engine its globals are the engine's namespace, here those of ``__main__``. Closure,
        defaults and attributes are kept.
    """
    if not isinstance(f, types.FunctionType):
        return f
    space = vars(sys.modules["__main__"])
    made = types.FunctionType(f.__code__, space, f.__name__, f.__defaults__, f.__closure__)
    made.__kwdefaults__ = f.__kwdefaults__
    made.__annotations__ = f.__annotations__
    made.__doc__, made.__qualname__ = f.__doc__, f.__qualname__
    made.__dict__.update(f.__dict__)
    made.__module__ = "__main__"
    return made


def can(obj: Any) -> Any:
    """Pickle an object now, to be sent or unpickled later; see `PrePickled`."""
    return PrePickled(obj)


def uncan(obj: Any, g: MutableMapping[str, Any] | None = None) -> Any:
    """Undo `can`.

    Parameters
    ----------
    obj
        What `can` returned; anything else is returned as it is.
    g
        Namespace that functions and references see; a new one if None.
    """
    return obj.load(_scope(g)) if isinstance(obj, PrePickled) else obj


def serialize_object(obj: Any) -> list[Frame]:
    """Pickle an object to frames: the pickle, then large buffers without a copy."""
    data, buffers, _ = pickling.dumps(obj)
    return [len(buffers).to_bytes(4, "big") + data, *buffers]


def deserialize_object(
    buffers: Sequence[Frame], g: MutableMapping[str, Any] | None = None
) -> tuple[Any, list[Frame]]:
    """Undo `serialize_object`.

    Parameters
    ----------
    buffers
        Its frames; more may follow. Read-only ones give read-only arrays.
    g
        Namespace that functions and references see; a new one if None.

    Returns
    -------
    obj : object
    rest : list
        The frames that follow.
    """
    first, *rest = buffers
    count = int.from_bytes(first[:4], "big")
    return names.loads(memoryview(first)[4:], _scope(g), rest[:count]), rest[count:]


def pack_apply_message(
    f: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> list[Frame]:
    """Pickle a call to the frames of a request; see docs/protocol.md.

    Raises
    ------
    UsageError
        If something cannot be pickled; the sentence names it.
    """
    packed = pack_calls(f, [(args, kwargs)])
    return [packed.function, packed.arguments, *packed.buffers]


def unpack_apply_message(
    bufs: Sequence[Frame], g: MutableMapping[str, Any] | None = None
) -> tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]:
    """Undo `pack_apply_message`: the function, its arguments, its keyword arguments."""
    function, arguments, *rest = bufs
    scope = _scope(g)
    called = names.loads(function, scope)
    args, kwargs = names.loads(arguments, scope, rest)
    return called, args, kwargs


def _scope(g: MutableMapping[str, Any] | None) -> names.Scope:
    space: MutableMapping[str, Any] = {"__name__": "__main__"} if g is None else g
    # As exec() does: code that runs in it needs them.
    space.setdefault("__builtins__", builtins)
    return names.Scope(space)
