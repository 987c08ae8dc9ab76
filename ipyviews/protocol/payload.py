"""Calls to bytes, and results back: the client's side of pickling.

The function is one pickle; each call's arguments are a pickle of their own, end to end in one
frame, so that the controller cuts by slicing; large buffers are frames. The engine's side, and what
travels with a function, is in `ipyviews.engine.names` and `ipyviews.engine.pickling`. The
controller never imports this module.
"""

from __future__ import annotations

import functools
import importlib.util
import inspect
import pickle
import types
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from ipyviews.engine import dependencies, local, names, pickling
from ipyviews.engine.frames import size_bytes
from ipyviews.errors import UnmetDependency, UsageError
from ipyviews.protocol import functions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    Frame = bytes | bytearray | memoryview

#: How deep and how wide the part that cannot be sent is looked for.
SEARCH_DEPTH = 8
SEARCH_WIDTH = 1000


@dataclass(slots=True)
class Payload:
    """The buffers of an ``apply_request``, and its index."""

    #: One pickle.
    function: bytes
    #: The calls' argument pickles end to end.
    arguments: bytes
    #: For each call: how many bytes of `arguments`, how many of `buffers`.
    index: list[list[int]]
    #: Out-of-band buffers; views of the arguments' own memory.
    buffers: list[Frame]
    #: Only engines of the same Python minor version can load it.
    by_value: bool
    #: Size of what is sent for the calls. [bytes]
    weight: int = field(init=False)

    def __post_init__(self) -> None:
        self.weight = len(self.arguments) + sum(map(size_bytes, self.buffers))


class StaysHere:
    """Base of what makes no sense in another process, so that it is told as such."""

    #: What to do instead.
    _remedy = ""

    def __reduce__(self) -> Any:
        raise UsageError(f"it belongs to the process that made it. {self._remedy}")


class LocalModule(Protocol):
    """A package that is being edited here."""

    #: Its name.
    root: str

    def newest(self) -> tuple[str, str, dict[str, tuple[str, str]]]:
        """Return its name, a text that changes with it, and file and text of each module."""


@dataclass(frozen=True, slots=True)
class Pickling:
    """How a view sends what it sends."""

    #: ``"pickle"``: functions of the notebook run with the engine's names. ``"cloudpickle"``,
    #: ``"dill"``: that package sends them, and they bring the globals they use from here.
    by: pickling.Method = "pickle"
    #: Modules that travel as source because they are being edited here.
    local: tuple[LocalModule, ...] = ()


DEFAULT = Pickling()


def pack_calls(
    function: Callable[..., Any],
    calls: Iterable[tuple[Sequence[Any], Mapping[str, Any]]],
    *,
    how: Pickling = DEFAULT,
) -> Payload:
    """Pickle one function and the arguments of its calls.

    Parameters
    ----------
    function
        Anything callable. Defined in a notebook it travels by value, with the code but not the
        data it uses; defined in a module that engines can import, by name.
    calls
        Positional and keyword arguments of each call.
    how
        By which pickler, and which modules travel as source.

    Returns
    -------
    Payload

    Raises
    ------
    UsageError
        If something cannot be pickled; the sentence names it.

    Examples
    --------
    >>> packed = pack_calls(divmod, [((7, 2), {}), ((9, 4), {})])
    >>> len(packed.index), packed.buffers, packed.by_value
    (2, [], False)
    """
    if not callable(function):
        raise UsageError(f"{function!r} cannot be called: pass a function and then its arguments")
    check_method(how.by)
    data, by_value = _dumps_function(function, how)
    arguments: list[bytes] = []
    index: list[list[int]] = []
    buffers: list[Frame] = []
    for number, (args, kwargs) in enumerate(calls):
        call = tuple(args), dict(kwargs)
        if not kwargs and pickling.PLAIN.issuperset(map(type, call[0])):
            part = pickle.dumps(call, 5)
            arguments.append(part)
            index.append([len(part), 0])
            continue
        blame = functools.partial(_blame, function, call, number)
        part, large, is_code = _dumps(call, blame, how)
        arguments.append(part)
        index.append([len(part), len(large)])
        buffers += large
        by_value |= is_code
    return Payload(data, b"".join(arguments), index, buffers, by_value)


def _dumps_function(function: Callable[..., Any], how: Pickling) -> tuple[bytes, bool]:
    if how is DEFAULT or how == DEFAULT:
        try:
            return functions.dumps(function)
        except Exception:  # noqa: BLE001, S110 - below it is found out what is wrong
            pass
    sent = Accompanied(function, how.local) if how.local else function
    data, _, by_value = _dumps(sent, lambda: (_title(function), function), how, in_band=True)
    return data, by_value


def unpack_result(buffers: Sequence[Frame]) -> Any:
    """Unpickle what an engine returned.

    Parameters
    ----------
    buffers
        ``[result pickle, *out-of-band buffers]``. Writable ones become the memory of the arrays,
        others are copied once, so that arrays are always writable.

    Returns
    -------
    object
        Instances of classes that were sent from here are of those very classes.
    """
    data, *rest = buffers
    if not rest and names.names_nothing(data):
        return pickle.loads(data)
    scope = names.Scope({"__name__": "__main__", "__builtins__": __builtins__})
    return _ResultUnpickler(data, scope, map(_writable, rest)).load()


class _ResultUnpickler(names.Unpickler):
    def find_class(self, module_name: str, global_name: str, /) -> Any:
        found = super().find_class(module_name, global_name)
        if getattr(found, "func", None) is names.resolve:
            return names.Reference
        if found is dependencies.UnmetDependency:
            return UnmetDependency
        if global_name == "_class_setstate":
            return functools.partial(_keep_own_class, found)
        return found


def _keep_own_class(set_state: Callable[[type, Any], type], cls: type, state: Any) -> type:
    # The engine's copy of a class from here must not overwrite the methods of the original.
    return cls if cls in pickling.sent_classes else set_state(cls, state)


def _writable(buffer: Frame) -> Frame:
    return bytearray(buffer) if memoryview(buffer).readonly else buffer


def check_method(by: pickling.Method) -> None:
    """Raise `UsageError` when this pickler is not installed here."""
    if by == "dill" and importlib.util.find_spec("dill") is None:
        raise UsageError(
            "dill is not installed here: pip install dill (on the engines too), or use another "
            "pickler, e.g. view.use_cloudpickle()"
        )


class Accompanied:
    """A value before whose arrival packages are sent as source."""

    def __init__(self, value: Any, modules: Iterable[LocalModule]) -> None:
        self._value = value
        self._sources = [_Source(module.newest()) for module in modules]

    def __reduce__(self) -> tuple[Any, ...]:
        return local.accompanied, (self._sources, self._value)


class _Source:
    def __init__(self, newest: tuple[str, str, dict[str, tuple[str, str]]]) -> None:
        self._newest = newest

    def __reduce__(self) -> tuple[Any, ...]:
        return local.install, self._newest


def _dumps(
    value: Any,
    blame: Callable[[], tuple[str, Any]],
    how: Pickling,
    *,
    in_band: bool = False,
) -> tuple[bytes, list[memoryview], bool]:
    roots = tuple(module.root for module in how.local) if how.local else ()
    try:
        return pickling.dumps(value, in_band=in_band, by=how.by, local=roots)
    except Exception as error:  # noqa: BLE001 - users' classes raise anything
        path, culprit = blame()
        path, culprit, reason = _culprit(path, culprit, set(), 0) or (path, culprit, error)
    what = f"{path} is a {type(culprit).__qualname__}, which cannot be sent to an engine"
    if isinstance(culprit, StaysHere):
        raise UsageError(f"{what}: {reason}") from reason
    raise UsageError(
        f"{what} ({reason}). Make it on the engines instead, inside the function or with execute"
    ) from reason


def _blame(
    function: Callable[..., Any], call: tuple[tuple[Any, ...], dict[str, Any]], number: int
) -> tuple[str, Any]:
    """Find the first argument that does not pickle, and its name."""
    args, kwargs = call
    of = f" of call {number}" if number else ""
    try:
        bound = inspect.signature(function).bind(*args, **kwargs).arguments
        named = {f"argument '{name}'": value for name, value in bound.items()}
    except (TypeError, ValueError):
        named = {f"argument {position}": value for position, value in enumerate(args)}
        named |= {f"argument '{name}'": value for name, value in kwargs.items()}
    for name, value in named.items():
        if _error(value) is not None:
            return name + of, value
    return f"the arguments{of}", call


def _culprit(
    path: str, value: Any, seen: set[int], depth: int
) -> tuple[str, Any, Exception] | None:
    """Find the innermost part of a value that does not pickle: its path, itself, why."""
    reason = _error(value)
    if reason is None or id(value) in seen:
        return None
    seen.add(id(value))
    if depth < SEARCH_DEPTH:
        for _, (part, child) in zip(range(SEARCH_WIDTH), _parts(path, value), strict=False):
            found = _culprit(part, child, seen, depth + 1)
            if found is not None:
                return found
    return path, value, reason


def _error(value: Any) -> Exception | None:
    try:
        pickling.dumps(value)
    except Exception as error:  # noqa: BLE001 - the error is the answer
        return error
    return None


def _parts(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Name the parts of a value that are pickled with it."""
    if isinstance(value, StaysHere):
        return
    if isinstance(value, types.FunctionType):
        yield from _function_parts(value)
    elif isinstance(value, dict):
        yield from ((f"{path}[{key!r}]", item) for key, item in value.items())
    elif isinstance(value, list | tuple | set | frozenset):
        yield from ((f"{path}[{place}]", item) for place, item in enumerate(value))
    elif isinstance(value, functools.partial):
        yield from ((f"{path}.{a}", getattr(value, a)) for a in ("func", "args", "keywords"))
    elif isinstance(value, types.MethodType):
        yield f"the object of {path}", value.__self__
        yield path, value.__func__
    elif isinstance(value, types.CellType):
        yield path, value.cell_contents
    elif isinstance(value, type):
        yield from (
            (f"attribute '{name}' of {value.__qualname__}", item)
            for name, item in vars(value).items()
            if name not in ("__dict__", "__weakref__")
        )
    else:
        yield from (
            (f"{path}.{name}", item) for name, item in getattr(value, "__dict__", {}).items()
        )
        yield f"the class of {path}", type(value)


def _function_parts(function: types.FunctionType) -> Iterator[tuple[str, Any]]:
    title = _title(function)
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            yield f"closure variable '{name}' of {title}", cell.cell_contents
        except ValueError:
            continue
    defaults = function.__defaults__ or ()
    count = function.__code__.co_argcount
    for name, value in zip(
        function.__code__.co_varnames[count - len(defaults) : count], defaults, strict=True
    ):
        yield f"default value of '{name}' of {title}", value
    for name, value in (function.__kwdefaults__ or {}).items():
        yield f"default value of '{name}' of {title}", value
    for name, value in function.__dict__.items():
        yield f"attribute '{name}' of {title}", value
    for name, value in pickling.needed(function).items():
        yield f"'{name}', used by {title},", value


def _title(function: Any) -> str:
    return str(getattr(function, "__name__", None) or type(function).__qualname__)
