"""Modules whose source came with a call, because the client's user is editing them.

They are real modules under their own names, so what refers to them by name works, and instances of
their classes are instances on both sides. A new version is run in the module object of the old one,
as `importlib.reload` does.
"""

from __future__ import annotations

import importlib
import linecache
import sys
from typing import TYPE_CHECKING, Any

from .sent import SentModules

if TYPE_CHECKING:
    from collections.abc import Mapping
    from importlib.machinery import ModuleSpec
    from types import ModuleType


class LocalModules(SentModules):
    """Finds and loads the modules that clients sent in their newest version."""

    def __init__(self) -> None:
        super().__init__({})
        self._versions: dict[str, str] = {}
        self._files: dict[str, str] = {}
        self._earlier: dict[str, ModuleType] = {}

    def install(self, root: str, version: str, modules: Mapping[str, tuple[str, str]]) -> None:
        """Make a package importable from what was sent, unless this version of it is."""
        if self._versions.get(root) == version:
            return
        if self not in sys.meta_path:
            # First: what was sent wins over a file in the engine's folder.
            sys.meta_path.insert(0, self)
        loaded = [name for name in sys.modules if _is_within(name, root)]
        for name in loaded:
            self._unload(name)
        kept = {n: text for n, text in self.sources.items() if not _is_within(n, root)}
        self._files |= {name: file for name, (file, _) in modules.items()}
        self.sources = kept | {name: text for name, (_, text) in modules.items()}
        for file, text in modules.values():
            linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
        # Names that lead to these modules are all over the engine: they mean the new version now.
        for name in loaded:
            if name in modules:
                importlib.import_module(name)
        self._versions[root] = version

    def _unload(self, name: str) -> None:
        module = self._earlier[name] = sys.modules.pop(name)
        parent, _, last = name.rpartition(".")
        # Else `from . import name` would find it there and not run it again.
        if vars(self._earlier.get(parent, module)).get(last) is module:
            delattr(self._earlier[parent], last)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Use the module of the version before, which other modules may hold."""
        return self._earlier.get(spec.name)

    def _file(self, name: str) -> str:
        return self._files[name]


def _is_within(name: str, root: str) -> bool:
    return name == root or name.startswith(root + ".")


_here = LocalModules()


def install(root: str, version: str, modules: Mapping[str, tuple[str, str]]) -> None:
    """Take the source of a package: by module name, the file it is in on the client, and text."""
    _here.install(root, version, modules)


def accompanied(_installed: Any, value: Any) -> Any:
    """Return what came after the source it needs."""
    return value


def find(module: str, qualified_name: str) -> Any:
    """Return what is called so in a module now."""
    found: Any = importlib.import_module(module)
    for part in qualified_name.split("."):
        found = getattr(found, part)
    return found
