"""Tab and Shift-Tab in code that is to run on engines: the engine's names, not this process's.

The first engine that would run the code is asked, in the way of `ipyviews.client.inspection`. When
it does not answer soon, or nothing is connected yet, the names of this process are all there is.
"""

from __future__ import annotations

import re
from contextlib import suppress
from inspect import isawaitable
from typing import TYPE_CHECKING, Any, NamedTuple

from IPython.core.completer import SimpleCompletion, SimpleMatcherResult, context_matcher
from IPython.core.error import UsageError

from ipyviews.client import inspection
from ipyviews.client.progress import is_watched
from ipyviews.errors import IPyViewsError
from ipyviews_magics.autopx import AutoPx
from ipyviews_magics.px import PxMagics
from ipyviews_magics.targets import parse_targets

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from IPython.core.completer import CompletionContext
    from IPython.core.interactiveshell import ExecutionResult, InteractiveShell

    from ipyviews.client.answers import Answer
    from ipyviews.client.inspection import Told
    from ipyviews.client.session import Session

    #: Asks an engine about code with a cursor in it.
    Ask = Callable[[Session, int, str, int], Answer[Told]]

#: Longest wait for an engine [s]. JupyterLab shows nothing that comes after 1 s, and the names of
#: this process are still to be found then.
LIMIT_S = 0.7

MATCHER = "ipyviews.engine_matcher"

_CELL = re.compile(r"\s*%%(?P<name>\w+)[ \t]*(?P<options>.*)\n")
#: Also ``x = %px ...``.
_LINE = re.compile(r"[ \t]*(?:[^=%]*=[ \t]*)?%(?P<name>\w+)[ \t]+")


class Typed(NamedTuple):
    """Code behind a magic, and the cursor in it [characters]."""

    kind: str
    magic: str
    #: What follows the name of a cell magic.
    options: str
    code: str
    cursor: int


def behind_magic(text: str, cursor: int) -> Typed | None:
    r"""Take the magic off the code in which the cursor is; None when there is no such magic.

    Examples
    --------
    >>> behind_magic("%%px -t 1\nx = a\nb", 15)
    Typed(kind='cell', magic='px', options='-t 1', code='x = a\nb', cursor=5)
    >>> behind_magic("a = 1\n%px_even  foo.b", 20)
    Typed(kind='line', magic='px_even', options='', code='foo.b', cursor=4)
    >>> behind_magic("%%px -t 1\nx = a\nb", 5)
    """
    cell = _CELL.match(text)
    if cell is not None and cursor >= cell.end():
        code = text[cell.end() :]
        return Typed("cell", cell["name"], cell["options"].strip(), code, cursor - cell.end())
    start = text.rfind("\n", 0, cursor) + 1
    line = _LINE.match(text[start:].partition("\n")[0])
    if line is not None and cursor >= start + line.end():
        code = line.string[line.end() :]
        return Typed("line", line["name"], "", code, cursor - start - line.end())
    return None


class EngineNames:
    """What engines know of the code that is typed in a shell.

    Parameters
    ----------
    shell
        Where it is typed.
    """

    def __init__(self, shell: InteractiveShell) -> None:
        self._shell = shell
        #: Questions without an answer, by client and engine.
        self._asked: dict[tuple[str, int], Answer[Told]] = {}
        #: Clients whose engine was asked before anybody pressed Tab.
        self._ready: set[str] = set()

    def match(self, context: CompletionContext) -> SimpleMatcherResult:
        """Find what an engine would put at the cursor; a matcher of IPython."""
        nothing = SimpleMatcherResult(completions=[], suppress=False)
        found = self._ask(*_whole_cell(self._shell, context), inspection.complete)
        if found is None:
            return nothing
        typed, told = found
        start, end = told.get("cursor_start"), told.get("cursor_end")
        if type(start) is not int or type(end) is not int or not 0 <= start <= typed.cursor <= end:
            return nothing
        # IPython replaces nothing behind the cursor.
        tail = typed.code[typed.cursor : end]
        kinds = _kinds(told)
        return SimpleMatcherResult(
            completions=[
                SimpleCompletion(str(match).removesuffix(tail), type=kinds.get(match))
                for match in told.get("matches") or ()
            ],
            matched_fragment=typed.code[start : typed.cursor],
            ordered=True,
            suppress=True,
        )

    def inspect(self, text: str, cursor: int, detail_level: int) -> dict[str, Any] | None:
        """Return an ``inspect_reply`` of an engine that knows the name at the cursor."""

        def ask(client: Session, engine: int, code: str, place: int) -> Answer[Told]:
            return inspection.inspect(client, engine, code, place, detail_level=detail_level)

        found = self._ask(text, cursor, ask)
        return found[1] if found is not None and found[1].get("found") else None

    def after_cell(self, result: ExecutionResult) -> None:
        """Let an engine load its completer while the first of its cells is read by somebody.

        That takes it most of a second, in which the first Tab would find nothing. A callback of
        IPython; nobody waits for the answer.
        """
        text = f"{getattr(result.info, 'raw_cell', None) or ''}\n"
        with suppress(IPyViewsError, UsageError):
            typed = behind_magic(*self._sent(text, len(text)))
            target = None if typed is None or not is_watched() else self._engine(typed)
            if target is not None and target[0].connection.session not in self._ready:
                self._ready.add(target[0].connection.session)
                inspection.complete(*target, "a", 1)

    def _ask(self, text: str, cursor: int, ask: Ask) -> tuple[Typed, dict[str, Any]] | None:
        text, cursor = self._sent(text, cursor)
        typed = behind_magic(text, cursor)
        try:
            target = None if typed is None else self._engine(typed)
            if typed is None or target is None:
                return None
            told = self._answer(*target, ask, typed)
        except (IPyViewsError, UsageError, KeyboardInterrupt):
            # Whoever presses Tab wants no sentence about it, and Ctrl-C ends the wait only.
            return None
        return None if told is None else (typed, told)

    def _sent(self, text: str, cursor: int) -> tuple[str, int]:
        """Return the cell as ``%autopx`` would have it."""
        lines = text.splitlines(keepends=True)
        for transformer in self._shell.input_transformers_cleanup:
            if isinstance(transformer, AutoPx):
                lines = transformer(lines)
        sent = "".join(lines)
        if len(sent) > len(text) and sent.endswith(text):
            return sent, cursor + len(sent) - len(text)
        return text, cursor

    def _engine(self, typed: Typed) -> tuple[Session, int] | None:
        """Return a client and the first of its engines that would run the code."""
        magics = px_magics(self._shell, typed.kind, typed.magic)
        view = None if magics is None else magics.view_in_use()
        if magics is None or view is None or view.client.connection.failure is not None:
            return None
        client: Session = view.client
        targets = view.targets
        if typed.kind == "cell":
            said = magics.options.read(magics.px_cell, typed.options).targets
            targets = targets if said is None else parse_targets(said, client.ids)
        engines = client.resolve(targets)
        if not engines:
            return None
        return client, min(engines) if view.is_balanced else engines[0]

    def _answer(self, client: Session, engine: int, ask: Ask, typed: Typed) -> Told:
        self._asked = {who: answer for who, answer in self._asked.items() if not answer.done()}
        who = client.connection.session, engine
        if who in self._asked:
            # Nobody shall wait again and again for an engine that does not answer.
            return None
        answer = self._asked[who] = ask(client, engine, typed.code, typed.cursor)
        return answer.result() if answer.wait(LIMIT_S) else None


def px_magics(shell: InteractiveShell, kind: str, name: str) -> PxMagics | None:
    """Return the set whose magic of this kind (line or cell) and name runs code on engines."""
    # IPython's own way to find it is not typed.
    magic = shell.magics_manager.magics[kind].get(name)
    magics = getattr(magic, "__self__", None)
    is_one = isinstance(magics, PxMagics) and name == f"px{magics.suffix}"
    return magics if is_one else None


def install(shell: InteractiveShell) -> None:
    """Let Tab and Shift-Tab in a shell ask engines first; may be called again."""
    matchers = shell.Completer.custom_matchers
    if any(getattr(matcher, "matcher_identifier", None) == MATCHER for matcher in matchers):
        return
    names = EngineNames(shell)

    def engine_matcher(context: CompletionContext) -> SimpleMatcherResult:
        return names.match(context)

    # First of all: when it finds something the others need not run.
    declare: Any = context_matcher(identifier=MATCHER, priority=1000)
    matchers.append(declare(engine_matcher))
    shell.events.register("post_run_cell", names.after_cell)
    kernel = getattr(shell, "kernel", None)
    if hasattr(kernel, "do_inspect"):
        _inspect_there(kernel, names)


def _inspect_there(kernel: Any, names: EngineNames) -> None:
    """Put engines before what a kernel does to inspect: its own way sees a name, not the cell."""
    here = kernel.do_inspect

    async def do_inspect(
        code: str, cursor_pos: int, detail_level: int = 0, omit_sections: Collection[str] = ()
    ) -> Any:
        told = names.inspect(code, cursor_pos, detail_level)
        if told is None:
            told = here(code, cursor_pos, detail_level, omit_sections)
        return await told if isawaitable(told) else told

    kernel.do_inspect = do_inspect


def _whole_cell(shell: InteractiveShell, context: CompletionContext) -> tuple[str, int]:
    """Return all that is typed, and the cursor in it.

    IPython's older way to complete, which kernels may be set to use, sees one line; then the
    request has the cell.
    """
    before = context.full_text.split("\n")[: context.cursor_line]
    cursor = sum(len(line) + 1 for line in before) + context.cursor_position
    kernel: Any = getattr(shell, "kernel", None)
    request = kernel.get_parent("shell") if hasattr(kernel, "get_parent") else {}
    if request.get("header", {}).get("msg_type") == "complete_request":
        code, place = request["content"]["code"], request["content"].get("cursor_pos")
        if place is not None and code[:place].endswith(context.full_text[:cursor]):
            return code, place
    return context.full_text, cursor


def _kinds(told: dict[str, Any]) -> dict[str, str]:
    """Return the types of completions that IPython tells."""
    detailed = (told.get("metadata") or {}).get("_jupyter_types_experimental") or ()
    return {one["text"]: one.get("type") for one in detailed if "text" in one}
