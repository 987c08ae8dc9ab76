"""The magics of one view: ``%px``, ``%%px``, ``%autopx``, ``%pxresult``, ``%pxconfig``.

A cell is submitted without waiting; its display, made before, shows output under the cell that
submitted it for as long as any comes. A blocking cell then waits, and raises what failed.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NoReturn

from IPython.core.error import UsageError
from IPython.core.magic import no_var_expand
from IPython.core.magic_arguments import argument, magic_arguments, parse_argstring

from ipyviews import errors
from ipyviews.client.views import LoadBalancedView
from ipyviews_magics.options import Options, output_options, running_options, signal_number
from ipyviews_magics.targets import parse_targets
from ipyviews_magics.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from IPython.core.interactiveshell import InteractiveShell

    from ipyviews.client.results import AsyncResult
    from ipyviews.client.views import DirectView
    from ipyviews_magics.autopx import AutoPx
    from ipyviews_magics.targets import Targets

    AnyView = DirectView | LoadBalancedView

#: How long an interrupted cell may take to stop before the user is told [s].
STOPPING_S = 5.0


class PxMagics:
    """A set of magics bound to one view under one suffix.

    Parameters
    ----------
    shell
        Where the magics are registered.
    suffix
        What follows ``px`` in their names.
    view
        Gives the view, at each use; the first use may start a cluster.
    autopx
        The rewriter of cells, shared by all sets of the shell.
    """

    def __init__(
        self,
        shell: InteractiveShell,
        suffix: str,
        view: Callable[[], AnyView],
        autopx: AutoPx,
    ) -> None:
        self.shell = shell
        self.suffix = suffix
        #: The defaults that ``%pxconfig`` sets.
        self.options = Options()
        #: What ``%pxresult`` shows.
        self.last_result: AsyncResult | None = None
        self._view = view
        self._autopx = autopx

    def names(self) -> list[tuple[str, str, Callable[..., Any]]]:
        """List kind, name and function of each magic."""
        return [
            ("line", f"px{self.suffix}", self.px_line),
            ("cell", f"px{self.suffix}", self.px_cell),
            ("line", f"autopx{self.suffix}", self.autopx),
            ("line", f"pxresult{self.suffix}", self.pxresult),
            ("line", f"pxconfig{self.suffix}", self.pxconfig),
        ]

    @no_var_expand
    def px_line(self, line: str) -> AsyncResult | None:
        """Run the rest of the line on the engines; all of it is code."""
        return self._run(line, self.options)

    @magic_arguments("%px")
    @running_options
    @output_options
    @argument("--local", action="store_const", const=True, help="run the cell here as well")
    def px_cell(self, line: str, cell: str) -> AsyncResult | None:
        """Run the cell on the engines and show what they write, labelled by engine.

        A blocking cell returns nothing and raises what failed; the others return an AsyncResult.
        """
        return self._run(cell, self.options.changed(parse_argstring(self.px_cell, line)))

    @magic_arguments("pxresult")
    @output_options
    def pxresult(self, line: str) -> None:
        """Wait for the latest cell of these magics and show its output, grouped."""
        options = self.options.changed(parse_argstring(self.pxresult, line))
        if self.last_result is None:
            raise UsageError(
                f"%pxresult{self.suffix} recalls the last result of %px{self.suffix}, "
                "which has not yet been used."
            )
        if options.out:
            self.shell.user_ns[options.out] = self.last_result
        else:
            self._show_at_end(self.last_result, options)

    @magic_arguments("pxconfig")
    @running_options
    def pxconfig(self, line: str) -> None:
        """Set the defaults for the cells that follow."""
        options = self.options.changed(parse_argstring(self.pxconfig, line))
        signal_number(options.signal_on_interrupt)
        if options.targets is not None:
            view = self._view()
            view.targets = self._targets(view, options.targets)
        if options.block is not None:
            self._view().block = options.block
        self.options = replace(options, targets=None, block=None)

    def autopx(self, _line: str = "") -> None:
        """Switch on or off that every cell is run on the engines; ``%%local`` escapes for one."""
        if isinstance(self._view(), LoadBalancedView):
            raise UsageError(
                f"%autopx{self.suffix} needs a DirectView: "
                "of a LoadBalancedView each cell could meet another engine's namespace."
            )
        print(self._autopx.toggle(self.suffix))

    # -- running a cell -----------------------------------------------------------------------

    def _run(self, cell: str, options: Options) -> AsyncResult | None:
        stop_signal = signal_number(options.signal_on_interrupt)
        view = self._view()
        is_blocking = view.block if options.block is None else options.block
        result = self._submit(view, cell, options, is_blocking=is_blocking)
        self.last_result = result
        if options.out:
            self.shell.user_ns[options.out] = result
        streams = options.stream and not (options.local and is_blocking)
        if streams:
            self._stream(result)
        if options.local:
            with self._autopx.paused():
                self.shell.run_cell(cell)
        if not is_blocking:
            return result
        self._wait(result, options.progress_after, stop_signal)
        if not streams:
            display.show...
        return None
