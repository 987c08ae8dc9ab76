"""Pickles of functions that are called again and again: made anew only when they would differ.

What the pickle of an interactive function depends on is looked at for each call: a changed closure
variable, default value or global name is always seen. Where that cannot be told at little cost, as
with a function that uses another one, nothing is remembered.
"""

from __future__ import annotations

import pickle
import sys
from types import BuiltinFunctionType, CellType, CodeType, FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

from ipyviews.engine import names, pickling

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Types whose objects never change and, when they are equal, pickle alike.
_FIXED = frozenset({int, bool, str, bytes, type(None)})

#: Users may say how objects of any type travel; these are what functions are made of.
_PARTS = {FunctionType, CodeType, CellType, BuiltinFunctionType}

#: So many functions are remembered [count], with what they hold; none of a larger pickle [bytes].
_MOST = 64
_MOST_BYTES = 64 * 1024

# By the id of the code, which the state keeps alive: a lambda is made anew for each call.
_known: dict[int, tuple[Any, bytes, bool]] = {}


def dumps(function: Any) -> tuple[bytes, bool]:
    """Pickle a function by the stock method; see `ipyviews.engine.pickling.dumps`.

    Returns
    -------
    pickle : bytes
    by_value : bool
        True when only the same Python minor version can load it.
    """
    if type(function) not in _PARTS or not _PARTS.isdisjoint(pickling.can_map):
        return _dumps(function)
    if _goes_by_name(function):
        return pickle.dumps(function, 5), False
    state = None
    if type(function) is FunctionType:
        state = _simple_state(function) or _state(function)
    if state is None:
        return _dumps(function)
    known = _known.get(id(function.__code__))
    if known is None or known[0] != state:
        known = (state, *_dumps(function))
        if len(known[1]) <= _MOST_BYTES:
            if len(_known) >= _MOST:
                _known.clear()
            _known[id(function.__code__)] = known
    return known[1:]


def _dumps(function: Any) -> tuple[bytes, bool]:
    data, _, by_value = pickling.dumps(function, in_band=True)
    return data, by_value


def _goes_by_name(function: Any) -> bool:
    module = sys.modules.get(function.__module__ or "")
    if module is None or function.__module__ == "__main__":
        return False
    if names.cloudpickle().list_registry_pickle_by_value():
        return False
    return getattr(module, function.__qualname__, None) is function


def _simple_state(function: FunctionType) -> tuple[Any, ...] | None:
    """Return the same, in little time, of one that uses its arguments only; else None."""
    code = function.__code__
    loaded, _ = pickling.global_names(code)
    if (
        function.__closure__
        or function.__defaults__
        or function.__kwdefaults__
        or function.__annotations__
        or function.__dict__
        or not pickling.is_interactive(function)
        # Not the other way round: that would look at each name of the notebook.
        or not function.__globals__.keys().isdisjoint(loaded)
    ):
        return None
    names_of = (function.__name__, function.__qualname__, function.__module__, function.__doc__)
    return code, names_of, getattr(function, "__type_params__", ())


def _state(function: FunctionType) -> tuple[Any, ...] | None:
    """Return what the pickle depends on, comparable; None when that is not so simple."""
    if not pickling.is_interactive(function) or function.__dict__:
        return None
    travelling = pickling.needed(function)
    if not all(type(value) is ModuleType for value in travelling.values()):
        return None
    try:
        values = [cell.cell_contents for cell in function.__closure__ or ()]
    except ValueError:
        return None
    values += [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
    values += function.__annotations__.values()
    if not all(type(value) in _FIXED or _is_builtin(value) for value in values):
        return None
    loaded, mentioned = pickling.global_names(function.__code__)
    return (
        function.__code__,
        function.__name__,
        function.__qualname__,
        function.__module__,
        function.__doc__,
        len(function.__closure__ or ()),
        len(function.__defaults__ or ()),
        tuple(function.__kwdefaults__ or ()),
        tuple(function.__annotations__),
        [(type(value), value) for value in values],
        getattr(function, "__type_params__", ()),
        loaded & function.__globals__.keys(),
        travelling,
        list(_submodules(travelling.values(), mentioned)),
    )


def _is_builtin(value: Any) -> bool:
    return type(value) is type and value.__module__ == "builtins"


def _submodules(modules: Iterable[ModuleType], mentioned: set[str]) -> Iterable[str]:
    for module in modules:
        if sys.modules.get(module.__name__) is module:
            yield from pickling.submodules(module.__name__, mentioned)
