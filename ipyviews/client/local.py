"""Modules that are being edited here: their newest source travels with each call."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import tokenize
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ipyviews.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

#: A package of more source than this is hardly being edited [bytes].
MOST_BYTES = 4 * 1024 * 1024


class LocalModule:
    """A module, or a package with all that lies below it.

    Parameters
    ----------
    module
        It, or its name; of a submodule the whole package is meant.

    Raises
    ------
    UsageError
        There is no such module here, or it has no Python source.
    """

    def __init__(self, module: Any) -> None:
        name = getattr(module, "__name__", module)
        if not isinstance(name, str):
            raise UsageError(f"use_local takes modules or their names, not {module!r}")
        #: Name of the top package.
        self.root = name.partition(".")[0]
        self._texts: dict[Path, tuple[tuple[int, int], str]] = {}
        try:
            self._spec = None if self.root == "__main__" else importlib.util.find_spec(self.root)
        except ValueError:
            self._spec = None
        if self._spec is None or not any(True for _ in self._files()):
            raise UsageError(f"there is no module '{self.root}' with Python source here to send")

    def newest(self) -> tuple[str, str, dict[str, tuple[str, str]]]:
        """Return name, a digest, and file and text of each module, as they are on disk now.

        Raises
        ------
        UsageError
            A file is no Python, or there is too much.
        """
        modules = {name: (str(file), self._read(file)) for name, file in sorted(self._files())}
        if sum(len(text) for _, text in modules.values()) > MOST_BYTES:
            raise UsageError(
                f"'{self.root}' has more than {MOST_BYTES >> 20} MiB of source, which would "
                "travel with each call: install it on the engines instead of use_local"
            )
        digest = hashlib.blake2b(repr(modules).encode("utf-8", "surrogatepass"), digest_size=16)
        return self.root, digest.hexdigest(), modules

    def _files(self) -> Iterator[tuple[str, Path]]:
        spec = self._spec
        folders = None if spec is None else spec.submodule_search_locations
        if folders is not None:
            for folder in map(Path, folders):
                for file in folder.rglob("*.py"):
                    parts = [self.root, *file.relative_to(folder).with_suffix("").parts]
                    if all(part.isidentifier() for part in parts):
                        yield ".".join(p for p in parts if p != "__init__"), file
        elif spec is not None and spec.origin is not None and spec.origin.endswith(".py"):
            yield self.root, Path(spec.origin)

    def _read(self, file: Path) -> str:
        found = file.stat()
        stamp = found.st_mtime_ns, found.st_size
        known = self._texts.get(file)
        if known is None or known[0] != stamp:
            with tokenize.open(file) as source:
                text = source.read()
            try:
                ast.parse(text, str(file))
            except SyntaxError as error:
                raise UsageError(
                    f"{file}, line {error.lineno}, as it is now, is no Python and cannot be sent: "
                    f"{error.msg}"
                ) from None
            known = self._texts[file] = stamp, text
        return known[1]
