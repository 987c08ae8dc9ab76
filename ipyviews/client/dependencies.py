"""What tasks of a load-balanced view depend on: other tasks, and what is there on an engine.

`Dependency` says which tasks have to end first (the flags ``after`` and ``follow``); `depend` and
`require` say on which engines a function can run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

from ipyviews.client.session import WrongType
from ipyviews.engine.dependencies import dependent, provide
from ipyviews.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

#: What may be a dependency besides a result.
_MANY = (str, Mapping, list, tuple, set, frozenset)

__all__ = ["Dependency", "depend", "dependent", "require"]


class Dependency(set[str]):
    """Tasks that have to end before another can run.

    Parameters
    ----------
    dependencies
        Ids of tasks or results, one or several, both mixed; or the dict of `as_dict`.
    all
        Whether all of them count, or any one.
    success, failure
        Which ends count: that it succeeded, that it failed, or either.

    Raises
    ------
    TypeError
        Something is neither an id nor a result.
    ValueError
        Neither `success` nor `failure`.

    Examples
    --------
    >>> Dependency(["a-1.0", "a-2.0"], all=False).check(completed={"a-2.0"})
    True
    >>> Dependency("a-1.0").unreachable(completed=(), failed={"a-1.0"})
    True
    """

    def __init__(
        self,
        dependencies: Any = (),
        all: bool = True,  # noqa: A002 - a name of the seeds
        success: bool = True,
        failure: bool = False,
    ) -> None:
        if isinstance(dependencies, Mapping):
            known = dependencies
            all, success, failure = (  # noqa: A001
                known.get(name, default)
                for name, default in (("all", all), ("success", success), ("failure", failure))
            )
            dependencies = known.get("dependencies", known.get("msg_ids", ()))
        if not success and not failure:
            raise UsageError("Must depend on at least one of successes or failures!")
        #: Whether all of them count, or any one.
        self.all = bool(all)
        #: Whether success counts.
        self.success = bool(success)
        #: Whether failure counts.
        self.failure = bool(failure)
        super().__init__(_ids(dependencies))

    def check(self, completed: Iterable[str], failed: Iterable[str] | None = None) -> bool:
        """Tell whether it is met.

        Parameters
        ----------
        completed, failed
            The tasks that have ended so far, by their end.
        """
        if not self:
            return True
        wanted = set(completed if self.success else ()).union(failed or () if self.failure else ())
        return self <= wanted if self.all else not self.isdisjoint(wanted)

    def unreachable(self, completed: Iterable[str], failed: Iterable[str] | None = None) -> bool:
        """Tell whether it can never be met; parameters as for `check`."""
        if not self:
            return False
        wrong = set(() if self.success else completed).union(() if self.failure else failed or ())
        return not self.isdisjoint(wrong) if self.all else self <= wrong

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain data, of which it can be made again."""
        return {
            "dependencies": sorted(self),
            "all": self.all,
            "success": self.success,
            "failure": self.failure,
        }

    def as_message(self) -> dict[str, Any]:
        """Return it as docs/protocol.md has it."""
        known = self.as_dict()
        return {"tasks": known.pop("dependencies"), **known}

    def __repr__(self) -> str:
        flags = f"all={self.all}, success={self.success}, failure={self.failure}"
        return f"{type(self).__name__}({sorted(self)}, {flags})"


def _ids(dependencies: Any) -> set[str]:
    if isinstance(dependencies, str):
        return {dependencies}
    # Asked for once: a result makes the list each time.
    names = getattr(dependencies, "msg_ids", None)
    if names is not None:
        return set(names)
    found: set[str] = set()
    for one in dependencies:
        if isinstance(one, str):
            found.add(one)
        elif (names := getattr(one, "msg_ids", None)) is not None:
            found.update(names)
        else:
            raise WrongType(
                f"Invalid dependency: {one!r}; a task is named by its id, or by its result"
            )
    return found


def as_dependency(value: Any) -> Dependency | None:
    """Read a value of the flags ``after`` and ``follow``.

    Raises
    ------
    UsageError
        It is none; a ValueError.
    """
    if value is None or isinstance(value, Dependency):
        return value
    if not hasattr(value, "msg_ids") and not isinstance(value, _MANY):
        raise _invalid(value)
    try:
        return Dependency(value)
    except TypeError:
        raise _invalid(value) from None


def _invalid(value: Any) -> UsageError:
    return UsageError(
        f"Invalid dependency: {value!r}; give the id of a task, a result, a Dependency, or a "
        "collection of ids and results"
    )


def depend(
    _wrapped: Callable[..., Any], /, *args: Any, **kwargs: Any
) -> Callable[[Callable[..., Any]], dependent]:
    """Decorate a function to run only on engines where another function does not say False.

    Parameters
    ----------
    _wrapped
        Called on the engine first, as ``_wrapped(*args, **kwargs)``. False, or an error named
        ``UnmetDependency``, means not there: the task goes to another engine.
    args, kwargs
        Its arguments.

    Returns
    -------
    callable
        The decorator; it makes a `dependent`.

    Raises
    ------
    ImpossibleDependency
        By the result, when no engine is left that could run it. On a direct view the answer of
        its engine is final: `UnmetDependency`.

    Examples
    --------
    >>> @depend(lambda name: name in globals(), "gpu")
    ... def train():
    ...     return "trained"
    """
    return lambda f: dependent(f, _wrapped, *args, **kwargs)


def require(*objects: Any, **mapping: Any) -> Callable[[Callable[..., Any]], dependent]:
    """Decorate a function to run only on engines that have some modules, and bring names along.

    Parameters
    ----------
    objects
        Modules, or their names: imported into the engine's namespace; an engine that cannot is
        passed by. Functions: set there under their own names.
    mapping
        Any other objects, by the names they are to have there.

    Returns
    -------
    callable
        The decorator; it makes a `dependent`.

    Raises
    ------
    UsageError
        An object has no name of its own; a TypeError too.
    ImpossibleDependency
        By the result, as for `depend`.

    Examples
    --------
    >>> @require("statistics", level=3)
    ... def mean(values):
    ...     return statistics.mean(values) + level
    """
    modules: list[str] = []
    values: dict[str, Any] = {}
    for one in objects:
        if isinstance(one, ModuleType):
            modules.append(one.__name__)
        elif isinstance(one, str):
            modules.append(one)
        elif isinstance(one, FunctionType | dependent):
            values[one.__name__] = one
        else:
            raise WrongType(
                f"require takes modules, names of modules and functions, not {one!r}: give other "
                "objects by keyword, require(name=object)"
            )
    return depend(provide, modules, {**values, **mapping})
