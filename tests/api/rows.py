"""Which statements about the API have a test: ``python tests/api/rows.py``.

The statements are in ``rows.toml``; tests name them with ``pytest.mark.row``, as a decorator, in
``pytestmark``, or in ``pytest.param(marks=…)``. Exits with 1 if a row has neither a test nor a
reason, or a test names a row that there is not.
"""

from __future__ import annotations

import ast
import sys
import textwrap
import tomllib
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

TESTS = Path(__file__).parent.parent
ROWS = Path(__file__).with_name("rows.toml")
FIELDS = {"text", "overridden", "reason"}


@dataclass(frozen=True, slots=True)
class Account:
    """What the rows are and which tests hold them."""

    rows: dict[str, dict[str, str]]
    #: Row id to the files, with lines, whose tests name it.
    tests: dict[str, list[str]]
    #: What is wrong with the marks and the rows themselves.
    faults: list[str]

    @property
    def missing(self) -> list[str]:
        return [name for name, row in self.rows.items() if not self.has(name, row)]

    def has(self, name: str, row: dict[str, str]) -> bool:
        return name in self.tests or "reason" in row


def is_row_mark(node: ast.AST | None) -> bool:
    """Whether an expression is ``pytest.mark.row``."""
    match node:
        case ast.Attribute(ast.Attribute(ast.Name("pytest"), "mark"), "row"):
            return True
    return False


def marks(tree: ast.AST) -> Iterator[tuple[int, str | None]]:
    """Yield line and row id of each mark; None for what is no literal text."""
    nodes = list(ast.walk(tree))
    short = {
        target.id
        for node in nodes
        if isinstance(node, ast.Assign) and is_row_mark(node.value)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for node in nodes:
        if not isinstance(node, ast.Call):
            continue
        named = isinstance(node.func, ast.Name) and node.func.id in short
        if named or is_row_mark(node.func):
            for argument in node.args or [None]:
                literal = isinstance(argument, ast.Constant) and isinstance(argument.value, str)
                yield node.lineno, argument.value if literal else None


def account(rows_file: Path = ROWS, tests: Path = TESTS) -> Account:
    rows = tomllib.loads(rows_file.read_text(encoding="utf-8"))
    faults = [
        f"{rows_file.name}: {name} has {sorted(row)}"
        for name, row in rows.items()
        if "text" not in row or not set(row) <= FIELDS or not all(row.values())
    ]
    found: dict[str, list[str]] = defaultdict(list)
    for path in sorted(tests.rglob("*.py")):
        for line, name in marks(ast.parse(path.read_text(encoding="utf-8"))):
            where = f"{path.relative_to(tests)}:{line}"
            if name in rows:
                found[name].append(where)
            else:
                faults.append(f"{where}: there is no row {name!r}")
    return Account(rows, dict(found), faults)


def describe(state: Account) -> Iterator[str]:
    sections: dict[str, list[str]] = defaultdict(list)
    for name in state.rows:
        sections[name.partition("-")[0]].append(name)
    for section, names in sections.items():
        tested = [name for name in names if name in state.tests]
        yield f"{section}: {len(tested)} of {len(names)} rows have tests"
        yield from listing("tested ", tested)
        for name in names:
            if "reason" in state.rows[name]:
                yield f"  reason   {name}: {state.rows[name]['reason']}"
        yield from listing("MISSING", [name for name in names if name in state.missing])
    yield f"all: {len(state.tests)} of {len(state.rows)} rows have tests"
    yield from state.faults


def listing(word: str, names: list[str]) -> list[str]:
    indent = " " * 11
    wrap = textwrap.TextWrapper(
        100, initial_indent=f"  {word}  ", subsequent_indent=indent, break_on_hyphens=False
    )
    return wrap.wrap(", ".join(names))


def main() -> int:
    state = account()
    print("\n".join(describe(state)))
    return 1 if state.missing or state.faults else 0


if __name__ == "__main__":
    sys.exit(main())
