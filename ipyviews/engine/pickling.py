"""To bytes: values, and functions with the code they need but never its data.

Used by clients for what they send and by engines for what they return. cloudpickle does most of it;
what differs is here: functions of ``__main__`` carry the *names* they use instead of a copy of
their globals, closures keep sharing their cells, and caches travel empty.
"""

from __future__ import annotations

import dis
import enum
import functools
import linecache
import operator
import pickle
import sys
import types
import typing
import weakref
from importlib import import_module
from io import BytesIO
from typing import TYPE_CHECKING, Any, Literal, cast

from . import local, names

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    Method = Literal["pickle", "cloudpickle", "dill"]

#: Buffers below this size [bytes] stay in the pickle: a frame of their own costs more.
OUT_OF_BAND_LIMIT = 8192

#: At most this many source lines of a function travel with it, for tracebacks.
SOURCE_LIMIT = 400

#: Exact types whose pickles cannot refer to code, and containers of them up to this length.
PLAIN = frozenset({int, float, complex, bool, str, bytes, type(None)})
PLAIN_LENGTH = 16

#: Longer texts are data.
SMALL_TEXT = 200

#: Classes this process sent by value: what comes back under their identity is not a new version.
sent_classes: weakref.WeakSet[type] = weakref.WeakSet()

#: By exact type: what makes the picklable thing that travels instead. On the other side its
#: ``get_object(namespace)``, or what `names.uncan_map` has for its type, gives the object back.
can_map: dict[type, Callable[[Any], Any]] = {}

#: Classes whose instances are program, callable or not.
_CODE = (
    type,
    functools.partial,
    types.GenericAlias,
    types.UnionType,
    operator.attrgetter,
    operator.itemgetter,
    operator.methodcaller,
)

#: Element types of memoryviews that arrive as such.
_FORMATS = frozenset("bBhHiIlLqQnNfdc?")

_LOADS = frozenset({"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"})
#: So much code is remembered. [count]
_MOST_CODE = 1000

# By the id of the code, which is kept alive with it: hashing code takes longer than all else here.
_names_of: dict[int, tuple[types.CodeType, set[str], set[str]]] = {}


def global_names(code: types.CodeType) -> tuple[set[str], set[str]]:
    """Return the global names that code loads, nested code included, and all names it mentions."""
    known = _names_of.get(id(code))
    if known is not None:
        return known[1:]
    loaded = {i.argval for i in dis.get_instructions(code) if i.opname in _LOADS}
    mentioned = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            inner_loaded, inner_mentioned = global_names(constant)
            loaded |= inner_loaded
            mentioned |= inner_mentioned
    if len(_names_of) >= _MOST_CODE:
        _names_of.clear()
    _names_of[id(code)] = (code, loaded, mentioned)
    return loaded, mentioned


def is_interactive(function: types.FunctionType) -> bool:
    """Tell whether a function was defined in ``__main__``: its globals are not a file's."""
    return function.__globals__.get("__name__") == "__main__"


def is_code(value: Any) -> bool:
    """Tell whether a global's value is program rather than data."""
    if _is_of_shell(value):
        return False
    if isinstance(value, _CODE):
        return True
    if type(value).__module__ == "typing":
        return True
    return callable(value) and (_is_named(value) or _is_like_a_function(value))


def _is_named(value: Any) -> bool:
    return isinstance(getattr(value, "__name__", None), str)


def _is_like_a_function(value: Any) -> bool:
    """Tell whether a callable object of the notebook holds no data worth the name."""
    state = getattr(value, "__dict__", None)
    if type(value).__module__ != "__main__" or state is None:
        return False
    return all(_is_small(part) or (callable(part) and _is_named(part)) for part in state.values())


def _is_small(value: Any) -> bool:
    is_text = type(value) in (str, bytes)
    return type(value) in PLAIN and (not is_text or len(value) <= SMALL_TEXT)


def _is_of_shell(value: Any) -> bool:
    """Tell whether IPython put it there, as it does on every engine (``get_ipython``, ``open``)."""
    owner = type(getattr(value, "__self__", None)).__module__
    home = getattr(value, "__globals__", {}).get("__name__", "")
    return owner.startswith(("IPython.", "ipykernel.")) or home == "IPython.core.interactiveshell"


def needed(function: types.FunctionType) -> dict[str, Any]:
    """Return the global names that must travel with a function, and their values."""
    loaded, _ = global_names(function.__code__)
    found = {name: function.__globals__[name] for name in loaded if name in function.__globals__}
    return {
        name: value
        for name, value in sorted(found.items())
        if isinstance(value, types.ModuleType) or is_code(value)
    }


def submodules(module: str, mentioned: set[str]) -> Iterator[str]:
    """Find loaded submodules that are reached as attributes (``concurrent.futures``)."""
    if not hasattr(sys.modules[module], "__path__"):
        return
    for name in mentioned:
        if f"{module}.{name}" in sys.modules:
            yield f"{module}.{name}"
            yield from submodules(f"{module}.{name}", mentioned)


def _source(code: types.CodeType) -> tuple[str, int, list[str]] | None:
    """Return file name, first line number and lines of a function typed into a cell or prompt."""
    lines = linecache.getlines(code.co_filename)
    last = code.co_firstlineno
    pending = [code]
    while pending:
        current = pending.pop()
        last = max([last, *(line for _, _, line in current.co_lines() if line)])
        pending += [c for c in current.co_consts if isinstance(c, types.CodeType)]
    first = code.co_firstlineno
    if not lines or last > len(lines) or last - first > SOURCE_LIMIT:
        return None
    return code.co_filename, first, lines[first - 1 : last]


class Reducers:
    """What our picklers do differently; `pickler_class` puts it in front of another's."""

    #: Set once something was pickled that only the same Python version can load.
    by_value = False
    #: Packages whose source travels with what is pickled.
    local: Collection[str] = ()

    def reducer_override(self, value: Any) -> Any:
        """Reduce what travels in a way of its own; leave the rest to the other pickler."""
        kind = type(value)
        if kind in can_map:
            return names.uncan_object, (can_map[kind](value),)
        if kind is memoryview:
            return _reduce_view(value)
        if kind is types.CodeType or (kind is PrePickled and value.by_value):
            self.by_value = True
        if self.local and _is_outdated(value, self.local):
            return local.find, (value.__module__, value.__qualname__)
        return self.reduce_code(value, kind)

    def reduce_code(self, value: Any, kind: type) -> Any:
        """Reduce functions and classes as the other pickler does."""
        del kind
        reduced = getattr(super(), "reducer_override", _leave)(value)
        # Only a class by value is reduced to all six parts.
        if isinstance(value, type) and reduced is not NotImplemented and len(reduced) == 6:
            self.by_value = True
            sent_classes.add(value)
            slots = vars(value).get("__slots__")
            if slots and not isinstance(value, enum.EnumMeta):
                # Set afterwards, as cloudpickle does, they would make no slots.
                reduced[1][3]["__slots__"] = slots
        return reduced


class NameReducers(Reducers):
    """Functions of ``__main__`` carry the names they use instead of a copy of their globals."""

    def reduce_code(self, value: Any, kind: type) -> Any:
        """Reduce functions, their cells and caches; leave the rest."""
        if kind is types.FunctionType and is_interactive(value):
            return self._reduce_function(value)
        if kind is types.CellType:
            return _reduce_cell(value)
        if kind in _BY_PARTS and not _is_importable(value):
            return _BY_PARTS[kind](value)
        if kind is types.FunctionType and value.__code__ is _DISPATCHER:
            return _reduce_dispatcher(value)
        return super().reduce_code(value, kind)

    def _reduce_function(self, function: types.FunctionType) -> Any:
        self.by_value = True
        travelling = needed(function)
        modules = {
            name: value.__name__
            for name, value in travelling.items()
            if isinstance(value, types.ModuleType) and sys.modules.get(value.__name__) is value
        }
        loaded, mentioned = global_names(function.__code__)
        state = {
            "attributes": _attributes(function),
            "dict": function.__dict__,
            "modules": modules,
            "submodules": [s for m in modules.values() for s in submodules(m, mentioned)],
            "code": {n: v for n, v in travelling.items() if n not in modules},
            "data": sorted(loaded & function.__globals__.keys() - travelling.keys()),
            "source": _source(function.__code__),
        }
        made = function.__code__, function.__name__, function.__closure__
        return names.make_function, made, state, None, None, names.fill_function


def _attributes(function: types.FunctionType) -> dict[str, Any]:
    found = {
        "__qualname__": function.__qualname__,
        "__module__": function.__module__,
        "__defaults__": function.__defaults__,
        "__kwdefaults__": function.__kwdefaults__,
        "__doc__": function.__doc__,
        "__annotations__": function.__annotations__,
        "__type_params__": getattr(function, "__type_params__", ()),
    }
    return {name: value for name, value in found.items() if value not in (None, {}, ())}


def _reduce_cell(cell: types.CellType) -> Any:
    # In two steps, so that a function may be in its own closure and cells stay shared.
    try:
        contents = cell.cell_contents
    except ValueError:
        return names.make_cell, ()
    return names.make_cell, (), (contents,), None, None, names.fill_cell


def _reduce_cached(function: Any) -> Any:
    settings = function.cache_parameters()
    arguments = function.__wrapped__, settings["maxsize"], settings["typed"]
    return names.make_cached, arguments, function.__dict__


def _reduce_cached_property(found: Any) -> Any:
    # Its lock, which Python 3.11 has, stays here.
    return functools.cached_property, (found.func,), {"attrname": found.attrname}


def _reduce_dispatching_method(found: Any) -> Any:
    # Its cache of weak references, which Python 3.13 has, stays here.
    return functools.singledispatchmethod, (found.func,), {"dispatcher": found.dispatcher}


def _reduce_new_type(made: Any) -> Any:
    return typing.NewType, (made.__name__, made.__supertype__), {"__module__": made.__module__}


#: Kinds of things that neither go by name when a notebook made them, nor as a whole.
_BY_PARTS: dict[type, Callable[[Any], Any]] = {
    functools._lru_cache_wrapper: _reduce_cached,  # noqa: SLF001
    functools.cached_property: _reduce_cached_property,
    functools.singledispatchmethod: _reduce_dispatching_method,
    typing.NewType: _reduce_new_type,
}

#: The code that all functions made by `functools.singledispatch` share.
_DISPATCHER = cast("Any", functools.singledispatch(len)).__code__


def _reduce_dispatcher(function: Any) -> Any:
    if _is_importable(function):
        return NotImplemented
    implementations = [(kind, made) for kind, made in function.registry.items()]
    return (
        names.make_dispatcher,
        (function.__wrapped__,),
        implementations,
        None,
        None,
        names.fill_dispatcher,
    )


def _is_importable(value: Any) -> bool:
    module = sys.modules.get(getattr(value, "__module__", None) or "")
    if module is None or value.__module__ == "__main__" or not hasattr(value, "__qualname__"):
        return False
    found: Any = module
    for part in value.__qualname__.split("."):
        found = getattr(found, part, None)
    return found is value


def _leave(_value: Any) -> Any:
    return NotImplemented


def _reduce_view(view: memoryview) -> Any:
    # Only what cast() can undo keeps its form.
    if view.contiguous and view.format in _FORMATS and view.nbytes:
        return names.make_view, (pickle.PickleBuffer(view), view.format, view.shape)
    return memoryview, (view.tobytes(),)


def _is_outdated(value: Any, packages: Collection[str]) -> bool:
    """Tell whether a newer version of this function or class has taken its name in its module."""
    module = getattr(value, "__module__", None)
    if not isinstance(module, str) or module.partition(".")[0] not in packages:
        return False
    if isinstance(value, types.FunctionType):
        # A decorated function may bear the name of the one inside it.
        named = value.__code__.co_qualname == value.__qualname__ and "<" not in value.__qualname__
    else:
        named = isinstance(value, type) and "<" not in value.__qualname__
    return named and not _is_importable(value)


@functools.cache
def pickler_class(by: Method = "pickle") -> Any:
    """Return our pickler on top of dill's or of whichever cloudpickle is here."""
    if by == "dill":
        return type("Pickler", (Reducers, import_module("dill").Pickler), {})
    reducers = NameReducers if by == "pickle" else Reducers
    return type("Pickler", (reducers, names.cloudpickle().Pickler), {})


class PrePickled:
    """An object that is pickled once, now, and can be sent many times.

    Parameters
    ----------
    obj
        Anything that can be sent. Later changes of it are not noticed.

    Examples
    --------
    >>> table = PrePickled(list(range(1000)))
    >>> dv.apply_sync(len, table)
    [1000, 1000, 1000, 1000]
    """

    def __init__(self, obj: Any) -> None:
        data, buffers, self.by_value = dumps(obj)
        self._frames = [pickle.PickleBuffer(data), *map(_copy, buffers)]

    def __call__(self, *_args: Any, **_kwargs: Any) -> Any:
        """Views take it for a function; here it is none."""
        raise TypeError("a PrePickled object is unpickled on engines: give it to a view's apply()")

    def load(self, scope: names.Scope) -> Any:
        """Unpickle it in a scope."""
        return names.load_pickled(scope, *[memoryview(frame) for frame in self._frames])

    def __reduce__(self) -> tuple[Any, ...]:
        return names.load_pickled, tuple(self._frames)


def _copy(buffer: memoryview) -> pickle.PickleBuffer:
    return pickle.PickleBuffer(bytearray(buffer))


def is_plain(value: Any, depth: int = 4) -> bool:
    """Tell, at little cost, whether the stock pickler will do."""
    kind = type(value)
    if kind in PLAIN:
        return True
    if not depth or kind not in (tuple, list, dict) or len(value) > PLAIN_LENGTH:
        return False
    if kind is dict and not all(is_plain(key, depth - 1) for key in value):
        return False
    return all(is_plain(item, depth - 1) for item in (value.values() if kind is dict else value))


def dumps(
    value: Any,
    *,
    in_band: bool = False,
    by: Method = "pickle",
    local: Collection[str] = (),
) -> tuple[bytes, list[memoryview], bool]:
    """Pickle a value.

    Parameters
    ----------
    value
        Anything.
    in_band
        Keep large buffers in the pickle, too.
    by
        Which pickler; see `NameReducers` for what the stock one cannot do.
    local
        Packages whose source travels along.

    Returns
    -------
    pickle : bytes
    buffers : list of memoryview
        Out-of-band buffers, flat views of the value's own memory.
    by_value : bool
        True when only the same Python minor version can load it.
    """
    if is_plain(value):
        return pickle.dumps(value, 5), [], False
    buffers: list[memoryview] = []

    def keep_in_band(buffer: pickle.PickleBuffer) -> bool:
        view = buffer.raw()
        if view.nbytes < OUT_OF_BAND_LIMIT:
            return True
        buffers.append(view)
        return False

    options = {"recurse": True} if by == "dill" else {}
    file = BytesIO()
    pickler = pickler_class(by)(
        file, protocol=5, buffer_callback=None if in_band else keep_in_band, **options
    )
    pickler.local = local
    pickler.dump(value)
    return file.getvalue(), buffers, pickler.by_value
