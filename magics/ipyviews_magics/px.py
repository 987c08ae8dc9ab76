"""The magics of one view: ``%px``, ``%%px``, ``%autopx``, ``%pxresult``, ``%pxconfig``.

A cell is submitted without waiting; its display, made before, shows output under the cell that
submitted it for as long as any comes. A blocking cell then waits, and raises what failed.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError
from IPython.core.magic import no_var_expand

from ipyviews import errors
from ipyviews.client import places
from ipyviews.client.display import current_sink
from ipyviews.client.views import LoadBalancedView
from ipyviews_magics.bars import Beside, wait_with_bar
from ipyviews_magics.local import place_of_call, run_here
from ipyviews_magics.options import (
    FOLD,
    LOCAL,
    OUTPUT,
    RUNNING,
    SETUP,
    Options,
    signal_number,
    with_options,
)
from ipyviews_magics.pages import show_pages
from ipyviews_magics.stopping import heard, held, leave, stop
from ipyviews_magics.targets import parse_targets
from ipyviews_magics.waiting import show_live

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from IPython.core.interactiveshell import InteractiveShell

    from ipyviews.client.places import Place
    from ipyviews.client.results import AsyncResult
    from ipyviews.client.views import DirectView, View
    from ipyviews_magics.autopx import AutoPx
    from ipyviews_magics.targets import Targets

    AnyView = DirectView | LoadBalancedView


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
    known
        Gives the view if that starts nothing; `view` does so if None.
    """

    def __init__(
        self,
        shell: InteractiveShell,
        suffix: str,
        view: Callable[[], AnyView],
        autopx: AutoPx,
        known: Callable[[], AnyView | None] | None = None,
    ) -> None:
        self.shell = shell
        self.suffix = suffix
        #: The defaults that ``%pxconfig`` sets.
        self.options = Options()
        #: What ``%pxresult`` shows.
        self.last_result: AsyncResult | None = None
        self._find_view = view
        self._known_view = known or view
        self._autopx = autopx

    def follow(self, view: View) -> None:
        """Wait for each cell until somebody changes the view's `block`; from then on obey that.

        A view does not block by itself, for its calls; a cell reads as if it ran here.
        """
        self.options = replace(self.options, block=True)
        view.observe(lambda _: self._obey_view(), names="block")

    def _obey_view(self) -> None:
        self.options = replace(self.options, block=None)

    def names(self) -> list[tuple[str, str, Callable[..., Any]]]:
        """List kind, name and function of each magic."""
        return [
            ("line", f"px{self.suffix}", self.px_line),
            ("cell", f"px{self.suffix}", self.px_cell),
            ("line", f"autopx{self.suffix}", self.autopx),
            ("line", f"pxresult{self.suffix}", self.pxresult),
            ("line", f"pxconfig{self.suffix}", self.pxconfig),
        ]

    def older_names(self) -> list[tuple[str, str, Callable[..., Any]]]:
        """List what is registered only where nobody has the name: ipyparallel had it once."""
        return [] if self.suffix else [("line", "result", self.pxresult)]

    @no_var_expand
    def px_line(self, line: str) -> AsyncResult | None:
        """Run the rest of the line on the engines; all of it is code."""
        return self._run(line, self.options, place_of_call(self.shell))

    @with_options("%px", *RUNNING, *OUTPUT, LOCAL, SETUP)
    def px_cell(self, line: str, cell: str) -> AsyncResult | None:
        """Run the cell on the engines and show what they write, labelled by engine.

        A blocking cell returns nothing and raises what failed; the others return an AsyncResult.
        """
        origin = place_of_call(self.shell, above=1 - self._autopx.added)
        return self._run(cell, self.options.read(self.px_cell, line), origin)

    @with_options("pxresult", *FOLD, *OUTPUT)
    def pxresult(self, line: str) -> None:
        """Wait for the latest cell of these magics and show its output, grouped."""
        options = self.options.read(self.pxresult, line)
        if self.last_result is None:
            raise UsageError(
                f"%pxresult{self.suffix} recalls the last result of %px{self.suffix}, "
                "which has not yet been used."
            )
        if options.out:
            self.shell.user_ns[options.out] = self.last_result
        else:
            self._finish(self.last_result, options)

    @with_options("pxconfig", *RUNNING)
    def pxconfig(self, line: str) -> None:
        """Set the defaults for the cells that follow; without options, tell what they are."""
        if not line.strip():
            self._tell_options()
            return
        options = self.options.read(self.pxconfig, line)
        if options.targets is not None:
            view = self._view()
            view.targets = self._targets(view, options.targets)
        known = self._known_view()
        if options.block is not None and known is not None:
            known.block = options.block
            options = replace(options, block=None)
        self.options = replace(options, targets=None)

    def _tell_options(self) -> None:
        view, options = self._known_view(), self.options
        targets: Targets | None = "all"
        if view is not None:
            targets = view.targets
            options = replace(options, block=self._waits(view, options))
        print(f"%px{self.suffix} runs with these options; %pxconfig{self.suffix} changes them:")
        for row in replace(options, targets=_describe(targets).replace(" ", "")).rows():
            print(f"  {row}")

    def autopx(self, _line: str = "") -> None:
        """Switch on or off that every cell is run on the engines; ``%%local`` escapes for one."""
        if isinstance(self._view(), LoadBalancedView):
            raise UsageError(
                f"%autopx{self.suffix} needs a DirectView: "
                "of a LoadBalancedView each cell could meet another engine's namespace."
            )
        print(self._autopx.toggle(self.suffix))

    def view_in_use(self) -> AnyView | None:
        """Return the view, unless a cluster would have to be found or started for it."""
        return self._known_view()

    def _waits(self, view: AnyView, options: Options) -> bool:
        return bool(view.block if options.block is None else options.block)

    def _view(self) -> AnyView:
        with as_usage_error():
            return self._find_view()

    # -- running a cell -----------------------------------------------------------------------

    @heard()
    def _run(self, cell: str, options: Options, origin: Place | None) -> AsyncResult | None:
        stop_signal = signal_number(options.signal_on_interrupt)
        view = self._view()
        waits = self._waits(view, options)
        streams = options.stream and not (options.local and waits)
        sink = Beside()
        result = failed_here = None
        try:
            with held():
                result = self._send(view, cell, options, waits=waits)
                if origin is not None:
                    places.put(result.msg_ids, origin)
                if streams:
                    show_live(result, sink, fold=options.fold, and_errors=not waits)
            if options.local:
                with self._autopx.paused():
                    failed_here = run_here(self.shell, cell)
            if waits:
                wait_with_bar(result, options.progress_after, sink)
        except KeyboardInterrupt as interrupt:
            if result is None:
                raise
            if not waits or stop_signal is None:
                raise leave(result, interrupt) from None
            raise stop(view, result, stop_signal, interrupt) from None
        if waits:
            self._finish(result, None if streams else options)
        if failed_here is not None:
            raise errors.AlreadyDisplayedError(failed_here)
        return None if waits else result

    def _send(self, view: AnyView, cell: str, options: Options, *, waits: bool) -> AsyncResult:
        """Submit, and keep the result."""
        result = self._submit(view, cell, options, waits=waits)
        # What was printed here so far comes before what engines write.
        sys.stdout.flush()
        self.last_result = result
        if options.out:
            self.shell.user_ns[options.out] = result
        return result

    def _submit(self, view: AnyView, cell: str, options: Options, *, waits: bool) -> AsyncResult:
        targets = view.targets
        if options.targets is not None:
            targets = self._targets(view, options.targets)
        if options.verbose:
            kind = "Parallel" if waits else "Async parallel"
            which = "any of " if isinstance(view, LoadBalancedView) else ""
            print(f"{kind} execution on {which}engine(s): {_describe(targets)}")
        execute: Callable[..., AsyncResult] = view.execute
        if options.setup:
            if isinstance(view, LoadBalancedView):
                raise UsageError("--setup is for views that name their engines, e.g. rc[:].")
            execute = partial(execute, setup=True)
        with view.temp_flags(targets=targets), as_usage_error():
            result = execute(cell, silent=False, block=False)
        result._fname = f"%px{self.suffix}"  # noqa: SLF001 - what ran, for people
        return result

    def _targets(self, view: AnyView, text: str) -> Targets:
        with as_usage_error():
            return parse_targets(text, view.client.ids)

    @heard()
    def _finish(self, result: AsyncResult, options: Options | None) -> None:
        """Show what was not shown yet, also of a failed cell, and raise what failed."""
        try:
            result.wait()
        except KeyboardInterrupt as interrupt:
            raise leave(result, interrupt) from None
        if options is not None:
            sys.stdout.flush()
            # Which engine a scheduler chose is told also of one.
            is_balanced = isinstance(self._known_view(), LoadBalancedView)
            result.display_outputs(
                options.group_outputs, labelled=is_balanced or None, fold=options.fold
            )
        show_pages(result, current_sink())
        result.get()


@contextmanager
def as_usage_error() -> Iterator[None]:
    """Let IPython show in one line why a cell could not be sent: it does so for its own class."""
    try:
        yield
    except (errors.UsageError, errors.NoEnginesRegistered, errors.ClusterError) as error:
        raise UsageError(str(error)) from None


def _describe(targets: Targets | None) -> str:
    if isinstance(targets, list) and len(targets) > 10:
        shown = [*map(str, targets[:4]), "...", *map(str, targets[-4:])]
        return f"[{', '.join(shown)}]"
    return "all" if targets is None else str(targets)
