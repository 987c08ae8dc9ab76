"""The magics' names and options are those of ipyparallel."""

from __future__ import annotations

import pytest

row = pytest.mark.row
pytestmark = pytest.mark.kernels


@row("11-magics")
def test_the_magics_are_there_with_suffixes(shell, rc):
    rc[::2].activate("_even")
    for suffix in ("", "_even"):
        for name in ("px", "autopx", "pxresult", "pxconfig"):
            assert f"{name}{suffix}" in shell.magics_manager.magics["line"]
        assert f"px{suffix}" in shell.magics_manager.magics["cell"]


@row("11-magics-new")
@pytest.mark.parametrize(
    "options",
    [
        "--stream",
        "--no-stream",
        "--progress-after 1",
        "--signal-on-interrupt SIGINT",
        "--group-outputs engine",
        "--local",
    ],
)
def test_a_cell_takes_the_options_that_were_added(shell, rc, options):
    rc[:].activate("_all")
    shell.run_cell_magic("px_all", options, "mine = 1")
    assert rc[:].pull("mine", block=True) == [1, 1, 1, 1]
