"""Where the names of a function that came in a message lead: code travels, data does not.

A function defined interactively runs with the namespace it arrives in as its globals. What it needs
of modules, functions and classes comes with it and is *injected* there; plain data never comes.

The functions `make_function`, `fill_function`, `make_cell`, `fill_cell` and `make_cached` appear by
name in pickles. `Unpickler` finds them in whatever package this module was loaded from, and hands
them the `Scope` they work in.
"""

from __future__ import annotations

import builtins
import functools
import importlib
import linecache
import os
import pickle
import sys
import types
from dataclasses import dataclass, field
from io import BytesIO
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, MutableMapping, Sequence

#: Public name of this package, as pickles spell it, and its name when sent as source.
ENGINE = ("ipyviews.engine", "_ipyviews_engine")
CLOUDPICKLE = ("cloudpickle", "_ipyviews_cloudpickle")

#: This package, under whatever name it was loaded.
HERE = __name__.rpartition(".")[0]

#: Pickles up to this size [bytes] are worth a look at what is in them.
SMALL_PICKLE = 1024

_PROTOCOL_5 = pickle.PROTO + b"\x05"

_ABSENT = object()


class NameClash(RuntimeError):
    """Two clients sent different code under one name."""


@dataclass(slots=True)
class Scope:
    """A namespace that functions arrive in, and what was injected there by whom."""

    #: Globals of the functions that arrive.
    names: MutableMapping[str, Any]
    #: Who sends what is being unpickled now.
    client: str = ""
    injected: dict[str, tuple[Any, str]] = field(default_factory=dict)
    #: Clients that left: what they sent stays, for anybody to replace.
    gone: set[str] = field(default_factory=set)
    #: Names of data that functions use, which stayed where they came from.
    left_behind: set[str] = field(default_factory=set)
    #: How often something came with a function, or was looked up here. [count]
    injections: int = 0
    #: Functions by their pickles, as long as to load one again would make the same.
    functions: dict[bytes, Any] = field(default_factory=dict)

    def let_go(self, client: str) -> None:
        """Note that a client has left; from any thread."""
        owners = {owner for _, owner in list(self.injected.values())}
        self.gone = (self.gone | {client}) & owners

    def inject(self, name: str, value: Any) -> None:
        """Put a name there unless the user has one of his own.

        Raises
        ------
        NameClash
            When another client's different code has that name.
        """
        self.injections += 1
        present = self.names.get(name, _ABSENT)
        known, owner = self.injected.get(name, (_ABSENT, ""))
        if present is not _ABSENT and present is not known:
            return
        is_rival = present is not _ABSENT and owner != self.client and owner not in self.gone
        if is_rival and not same_code(known, value):
            raise NameClash(
                f"'{name}' on this engine came with a function of client {owner}, and client "
                f"{self.client} now sends another one: rename it, or let go of the old one with "
                f"view.execute('del {name}')"
            )
        # In this order: an interrupt in between leaves no value that looks like the user's own.
        self.injected[name] = (value, self.client)
        self.names[name] = value


def same_code(one: Any, other: Any) -> bool:
    """Tell whether two injected things are the same program text."""
    if one is other:
        return True
    if callable(one) and type(one).__module__ == "__main__":
        state = getattr(one, "__dict__", {}), getattr(other, "__dict__", {})
        return same_code(type(one), type(other)) and _same_dict(*state)
    if type(one) is not type(other):
        return False
    if isinstance(one, types.FunctionType):
        return one.__code__ == other.__code__ and _same_all(
            one.__defaults__ or (), other.__defaults__ or ()
        )
    if isinstance(one, type):
        return one.__qualname__ == other.__qualname__ and _same_dict(_body(one), _body(other))
    if isinstance(one, functools.partial):
        return same_code(one.func, other.func) and _same_all(one.args, other.args)
    inner = getattr(one, "__wrapped__", getattr(one, "__func__", None))
    if inner is not None:
        return same_code(inner, getattr(other, "__wrapped__", getattr(other, "__func__", None)))
    return _equal(one, other)


def _body(cls: type) -> dict[str, Any]:
    # What every class statement makes anew says nothing about the text.
    skipped = {"__dict__", "__weakref__", "__module__", "_abc_impl", "__doc__"}
    slots = types.MemberDescriptorType, types.GetSetDescriptorType
    return {
        name: value
        for name, value in vars(cls).items()
        if name not in skipped and not isinstance(value, slots)
    }


def _same_dict(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return one.keys() == other.keys() and all(same_code(one[k], other[k]) for k in one)


def _same_all(one: Iterable[Any], other: Iterable[Any]) -> bool:
    return len(a := list(one)) == len(b := list(other)) and all(map(same_code, a, b))


def _equal(one: Any, other: Any) -> bool:
    try:
        return bool(one == other)
    except Exception:  # noqa: BLE001 - arrays and other users' classes may refuse
        return False


def make_function(
    scope: Scope, code: types.CodeType, name: str, closure: tuple[types.CellType, ...] | None
) -> types.FunctionType:
    """Make a function whose globals are the scope's; `fill_function` follows."""
    names: dict[str, Any] = scope.names  # type: ignore[assignment]
    return types.FunctionType(code, names, name, None, closure)


def fill_function(scope: Scope, function: types.FunctionType, state: dict[str, Any]) -> None:
    """Set what may refer back to the function itself, and inject the names it needs."""
    for name, value in state["attributes"].items():
        setattr(function, name, value)
    function.__dict__.update(state["dict"])
    for module in state["submodules"]:
        _import(module)
    for name, module in state["modules"].items():
        scope.inject(name, _module_for(scope, name, module))
    for name, value in state["code"].items():
        scope.inject(name, value)
    scope.left_behind.update(state["data"])
    if state["source"] is not None:
        _remember_source(*state["source"])


def _module_for(scope: Scope, name: str, module: str) -> Any:
    # A name the user has set here needs no import, which might fail.
    present = scope.names.get(name, _ABSENT)
    if present is not _ABSENT and present is not scope.injected.get(name, (_ABSENT, ""))[0]:
        return present
    return _import(module)


def _import(module: str) -> types.ModuleType:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise _not_here(error) from None


def _not_here(error: ModuleNotFoundError) -> ModuleNotFoundError:
    missing = (error.name or "").partition(".")[0]
    remedy = (
        "Install it here, or use another pickler, e.g. view.use_pickle()"
        if missing == "dill"
        else "Install it here, or define the function in the notebook, or send a module of your "
        f"own with view.use_local('{missing}')"
    )
    return ModuleNotFoundError(
        f"{error.msg}: what was sent needs it, and it cannot be imported here. {remedy}",
        name=error.name,
    )


def _remember_source(file: str, first: int, lines: list[str]) -> None:
    """Let tracebacks show the lines of a notebook cell that is not here."""
    entry = linecache.cache.get(file)
    known = list(entry[2]) if entry is not None and len(entry) == 4 else []
    known += ["\n"] * (first - 1 + len(lines) - len(known))
    known[first - 1 : first - 1 + len(lines)] = lines
    linecache.cache[file] = (sum(map(len, known)), None, known, file)


def make_cell(scope: Scope) -> types.CellType:
    """Make an empty closure cell; `fill_cell` follows unless it stays empty."""
    del scope
    return types.CellType()


def fill_cell(scope: Scope, cell: types.CellType, state: tuple[Any]) -> None:
    """Set what a closure variable holds."""
    del scope
    cell.cell_contents = state[0]


def make_cached(
    scope: Scope, function: Callable[..., Any], maxsize: int | None, typed: bool
) -> Callable[..., Any]:
    """Wrap a function as `functools.lru_cache` does; the cache starts empty."""
    del scope
    return functools.lru_cache(maxsize, typed)(function)


def make_dispatcher(scope: Scope, function: Callable[..., Any]) -> Any:
    """Wrap a function as `functools.singledispatch` does; `fill_dispatcher` follows."""
    del scope
    return functools.singledispatch(function)


def fill_dispatcher(scope: Scope, function: Any, state: list[tuple[type, Any]]) -> None:
    """Register the implementations, which may call the function itself."""
    del scope
    for kind, implementation in state:
        function.register(kind, implementation)


def make_view(scope: Scope, buffer: Any, element: Any, shape: tuple[int, ...]) -> Any:
    """Give a memoryview its form back."""
    del scope
    return memoryview(buffer).cast("B").cast(element, shape)


@dataclass(frozen=True)
class Reference:
    """A name on the engines: what it means there takes its place when it arrives.

    Parameters
    ----------
    name
        A name or any expression, evaluated in the engine's namespace.

    Raises
    ------
    TypeError
        `name` is not a text.

    Examples
    --------
    >>> Reference("data[0]")
    <Reference: 'data[0]'>
    >>> dv["data"] = [3, 4]
    >>> dv.apply_sync(pow, Reference("data[0]"), 2)
    [9, 9, 9, 9]
    """

    name: str

    def __post_init__(self) -> None:
        if not isinstance(self.name, str):
            raise TypeError(f"illegal name: {self.name!r}; a Reference is to a name, as str")

    def __call__(self, *_args: Any, **_kwargs: Any) -> Any:
        """Views take it for a function; here it is none."""
        raise TypeError(f"{self!r} means something on engines only: give it to a view's apply()")

    def __repr__(self) -> str:
        return f"<Reference: {self.name!r}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return Reference, (self.name,)


def resolve(scope: Scope, name: str) -> Any:
    """Evaluate what a `Reference` that has arrived refers to."""
    scope.injections += 1
    return evaluate(name, scope.names)


def evaluate(expression: str, names: MutableMapping[str, Any]) -> Any:
    """Evaluate one expression; a missing name is told as such."""
    if expression in names:
        return names[expression]
    space: dict[str, Any] = names  # type: ignore[assignment]
    try:
        return eval(expression, space)  # noqa: S307 - running the user's code is what engines do
    except NameError as error:
        missing = error.name or expression
        raise NameError(f"name '{missing}' is not defined on this engine", name=missing) from None


def load_pickled(scope: Scope, data: Any, *buffers: Any) -> Any:
    """Unpickle what was pickled beforehand."""
    return loads(data, scope, buffers)


#: By type of what arrived: what makes the object of it, given the namespace too.
uncan_map: dict[type, Callable[[Any, MutableMapping[str, Any]], Any]] = {}


def uncan_object(scope: Scope, canned: Any) -> Any:
    """Make the object that `canned` travelled for."""
    make = uncan_map.get(type(canned))
    return canned.get_object(scope.names) if make is None else make(canned, scope.names)


#: What pickles name, and what is called instead, with the scope.
RECONSTRUCTORS: dict[str, Callable[..., Any]] = {
    "Reference": resolve,
    **{
        function.__name__: function
        for function in (
            make_function,
            fill_function,
            make_cell,
            fill_cell,
            make_cached,
            make_dispatcher,
            fill_dispatcher,
            make_view,
            load_pickled,
            uncan_object,
        )
    },
}


class Unpickler(pickle.Unpickler):
    """Loads what clients and engines send each other."""

    def __init__(self, data: Any, scope: Scope, buffers: Iterable[Any] = ()) -> None:
        super().__init__(BytesIO(data), buffers=buffers)
        self.scope = scope

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        """Find a global; our own modules and cloudpickle's wherever they are here."""
        own = _relocate(module_name, ENGINE, HERE)
        if own is not None:
            if own == __name__ and global_name in RECONSTRUCTORS:
                return functools.partial(RECONSTRUCTORS[global_name], self.scope)
            module_name = own
        elif global_name == "__main__" and module_name in ("__builtin__", "builtins"):
            # What dill calls the namespace of the session.
            return self.scope.names
        elif _relocate(module_name, CLOUDPICKLE, "") is not None:
            module_name = str(_relocate(module_name, CLOUDPICKLE, cloudpickle().__name__))
        try:
            return super().find_class(module_name, global_name)
        except ModuleNotFoundError as error:
            raise _not_here(error) from None


def _relocate(module: str, names: tuple[str, str], package: str) -> str | None:
    """Rename a module below one of `names` to lie below `package`; None when it lies elsewhere."""
    for name in names:
        if module == name or module.startswith(name + "."):
            return package + module[len(name) :]
    return None


def loads(data: Any, scope: Scope, buffers: Sequence[Any] = ()) -> Any:
    """Unpickle in a scope; `buffers` are the out-of-band ones in order."""
    if not buffers and names_nothing(data):
        return pickle.loads(data)
    return Unpickler(data, scope, buffers).load()


def names_nothing(data: Any) -> bool:
    """Tell whether a pickle surely has no global name in it: the stock unpickler does the same."""
    head = bytes(data[:SMALL_PICKLE])
    return len(data) <= SMALL_PICKLE and head[:2] == _PROTOCOL_5 and pickle.STACK_GLOBAL not in head


@functools.cache
def cloudpickle() -> types.ModuleType:
    """Import cloudpickle, the installed one if it is recent enough, else the one that was sent.

    Raises
    ------
    ModuleNotFoundError
        If there is neither.
    """
    for name in CLOUDPICKLE:
        try:
            module = _import_installed(name)
        except ModuleNotFoundError:
            continue
        # Before 3.0 what pickles name was in another module.
        if hasattr(module.cloudpickle, "_function_setstate"):
            return module
    raise ModuleNotFoundError("cloudpickle 3.0 or newer is not installed", name="cloudpickle")


def find_modules_here() -> None:
    """Let imports look in the folder one works in, where IPython puts it: before what is installed.

    Engines that are executed start without (``-P``), so that nothing in it runs before they do.
    """
    is_wanted = getattr(sys.flags, "safe_path", False) and not os.environ.get("PYTHONSAFEPATH")
    if is_wanted and "" not in sys.path:
        folders = (i for i, place in enumerate(sys.path) if place.endswith("-packages"))
        sys.path.insert(next(folders, len(sys.path)), "")


def _import_installed(name: str) -> types.ModuleType:
    """Import a module, but not what has its name in the folder one works in."""
    places = sys.path[:]
    sys.path[:] = filter(None, places)
    try:
        return importlib.import_module(name)
    finally:
        sys.path[:] = places


def explain_missing(error: NameError, scope: Scope) -> None:
    """Tell in a NameError for a global name how to send plain data."""
    names = scope.names
    name, trace = error.name, error.__traceback__
    if isinstance(error, UnboundLocalError) or not name or trace is None:
        return
    while trace.tb_next is not None:
        trace = trace.tb_next
    if trace.tb_frame.f_globals is names and name not in names and not hasattr(builtins, name):
        sentence = f"name '{name}' is not defined on this engine"
        if name in scope.left_behind:
            sentence += (
                ". Plain data does not travel with a function: send it first with "
                f"view['{name}'] = {name}, or view.push(dict({name}={name}))"
            )
        error.args = (sentence,)


def implementation() -> str:
    """Name this Python as it matters to code objects, ``"cpython-3.11"``."""
    return f"{sys.implementation.name}-{sys.version_info.major}.{sys.version_info.minor}"
