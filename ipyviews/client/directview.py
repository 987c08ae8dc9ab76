"""A view of engines that are named: every call runs on all of them."""

from __future__ import annotations

import signal
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ipyviews.client import partition
from ipyviews.client.base import View
from ipyviews.client.calls import call_direct, check_callable, function_name, run_direct
from ipyviews.client.imports import SyncImports
from ipyviews.client.maps import AsyncMapResult
from ipyviews.client.session import WrongType
from ipyviews.client.spread import Spread
from ipyviews.client.stopping import stoppable
from ipyviews.engine import verbs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from ipyviews.client.calls import Call
    from ipyviews.client.feed import Send
    from ipyviews.client.results import AsyncResult
    from ipyviews.client.session import Targets
    from ipyviews.client.tasks import Task

#: How long it may take until a killed engine is seen to be gone [s].
KILLED_S = 10.0


class DirectView(View):
    """Engines that are named.

    A view of one engine (an int as target) gives bare values; of several, lists in the order of
    the targets. Calls and cells run on an engine in the order they were made.
    """

    # -- code ---------------------------------------------------------------------------------

    @stoppable
    def execute(
        self,
        code: str,
        silent: bool = True,
        targets: Targets = None,
        block: bool | None = None,
        label: str | None = None,
        *,
        setup: bool = False,
    ) -> AsyncResult:
        """Run code, as a cell, on the engines.

        Parameters
        ----------
        code
            Anything their kernels take; for IPython also magics.
        silent
            Whether the last value is not shown and the engine's history stays as it is.
        targets, block, label
            Instead of this view's flags.
        setup
            Whether engines on which it succeeds run it again, in the order of such cells, before
            anything else whenever they are started again.

        Returns
        -------
        AsyncResult
            Of `ExecuteReply`; when blocking, results and output have arrived.

        Raises
        ------
        RemoteError, CompositeError
            When blocking: it failed on one engine, or on some of several.
        """
        chosen, single = self._chosen(targets)
        label = label or self.label
        tasks = run_direct(self._session, code, chosen, silent=silent, label=label, setup=setup)
        result = self._keep(tasks, "execute", single=single)
        self._finish(result, block)
        return result

    def run(
        self,
        filename: str,
        targets: Targets = None,
        block: bool | None = None,
        label: str | None = None,
    ) -> AsyncResult:
        """Run a file of this machine on the engines; see `execute`."""
        code = Path(filename).read_text(encoding="utf-8") + "\n"
        return self.execute(code, targets=targets, block=block, label=label)

    # -- data ---------------------------------------------------------------------------------

    @stoppable
    def push(
        self,
        ns: Mapping[str, Any],
        targets: Targets = None,
        block: bool | None = None,
        track: bool | None = None,
    ) -> Any:
        """Set names on the engines.

        Parameters
        ----------
        ns
            Name to value; a dotted name sets an attribute.
        targets, block, track
            Instead of this view's flags.
        """
        del track
        if not isinstance(ns, dict):
            raise WrongType(f"Must be a dict, not {type(ns)}")
        return self._finish(self._verb(verbs.push, [((ns,), {})], targets, "push"), block)

    def update(self, ns: Mapping[str, Any]) -> Any:
        """Set names on the engines; as `push`."""
        return self.push(ns)

    @stoppable
    def pull(
        self, names: str | Iterable[str], targets: Targets = None, block: bool | None = None
    ) -> Any:
        """Fetch values by name; any expression will do.

        Parameters
        ----------
        names
            One text for one value, several for a list of values; from each engine.
        targets, block
            Instead of this view's flags.
        """
        if not isinstance(names, str):
            if not isinstance(names, list | tuple | set):
                raise WrongType(f"names must be strs, not {names!r}")
            names = list(names)
        for name in [names] if isinstance(names, str) else names:
            if not isinstance(name, str):
                raise WrongType(f"names must be strs, not {name!r}")
        return self._finish(self._verb(verbs.pull, [((names,), {})], targets, "pull"), block)

    def get(self, key_s: str | Iterable[str]) -> Any:
        """Fetch values by name and wait for them; as `pull`."""
        return self.pull(key_s, block=self._session.may_block)

    def __getitem__(self, key: str | Iterable[str]) -> Any:
        return self.get(key)

    def __setitem__(self, key: str, value: Any) -> None:
        self.push({key: value})

    @stoppable
    def scatter(  # noqa: PLR0917 - the seeds' signature
        self,
        key: str,
        seq: Iterable[Any],
        dist: str = "b",
        flatten: bool = False,
        targets: Targets = None,
        block: bool | None = None,
        track: bool | None = None,
    ) -> AsyncResult | None:
        """Cut a sequence into as many parts as there are engines and push one to each.

        Parameters
        ----------
        key
            The name the parts get.
        seq
            Of length n; parts keep its type. An iterator becomes a list.
        dist
            ``"b"`` for blocks, ``"r"`` for round robin.
        flatten
            Whether a part of one item becomes the bare item.
        targets, block, track
            Instead of this view's flags.

        Returns
        -------
        AsyncResult or None
            None when blocking.
        """
        del track
        chosen, single = self._chosen(targets)
        (values,) = partition.sequences([seq])
        parts = partition.split(values, max(1, len(chosen)), dist)
        if flatten:
            parts = [part[0] if len(part) == 1 else part for part in parts]
        calls: list[Call] = [(({key: part},), {}) for part in parts]
        tasks = self._send(verbs.push, calls, chosen, "scatter")
        result = self._keep(tasks, "scatter", single=single)
        if not self._blocks(block):
            return result
        self._finish(result, block=True)
        return None

    @stoppable
    def gather(
        self,
        key: str,
        dist: str = "b",
        targets: Targets = None,
        block: bool | None = None,
    ) -> Any:
        """Fetch parts from the engines and join them; the inverse of `scatter`.

        Returns
        -------
        AsyncMapResult or sequence
            The sequence when blocking; arrays, ranges and texts are joined as such.
        """
        partition.check(dist)
        chosen, _ = self._chosen(targets)
        tasks = self._send(verbs.pull, [((key,), {})], chosen, "gather")
        result = AsyncMapResult(self._session, tasks, "gather", sizes=[1] * len(tasks), dist=dist)
        return self._finish(self._note(result), block)

    # -- maps ---------------------------------------------------------------------------------

    @stoppable
    def map(
        self,
        f: Callable[..., Any],
        *sequences: Any,
        block: bool | None = None,
        track: bool | None = None,
        return_exceptions: bool = False,
        label: str | None = None,
    ) -> Any:
        """Call `f` for each item; each engine gets one contiguous part. See `View.map`."""
        del track
        check_callable(f)
        chosen, _ = self._chosen(None)
        lists = partition.sequences(sequences)
        count = min(map(len, lists))
        engines = chosen[:count]
        if chosen and not engines:
            return []
        lists = [values if len(values) == count else values[:count] for values in lists]
        calls = partition.cut(lists, max(1, len(engines)))
        name = function_name(f)
        tasks = self._send(partial(verbs.map_items, f), calls, engines, name, label)
        result = AsyncMapResult(
            self._session,
            tasks,
            name,
            sizes=partition.sizes(count, len(engines)),
            return_exceptions=return_exceptions,
        )
        return self._finish(self._note(result), block)

    # -- names and processes of the engines ---------------------------------------------------

    def sync_imports(self, local: bool = True, quiet: bool = False) -> SyncImports:
        """Make the imports of a ``with`` block on the engines too.

        Parameters
        ----------
        local
            Whether they are made here at all.
        quiet
            Whether nothing is printed.

        Raises
        ------
        ImportError, CompositeError
            At the end of the block: an engine could not import something.

        Examples
        --------
        >>> with rc[:].sync_imports():
        ...     import numpy as np
        importing numpy as np on engine(s)
        """
        return SyncImports(self, local=local, quiet=quiet)

    @property
    def importer(self) -> SyncImports:
        """As `sync_imports`, without arguments."""
        return self.sync_imports()

    @stoppable
    def clear(self, targets: Targets = None, block: bool | None = None) -> Any:
        """Remove all names from the engines."""
        return self._finish(self._verb(verbs.clear, [((), {})], targets, "clear"), block)

    def kill(self, targets: Targets = None, block: bool | None = True) -> Any:
        """Kill the engines at once: what they run fails, and `restart` brings them back.

        Parameters
        ----------
        targets
            Instead of this view's.
        block
            Whether to wait until they are gone.
        """
        chosen, _ = self._chosen(targets)
        killed = self.client.send_signal(signal.SIGKILL, chosen, block=block)
        if self._blocks(block) and self._session.may_block:
            session = self._session
            session.connection.wait_for(lambda: not set(chosen) & set(session.ids), KILLED_S)
        return killed

    def restart(self, *, now: bool = False, setup: bool = True) -> Any:
        """Restart the engines, also those that are gone; see `Client.restart`."""
        return self.client.restart(self.targets, now=now, setup=setup)

    # -- inside -------------------------------------------------------------------------------

    def _chosen(self, targets: Targets) -> tuple[list[int], bool]:
        wanted = self.targets if targets is None else targets
        return self._session.resolve(wanted), isinstance(wanted, int)

    def _submit(self, f: Callable[..., Any], calls: Sequence[Call]) -> tuple[list[Task], bool]:
        chosen, single = self._chosen(None)
        return self._send(f, calls, chosen, function_name(f)), single

    def _verb(
        self, verb: Callable[..., Any], calls: list[Call], targets: Targets, name: str
    ) -> AsyncResult:
        chosen, single = self._chosen(targets)
        return self._keep(self._send(verb, calls, chosen, name), name, single=single)

    def _send(
        self,
        f: Callable[..., Any],
        calls: Sequence[Call],
        engines: Sequence[int],
        name: str,
        label: str | None = None,
    ) -> list[Task]:
        return call_direct(
            self._session,
            f,
            calls,
            engines,
            name=name,
            label=label or self.label,
            how=self._pickling,
        )

    def _send_parts(
        self, f: Callable[..., Any], lists: Sequence[Any], dist: str, chunksize: int | None
    ) -> list[Task]:
        del chunksize
        chosen, _ = self._chosen(None)
        engines = chosen[: len(lists[0])]
        if chosen and not engines:
            return []
        calls = partition.cut(lists, max(1, len(engines)), dist)
        return self._send(f, calls, engines, function_name(f))

    def _sender(self, f: Callable[..., Any], label: str | None, *, chunked: bool) -> Send:
        check_callable(f)
        wanted = self.targets
        return Spread(
            self._session,
            partial(verbs.map_items, f) if chunked else f,
            lambda: self._session.resolve(wanted),
            name=function_name(f),
            label=label,
            how=self._pickling,
        )
