"""What views know of the calls they made, and ask of their client about them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from traitlets import Any as AnyTrait
from traitlets import Bool, HasTraits

from ipyviews.client import records
from ipyviews.client.history import Calls, History, Made
from ipyviews.client.results import AsyncResult
from ipyviews.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ipyviews.client.session import Session, Targets

R = TypeVar("R", bound=AsyncResult)


class LooksBack(HasTraits):
    """The part of a view that remembers.

    Parameters
    ----------
    client
        Whose engines.
    """

    #: Which engines: an int, a list, or ``"all"`` (None for load-balanced views).
    targets = AnyTrait()
    #: Whether calls wait for their result.
    block = Bool(False)

    def __init__(self, client: Session) -> None:
        super().__init__()
        self._session = client
        self._calls = Calls()
        #: Ids of the tasks of this view, oldest first; the oldest of very many are forgotten.
        self.history = History()
        self.block = client.block

    @property
    def client(self) -> Any:
        """The client this view was made by."""
        return self._session

    @property
    def outstanding(self) -> set[str]:
        """Ids of this view's tasks that have no result."""
        pending = self._session.connection.ledger.pending
        return {task for task in self.history if task in pending}

    @property
    def results(self) -> Mapping[str, Any]:
        """The client's results, by id of the task."""
        return self._session.results

    def spin(self) -> None:
        """Do nothing: results come by themselves. See `Client.spin`."""
        self.client.spin()

    def wait(self, jobs: Any = None, timeout: float | None = -1) -> Any:
        """Wait for results of this view, or for `jobs`; see `Client.wait`."""
        chosen = sorted(self.outstanding) if jobs is None else jobs
        return self.client.wait(chosen, timeout)

    def abort(self, jobs: Any = None, targets: Targets = None, block: bool | None = None) -> Any:
        """Stop the tasks of this view that are not done, or `jobs`; see `Client.abort`."""
        chosen = sorted(self.outstanding) if jobs is None else jobs
        return self.client.abort(chosen, targets=targets, block=self._blocks(block))

    def queue_status(self, targets: Targets = None, verbose: bool = False) -> Any:
        """Return what runs and waits on this view's engines; see `Client.queue_status`."""
        return self.client.queue_status(self._meant(targets), verbose=verbose)

    def purge_results(self, jobs: Any = (), targets: Any = ()) -> Any:
        """Forget results and records; see `Client.purge_results`."""
        everywhere = targets is None or (isinstance(targets, str) and targets == "all")
        chosen = self._meant(None) if everywhere else targets
        return self.client.purge_results(jobs=jobs, targets=chosen)

    def shutdown(
        self,
        targets: Targets = None,
        restart: bool = False,
        hub: bool = False,
        block: bool | None = None,
    ) -> Any:
        """Stop this view's engines; see `Client.shutdown`."""
        chosen, waits = self._meant(targets), self._blocks(block)
        return self.client.shutdown(targets=chosen, restart=restart, hub=hub, block=waits)

    def get_result(
        self, indices_or_msg_ids: Any = None, block: bool | None = None, owner: bool = False
    ) -> AsyncResult:
        """Return the result of an earlier call.

        Parameters
        ----------
        indices_or_msg_ids
            The number of a call of this view (-1 the last, which None means too), or what
            `Client.get_result` takes; or a list of these.
        block
            Whether to wait until it is done; None for this view's flag.
        owner
            Accepted for compatibility.

        Raises
        ------
        UsageError
            There was no such call; also an IndexError.
        """
        del owner
        job = -1 if indices_or_msg_ids is None else indices_or_msg_ids
        found = [self._known(one) for one in job] if isinstance(job, list) else self._known(job)
        result = records.get_result(self._session, found)
        if self._blocks(block):
            self._await(result)
        return result

    # -- inside -------------------------------------------------------------------------------

    def _note(self, result: R) -> R:
        made = Made(result)
        self.history.extend(made.names)
        self._calls.add(made)
        self._session.remember(result, made)
        return result

    def _known(self, job: Any) -> Any:
        """Return the result of a numbered call, or its ids when nobody has kept it."""
        if type(job) is not int:
            return job
        result, names = self._calls.find(job)
        return names if result is None else result

    def _meant(self, targets: Targets) -> Targets:
        chosen: Targets = self.targets if targets is None else targets
        return "all" if chosen is None else chosen

    def _blocks(self, block: bool | None) -> bool:
        return bool(self.block if block is None else block)

    def _finish(self, result: Any, block: bool | None) -> Any:
        if not self._blocks(block):
            self._session.connection.let_leave()
            return result
        self._await(result)
        return result.get()

    def _await(self, result: AsyncResult) -> None:
        """Wait for a blocking call."""
        if not self._session.may_block:
            raise UsageError(
                "A view of an AsyncClient does not block: use apply_async() or map_async() and "
                "await the result."
            )
        result.wait()
