"""Names that programs for ipyparallel use: some have nothing to do here, some come later."""

from __future__ import annotations

import warnings
from typing import Any, NoReturn

from ipyviews.client.factory import ViewFactory
from ipyviews.errors import UsageError


class LegacyNames(ViewFactory):
    """What a client of ipyparallel has besides."""

    #: There is no network to encrypt: None, until clusters reach over it.
    curve_serverkey: bytes | None = None
    curve_publickey: bytes | None = None
    curve_secretkey: bytes | None = None
    #: The profile the client was asked to look in.
    profile: str = "default"

    @property
    def _task_scheme(self) -> str:
        return self.connection.address.scheme

    @property
    def debug(self) -> bool:
        """Whether each message is printed."""
        return self.connection.debug

    @debug.setter
    def debug(self, value: bool) -> None:
        self.connection.debug = bool(value)

    def spin(self) -> None:
        """Do nothing: replies come in by themselves."""
        _warn("spin")

    def spin_thread(self, interval: float = 1) -> None:
        """Do nothing: replies come in by themselves."""
        del interval
        _warn("spin_thread")

    def stop_spin_thread(self) -> None:
        """Do nothing: there is no such thread."""
        _warn("stop_spin_thread")

    def become_dask(self, *arguments: Any, **options: Any) -> NoReturn:
        """Refuse: engines as workers of dask come in a later version."""
        del arguments, options
        raise UsageError("Engines cannot become dask workers yet: start a dask cluster by itself.")

    def stop_dask(self, *arguments: Any, **options: Any) -> NoReturn:
        """Refuse: see `become_dask`."""
        self.become_dask(*arguments, **options)

    become_distributed = become_dask
    stop_distributed = stop_dask


def _warn(name: str) -> None:
    warnings.warn(
        f"Client.{name} does nothing: replies come in by themselves.",
        DeprecationWarning,
        stacklevel=3,
    )
