"""Starting, stopping and signalling the engines of a `Cluster`, by sets and one by one."""

from __future__ import annotations

import asyncio
import random
import string
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ipyviews.errors import UsageError
from ipyviews.launching.options import check_count, count_cores

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    from ipyviews.client.session import Session


class UnknownSet(UsageError, KeyError):
    """A `UsageError` that is also a KeyError."""

    __str__ = Exception.__str__


@dataclass
class EngineSet:
    """Engines that were started together."""

    id: str
    #: Their ids; None for all there are, when somebody else started them.
    engines: list[int] | None


def new_name() -> str:
    """Make a name from the time and four letters."""
    tail = "".join(random.choices(string.ascii_lowercase + string.digits, k=4))
    return f"{int(time.time())}-{tail}"


class EngineVerbs(ABC):
    """The part of a `Cluster` that is about its engines."""

    #: Engines [count]; None for one per core.
    n: int | None

    def __init__(self) -> None:
        #: The sets of engines by name, the oldest first.
        self.engines: dict[str, EngineSet] = {}

    @property
    def engine_set(self) -> EngineSet | None:
        """The first set of engines; None if there is none."""
        return next(iter(self.engines.values()), None)

    @abstractmethod
    def _asking(self) -> AbstractContextManager[Session]:
        """Connect to the controller for a moment."""

    @abstractmethod
    def update_cluster_file(self) -> None:
        """Write down what there is now."""

    # -- sets ------------------------------------------------------------------------------------

    def start_engines_sync(
        self, n: int | None = None, engine_set_id: str | None = None, kernel: str | None = None
    ) -> str:
        """Start more engines; returns at once. See `Client.wait_for_engines`.

        Parameters
        ----------
        n
            How many [count]; None for as many as the cluster was made with.
        engine_set_id
            The name of the set; None for a new one.
        kernel
            Name of a kernelspec; None for what the cluster was made with.

        Returns
        -------
        str
            The name of the set.

        Raises
        ------
        ClusterError
            The cluster is not running.
        UsageError
            The name is taken, or `n` is no number of engines.
        """
        name = engine_set_id or new_name()
        if name in self.engines:
            raise UsageError(f"there is a set of engines {name!r} already; choose another name.")
        wanted = self.n if n is None else n
        wanted = count_cores() if wanted is None else wanted
        check_count(wanted)
        started: list[int] = []
        if wanted:
            with self._asking() as session:
                started = _control().start(session, wanted, kernel).result()
        self.engines[name] = EngineSet(name, started)
        self.update_cluster_file()
        return name

    def stop_engines_sync(self, engine_set_id: str | None = None) -> None:
        """End the engines of a set, or all; returns when they are gone."""
        chosen = self._sets(engine_set_id)
        with self._asking() as session:
            if ids := _live(chosen, session):
                _control().shutdown(session, ids, restart_them=False, hub=False).result()
        for one in chosen:
            del self.engines[one.id]
        self.update_cluster_file()

    def restart_engines_sync(self, engine_set_id: str | None = None) -> None:
        """Restart the engines of a set, or all; returns when they are back under their ids."""
        with self._asking() as session:
            if ids := _known(self._sets(engine_set_id), session):
                _control().restart(session, ids, now=False).result()

    def signal_engines_sync(self, signum: int | str, engine_set_id: str | None = None) -> None:
        """Send a signal, a number or name, to the engines of a set, or to all."""
        with self._asking() as session:
            if ids := _live(self._sets(engine_set_id), session):
                _control().send_signal(session, signum, ids).result()

    # -- one engine ------------------------------------------------------------------------------

    def stop_engine_sync(self, engine_id: int) -> None:
        """End one engine; returns when it is gone."""
        with self._asking() as session:
            _control().shutdown(session, engine_id, restart_them=False, hub=False).result()
        for one in self.engines.values():
            if one.engines is not None and engine_id in one.engines:
                one.engines.remove(engine_id)
        self.update_cluster_file()

    def restart_engine_sync(self, engine_id: int) -> None:
        """Restart one engine, also one that is gone; returns when it is back under its id."""
        with self._asking() as session:
            _control().restart(session, engine_id, now=False).result()

    def signal_engine_sync(self, engine_id: int, signum: int | str) -> None:
        """Send a signal, a number or name, to one engine."""
        with self._asking() as session:
            _control().send_signal(session, signum, engine_id).result()

    # -- coroutines ------------------------------------------------------------------------------

    async def start_engines(
        self, n: int | None = None, engine_set_id: str | None = None, kernel: str | None = None
    ) -> str:
        """Start more engines; see `start_engines_sync`."""
        return await asyncio.to_thread(self.start_engines_sync, n, engine_set_id, kernel)

    async def stop_engines(self, engine_set_id: str | None = None) -> None:
        """End the engines of a set, or all; see `stop_engines_sync`."""
        await asyncio.to_thread(self.stop_engines_sync, engine_set_id)

    async def restart_engines(self, engine_set_id: str | None = None) -> None:
        """Restart the engines of a set, or all; see `restart_engines_sync`."""
        await asyncio.to_thread(self.restart_engines_sync, engine_set_id)

    async def signal_engines(self, signum: int | str, engine_set_id: str | None = None) -> None:
        """Send a signal to the engines of a set, or to all; see `signal_engines_sync`."""
        await asyncio.to_thread(self.signal_engines_sync, signum, engine_set_id)

    async def stop_engine(self, engine_id: int) -> None:
        """End one engine; see `stop_engine_sync`."""
        await asyncio.to_thread(self.stop_engine_sync, engine_id)

    async def restart_engine(self, engine_id: int) -> None:
        """Restart one engine; see `restart_engine_sync`."""
        await asyncio.to_thread(self.restart_engine_sync, engine_id)

    async def signal_engine(self, engine_id: int, signum: int | str) -> None:
        """Send a signal to one engine; see `signal_engine_sync`."""
        await asyncio.to_thread(self.signal_engine_sync, engine_id, signum)

    def _sets(self, engine_set_id: str | None) -> list[EngineSet]:
        if engine_set_id is None:
            return list(self.engines.values())
        if engine_set_id not in self.engines:
            there = ", ".join(self.engines) or "none"
            raise UnknownSet(f"there is no set of engines {engine_set_id!r}; there are: {there}.")
        return [self.engines[engine_set_id]]


def _known(sets: Sequence[EngineSet], session: Session) -> list[int]:
    """Name the engines of sets, also those that are gone."""
    every = sorted(session.connection.engines)
    chosen = [every if one.engines is None else one.engines for one in sets]
    return sorted({engine for engines in chosen for engine in engines if engine in every})


def _live(sets: Sequence[EngineSet], session: Session) -> list[int]:
    return sorted(set(session.ids).intersection(_known(sets, session)))


def _control() -> Any:
    # Loaded while the cluster comes up, not before it is started.
    from ipyviews.client import control  # noqa: PLC0415

    return control
