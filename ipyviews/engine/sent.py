"""Makes modules out of source that came in a message.

This file is run on engines where ipyviews (or cloudpickle) is not installed, before anything else
of ours is there: it imports nothing of ours. The modules it makes are real ones, with a loader and
source lines, so tracebacks and `inspect` work.
"""

from __future__ import annotations

import importlib.abc
import importlib.util
import linecache
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from importlib.machinery import ModuleSpec
    from types import CodeType, ModuleType


class SentModules(importlib.abc.MetaPathFinder, importlib.abc.InspectLoader):
    """Finds and loads the modules given as a mapping of full name to source."""

    def __init__(self, sources: Mapping[str, str]) -> None:
        self.sources = sources
        for name, source in sources.items():
            file = self._file(name)
            linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)

    def _file(self, name: str) -> str:
        return f"<sent> {name}"

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Answer for the modules that were sent, and for no others."""
        del path, target
        if fullname not in self.sources:
            return None
        spec = importlib.util.spec_from_loader(
            fullname, self, origin=self._file(fullname), is_package=self.is_package(fullname)
        )
        if spec is not None:
            # Gives the module a __file__, without which inspect.getsource fails.
            spec.has_location = True
        return spec

    def get_source(self, fullname: str) -> str:
        """Return the text of a module."""
        return self.sources[fullname]

    def get_code(self, fullname: str) -> CodeType:
        """Compile a module."""
        return compile(self.sources[fullname], self._file(fullname), "exec", dont_inherit=True)

    def is_package(self, fullname: str) -> bool:
        """Tell whether other sent modules lie below this one."""
        return any(name.startswith(fullname + ".") for name in self.sources)


def join(sources: Mapping[str, str], package: str, version: str, name: str) -> str:
    """Load the sent engine extension unless this very version is loaded, and join under `name`."""
    loaded = sys.modules.get(f"{package}.version")
    if getattr(loaded, "VERSION", None) != version:
        _unload(package)
        _unload("ipyviews.engine")
        for module in [m for m in sys.modules if m in sources]:
            del sys.modules[module]
        # First, so that a file of the same name in the kernel's folder does not win.
        sys.meta_path.insert(0, SentModules(sources))
    engine: Any = import_module(package)
    report: str = engine.join(name)
    return report


def _unload(extension: str) -> None:
    from IPython import get_ipython  # noqa: PLC0415 - clients read this file without IPython

    shell: Any = get_ipython()
    if extension in shell.extension_manager.loaded:
        shell.extension_manager.unload_extension(extension)
