"""The client for notebooks and scripts: its verbs wait."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from ipyviews.client import activation, control
from ipyviews.client.connection import Connection
from ipyviews.client.factory import ViewFactory
from ipyviews.launching.rundir import find_cluster

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping
    from types import TracebackType

    from ipyviews.client.directview import DirectView
    from ipyviews.client.session import Targets
    from ipyviews.launching.rundir import ClusterFile
    from ipyviews.transport.base import Transport


class Client(ViewFactory):
    """A connection to a running cluster.

    Parameters
    ----------
    connection_info
        Connection file, run folder, its content as a dict, or a `ClusterFile`; None finds a
        running cluster of this user.
    cluster_id
        Which one, if several run.
    timeout
        Longest time until the controller has answered [s].
    cluster
        The `Cluster` it belongs to, if any; kept as an attribute.
    transport
        Makes the sockets from an event loop; for other networks and tests.

    Raises
    ------
    UsageError
        The connection info is not one.
    ClusterError
        There is no such cluster, or it does not answer; the sentence says what to do.
    VersionMismatch
        Client and controller do not fit together.

    Examples
    --------
    >>> import ipyviews
    >>> with ipyviews.Client() as rc:  # doctest: +SKIP
    ...     rc[:].apply_sync(lambda: 6 * 7)
    [42, 42, 42, 42]
    """

    def __init__(
        self,
        connection_info: str | os.PathLike[str] | Mapping[str, Any] | ClusterFile | None = None,
        *,
        cluster_id: str | None = None,
        timeout: float = 10.0,
        cluster: Any = None,
        transport: Callable[[Any], Transport] | None = None,
    ) -> None:
        source = find_cluster(cluster_id) if connection_info is None else connection_info
        connection = Connection(source, timeout=timeout, transport=transport)
        connection.wait_ready()
        super().__init__(connection)
        self.cluster = cluster
        shell = activation.shell()
        if shell is not None and "px" not in shell.magics_manager.magics["line"]:
            self.activate()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.close()

    def activate(self, targets: Targets = "all", suffix: str = "") -> DirectView:
        """Make ``%px<suffix>`` run on a new, blocking view of `targets`, and return the view."""
        view = self.direct_view(targets)
        view.block = True
        view.activate(suffix)
        return view

    # -- waiting and results ------------------------------------------------------------------

    def wait(self, jobs: Any = None, timeout: float | None = -1) -> bool:
        """Wait for results.

        Parameters
        ----------
        jobs
            None for all that are outstanding; or results, futures, ids of tasks, numbers of calls
            (-1 the last), one or a collection of them.
        timeout
            Longest wait [s]; None or negative for no limit.

        Returns
        -------
        bool
            Whether all are done.
        """
        return control.wait(self, jobs, timeout)

    def wait_for_engines(self, n: int | None = None, *, timeout: float | None = 60.0) -> None:
        """Wait until `n` engines can be used.

        Parameters
        ----------
        n
            How many [count]; None for as many as the cluster wants.
        timeout
            Longest wait [s]; None or negative for no limit.

        Raises
        ------
        TimeoutError
            They were not.
        EngineError
            They never will be: one died while it started; the sentence says why.
        """
        control.wait_for_engines(self, n, timeout)

    def get_result(self, job: Any = None, *, block: bool | None = None) -> Any:
        """Return the result of an earlier call.

        Parameters
        ----------
        job
            The number of the call (-1 the last, which None means too), the id of a task, a result,
            or a list of these.
        block
            Whether to wait for the result and return it bare; None for this client's flag.
        """
        result = control.find_result(self, job)
        return result.get() if (self.block if block is None else block) else result

    def abort(self, jobs: Any = None) -> None:
        """Stop tasks: queued ones are dropped, running ones interrupted.

        Parameters
        ----------
        jobs
            As for `wait`.
        """
        control.cancel(self, jobs)

    cancel = abort

    # -- engines ------------------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """Return what the controller knows of engines and clients; see docs/protocol.md."""
        return control.status(self)

    def queue_status(self, targets: Targets = "all", verbose: bool = False) -> dict[Any, Any]:
        """Return, by engine id, how many tasks run and wait there.

        Returns
        -------
        dict
            ``{id: {"queue": n, "completed": n, "tasks": n}, "unassigned": n}``; of one engine
            only its inner dict. ``queue`` counts what waits, ``tasks`` what runs, ``completed``
            what this client still knows of.
        """
        del verbose
        return control.queue_status(self, targets)

    def interrupt(self, targets: Targets = None) -> int:
        """Interrupt what this client runs on the engines; returns how many tasks. [count]."""
        return control.interrupt(self, targets)

    def send_signal(self, sig: int | str, targets: Targets = None) -> None:
        """Send a signal, by number or name (``"SIGUSR1"``), to the processes of engines."""
        control.send_signal(self, sig, targets)

    def start_engines(self, n: int = 1, kernel: str | None = None) -> list[int]:
        """Start more engines and return their ids at once; see `wait_for_engines`."""
        return control.start(self, n, kernel)

    def restart(self, targets: Targets = "all", *, now: bool = False) -> None:
        """Restart engines; each keeps its id and loses its names. Returns when they are back.

        Parameters
        ----------
        targets
            Which; also engines that are gone.
        now
            Whether they are killed at once instead of being asked to end.
        """
        control.restart(self, targets, now=now)

    def shutdown(self, targets: Targets = "all", restart: bool = False, hub: bool = False) -> None:
        """Stop engines, or with ``hub=True`` the whole cluster, and then close this client."""
        control.shutdown(self, targets, restart_them=restart, hub=hub)
        if hub:
            self.close()
