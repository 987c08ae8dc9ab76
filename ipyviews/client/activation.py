"""Where a view finds the magics: they register themselves here when they are loaded."""

from __future__ import annotations

import sys
import warnings
from typing import TYPE_CHECKING, Any

from ipyviews.errors import ClusterError

if TYPE_CHECKING:
    from collections.abc import Callable

    from ipyviews.client.base import View

#: Registers ``%px<suffix>`` and friends for a view; set by the magics' package.
registrar: Callable[[View, str], None] | None = None


def shell() -> Any:
    """Return the IPython shell of this process, or None; never imports IPython."""
    module = sys.modules.get("IPython")
    return None if module is None else module.get_ipython()


def activate(view: View, suffix: str) -> None:
    """Make ``%px<suffix>`` run on `view`; outside IPython only warn."""
    running = shell()
    if running is None:
        warnings.warn("There is no IPython here: no magics were registered.", stacklevel=3)
        return
    if registrar is None:
        running.extension_manager.load_extension("ipyviews")
    if registrar is None:
        raise ClusterError("The magics could not be loaded: %load_ext ipyviews says why.")
    registrar(view, suffix)
