"""The IPython magics of ipyviews: ``%px`` and its relatives, bound to any view."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ipyviews.client import activation
from ipyviews_magics import completion, pages
from ipyviews_magics.cluster import ClusterMagic
from ipyviews_magics.default import DefaultView
from ipyviews_magics.registry import activate, registry_of
from ipyviews_magics.tracebacks import show_folded

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

activation.registrar = activate


def load_ipython_extension(shell: InteractiveShell) -> None:
    """Register the magics without suffix, unless a view was activated for them before."""
    show_folded(shell)
    completion.install(shell)
    pages.install(shell, lambda name: completion.px_magics(shell, "line", name) is not None)
    registry, default = registry_of(shell), DefaultView()
    if not registry.is_ours("px"):
        registry.register("", default, default.known)
    magic = ClusterMagic(default).run
    shell.magics_manager.register_function(magic, "line", "ipyviews")
