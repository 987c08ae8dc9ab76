"""Which view answers to which magics in a shell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast
from weakref import WeakKeyDictionary

from IPython.core.getipython import get_ipython

from ipyviews.errors import UsageError
from ipyviews_magics.autopx import AutoPx
from ipyviews_magics.px import PxMagics

if TYPE_CHECKING:
    from collections.abc import Callable

    from IPython.core.interactiveshell import InteractiveShell

    from ipyviews.client.views import View
    from ipyviews_magics.px import AnyView


class Registry:
    """The sets of magics of one shell, by suffix."""

    def __init__(self, shell: InteractiveShell) -> None:
        self._shell = shell
        self._autopx = AutoPx(shell, self.is_ours)

    def register(
        self,
        suffix: str,
        view: Callable[[], AnyView],
        known: Callable[[], AnyView | None] | None = None,
    ) -> PxMagics:
        """Bind ``%px<suffix>`` and its relatives to a view; the last one to bind a suffix has it.

        Parameters
        ----------
        suffix
            What follows ``px`` in the names.
        view
            Called at each use.
        known
            Gives the view if that starts nothing; `view` does so if None.

        Returns
        -------
        PxMagics
            The set that now has the names.

        Raises
        ------
        UsageError
            When the names are not possible, or would hide a magic that is not of this suffix.
        """
        if not f"px{suffix}".isidentifier():
            raise UsageError(
                f"{suffix!r} cannot end the name of a magic; use letters, digits and _."
            )
        magics = PxMagics(self._shell, suffix, view, self._autopx, known)
        for kind, name, _ in magics.names():
            self._check_free(kind, name, suffix)
        older = [entry for entry in magics.older_names() if self._is_free(*entry[:2], suffix)]
        for kind, name, function in magics.names() + older:
            self._shell.magics_manager.register_function(function, kind, name)
        return magics

    def is_ours(self, name: str) -> bool:
        """Tell whether a magic of this name belongs to one of our sets."""
        return any(self._owner(kind, name) is not None for kind in ("line", "cell"))

    def _owner(self, kind: str, name: str) -> PxMagics | None:
        owner = getattr(self._find(kind, name), "__self__", None)
        return owner if isinstance(owner, PxMagics) else None

    def _find(self, kind: str, name: str) -> Any:
        return self._shell.magics_manager.magics[kind].get(name)

    def _is_free(self, kind: str, name: str, suffix: str) -> bool:
        owner = self._owner(kind, name)
        return self._find(kind, name) is None or (owner is not None and owner.suffix == suffix)

    def _check_free(self, kind: str, name: str, suffix: str) -> None:
        if self._is_free(kind, name, suffix):
            return
        raise UsageError(
            f"the suffix {suffix!r} would hide the magic %{name}; "
            f"choose another, such as '_{suffix}'."
        )


_registries: WeakKeyDictionary[InteractiveShell, Registry] = WeakKeyDictionary()


def registry_of(shell: InteractiveShell) -> Registry:
    """Return the registry of a shell, made at its first use."""
    if shell not in _registries:
        _registries[shell] = Registry(shell)
    return _registries[shell]


def activate(view: View, suffix: str = "") -> None:
    """Make a view answer to ``%px<suffix>``, ``%%px<suffix>``, ``%pxresult<suffix>`` and so on.

    Raises
    ------
    UsageError
        Outside IPython, or when the suffix would hide another magic.
    """
    shell = get_ipython()
    if shell is None:
        raise UsageError("magics need IPython; call the view's own methods here.")
    runs_cells = cast("AnyView", view)
    registry_of(shell).register(suffix, lambda: runs_cells).follow(view)
