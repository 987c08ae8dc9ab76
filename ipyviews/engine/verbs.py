"""Functions that views call on engines; they exist there under whatever name this package has.

Pickles name them (``from ipyviews.engine import verbs``), so they work on engines without
ipyviews and on other Python versions.
"""

from __future__ import annotations

import inspect
from importlib import import_module
from typing import TYPE_CHECKING, Any

from .names import evaluate

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence


def _namespace() -> dict[str, Any]:
    from IPython import get_ipython  # noqa: PLC0415 - clients import this without IPython

    shell: Any = get_ipython()
    names: dict[str, Any] = shell.user_ns
    return names


def clear() -> None:
    """Empty the engine's namespace, as the magic ``%reset`` does."""
    from IPython import get_ipython  # noqa: PLC0415 - clients import this without IPython

    shell: Any = get_ipython()
    shell.reset(new_session=False)


def push(values: Mapping[str, Any]) -> None:
    """Set names in the engine's namespace.

    Parameters
    ----------
    values
        Name to value; a dotted name sets an attribute of what its first part names.

    Raises
    ------
    NameError
        If the first part of a dotted name is missing here.
    """
    names = _namespace()
    for name, value in values.items():
        target, _, attribute = name.rpartition(".")
        if target:
            setattr(evaluate(target, names), attribute, value)
        else:
            names[name] = value


def pull(expressions: str | Sequence[str]) -> Any:
    """Evaluate expressions, names as a rule, in the engine's namespace.

    Parameters
    ----------
    expressions
        One text, or several.

    Returns
    -------
    object or list
        The value, or a list of them as long as `expressions`.

    Raises
    ------
    NameError
        If a name is missing here.
    """
    names = _namespace()
    if isinstance(expressions, str):
        return evaluate(expressions, names)
    return [evaluate(expression, names) for expression in expressions]


def need(module: str) -> None:
    """Raise unless a module can be imported here.

    Raises
    ------
    ModuleNotFoundError
        It can't.
    """
    import_module(module)


def run_imports(statements: Sequence[str]) -> None:
    """Run import statements in the engine's namespace.

    Raises
    ------
    ImportError
        If something cannot be imported here.
    """
    names = _namespace()
    for statement in statements:
        exec(statement, names)  # noqa: S102 - running the user's code is what engines do


def map_items(function: Callable[..., Any], *sequences: Sequence[Any]) -> Any:
    """Call a function for each item of the sequences, which are one engine's part of a map.

    Returns
    -------
    list
        Its values, as many as the shortest sequence has items; awaitable if it is async.
    """
    calls = zip(*sequences, strict=False)
    if inspect.iscoroutinefunction(function):
        return _await_each(function, calls)
    return [function(*items) for items in calls]


async def _await_each(
    function: Callable[..., Awaitable[Any]], calls: Iterable[tuple[Any, ...]]
) -> list[Any]:
    return [await function(*items) for items in calls]
