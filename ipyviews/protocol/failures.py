"""An engine's error, raised again on the client.

It is rebuilt as a subclass of both `RemoteError` and the remote type, so that both kinds of
``except`` catch it, if that is safe: the remote one is an ordinary `Exception`, can be unpickled,
and its layout allows. Otherwise it is a plain `RemoteError`. The controller never imports this
module.
"""

from __future__ import annotations

import functools
import types
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ipyviews.errors import RemoteError
from ipyviews.protocol.payload import unpack_result

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Frame = bytes | bytearray | memoryview

#: Raised anew these would end a loop or a coroutine silently.
_NEVER = (StopIteration, StopAsyncIteration)

_DESCRIPTORS = (types.MemberDescriptorType, types.GetSetDescriptorType)


def rebuild(
    content: Mapping[str, Any],
    buffers: Sequence[Frame],
    engine: int | None = None,
    task: str | None = None,
    method: str | None = None,
) -> RemoteError:
    """Make the error that an ``apply_reply`` or ``execute_reply`` tells of.

    Parameters
    ----------
    content
        ``ename``, ``evalue`` and ``traceback`` (lines).
    buffers
        The pickled exception, or nothing.
    engine, task, method
        Where, which, and ``"apply"`` or ``"execute"``, as far as known.

    Returns
    -------
    RemoteError
        Never raises, whatever the engine sent.

    Examples
    --------
    >>> import pickle
    >>> content = {"ename": "KeyError", "evalue": "'a'", "traceback": []}
    >>> error = rebuild(content, [pickle.dumps(KeyError("a"))], 0, "c-1.0", "apply")
    >>> isinstance(error, KeyError), error.args, str(error)
    (True, ('a',), "[0:apply] KeyError: 'a'")
    """
    uuid = None if engine is None else f"e{engine}"
    known = {"engine_uuid": uuid, "engine_id": engine, "method": method, "task": task}
    told = (
        str(content.get("ename", "Error")),
        str(content.get("evalue", "")),
        _lines(content.get("traceback")),
        {name: value for name, value in known.items() if value is not None},
    )
    pickled = bytes(buffers[0]) if buffers else b""
    # What unpickling and copying run is users' code: it may do anything.
    with suppress(Exception, SystemExit):
        original = unpack_result([pickled]) if pickled else None
        if isinstance(original, Exception) and not isinstance(original, _NEVER):
            return _fuse(original, pickled, told)
    return RemoteError(*told)


def _lines(traceback: Any) -> list[str]:
    return [str(line) for line in traceback] if isinstance(traceback, list) else []


class _Fused(RemoteError):
    """Base of errors that are a remote type too."""

    _pickled: bytes

    def __reduce__(self) -> tuple[Any, ...]:
        content = {"ename": self.ename, "evalue": self.evalue, "traceback": self.traceback}
        info = self.engine_info
        place = (info.get("engine_id"), info.get("task"), info.get("method"))
        notes = {"__notes__": self.__notes__} if hasattr(self, "__notes__") else {}
        return rebuild, (content, [self._pickled], *place), notes


def _fuse(original: Exception, pickled: bytes, told: tuple[Any, ...]) -> RemoteError:
    remote: Any = type(original)
    fused = _fused_type(remote)
    error: _Fused = fused.__new__(fused, *original.args)
    _copy_state(original, error)
    error.describe(*told)
    error._pickled = pickled  # noqa: SLF001 - a class of this module
    return error


@functools.lru_cache(maxsize=256)
def _fused_type(remote: type[Exception]) -> type[_Fused]:
    # The error may come from an engine's own client, and be one of these already.
    bases = (remote,) if issubclass(remote, _Fused) else (_Fused, remote)
    name = "Remote" + remote.__name__.removeprefix("Remote")
    # The remote type may have properties of these names.
    told_later = dict.fromkeys(("ename", "evalue", "traceback", "engine_info"))
    return type(name, bases, {"__module__": __name__, "__doc__": remote.__doc__, **told_later})


def _copy_state(source: Exception, target: Exception) -> None:
    """Copy attributes, also those that live outside ``__dict__`` (``OSError.errno``, slots)."""
    target.args = source.args
    for kind in type(source).__mro__:
        if kind is BaseException:
            break
        for name, descriptor in vars(kind).items():
            if isinstance(descriptor, _DESCRIPTORS) and not name.startswith("__"):
                with suppress(AttributeError):
                    setattr(target, name, getattr(source, name))
    vars(target).update(vars(source))
