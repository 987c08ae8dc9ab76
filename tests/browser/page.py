"""A notebook in JupyterLab, as somebody at the keyboard sees it."""

from __future__ import annotations

import contextlib
import json
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Locator, Page

    from tests.browser.lab import Lab

#: The page's session has its kernel, and the kernel has nothing to do.
READY = """() => {
    const context = window.jupyterapp?.shell.currentWidget?.sessionContext;
    return !!context?.isReady && context.session?.kernel?.status === "idle";
}"""

#: The prompt of cell i looks like a pattern.
PROMPT = """([i, pattern]) => new RegExp(pattern).test(
    document.querySelectorAll(".jp-Notebook-cell")[i]?.querySelector(".jp-InputPrompt")?.textContent.trim()
)"""

#: The text is under cell i so often.
WATCH = """place => {
    const seen = window.ipyviewsSeen = new Set();
    const cell = document.querySelectorAll(".jp-Notebook-cell")[place];
    const look = () => cell.querySelectorAll(".jp-RenderedImage img").forEach(
        image => seen.add(image.src));
    new MutationObserver(look).observe(
        cell, {subtree: true, childList: true, attributes: true, attributeFilter: ["src"]});
}"""

COUNTED = """([i, text, times]) => {
    const cell = document.querySelectorAll(".jp-Notebook-cell")[i];
    const shown = cell.querySelector(".jp-Cell-outputWrapper").textContent;
    return shown.split(text).length > times;
}"""

#: Cell i is the one that has been clicked on.
ACTIVE = "i => document.querySelectorAll('.jp-Notebook-cell')[i].matches('.jp-mod-active')"

#: Lab waits a second for names; processes that first load their completers need more.
TABS, TAB_MS = 30, 1_500

#: Longest wait for what a cell or the page does [ms].
PATIENCE_MS = 60_000


class Notebook:
    """One open notebook. Cells have names: those in the file, or those the test gives.

    Parameters
    ----------
    page
        Playwright's page.
    lab
        The server.
    shots
        The folder for pictures.
    """

    def __init__(self, page: Page, lab: Lab, shots: Path) -> None:
        self.page = page
        #: What the page's console called an error.
        self.problems: list[str] = []
        self._lab = lab
        self._shots = shots
        self._name = ""
        self._places: dict[str, int] = {}
        page.set_default_timeout(PATIENCE_MS)
        page.on("console", lambda m: self.problems.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda error: self.problems.append(str(error)))

    def open(self, name: str, **sources: str) -> None:
        """Open a new notebook of code cells, and wait for its kernel."""
        cells = [
            {
                "cell_type": "code",
                "id": key,
                "metadata": {},
                "source": source,
                "outputs": [],
                "execution_count": None,
            }
            for key, source in sources.items()
        ]
        kernel = {"name": "python3", "display_name": "Python 3"}
        self.open_document(
            name,
            {
                "cells": cells,
                "metadata": {"kernelspec": kernel},
                "nbformat": 4,
                "nbformat_minor": 5,
            },
        )

    def open_document(self, name: str, document: dict) -> None:
        """Open a copy of a notebook."""
        self._name = name
        self._places = {cell["id"]: place for place, cell in enumerate(document["cells"])}
        (self._lab.notebooks / f"{name}.ipynb").write_text(json.dumps(document))
        url = f"{self._lab.base}/lab/tree/{name}.ipynb?reset&token={self._lab.token}"
        self.page.goto(url, wait_until="domcontentloaded")
        self.page.wait_for_function(READY)

    # -- one cell -----------------------------------------------------------------------------

    def cell(self, name: str) -> Locator:
        return self.page.locator(".jp-Notebook-cell").nth(self._places[name])

    def outputs(self, name: str) -> Locator:
        return self.cell(name).locator(".jp-OutputArea-child > .jp-OutputArea-output")

    def text(self, name: str) -> str:
        """What is under the cell, without the pictures."""
        return "\n".join(self.outputs(name).all_text_contents())

    def images(self, name: str) -> Locator:
        return self.cell(name).locator(".jp-RenderedImage img")

    def watch_images(self, name: str) -> None:
        """From now on take note of all pictures under the cell, however short they are there."""
        self.page.evaluate(WATCH, self._places[name])

    def count_images_seen(self) -> int:
        """Count the pictures that differ among those that were there since."""
        return int(self.page.evaluate("() => window.ipyviewsSeen.size"))

    def prompt(self, name: str) -> str:
        return self.cell(name).locator(".jp-InputPrompt").first.inner_text().strip()

    def edit(self, name: str) -> None:
        """Put the cursor at the end of the cell."""
        self.cell(name).locator(".cm-content").click()
        self.page.keyboard.press("Control+End")

    def start(self, name: str) -> None:
        self.edit(name)
        self.page.keyboard.press("Control+Enter")

    def run(self, name: str) -> None:
        """Run a cell to its end."""
        old = self.prompt(name)
        self.start(name)
        self.done(name, old)

    def done(self, name: str, old: str = "[ ]:", timeout_ms: float = PATIENCE_MS) -> None:
        """Wait until the prompt has a number, another one than in `old`."""
        number = old.strip("[]: *") or "none"
        pattern = rf"^\[(?!{number}\])\d+\]:$"
        self.page.wait_for_function(PROMPT, arg=[self._places[name], pattern], timeout=timeout_ms)

    def until(self, name: str, text: str, times: int = 1) -> None:
        """Wait until the text is under the cell, at least so many times."""
        self.page.wait_for_function(COUNTED, arg=[self._places[name], text, times])

    def complete(self, name: str, wanted: str) -> list[str]:
        """Press Tab at the end of the cell, again if Lab gave up; return what is offered."""
        from playwright.sync_api import TimeoutError as TooLate

        matches = self.page.locator(".jp-Completer:visible .jp-Completer-match")
        for _ in range(TABS):
            self.edit(name)
            self.page.keyboard.press("Tab")
            with contextlib.suppress(TooLate):
                matches.filter(has_text=wanted).first.wait_for(timeout=TAB_MS)
                break
            self.page.keyboard.press("Escape")
        return matches.all_inner_texts()

    def explain(self, name: str) -> str:
        """Press Shift+Tab at the end of the cell, and return the text that comes up."""
        self.edit(name)
        self.page.keyboard.press("Shift+Tab")
        tooltip = self.page.locator(".jp-Tooltip")
        tooltip.wait_for()
        return tooltip.inner_text()

    # -- the page -----------------------------------------------------------------------------

    def press(self, button: str) -> None:
        """Click a button of the notebook's toolbar, by Lab's own name for it."""
        place = f'.jp-NotebookPanel-toolbar [data-jp-item-name="{button}"] jp-button'
        self.page.locator(place).click()

    def click_s(self, name: str) -> float:
        """Click beside a cell; return how long it took until the page had reacted [s]."""
        box = self.cell(name).locator(".jp-InputPrompt").first.bounding_box()
        began = time.monotonic()
        self.page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        self.page.wait_for_function(ACTIVE, arg=self._places[name])
        return time.monotonic() - began

    def picture(self, name: str) -> Path:
        """Return where a picture of this notebook is kept."""
        return self._shots / f"{self._name}-{name}.png"

    def shot(self, name: str, picture: str | None = None) -> None:
        """Keep a picture of a cell with its output."""
        cell = self.cell(name)
        cell.scroll_into_view_if_needed()
        cell.screenshot(path=self.picture(picture or name))
