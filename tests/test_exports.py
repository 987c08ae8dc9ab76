"""The public names: there, documented, typed, and none too many."""

from __future__ import annotations

import concurrent.futures
import inspect
import operator
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
from numpydoc.docscrape import NumpyDocString
from numpydoc.validate import validate

import ipyviews
from ipyviews import errors

row = pytest.mark.row

ROOT = Path(__file__).parent.parent

ERRORS = {
    name
    for name, value in vars(errors).items()
    if inspect.isclass(value) and issubclass(value, errors.IPyViewsError)
}

#: What programs import from ipyparallel, by the rows that promise it.
PROMISED = {
    "0-views": "Client DirectView LoadBalancedView BroadcastView ViewExecutor",
    "0-results": "AsyncResult AsyncMapResult AsyncHubResult",
    "0-functions": "remote parallel RemoteFunction ParallelFunction interactive bind_kernel "
    "register_joblib_backend",
    "0-dependencies": "depend require dependent Dependency",
    "0-serialization": "Reference PrePickled can uncan can_map uncan_map use_dill use_cloudpickle "
    "use_pickle serialize_object deserialize_object pack_apply_message unpack_apply_message",
    "0-cluster": "Cluster ClusterManager",
    "0-errors": "IPythonError KernelError EngineError NoEnginesRegistered TaskAborted TaskTimeout "
    "TaskRejectError UnmetDependency ImpossibleDependency DependencyTimeout InvalidDependency "
    "RemoteError CompositeError AlreadyDisplayedError",
    "0-error-helpers": "collect_exceptions wrap_exception unwrap_exception",
    "0-constants": "ALL_COMPLETED FIRST_COMPLETED FIRST_EXCEPTION",
    "0-version": "__version__ version_info",
}

#: What is ours besides.
OWN = {"AsyncClient", "DeathReport", "error", "load_ipython_extension"}

#: What numpydoc finds wrong: no text, unknown sections, their order, no full stop.
DOCSTRING_FAULTS = {"GL06", "GL07", "GL08", "SS01", "SS03"}


def of_ours(value: object) -> bool:
    return getattr(value, "__module__", "").startswith("ipyviews")


def public_objects():
    """Yield dotted names of public classes, functions and their own public methods."""
    for name in sorted(ipyviews.__all__):
        value = getattr(ipyviews, name)
        if not callable(value) or not of_ours(value):
            continue
        yield name
        if not inspect.isclass(value):
            continue
        for attribute, member in inspect.getmembers(value):
            home = next((c for c in value.__mro__ if attribute in vars(c)), object)
            if not attribute.startswith("_") and of_ours(home) and inspect.isroutine(member):
                yield f"{name}.{attribute}"


@row("0-views", "0-results", "0-functions", "0-dependencies", "0-serialization", "0-cluster")
@row("0-errors", "0-error-helpers", "0-constants", "0-version")
@pytest.mark.parametrize("names", PROMISED.values(), ids=PROMISED)
def test_what_is_promised_is_exported(names):
    for name in names.split():
        assert name in ipyviews.__all__
        assert getattr(ipyviews, name) is not None


@row("0-nothing-else")
def test_nothing_else_is_exported():
    promised = set(" ".join(PROMISED.values()).split())
    assert set(ipyviews.__all__) == promised | ERRORS | OWN
    assert len(set(ipyviews.__all__)) == len(ipyviews.__all__)


@row("0-nothing-else")
def test_dir_shows_public_names_and_modules_only():
    modules = {"datapub", "error", "joblib", "serialize", "util"}
    shown = {name for name in dir(ipyviews) if not name.startswith("__")}
    assert shown == {name for name in ipyviews.__all__ if not name.startswith("__")} | modules


@row("0-nothing-else")
def test_a_star_import_brings_the_public_names():
    found: dict[str, object] = {}
    exec("from ipyviews import *", found)
    assert set(found) - {"__builtins__"} == set(ipyviews.__all__)


@row("0-error-module")
def test_the_module_error_has_every_error():
    for name in ERRORS:
        assert getattr(ipyviews.error, name) is getattr(errors, name)


@row("0-constants")
def test_the_constants_are_those_of_concurrent_futures():
    for name in ("ALL_COMPLETED", "FIRST_COMPLETED", "FIRST_EXCEPTION"):
        assert getattr(ipyviews, name) is getattr(concurrent.futures, name)


@row("0-modules")
@pytest.mark.parametrize(
    ("module", "names"),
    [
        ("datapub", "publish_data"),
        ("util", "interactive"),
        ("serialize", PROMISED["0-serialization"]),
        ("error", PROMISED["0-errors"]),
        ("joblib", "register"),
    ],
)
def test_a_module_has_its_names(module, names):
    found = import_module(f"ipyviews.{module}")
    assert getattr(ipyviews, module) is found
    assert set(names.split()) <= set(vars(found))


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no_such_name"):
        ipyviews.no_such_name


@row("0-version")
def test_the_version_is_that_of_the_distribution():
    from importlib.metadata import version

    assert ipyviews.__version__ == version("ipyviews")
    numbers = [str(part) for part in ipyviews.version_info if isinstance(part, int)]
    assert ipyviews.__version__.startswith(".".join(numbers))


def run_python(code: str, **env: str) -> str:
    command = [sys.executable, "-W", "error", "-c", code]
    environment = {**os.environ, **env}
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, check=True, timeout=60
    ).stdout


def test_importing_the_package_loads_nothing_large():
    code = "import sys, ipyviews; print(*sys.modules)"
    loaded = set(run_python(code).split())
    assert {name for name in loaded if name.startswith("ipyviews")} == {
        "ipyviews",
        "ipyviews.version",
    }
    assert not loaded & {"IPython", "zmq", "asyncio", "cloudpickle", "traitlets", "joblib", "numpy"}


@row("0-noninteractive-flag")
@pytest.mark.parametrize(("value", "expected"), [("", False), ("0", False), ("1", True)])
def test_the_environment_says_whether_somebody_watches(value, expected):
    code = "import ipyviews; print(ipyviews._NONINTERACTIVE)"
    assert run_python(code, IPP_NONINTERACTIVE=value) == f"{expected}\n"


@pytest.mark.parametrize("name", list(public_objects()))
def test_a_public_object_is_documented_in_numpydoc(name):
    found = validate(f"ipyviews.{name}")["errors"]
    assert [fault for fault in found if fault[0] in DOCSTRING_FAULTS] == []


def documented_parameters(value: object) -> set[str]:
    text = NumpyDocString(inspect.getdoc(value))
    return {word for entry in text["Parameters"] for word in entry.name.split(", ")}


@pytest.mark.parametrize("name", list(public_objects()))
def test_parameters_that_are_documented_exist(name):
    value = operator.attrgetter(name)(ipyviews)
    if not (documented := documented_parameters(value)):
        return
    is_error = inspect.isclass(value) and issubclass(value, BaseException)
    parameters = inspect.signature(value.__init__ if is_error else value).parameters
    if not any(one.kind is one.VAR_KEYWORD for one in parameters.values()):
        assert documented <= set(parameters)


@pytest.mark.timeout(300)
def test_the_types_are_what_users_are_told():
    usage = str(ROOT / "tests/typing/usage.py")
    command = [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", usage]
    result = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=280
    )
    assert result.returncode == 0, result.stdout + result.stderr
