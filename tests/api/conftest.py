"""What the tests of the interactive API share: one cluster for all of them, and its two clients.

A test marked ``awaited``, or in one of some modules, that uses `rc`, `dv` or `lv` runs twice: with
a `Client`, and with an `AsyncClient` that is awaited in a loop of its own; see
`tests.api.awaited`.
"""

from __future__ import annotations

import gc
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import ipyviews
from tests import leaks
from tests.api.awaited import Awaited
from tests.client.fakes import FakeController
from tests.conftest import PATIENCE_S, use_folders
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Names the variable with the calls that may be in flight on an engine of the shared cluster: 1,
#: 1000, or 0 for as many as suit. Whatever it is, nothing else may be seen of it.
BUNDLE = "IPYVIEWS_TEST_BUNDLE"

#: Fixtures that pick the kind of client.
CLIENTS = {"rc", "dv", "lv"}

#: Modules whose tests all run with both, except those about blocking itself, or too slow.
BOTH = {"test_views", "test_results", "test_records", "test_references"}
ONCE = {
    "test_an_id_nobody_knows_is_a_key_error",
    "test_ctrl_c_in_a_blocking_call_is_raised_and_stops_what_runs",
    "test_ctrl_c_in_get_ends_only_the_waiting_and_says_so",
    "test_kill_ends_engines_at_once_and_restart_brings_them_back",
    "test_many_maps_leave_memory_as_it_is",
}


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker."""
    config.addinivalue_line("markers", "awaited: runs with both kinds of client")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that use the shared cluster use real kernels."""
    for item in items:
        if "cluster4" in getattr(item, "fixturenames", ()):
            item.add_marker("kernels")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run tests marked ``awaited`` with both kinds of client."""
    definition = metafunc.definition
    marked = definition.get_closest_marker("awaited") is not None
    marked = marked or (definition.path.stem in BOTH and definition.name not in ONCE)
    if marked and CLIENTS & set(metafunc.fixturenames):
        metafunc.parametrize("rc", ["sync", "awaited"], indirect=True)


@pytest.fixture(scope="session")
def module_root(session_folder: Path) -> Path:
    """The run root of the shared cluster."""
    return Path(tempfile.mkdtemp(prefix="a", dir=session_folder))


@pytest.fixture(scope="session")
def cluster4(module_root: Path) -> Iterator[ipyviews.Cluster]:
    """Four engines, started once for all tests of the API; do not stop the cluster."""
    with pytest.MonkeyPatch.context() as patch:
        use_folders(patch, module_root)
        bundle = int(os.environ.get(BUNDLE, "0"))
        cluster = ipyviews.Cluster(n=4, cluster_id="default", prefetch=bundle)
        cluster.start_and_connect_sync().close()
        patch.undo()
        yield cluster
        cluster.stop_cluster_sync()
    left = leaks.alive(leaks.processes_of(module_root, detached=True))
    report = "\n".join(leaks.command(process) for process in left)
    leaks.end(left)
    assert not report, f"left behind by the shared cluster:\n{report}"
    assert not leaks.names_in(module_root / "ipv")


@pytest.fixture(autouse=True)
def no_leaks(request: pytest.FixtureRequest, run_root: Path) -> Iterator[None]:
    """As for all tests; but engines of the shared cluster may be restarted."""
    shared = "cluster4" in request.fixturenames
    patience_s = PATIENCE_S if request.node.get_closest_marker("kernels") else 0.0
    before = leaks.snapshot(run_root, detached=patience_s > 0)
    yield
    if shared:
        gc.collect()
        left = leaks.names_in(run_root / "ipv") - before.folders
        wait_until(lambda: not leaks.open_fds() - before.fds, 5, "the end of descriptors")
        assert not left, f"run folders left behind: {left}"
        return
    found = leaks.find_leaks(before, run_root, patience_s=patience_s)
    report = found.describe()
    leaks.end(found.processes)
    assert not found, f"left behind:\n{report}"


def forget_names() -> None:
    """Remove what earlier tests have put into an engine's namespace."""
    from IPython import get_ipython

    names = get_ipython().user_ns
    kept = {"In", "Out", "get_ipython", "exit", "quit", "open"}
    for name in [name for name in names if not name.startswith("_") and name not in kept]:
        del names[name]


@pytest.fixture(scope="session")
def keeper(cluster4: ipyviews.Cluster) -> Iterator[ipyviews.Client]:
    """The client that tidies up between tests."""
    with cluster4.connect_client_sync() as client:
        yield client


@pytest.fixture
def rc(
    cluster4: ipyviews.Cluster, keeper: ipyviews.Client, request: pytest.FixtureRequest
) -> Iterator[Any]:
    """A new client of the shared cluster: ids 0 to 3, no names of other tests on the engines.

    An engine that the test before has killed is there again, under the same id. What this client
    has not finished at the end of the test is stopped.
    """
    states = {info["id"]: info["state"] for info in keeper.status()["engines"]}
    if lost := [engine for engine in range(4) if states[engine] != "live"]:
        keeper.restart(lost)
    keeper[range(4)].apply_sync(forget_names)
    if getattr(request, "param", "sync") == "awaited":
        with Awaited(cluster4) as client:
            yield client
    else:
        with cluster4.connect_client_sync() as client:
            yield client


@pytest.fixture
def fake() -> FakeController:
    """Two engines and their controller in memory, for what real ones are too slow or too polite."""
    return FakeController()


@pytest.fixture
def fake_rc(fake: FakeController) -> Iterator[ipyviews.Client]:
    """A client of `fake`."""
    with ipyviews.Client(fake.file, transport=fake.transport) as client:
        yield client


@pytest.fixture
def dv(rc: Any) -> Any:
    """All four engines; calls do not block."""
    return rc[:]


@pytest.fixture
def lv(rc: Any) -> Any:
    """Whichever engine is free; calls do not block."""
    return rc.load_balanced_view()
