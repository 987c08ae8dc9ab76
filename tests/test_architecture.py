"""Rules that no single file can keep alone: sizes, rooms, names of other people's packages."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import subprocess
import sys
import typing
from functools import cache
from pathlib import Path

import pytest

from ipyviews import errors
from ipyviews.core import effects, events

ROOT = Path(__file__).parent.parent
SOURCES = sorted([*(ROOT / "ipyviews").rglob("*.py"), *(ROOT / "magics").rglob("*.py")])
EVERYTHING = sorted(
    [*SOURCES, *(ROOT / "tests").rglob("*.py"), *(ROOT / "benchmarks").glob("*.py")]
)

LONGEST_FILE = 500
#: Lines of a function without its docstring; aim at 20.
LONGEST_FUNCTION = 50

PICKLERS = {"pickle", "_pickle", "cloudpickle", "marshal", "shelve"}

#: What ipykernel itself requires, and so every engine has.
ENGINE_MAY_IMPORT = {"IPython", "ipykernel", "tornado", "traitlets", "zmq"}

#: file: private names of ipykernel, IPython, jupyter_client and others that it uses.
FOREIGN_PRIVATE = {
    "ipyviews/engine/pickling.py": {"_lru_cache_wrapper"},
    "ipyviews/launching/engineapp.py": {
        "_bind_socket",
        "_handle_pipe_msg",
        "_setup_pipe_in",
        "_setup_pipe_out",
    },
}

#: Underscores that belong to public names.
DOCUMENTED = {"os._exit", "sys._getframe", "sys._current_frames"}

FOREIGN = {"IPython", "ipykernel", "jupyter_client", "tornado", "traitlets", "zmq"}


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT / "magics" if "magics" in path.parts else ROOT).with_suffix("")
    return ".".join(part for part in parts.parts if part != "__init__")


def imports_of(path: Path) -> set[str]:
    """Name every module a file imports anywhere, except for type checking; relative ones as '.'."""
    found: set[str] = set()
    typing_only = {
        node
        for block in ast.walk(tree_of(path))
        if isinstance(block, ast.If) and ast.unparse(block.test).endswith("TYPE_CHECKING")
        for node in ast.walk(block)
    }
    for node in ast.walk(tree_of(path)):
        if node in typing_only:
            continue
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            found.add("." * node.level + (node.module or ""))
    return found


def test_no_file_is_too_long():
    lengths = {name_of(p): len(p.read_text().splitlines()) for p in EVERYTHING}
    assert {n: lines for n, lines in lengths.items() if lines > LONGEST_FILE} == {}


def test_no_function_is_too_long():
    def length(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
        body = node.body
        if ast.get_docstring(node) is not None:
            body = body[1:] or body
        return (node.end_lineno or 0) - body[0].lineno + 1

    too_long = {
        f"{name_of(path)}:{node.name}": length(node)
        for path in EVERYTHING
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and length(node) > LONGEST_FUNCTION
    }
    assert too_long == {}


def test_only_the_command_line_and_sync_imports_print():
    printing = {
        name_of(path)
        for path in (ROOT / "ipyviews").rglob("*.py")
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "print"
    }
    assert printing <= {"ipyviews/cli.py", "ipyviews/client/imports.py", "ipyviews/demo.py"}


def test_every_source_file_says_what_it_is_for():
    silent = [name_of(p) for p in SOURCES if not ast.get_docstring(tree_of(p))]
    assert silent == []


def drawn_tree(drawing: str) -> dict[str, str]:
    """Read a tree drawing: the parent of each name, by indentation."""
    parents: dict[str, str] = {}
    path: list[tuple[int, str]] = []
    for line in drawing.splitlines():
        bare = line.lstrip(" │├└─")
        if not bare or (not path and "Error" not in line):
            continue
        depth, name = len(line) - len(bare), bare.split()[0]
        while path and path[-1][0] >= depth:
            path.pop()
        parents[name] = path[-1][1] if path else ""
        path.append((depth, name))
    return parents


def test_the_error_tree_is_as_drawn():
    drawing = inspect.getdoc(errors).split("::\n", 1)[1].split("\n\nA wait", 1)[0]
    drawn = drawn_tree(drawing)
    defined = {
        name: next((b.__name__ for b in cls.__mro__[1:] if b.__name__ in drawn), "")
        for name, cls in vars(errors).items()
        if inspect.isclass(cls) and issubclass(cls, BaseException) and cls.__name__ == name
        if cls.__module__ == errors.__name__ and not name.startswith("_")
    }
    assert defined == drawn
    assert issubclass(errors.UsageError, ValueError)
    assert issubclass(errors.CompositeError, ExceptionGroup)


def test_every_event_has_a_handler():
    handled = {
        ast.unparse(node.cls).split(".")[-1]
        for node in ast.walk(tree_of(ROOT / "ipyviews/core/state.py"))
        if isinstance(node, ast.MatchClass)
    }
    assert {e.__name__ for e in typing.get_args(events.Event)} <= handled


def test_every_event_is_generated_by_the_property_tests():
    text = "".join(p.read_text() for p in (ROOT / "tests/core").glob("*.py"))
    missing = {e.__name__ for e in typing.get_args(events.Event) if f"{e.__name__}(" not in text}
    assert missing == set()


def test_every_effect_is_performed():
    performed = {
        ast.unparse(node.cls).split(".")[-1]
        for node in ast.walk(tree_of(ROOT / "ipyviews/controller/performer.py"))
        if isinstance(node, ast.MatchClass)
    }
    assert {e.__name__ for e in typing.get_args(effects.Effect)} <= performed


def test_an_engine_needs_nothing_but_ipykernel():
    allowed = ENGINE_MAY_IMPORT | set(sys.stdlib_module_names)
    for path in (ROOT / "ipyviews/engine").glob("*.py"):
        for name in imports_of(path):
            ours = name.startswith(".") and not name.startswith("..")
            inside = name.startswith("ipyviews.engine")
            assert ours or inside or name.split(".")[0] in allowed, f"{name_of(path)}: {name}"


def foreign_private_of(path: Path) -> set[str]:
    """Private names that a file takes from objects not its own, or overrides of foreign classes."""
    taken = {
        node.attr
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Attribute)
        and node.attr.startswith("_")
        and not node.attr.startswith("__")
        # A last underscore too is how IPython marks its public hooks.
        and not node.attr.endswith("_")
        and ast.unparse(node) not in DOCUMENTED
        and node.attr not in our_private_names()
    }
    return taken | overridden_in(path)


@cache
def our_private_names() -> frozenset[str]:
    """Every private name that some file of ours defines."""
    found: set[str] = set()
    for path in SOURCES:
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                found.add(node.name)
            elif isinstance(node, ast.Attribute | ast.Name) and isinstance(node.ctx, ast.Store):
                found.add(node.attr if isinstance(node, ast.Attribute) else node.id)
    return frozenset(found)


def overridden_in(path: Path) -> set[str]:
    """Private methods of other people's classes that classes of this file replace."""
    if path.name == "__main__.py" or not {n.split(".")[0] for n in imports_of(path)} & FOREIGN:
        return set()
    module = importlib.import_module(module_name(path))
    found: set[str] = set()
    for cls in vars(module).values():
        if not inspect.isclass(cls) or cls.__module__ != module.__name__:
            continue
        bases = [b for b in cls.__mro__[1:] if b.__module__.split(".")[0] in FOREIGN]
        names = {n for n in vars(cls) if n.startswith("_") and not n.startswith("__")}
        found |= {n for n in names for b in bases if callable(vars(b).get(n))}
    return found


def test_private_names_of_others_are_used_only_where_listed():
    used = {name_of(path): foreign_private_of(path) for path in SOURCES}
    assert {name: names for name, names in used.items() if names} == FOREIGN_PRIVATE


@pytest.fixture(scope="module")
def controller_modules() -> dict[str, str]:
    """What a process that has imported the controller holds: module name to file."""
    code = (
        "import json, sys; import ipyviews.controller.main\n"
        "print(json.dumps({n: getattr(m, '__file__', None) or '' "
        "for n, m in sys.modules.items()}))"
    )
    command = [sys.executable, "-c", code]
    return json.loads(subprocess.run(command, check=True, capture_output=True, cwd=ROOT).stdout)


def test_the_controller_loads_no_pickler_through_us(controller_modules):
    assert "ipyviews.controller.driver" in controller_modules
    assert "cloudpickle" not in controller_modules
    for name, file in controller_modules.items():
        if name.split(".")[0] in {"ipyviews", "ipyviews_magics"}:
            assert not imports_of(Path(file)) & PICKLERS, name


def test_the_controller_does_not_load_the_client(controller_modules):
    rooms = {n.split(".")[1] for n in controller_modules if n.startswith("ipyviews.")}
    assert rooms.isdisjoint({"client", "cluster", "cli", "demo"})
    assert "ipyviews_magics" not in controller_modules


def test_importing_the_package_is_light():
    code = "import sys, ipyviews; print(*sys.modules)"
    command = [sys.executable, "-c", code]
    loaded = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout
    assert {"zmq", "asyncio", "jupyter_client", "IPython"}.isdisjoint(loaded.split())


def test_imports_point_downwards():
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()"]
    result = subprocess.run(
        [*command, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
