"""What all tests share: folders of their own, the leak check, one cluster per module."""

from __future__ import annotations

import faulthandler
import shutil
import signal
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests import leaks, waiting
from tests.chaos.scale import IS_LONG, LONGEST_S, SEED, line_of, scale, told

if TYPE_CHECKING:
    from collections.abc import Iterator

    import ipyviews

#: How long real kernels may take to be gone after a test [s].
PATIENCE_S = 10.0

#: Fixtures that keep a cluster for a whole module.
SHARED_CLUSTERS = {"cluster4", "rc"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what `tests.chaos.scale` is about, and give it the time it needs."""
    for item in items:
        path = item.path.as_posix()
        if "tests/chaos/" in path:
            item.add_marker(pytest.mark.chaos)
        if line_of(path) and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(scale(180, LONGEST_S)))
        if item.get_closest_marker("chaos_long") and not IS_LONG:
            item.add_marker(pytest.mark.skip(reason="only with IPYVIEWS_CHAOS=long"))


def pytest_runtest_setup() -> None:
    """Let no watchdog print the stacks of a long test: it looks at them while they change."""
    if IS_LONG:
        faulthandler.cancel_dump_traceback_later()


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Tell what was done, for each line of the table of faults."""
    passed = [(one.nodeid, one.duration) for one in terminalreporter.stats.get("passed", ())]
    if lines := list(told(passed)):
        form = scale("short", "long")
        terminalreporter.write_line(f"faults, {form} form: IPYVIEWS_CHAOS_SEED={SEED} repeats it")
        terminalreporter.write_line("\n".join(lines))


@pytest.fixture(scope="session")
def session_folder() -> Iterator[Path]:
    """A short path for everything of this run; socket paths may have 107 bytes only."""
    folder = Path(tempfile.mkdtemp(prefix="ipvt-", dir="/tmp"))
    yield folder
    left = leaks.alive(leaks.processes_of(folder, detached=True))
    report = "\n".join(f"process {p.pid}: {leaks.command(p)}" for p in left)
    leaks.end(left)
    shutil.rmtree(folder, ignore_errors=True)
    assert not left, f"left behind by the whole run:\n{report}"


#: What says on a machine for tests that nobody watches; tests that are about it set it themselves.
UNWATCHED = ("CI", "IPP_NONINTERACTIVE", "IPYVIEWS_PROGRESS")


@pytest.fixture(scope="session", autouse=True)
def watched() -> Iterator[None]:
    """Let programs behave as in front of a person, wherever the tests run."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # Shells start what runs in the background like that; no wait here could be interrupted.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    with pytest.MonkeyPatch.context() as patch:
        for variable in UNWATCHED:
            patch.delenv(variable, raising=False)
        yield


def use_folders(patch: pytest.MonkeyPatch, root: Path) -> None:
    """Point everything that Jupyter, IPython and we would write to below `root`."""
    root.mkdir(mode=0o700, exist_ok=True)
    patch.setenv("XDG_RUNTIME_DIR", str(root))
    for variable, name in {
        "IPYTHONDIR": "ipython",
        "JUPYTER_CONFIG_DIR": "config",
        "JUPYTER_DATA_DIR": "data",
        "JUPYTER_RUNTIME_DIR": "runtime",
    }.items():
        patch.setenv(variable, str(root / name))


@pytest.fixture(scope="module")
def module_root(session_folder: Path) -> Path:
    """The run root of a module's shared cluster."""
    return Path(tempfile.mkdtemp(prefix="m", dir=session_folder))


@pytest.fixture
def run_root(
    request: pytest.FixtureRequest, session_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """The test's own ``XDG_RUNTIME_DIR``; that of the shared cluster for tests that use it."""
    if SHARED_CLUSTERS & set(request.fixturenames):
        root = request.getfixturevalue("module_root")
        use_folders(monkeypatch, root)
        yield root
        return
    root = Path(tempfile.mkdtemp(prefix="t", dir=session_folder))
    use_folders(monkeypatch, root)
    yield root
    shutil.rmtree(root, ignore_errors=True)


@pytest.fixture(autouse=True)
def no_leaks(request: pytest.FixtureRequest, run_root: Path) -> Iterator[None]:
    """Fail a test that leaves a process, descriptor, shared memory or run folder behind."""
    patience_s = PATIENCE_S if request.node.get_closest_marker("kernels") else 0.0
    before = leaks.snapshot(run_root, detached=patience_s > 0)
    yield
    found = leaks.find_leaks(before, run_root, patience_s=patience_s)
    report = found.describe()
    leaks.end(found.processes)
    assert not found, f"left behind:\n{report}"


@pytest.fixture(scope="module")
def cluster4(module_root: Path) -> Iterator[ipyviews.Cluster]:
    """Four engines, started once for a module; do not stop or restart them."""
    import ipyviews

    before = leaks.snapshot(module_root, detached=True)
    with pytest.MonkeyPatch.context() as patch:
        use_folders(patch, module_root)
        cluster = ipyviews.Cluster(n=4, cluster_id="default")
        cluster.start_and_connect_sync().close()
        yield cluster
        cluster.stop_cluster_sync()
    found = leaks.find_leaks(before, module_root, patience_s=PATIENCE_S)
    report = found.describe()
    leaks.end(found.processes)
    assert not found, f"left behind by the shared cluster:\n{report}"


@pytest.fixture
def rc(cluster4: ipyviews.Cluster) -> Iterator[ipyviews.Client]:
    """A client of the shared cluster, with nothing on the engines from other tests."""
    with cluster4.connect_client_sync() as client:
        yield client


@pytest.fixture
def wait_until():
    """Poll with a deadline: ``wait_until(predicate, timeout_s)``."""
    return waiting.wait_until
