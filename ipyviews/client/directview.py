"""A view of engines that are named: every call runs on all of them."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ipyviews.client import partition
from ipyviews.client.base import View
from ipyviews.client.calls import call_direct, function_name, run_direct
from ipyviews.client.maps import AsyncMapResult
from ipyviews.client.session import WrongType
from ipyviews.client.stopping import stoppable
from ipyviews.engine import verbs
from ipyviews.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from ipyviews.client.calls import Call
    from ipyviews.client.results import AsyncResult
    from ipyviews.client.session import Targets
    from ipyviews.client.tasks import Task


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
        tasks = run_direct(self._session, code, chosen, silent=silent, label=label or self.label)
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
        seq: Sequence[Any],
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
            Of length n; parts keep its type.
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
        parts = partition.split(seq, max(1, len(chosen)), dist)
        if flatten:
            parts = [part[0] if len(part) == 1 else part for part in parts]
        calls: list[Call] = [(({key: part},), {}) for part in parts]
        tasks = call_direct(
            self._session, verbs.push, calls, chosen, name="scatter", label=self.label
        )
        result = self._keep(tasks, "scatter", single=single)
        if self.block if block is None else block:
            self._finish(result, block=True)
            return None
        return result

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
        chosen, _ = self._chosen(targets)
        tasks = call_direct(
            self._session, verbs.pull, [((key,), {})], chosen, name="gather", label=self.label
        )
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
        if not callable(f):
            raise WrongType(f"f must be callable, not {type(f).__name__}")
        chosen, _ = self._chosen(None)
        lists = _sequences(sequences)
        counts = [n for n in partition.sizes(min(map(len, lists)), max(1, len(chosen))) if n]
        if chosen and not counts:
            return []
        engines = chosen[: len(counts)]
        tasks = call_direct(
            self._session,
            partial(verbs.map_items, f),
            _parts(lists, counts),
            engines,
            name=function_name(f),
            label=label or self.label,
        )
        result = AsyncMapResult(
            self._session,
            tasks,
            function_name(f),
            sizes=counts,
            return_exceptions=return_exceptions,
        )
        return self._finish(self._note(result), block)

    # -- inside -------------------------------------------------------------------------------

    def _chosen(self, targets: Targets) -> tuple[list[int], bool]:
        wanted = self.targets if targets is None else targets
        return self._session.resolve(wanted), isinstance(wanted, int)

    def _submit(self, f: Callable[..., Any], calls: Sequence[Call]) -> tuple[list[Task], bool]:
        chosen, single = self._chosen(None)
        name = function_name(f)
        tasks = call_direct(self._session, f, calls, chosen, name=name, label=self.label)
        return tasks, single

    def _verb(
        self, verb: Callable[..., Any], calls: list[Call], targets: Targets, name: str
    ) -> AsyncResult:
        chosen, single = self._chosen(targets)
        tasks = call_direct(self._session, verb, calls, chosen, name=name, label=self.label)
        return self._keep(tasks, name, single=single)


def _sequences(sequences: Sequence[Any]) -> list[Any]:
    """Return what can be cut; iterators become lists."""
    if not sequences:
        raise UsageError("map needs at least one sequence besides the function.")
    return [
        values if hasattr(values, "__len__") and hasattr(values, "__getitem__") else list(values)
        for values in sequences
    ]


def _parts(lists: Sequence[Any], counts: Sequence[int]) -> list[Call]:
    calls: list[Call] = []
    start = 0
    for count in counts:
        calls.append((tuple(values[start : start + count] for values in lists), {}))
        start += count
    return calls
