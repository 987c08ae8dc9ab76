"""What a function requires of the engine it runs on.

A `dependent` is asked before it is called; where it says no, the task has not run, and the reply
says ``unmet``.
"""

from __future__ import annotations

import functools
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from . import verbs

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


class UnmetDependency(Exception):
    """What a task requires is not there on this engine."""


class dependent:  # noqa: N801 - a name of the seeds
    """A function that runs only where another one does not say False.

    Parameters
    ----------
    f
        What is to run.
    df
        Called there first, as ``df(*dargs, **dkwargs)``. False, and nothing else that counts as
        false, means that `f` is not to run there; raising an error named ``UnmetDependency`` too.
    dargs, dkwargs
        Arguments of `df`.

    Examples
    --------
    >>> root = dependent(lambda x: x**0.5, lambda: True)
    >>> root.check_dependency()
    >>> root(9)
    3.0
    """

    def __init__(
        self, f: Callable[..., Any], df: Callable[..., Any], /, *dargs: Any, **dkwargs: Any
    ) -> None:
        self.f = f
        self.df = df
        self.dargs = dargs
        self.dkwargs = dkwargs
        self.__name__ = str(getattr(f, "__name__", type(f).__name__))
        self.__doc__ = getattr(f, "__doc__", None)

    def check_dependency(self) -> None:
        """Raise `UnmetDependency` unless what it depends on is here."""
        found = self.df(*self.dargs, **self.dkwargs)
        if self.df is provide:
            _lend(self.f, found)
        if found is False:
            name = getattr(self.df, "__name__", type(self.df).__name__)
            raise UnmetDependency(f"{name} said False")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function itself; the dependency is not asked."""
        return self.f(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<dependent {self.__name__}>"


def check(function: Any) -> None:
    """Ask what a function depends on, also inside partial functions and one in the other.

    Raises
    ------
    UnmetDependency
        It is not here.
    """
    if isinstance(function, dependent):
        function.check_dependency()
        check(function.f)
    elif isinstance(function, functools.partial):
        for part in (function.func, *function.args):
            check(part)


def is_unmet(error: BaseException) -> bool:
    """Tell whether an error says so; the class may be another package's of the same name."""
    return type(error).__name__ == UnmetDependency.__name__


def _lend(function: Any, found: Mapping[str, Any]) -> None:
    """Give names to a function too that another pickler has sent, with globals of its own."""
    while isinstance(function, dependent):
        function = function.f
    space = getattr(function, "__globals__", {})
    if space.get("__name__") == "__main__":
        for name, value in found.items():
            space.setdefault(name, value)


def provide(modules: Sequence[str], values: Mapping[str, Any]) -> dict[str, Any]:
    """Import modules into the engine's namespace, set names there, and return them all.

    Raises
    ------
    UnmetDependency
        With the name of a module that cannot be imported.
    """
    for module in modules:
        try:
            import_module(module)
        except ImportError:
            raise UnmetDependency(module) from None
    roots = {module.partition(".")[0] for module in modules}
    found = {**{root: sys.modules[root] for root in sorted(roots)}, **values}
    verbs.push(found)
    return found
