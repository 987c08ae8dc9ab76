"""``with view.sync_imports():`` imports on engines what the block imports here.

Python asks ``builtins.__import__`` for every import. So while any such block runs, a function of
ours is there, for all threads: it looks at who asks, and passes everything on.
"""

from __future__ import annotations

import builtins
import dis
import sys
import threading
import weakref
from types import ModuleType
from typing import TYPE_CHECKING, Any, Self

from ipyviews.engine import verbs
from ipyviews.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType, TracebackType

    from ipyviews.client.directview import DirectView
    from ipyviews.client.results import AsyncResult

_ABSENT = object()


class SyncImports:
    """A block whose imports are made on the engines of a view too; see `DirectView.sync_imports`.

    With a view of an `AsyncClient`, use ``async with``.

    Parameters
    ----------
    view
        Where to.
    local
        Whether they are made here at all.
    quiet
        Whether nothing is printed.
    """

    def __init__(self, view: DirectView, *, local: bool = True, quiet: bool = False) -> None:
        self.view = view
        self.local = local
        self._quiet = quiet
        self._results: list[AsyncResult] = []
        self._before: dict[str, Any] = {}
        #: Of the block, while it runs.
        self.frame: FrameType | None = None

    def __enter__(self) -> Self:
        if not self.view.client.may_block:
            raise UsageError("With an AsyncClient write `async with view.sync_imports():`.")
        return self._begin(sys._getframe(1))  # noqa: SLF001 - the only way to know the block

    def __exit__(
        self,
        kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        for result in self._end(failed=kind is not None):
            result.get()

    async def __aenter__(self) -> Self:
        return self._begin(sys._getframe(1))  # noqa: SLF001 - as above

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        for result in self._end(failed=kind is not None):
            await result

    def __del__(self) -> None:
        # For who enters by hand and never leaves.
        if self.frame is not None:
            _hook.leave(self)

    def imported(self, name: str, names: tuple[str, ...], frame: FrameType) -> ModuleType:
        """Make an import on the engines; returns what stands here for what is not."""
        root = name.partition(".")[0]
        stored = _stored(frame, len(names))
        if names:
            statements = [f"from {name} import {', '.join(names)}"]
            parts = list(zip(names, stored, strict=False))
            statements += [f"from {name} import {n} as {to}" for n, to in parts if n != to]
            told = f"{','.join(_renamed(n, to) for n, to in parts) or '*'} from {name}"
        else:
            # The plain name is there too, for programs that count on it.
            statements = [f"import {name}", *(f"import {name} as {to}" for to in stored)]
            told = _renamed(name, *stored)
        if not self._quiet:
            print(f"importing {told} on engine(s)")  # noqa: T201 - what it is asked to do
        self._results.append(self.view.apply_async(verbs.run_imports, statements))
        if not self.local:
            for to in stored or [root]:
                self._before.setdefault(to, frame.f_globals.get(to, _ABSENT))
        return Elsewhere(name if names else root)

    def _begin(self, frame: FrameType) -> Self:
        self._results, self._before = [], {}
        self.frame = frame
        _hook.enter(self)
        return self

    def _end(self, *, failed: bool) -> list[AsyncResult]:
        _hook.leave(self)
        frame, self.frame = self.frame, None
        # A function's names are its own affair.
        if frame is not None and frame.f_locals is frame.f_globals:
            self._forget_stand_ins(frame.f_globals)
        results, self._results = self._results, []
        return [] if failed else results

    def _forget_stand_ins(self, names: dict[str, Any]) -> None:
        """Leave the block's names as they were: what is not imported here has no name here."""
        for name, before in self._before.items():
            if isinstance(names.get(name), Elsewhere):
                del names[name]
                if before is not _ABSENT:
                    names[name] = before


class Elsewhere(ModuleType):
    """Stands for a module, or a part of one, that was imported on engines only."""

    __all__: tuple[str, ...] = ()

    def __getattr__(self, name: str) -> Elsewhere:
        if name.startswith("__"):
            raise AttributeError(name)
        return Elsewhere(f"{self.__name__}.{name}")

    def __call__(self, *_args: Any, **_kwargs: Any) -> Any:
        """Refuse: it is not here."""
        raise UsageError(f"{self.__name__} was imported on the engines only (local=False).")


class Hook:
    """Puts itself where Python asks for imports, while there is any block."""

    def __init__(self) -> None:
        # Entered again when a block is collected meanwhile.
        self._lock = threading.RLock()
        self._blocks: dict[int, weakref.ref[SyncImports]] = {}
        self._installed: Callable[..., Any] | None = None
        self._original: Callable[..., Any] = builtins.__import__

    def enter(self, block: SyncImports) -> None:
        """Watch the imports of a block."""
        with self._lock:
            self._blocks[id(block.frame)] = weakref.ref(block)
            if builtins.__import__ is not self._installed:
                self._original = builtins.__import__
                self._installed = builtins.__import__ = self._passing_on(self._original)

    def leave(self, block: SyncImports) -> None:
        """Watch it no more; after the last one everything is as it was."""
        with self._lock:
            self._blocks.pop(id(block.frame), None)
            if self._blocks or self._installed is None:
                return
            # What others have put there meanwhile is theirs, and ours passes on.
            if builtins.__import__ is self._installed:
                builtins.__import__ = self._original
            self._installed = None

    def _passing_on(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def importing(
            name: str,
            globals: Any = None,  # noqa: A002 - the names of the original
            locals: Any = None,  # noqa: A002
            fromlist: Any = (),
            level: int = 0,
        ) -> Any:
            frame = sys._getframe(1)  # noqa: SLF001 - as above
            block = self._block_of(frame) if level <= 0 else None
            if block is None:
                return original(name, globals, locals, fromlist, level)
            module = original(name, globals, locals, fromlist, level) if block.local else None
            stand_in = block.imported(name, tuple(fromlist or ()), frame)
            return stand_in if module is None else module

        return importing

    def _block_of(self, frame: FrameType) -> SyncImports | None:
        reference = self._blocks.get(id(frame))
        block = None if reference is None else reference()
        # Ids are used again.
        return block if block is not None and block.frame is frame else None


_hook = Hook()


def _stored(frame: FrameType, count: int) -> list[str]:
    """Return the names that an import under way will set, if they differ from what it says.

    Of ``from x import a as b, c``, `count` 2: ``["b", "c"]``. Of ``import x.y as z``, `count` 0:
    ``["z"]``, and of ``import x.y`` nothing.
    """
    rest = (i for i in dis.get_instructions(frame.f_code) if i.offset > frame.f_lasti)
    found: list[str] = []
    is_dotted_alias = False
    for step in rest:
        if step.opname == "IMPORT_FROM":
            is_dotted_alias = True
        elif step.opname.startswith("STORE_"):
            found.append(step.argval if isinstance(step.argval, str) else step.argval[0])
            if len(found) >= count:
                break
        elif step.opname not in ("SWAP", "POP_TOP", "EXTENDED_ARG", "CACHE", "ROT_TWO"):
            break
    if count or is_dotted_alias:
        return found
    asked = next(i for i in dis.get_instructions(frame.f_code) if i.offset == frame.f_lasti)
    return [name for name in found if name != str(asked.argval).partition(".")[0]]


def _renamed(name: str, to: str = "") -> str:
    return f"{name} as {to}" if to and to != name else name
