"""To bytes: values, and functions with the code they need but never its data.

Used by clients for what they send and by engines for what they return. cloudpickle does most of it;
what differs is here: functions of ``__main__`` carry the *names* they use instead of a copy of
their globals, closures keep sharing their cells, and caches travel empty.
"""

from __future__ import annotations

import dis
import functools
import linecache
import pickle
import sys
import types
import weakref
from io import BytesIO
from typing import TYPE_CHECKING, Any, cast

from . import names

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Buffers below this size [bytes] stay in the pickle: a frame of their own costs more.
OUT_OF_BAND_LIMIT = 8192

#: At most this many source lines of a function travel with it, for tracebacks.
SOURCE_LIMIT = 400

#: Exact types whose pickles cannot refer to code, and containers of them up to this length.
PLAIN = frozenset({int, float, complex, bool, str, bytes, type(None)})
PLAIN_LENGTH = 16

#: Classes this process sent by value: what comes back under their identity is not a new version.
sent_classes: weakref.WeakSet[type] = weakref.WeakSet()

_LOADS = frozenset({"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"})
_names_of: weakref.WeakKeyDictionary[types.CodeType, tuple[set[str], set[str]]] = (
    weakref.WeakKeyDictionary()
)


def global_names(code: types.CodeType) -> tuple[set[str], set[str]]:
    """Return the global names that code loads, nested code included, and all names it mentions."""
    known = _names_of.get(code)
    if known is not None:
        return known
    loaded = {i.argval for i in dis.get_instructions(code) if i.opname in _LOADS}
    mentioned = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            inner_loaded, inner_mentioned = global_names(constant)
            loaded |= inner_loaded
            mentioned |= inner_mentioned
    _names_of[code] = (loaded, mentioned)
    return loaded, mentioned


def is_interactive(function: types.FunctionType) -> bool:
    """Tell whether a function was defined in ``__main__``: its globals are not a file's."""
    return function.__globals__.get("__name__") == "__main__"


def is_code(value: Any) -> bool:
    """Tell whether a global's value is program rather than data."""
    if _is_of_shell(value):
        return False
    if isinstance(value, type | functools.partial | types.GenericAlias | types.UnionType):
        return True
    if type(value).__module__ == "typing":
        return True
    return callable(value) and isinstance(getattr(value, "__name__", None), str)


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


def _submodules(module: str, mentioned: set[str]) -> Iterator[str]:
    """Find loaded submodules that are reached as attributes (``concurrent.futures``)."""
    if not hasattr(sys.modules[module], "__path__"):
        return
    for name in mentioned:
        if f"{module}.{name}" in sys.modules:
            yield f"{module}.{name}"
            yield from _submodules(f"{module}.{name}", mentioned)


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
    """What our pickler does differently; `pickler_class` puts it in front of cloudpickle's."""

    #: Set once something was pickled that only the same Python version can load.
    by_value = False

    def reducer_override(self, value: Any) -> Any:
        """Reduce functions, cells, caches and classes; leave the rest to cloudpickle."""
        kind = type(value)
        if kind is types.FunctionType and is_interactive(value):
            return self._reduce_function(value)
        if kind is types.CellType:
            return _reduce_cell(value)
        if kind is functools._lru_cache_wrapper and not _is_importable(value):  # noqa: SLF001
            settings = value.cache_parameters()
            arguments = value.__wrapped__, settings["maxsize"], settings["typed"]
            return names.make_cached, arguments, value.__dict__
        if kind is types.CodeType:
            self.by_value = True
        reduced = cast("Any", super()).reducer_override(value)
        # Only a class by value is reduced to all six parts.
        if isinstance(value, type) and reduced is not NotImplemented and len(reduced) == 6:
            self.by_value = True
            sent_classes.add(value)
        return reduced

    def _reduce_function(self, function: types.FunctionType) -> Any:
        self.by_value = True
        travelling = needed(function)
        modules = {
            name: value.__name__
            for name, value in travelling.items()
            if isinstance(value, types.ModuleType) and sys.modules.get(value.__name__) is value
        }
        _, mentioned = global_names(function.__code__)
        state = {
            "attributes": _attributes(function),
            "dict": function.__dict__,
            "modules": modules,
            "submodules": [s for m in modules.values() for s in _submodules(m, mentioned)],
            "code": {n: v for n, v in travelling.items() if n not in modules},
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


def _is_importable(value: Any) -> bool:
    module = sys.modules.get(value.__module__)
    if module is None or value.__module__ == "__main__":
        return False
    found: Any = module
    for part in value.__qualname__.split("."):
        found = getattr(found, part, None)
    return found is value


@functools.cache
def pickler_class() -> Any:
    """Return our pickler on top of whichever cloudpickle is here."""
    return type("Pickler", (Reducers, names.cloudpickle().Pickler), {})


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


def dumps(value: Any, *, in_band: bool = False) -> tuple[bytes, list[memoryview], bool]:
    """Pickle a value.

    Parameters
    ----------
    value
        Anything.
    in_band
        Keep large buffers in the pickle, too.

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

    file = BytesIO()
    pickler = pickler_class()(file, 5, None if in_band else keep_in_band)
    pickler.dump(value)
    return file.getvalue(), buffers, pickler.by_value
