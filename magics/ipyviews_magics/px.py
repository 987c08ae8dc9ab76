"""The magics of one view: ``%px``, ``%%px``, ``%autopx``, ``%pxresult``, ``%pxconfig``.

A cell is submitted without waiting; its display, made before, shows output under the cell that
submitted it for as long as any comes. A blocking cell then waits, and raises what failed.
"""

from __future__ import annotations

import signal
import sys
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError
from IPython.core.magic import no_var_expand

from ipyviews import errors
from ipyviews.client.views import LoadBalancedView
from ipyviews_magics.options import LOCAL, OUTPUT, RUNNING, Options, signal_number, with_options
from ipyviews_magics.targets import parse_targets
from ipyviews_magics.waiting import name_engines, quiet, show_live, tasks_of, wait_with_bar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from IPython.core.interactiveshell import InteractiveShell

    from ipyviews.client.results import AsyncResult
    from ipyviews.client.views import DirectView, View
    from ipyviews_magics.autopx import AutoPx
    from ipyviews_magics.targets import Targets

    AnyView = DirectView | LoadBalancedView

#: After this time the user is told what goes on despite the interrupt [s].
HINT_S = 1.0

#: How long an interrupted cell is waited for [s].
STOPPING_S = 10.0


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
        self._find_view = view
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

    @no_var_expand
    def px_line(self, line: str) -> AsyncResult | None:
        """Run the rest of the line on the engines; all of it is code."""
        return self._run(line, self.options)

    @with_options("%px", *RUNNING, *OUTPUT, LOCAL)
    def px_cell(self, line: str, cell: str) -> AsyncResult | None:
        """Run the cell on the engines and show what they write, labelled by engine.

        A blocking cell returns nothing and raises what failed; the others return an AsyncResult.
        """
        return self._run(cell, self.options.read(self.px_cell, line))

    @with_options("pxresult", *OUTPUT)
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
            self._finish(self.last_result, options.group_outputs)

    @with_options("pxconfig", *RUNNING)
    def pxconfig(self, line: str) -> None:
        """Set the defaults for the cells that follow."""
        options = self.options.read(self.pxconfig, line)
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

    def _view(self) -> AnyView:
        with as_usage_error():
            return self._find_view()

    # -- running a cell -----------------------------------------------------------------------

    def _run(self, cell: str, options: Options) -> AsyncResult | None:
        stop_signal = signal_number(options.signal_on_interrupt)
        view = self._view()
        waits = view.block if options.block is None else options.block
        streams = options.stream and not (options.local and waits)
        result = self._submit(view, cell, options, waits=waits)
        # What was printed here so far comes before what engines write.
        sys.stdout.flush()
        self.last_result = result
        if options.out:
            self.shell.user_ns[options.out] = result
        if streams:
            show_live(result, and_errors=not waits)
        if options.local:
            with self._autopx.paused():
                self.shell.run_cell(cell)
        if not waits:
            return result
        self._wait(view, result, options, stop_signal, streams=streams)
        self._finish(result, None if streams else options.group_outputs)
        return None

    def _submit(self, view: AnyView, cell: str, options: Options, *, waits: bool) -> AsyncResult:
        targets = view.targets
        if options.targets is not None:
            targets = self._targets(view, options.targets)
        if options.verbose:
            kind = "Parallel" if waits else "Async parallel"
            print(f"{kind} execution on engine(s): {_describe(targets)}")
        with view.temp_flags(targets=targets), as_usage_error():
            return view.execute(cell, silent=False, block=False)

    def _targets(self, view: AnyView, text: str) -> Targets:
        with as_usage_error():
            return parse_targets(text, view.client.ids)

    def _finish(self, result: AsyncResult, group_outputs: str | None) -> None:
        """Show what was not shown yet, also of a failed cell, and raise what failed."""
        result.wait()
        if group_outputs is not None:
            sys.stdout.flush()
            result.display_outputs(group_outputs)
        result.get()

    def _wait(
        self,
        view: AnyView,
        result: AsyncResult,
        options: Options,
        stop_signal: int | None,
        *,
        streams: bool,
    ) -> None:
        try:
            wait_with_bar(result, options.progress_after, streams=streams)
        except KeyboardInterrupt as interrupt:
            if stop_signal is None:
                raise
            raise self._stopped(view, result, stop_signal, interrupt) from None

    def _stopped(
        self, view: AnyView, result: AsyncResult, stop_signal: int, interrupt: KeyboardInterrupt
    ) -> KeyboardInterrupt:
        """Stop the cell on its engines; they answer with errors, which are not shown."""
        running = _still_running(result)
        if running and stop_signal != signal.SIGINT:
            view.client.send_signal(stop_signal, running)
        else:
            result.cancel()
        where = f"on {name_engines(running)}" if running else "before it ran"
        try:
            if not result.wait(HINT_S):
                going = name_engines(_still_running(result))
                sys.stderr.write(f"{going}: not stopped yet; interrupt again to restart\n")
                sys.stderr.flush()
            if result.wait(STOPPING_S - HINT_S):
                return quiet(interrupt, f"stopped {where}")
        except KeyboardInterrupt:
            return quiet(interrupt, _restart(view, result))
        left = _still_running(result)
        return quiet(
            interrupt,
            f"{name_engines(left)} did not stop within {STOPPING_S:g} s; "
            f"%ipyviews restart {','.join(map(str, left))} ends what runs there",
        )


def _still_running(result: AsyncResult) -> list[int]:
    waiting = [task.engine_id for task in tasks_of(result) if task.status is None]
    return [engine for engine in waiting if engine is not None]


def _restart(view: AnyView, result: AsyncResult) -> str:
    """Restart the engines on which a cell runs that no interrupt stops; say so."""
    left = _still_running(result)
    if left:
        view.client.restart(left, now=True)
        return f"restarted {name_engines(left)}, without the variables that were there"
    return "stopped"


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
    return "any" if targets is None else str(targets)
