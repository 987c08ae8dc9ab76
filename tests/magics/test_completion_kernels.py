"""Tab, Shift-Tab and ``?`` in a real notebook kernel, answered by real engines."""

from __future__ import annotations

import asyncio
import contextlib
import os
from importlib.metadata import version
from pathlib import Path

import pytest
from IPython.core.completer import provisionalcompleter
from jupyter_client.manager import start_new_async_kernel

from ipyviews.client import inspection
from ipyviews_magics import load_ipython_extension
from tests.waiting import wait_until

pytestmark = pytest.mark.kernels

HAS_SUBSHELLS = not version("ipykernel").startswith("6.")


class Notebook:
    """A front end's side of a kernel."""

    def __init__(self, kernel):
        self._kernel = kernel

    async def run(self, *cells):
        """Run cells; return what the last one has shown, as text."""
        for cell in cells:
            shown = []
            reply = await self._kernel.execute_interactive(
                cell, output_hook=shown.append, timeout=60
            )
            assert reply["content"]["status"] == "ok", reply["content"]
        contents = [message["content"] for message in shown]
        return "".join(
            content.get("text") or content.get("data", {}).get("text/plain", "") + "\n"
            for content in contents
            if "text" in content or "data" in content
        )

    async def tab(self, cell):
        """Press Tab at the end of a cell; return matches and the text they replace."""
        told = await self._kernel.complete(cell, reply=True, timeout=30)
        content = told["content"]
        return content["matches"], cell[content["cursor_start"] : content["cursor_end"]]

    async def first_tab(self, cell, expected):
        """Press Tab until an engine has loaded what it needs for its first answer."""
        for _ in range(20):
            found = await self.tab(cell)
            if found[0] == expected:
                return found[1]
        raise AssertionError(found)

    async def shift_tab(self, cell):
        """Inspect the end of a cell; return the text, or None."""
        told = await self._kernel.inspect(cell, reply=True, timeout=30)
        return told["content"]["data"].get("text/plain") if told["content"]["found"] else None


@contextlib.asynccontextmanager
async def notebook(*arguments):
    manager, client = await start_new_async_kernel(
        kernel_name="python3", extra_arguments=[*arguments, "--InteractiveShell.colors=nocolor"]
    )
    try:
        yield Notebook(client)
    finally:
        client.stop_channels()
        await manager.shutdown_kernel(now=True)


NAMES = "%%px\nalpha_one = 1; alpha_two = 2\ndef alpha(a, b):\n    'of the engine'"


async def test_tab_and_shift_tab_offer_the_engines_names(cluster4, run_root):
    async with notebook() as nb:
        await nb.run("%load_ext ipyviews", "alpha_here = 1")
        assert await nb.tab("%%px\nalpha_") == (["alpha_here"], "alpha_")
        await nb.run(NAMES, "%%px -t 2\nalpha_three = 3")
        engines = ["alpha_one", "alpha_two"]
        assert await nb.first_tab("%%px\nx = alpha_", engines) == "alpha_"
        assert await nb.tab("%px alpha_") == (engines, "alpha_")
        assert await nb.tab("alpha_") == (["alpha_here"], "alpha_")
        assert await nb.first_tab("%%px -t 2\nalpha_th", ["alpha_three"]) == "alpha_th"
        assert "of the engine" in await nb.shift_tab("%%px\nalpha(")
        assert "of the engine" in await nb.shift_tab("%px alpha")
        assert await nb.shift_tab("alpha") is None
        await nb.run("%autopx")
        assert await nb.tab("a = 1\nalpha_") == (engines, "alpha_")
        assert await nb.tab("%%local\nalpha_") == (["alpha_here"], "alpha_")
        assert "of the engine" in await nb.shift_tab("alpha")


async def test_a_view_s_own_magics_ask_its_first_engine(cluster4, run_root):
    async with notebook() as nb:
        await nb.run(
            "import ipyviews\nrc = ipyviews.Client()\nrc[1::2].activate('_odd')",
            "%%px_odd\nodd_name = 1",
        )
        await nb.first_tab("%%px_odd\nodd_", ["odd_name"])
        await nb.run("rc.close()")
        assert (await nb.tab("%%px_odd\nodd_"))[0] == []


async def test_a_kernel_set_to_complete_by_the_line_asks_engines_too(cluster4, run_root):
    option = "--IPythonKernel.use_experimental_completions=False"
    async with notebook(option) as nb:
        await nb.run("%load_ext ipyviews", NAMES)
        await nb.first_tab("%%px\nx = 1\nalpha_", ["alpha_one", "alpha_two"])


async def test_a_question_mark_shows_the_engines_help_once(cluster4, run_root):
    async with notebook() as nb:
        await nb.run("%load_ext ipyviews", NAMES)
        for cell in ("%%px\nalpha?", "%px alpha?", "%autopx\n", "alpha?"):
            shown = await nb.run(cell)
            if cell.startswith("%autopx"):
                continue
            assert shown.startswith("[help:0-3]\n")
            assert shown.count("of the engine") == 1
        assert "'of the engine'" in await nb.run("alpha??")


@pytest.fixture
def pipe(tmp_path):
    path = tmp_path / "go"
    os.mkfifo(path)
    return path


@pytest.mark.skipif(not HAS_SUBSHELLS, reason="ipykernel 7 has subshells")
def test_a_busy_engine_answers_and_its_cell_and_calls_go_on(rc, pipe):
    view = rc[0]
    view.execute("kept_here = 1").get()
    for send in (
        lambda: view.execute(f"open({str(pipe)!r}).read(); kept_result = 7"),
        lambda: view.apply_async(Path.read_text, pipe),
    ):
        running = send()
        wait_until(lambda: rc.queue_status()[0]["queue"] + rc.queue_status()[0]["tasks"])
        for _ in range(3):
            told = inspection.complete(rc, 0, "kept_h", 6).result()
            assert told["matches"] == ["kept_here"]
            assert inspection.inspect(rc, 0, "kept_here", 9).result()["found"]
        assert not running.ready()
        pipe.write_text("go")
        running.get(timeout=30)
    assert view["kept_result"] == 7


@pytest.mark.skipif(HAS_SUBSHELLS, reason="ipykernel 6 has no subshells")
def test_an_engine_of_ipykernel_6_answers_only_when_it_is_idle(rc, pipe):
    view = rc[0]
    view.execute("kept_here = 1").get()
    assert inspection.complete(rc, 0, "kept_h", 6).result()["matches"] == ["kept_here"]
    running = view.execute(f"open({str(pipe)!r}).read()")
    assert inspection.complete(rc, 0, "kept_h", 6).result() is None
    pipe.write_text("go")
    running.get(timeout=30)
    assert inspection.complete(rc, 0, "kept_h", 6).result()["matches"] == ["kept_here"]


async def test_a_busy_engine_does_not_hold_up_the_notebook(cluster4, run_root, pipe):
    async with notebook() as nb:
        await nb.run("%load_ext ipyviews", "alpha_here = 1", NAMES)
        await nb.run(f"%%px -t 0 --noblock -o cell\nopen({str(pipe)!r}).read()")
        found, _ = await asyncio.wait_for(nb.tab("%%px\nalpha_"), 30)
        assert found in (["alpha_one", "alpha_two"], ["alpha_here"])
        if HAS_SUBSHELLS:
            await nb.first_tab("%%px\nalpha_", ["alpha_one", "alpha_two"])
        await asyncio.to_thread(pipe.write_text, "go")
        await nb.run("cell.get()")


def test_ipython_without_a_kernel_offers_the_engines_names(shell, rc):
    load_ipython_extension(shell)
    rc[1:].activate("_rest")
    shell.run_cell("%px_rest terminal_name = 1")
    for cell in ("%%px_rest -t 3\nterminal_", "%px_rest terminal_"):
        for _ in range(20):
            with provisionalcompleter():
                found = list(shell.Completer.completions(cell, len(cell)))
            if found:
                break
        assert [one.text for one in found] == ["terminal_name"]
