"""The client for notebooks and scripts: its verbs wait."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self, TypeVar

from ipyviews.client import activation, control, options, waits
from ipyviews.client.connection import Connection
from ipyviews.client.legacy import LegacyNames
from ipyviews.client.recordverbs import RecordVerbs

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping
    from concurrent.futures import Future
    from types import TracebackType

    from ipyviews.client.answers import Answer
    from ipyviews.client.directview import DirectView
    from ipyviews.client.session import Targets
    from ipyviews.client.table import EngineTable
    from ipyviews.deaths import DeathReport
    from ipyviews.launching.rundir import ClusterFile
    from ipyviews.transport.base import Transport

T = TypeVar("T")


class Client(RecordVerbs, LegacyNames):
    """A connection to a running cluster.

    Parameters
    ----------
    connection_info
        Connection file, run folder, its content as a dict, or a `ClusterFile`; None finds a
        running cluster of this user.
    url_file
        An old name of `connection_info`.
    profile, profile_dir
        Only clusters that were started for this profile, named or given by its folder.
    ipython_dir
        Accepted for compatibility: running clusters are found without it.
    context
        Accepted for compatibility: every client has sockets of its own.
    debug
        Whether each message is printed.
    sshserver, sshkey, password, paramiko
        Tunnels, which are not there yet.
    timeout
        Longest time until the controller has answered [s]; also how long to wait for a cluster
        that is just starting.
    cluster_id
        Which cluster, if several run.
    cluster
        The `Cluster` it belongs to, if any; kept as an attribute.
    transport
        Makes the sockets from an event loop; for other networks and tests.
    session_kwargs
        Options of a Jupyter session, accepted for compatibility: messages have one form here.

    Raises
    ------
    UsageError
        The connection info is not one; also a FileNotFoundError if there is no such file.
    ClusterError
        There is no such cluster (also a FileNotFoundError), or it does not answer (also a
        TimeoutError); the sentence says what to do.
    VersionMismatch
        Client and controller do not fit together.

    Examples
    --------
    >>> import ipyviews
    >>> with ipyviews.Client() as rc:
    ...     rc[:].apply_sync(lambda: 6 * 7)
    [42, 42, 42, 42]
    """

    def __init__(
        self,
        connection_info: str | os.PathLike[str] | Mapping[str, Any] | ClusterFile | None = None,
        *,
        url_file: str | os.PathLike[str] | None = None,
        profile: str | None = None,
        profile_dir: str | os.PathLike[str] | None = None,
        ipython_dir: str | os.PathLike[str] | None = None,
        context: Any = None,
        debug: bool = False,
        timeout: float = 10.0,
        cluster_id: str | None = None,
        cluster: Any = None,
        transport: Callable[[Any], Transport] | None = None,
        **session_kwargs: Any,
    ) -> None:
        del ipython_dir, context
        options.check_options(session_kwargs)
        named = options.name_of_profile(profile, profile_dir)
        old_name = url_file or session_kwargs.get("url_or_file")
        source = options.find_source(connection_info, old_name, cluster_id, named, timeout)
        connection = Connection(source, timeout=timeout, transport=transport, debug=debug)
        connection.wait_ready()
        super().__init__(connection)
        self.cluster = cluster
        self.profile = named or connection.address.profile
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
            None for all that are outstanding; or results, anything else that has
            ``add_done_callback``, ids of tasks, numbers of calls (-1 the last), one or a
            collection of them.
        timeout
            Longest wait [s]; None or negative for no limit.

        Returns
        -------
        bool
            Whether all are done.
        """
        return waits.wait(self, jobs, timeout)

    def wait_interactive(
        self, jobs: Any = None, interval: float = 1.0, timeout: float | None = -1.0
    ) -> None:
        """Wait for results with a progress bar.

        Parameters
        ----------
        jobs, timeout
            As for `wait`; when the time is over only the waiting ends.
        interval
            Between looks at the progress [s].
        """
        waits.wait_interactive(self, jobs, interval, timeout)

    def wait_for_engines(
        self,
        n: int | None = None,
        *,
        timeout: float | None = 60.0,
        block: bool = True,
        interactive: bool | None = None,
        widget: bool | None = None,
    ) -> Future[None] | None:
        """Wait until `n` engines can be used.

        Parameters
        ----------
        n
            How many [count]; None for as many as the cluster wants. With a number, engines that
            were lost before do not count as reasons why there never will be enough.
        timeout
            Longest wait [s]; None or negative for no limit.
        block
            False to return a future at once.
        interactive
            Whether a progress bar is shown; None for: in IPython, unless the environment variable
            IPP_NONINTERACTIVE is set.
        widget
            Whether the bar is a widget; None for: where widgets can be shown.

        Raises
        ------
        TimeoutError
            They were not.
        EngineError
            They never will be: one died while it started; the sentence says why.
        """
        ready = waits.engines_ready(self, n, timeout)
        if not block:
            return ready
        if waits.is_interactive(interactive):
            waits.show_engines(self, ready, n, widget)
        return ready.result()

    def abort(self, jobs: Any = None, targets: Targets = None, block: bool | None = None) -> Any:
        """Stop tasks: queued ones are dropped, running ones interrupted.

        Parameters
        ----------
        jobs
            None for all that are outstanding; or ids of tasks and results, one or several.
        targets
            Only tasks on these engines.
        block
            Whether to wait until the controller has done it; None for this client's flag.

        Returns
        -------
        Future or None
            None when blocking.
        """
        return self._end(control.abort(self, jobs, targets), block)

    cancel = abort

    # -- engines ------------------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """Return what the controller knows of engines and clients; see docs/protocol.md.

        ``bounds`` is about memory and files: for the ``client``, the ``controller`` and each of
        the ``engines`` (None for one that does not answer at once) what they keep ``now`` and at
        ``most`` (None where other limits are its limit), and how much was ``dropped`` for that.
        Names that end in ``bytes`` are sizes, the others counts. ``replaced`` is how often the
        controller died and another one took over.
        """
        return control.status(self).result()

    def deaths(self) -> list[DeathReport]:
        """Tell why engines died, the latest last; those that were told to end are not among them.

        The latest 100 of the cluster are remembered, also when its controller was replaced. Those
        that a task met with are in the ``reports`` of its `EngineError`.

        Returns
        -------
        list of DeathReport
            Empty when none has died.
        """
        return control.deaths(self).result()

    def interrupt(self, targets: Targets = None) -> int:
        """Interrupt what this client runs on the engines; returns how many tasks. [count]."""
        return control.interrupt(self, targets).result()

    def table(self) -> EngineTable:
        """Return the engines as a table: host, process, state, work and memory of each."""
        return control.table(self).result()

    def clear(self, targets: Targets = None, block: bool | None = None) -> Any:
        """Empty the namespaces of engines, after what was sent to them before.

        Parameters
        ----------
        targets, block
            Which engines; whether to wait, None for this client's flag.

        Returns
        -------
        AsyncResult or None
            None when blocking.
        """
        cleared = control.clear(self, targets)
        if self.block if block is None else block:
            cleared.get()
            return None
        return cleared

    def send_signal(
        self, sig: int | str, targets: Targets = None, block: bool | None = None
    ) -> Any:
        """Send a signal, by number or name (``"SIGUSR1"``), to the processes of engines.

        Returns
        -------
        Future or None
            None when blocking.
        """
        return self._end(control.send_signal(self, sig, targets), block)

    def start_engines(self, n: int = 1, kernel: str | None = None) -> list[int]:
        """Start more engines and return their ids at once; see `wait_for_engines`."""
        return control.start(self, n, kernel).result()

    def restart(self, targets: Targets = "all", *, now: bool = False, setup: bool = True) -> None:
        """Restart engines; each keeps its id and loses its names. Returns when they are back.

        Parameters
        ----------
        targets
            Which; also engines that are gone.
        now
            Whether they are killed at once instead of being asked to end.
        setup
            Whether their set-up cells (``execute(code, setup=True)``, ``%%px --setup``) are run
            before anything else; if not, they are forgotten. On each engine they may take 10
            minutes together.

        Raises
        ------
        EngineError
            One did not come back, with the reason.
        TimeoutError
            There is no answer after 15 minutes; engines that do not come up are given up before.
        """
        control.restart(self, targets, now=now, setup=setup).result()

    def auto_restart(self, limit: bool | int | tuple[int, float] | None = True) -> None:
        """Decide whether engines that die are started again by themselves; at first they are not.

        An engine comes back under its id, without its names; its set-up cells are run before
        anything else. What had not begun on it waits for that, what it ran fails or is run again
        as ever. Beyond the limit it stays away, which is said once.

        Parameters
        ----------
        limit
            How often each engine: True for 3 times in 60 s, a number of times in 60 s, or
            ``(times, seconds)``; False for never.

        Raises
        ------
        UsageError
            It is no limit.
        """
        control.auto_restart(self, limit).result()

    def shutdown(
        self,
        targets: Targets = "all",
        restart: bool = False,
        hub: bool = False,
        block: bool | None = None,
    ) -> Any:
        """Stop engines, or the whole cluster.

        Parameters
        ----------
        targets
            Which engines.
        restart
            Start them again, under the same ids; see `restart`.
        hub
            Stop the whole cluster, wait for that, and close this client.
        block
            Whether to wait; None for this client's flag.

        Returns
        -------
        Future or None
            None when blocking.
        """
        answer = control.shutdown(self, targets, restart_them=restart, hub=hub)
        if not hub:
            return self._end(answer, block)
        answer.result()
        self.close()
        return None

    # -- inside -------------------------------------------------------------------------------

    def _end(self, answer: Answer[T], block: bool | None) -> Any:
        return answer.result() if (self.block if block is None else block) else answer
