"""One JupyterLab server, and a headless Chromium for each module."""

from __future__ import annotations

import importlib.util
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests import leaks
from tests.browser.lab import Lab
from tests.browser.page import Notebook

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser

#: As root there is no sandbox; /dev/shm may be small.
FLAGS = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]


def find_chromium() -> str | None:
    names = ("chromium", "chromium-browser", "google-chrome")
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None)


@pytest.fixture(scope="session")
def needed() -> None:
    """Skip, with a reason, where something is missing."""
    for module in ("jupyterlab", "playwright", "matplotlib"):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is missing: install '.[browser]'")
    if find_chromium() is None:
        pytest.skip("no Chromium on PATH; CHROMIUM may name one")


@pytest.fixture(scope="session")
def lab(needed: None, session_folder: Path) -> Iterator[Lab]:
    folder = session_folder / "lab"
    folder.mkdir(mode=0o700)
    server = Lab(folder)
    yield server
    server.stop()


# Not for the session: Playwright keeps an event loop running in this thread, and async tests of
# other modules need one of their own.
@pytest.fixture(scope="module")
def browser(lab: Lab, session_folder: Path) -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    before = leaks.snapshot(session_folder, detached=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=FLAGS)
        yield browser
        browser.close()
    found = leaks.find_leaks(before, session_folder, patience_s=10)
    leaks.end(found.processes)
    assert not found, f"left behind by the browser:\n{found.describe()}"


@pytest.fixture(autouse=True)
def no_leaks() -> None:
    """Leave it to `browser` and `notebook`: Chromium starts and keeps processes as it likes."""


@pytest.fixture(scope="session")
def shots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where pictures are kept: IPYVIEWS_SCREENSHOTS, else a folder of pytest's."""
    named = os.environ.get("IPYVIEWS_SCREENSHOTS")
    if named is None:
        return tmp_path_factory.mktemp("screenshots")
    folder = Path(named).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture
def notebook(
    browser: Browser, lab: Lab, shots: Path, request: pytest.FixtureRequest
) -> Iterator[Notebook]:
    """A page without a notebook yet; at the end its kernel and its cluster are gone."""
    context = browser.new_context(viewport={"width": 1280, "height": 1700})
    page = context.new_page()
    yield Notebook(page, lab, shots)
    page.screenshot(path=shots / f"{request.node.name}-at-the-end.png")
    context.close()
    lab.end_kernels()
