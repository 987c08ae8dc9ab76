"""The verbs of the clients that look back: results, records, history, queues."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ipyviews.client import records
from ipyviews.client.results import AsyncResult
from ipyviews.client.session import Session

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ipyviews.client.hubresults import AsyncHubResult
    from ipyviews.client.metadata import Metadata
    from ipyviews.client.session import Targets


class _Common(Session):
    """What looks back without asking the controller."""

    @property
    def metadata(self) -> Mapping[str, Metadata]:
        """What is known of tasks by id, while their results are kept."""
        return records.KnownMetadata(self)

    def purge_local_results(self, jobs: Any = (), targets: Any = ()) -> None:
        """Forget results in this client; those that somebody holds go on.

        Parameters
        ----------
        jobs
            Results, ids, numbers of calls, or ``"all"``.
        targets
            Engines whose tasks are meant, or ``"all"``.

        Raises
        ------
        UsageError
            Neither is given; or some have no result yet, then also a RuntimeError that names them.
        """
        records.purge_local(self, jobs, targets)


class RecordVerbs(_Common):
    """The verbs of a client that waits."""

    def get_result(
        self,
        indices_or_msg_ids: Any = None,
        block: bool | None = None,
        owner: bool = True,
    ) -> AsyncResult:
        """Return the result of an earlier call, also of another client's.

        Parameters
        ----------
        indices_or_msg_ids
            The number of a call (-1 the last, which None means too), the id of a task, a result,
            or a list of these.
        block
            Whether to wait for it; None for this client's flag.
        owner
            Accepted for compatibility: results are kept as long as somebody holds them.

        Returns
        -------
        AsyncResult
            An `AsyncHubResult` if this client does not know it: then the controller is asked.

        Raises
        ------
        UsageError
            There is no such call, or no record of the task; also a KeyError.
        """
        del owner
        if missing := records.missing(self, indices_or_msg_ids):
            records.result_status(self, missing).result()
        result = records.get_result(self, indices_or_msg_ids)
        if self.block if block is None else block:
            result.wait()
        return result

    def result_status(self, msg_ids: Any, status_only: bool = True) -> dict[str, Any]:
        """Tell which tasks are done.

        Parameters
        ----------
        msg_ids
            As for `get_result`.
        status_only
            False to add the results.

        Returns
        -------
        dict
            Lists of ids: ``pending`` and ``completed``; with results also each value by id.

        Raises
        ------
        UsageError
            There is no record of one of them; also a KeyError.
        RemoteError, CompositeError
            Results were asked for and some are failures.
        """
        told = records.result_status(self, records.find_ids(self, msg_ids)).result()
        if status_only:
            return told
        result = records.get_result(self, told["completed"])
        result.wait()
        return records.add_results(told, result)

    def resubmit(
        self, indices_or_msg_ids: Any = None, metadata: Any = None, block: bool | None = None
    ) -> AsyncHubResult:
        """Run tasks again, under new ids, on whichever engine is free.

        Parameters
        ----------
        indices_or_msg_ids
            As for `get_result`. Cells can always be run again while there is a record of them;
            calls until they are done, and after that on clusters that keep results.
        metadata
            Accepted for compatibility.
        block
            Whether to wait for the result; None for this client's flag.

        Raises
        ------
        UsageError
            There is no record of one of them, or what it was sent is gone; also a KeyError. Then
            none is run.
        """
        del metadata
        result, agreed = records.resubmit(self, indices_or_msg_ids)
        agreed.result()
        if self.block if block is None else block:
            result.wait()
        return result

    def queue_status(self, targets: Targets = "all", verbose: bool = False) -> dict[Any, Any]:
        """Tell what living engines have to do, for all clients.

        Parameters
        ----------
        targets
            Which engines; of one, given as a number, only its own dict is returned.
        verbose
            Lists of task ids instead of counts.

        Returns
        -------
        dict
            ``{id: {"queue": n, "completed": n, "tasks": n}, "unassigned": n}``: ``queue`` are
            direct tasks that wait or run there, ``tasks`` load-balanced ones that run there,
            ``unassigned`` those that have no engine yet. [count]
        """
        return records.queue_status(self, targets, verbose=verbose).result()

    def hub_history(self) -> list[str]:
        """Return the ids of all tasks the controller has a record of, in order of submission."""
        return records.hub_history(self).result()

    def db_query(self, query: Mapping[str, Any], keys: Any = None) -> list[dict[str, Any]]:
        """Find the controller's records of tasks, of all clients.

        Parameters
        ----------
        query
            Key to value, or key to ``{operator: operand}``; all conditions must hold. Operators:
            ``$lt $gt $lte $gte $eq $ne $in $nin $glob $all $mod $exists``. Times are datetimes;
            naive ones are local.
        keys
            A key, or several; ``msg_id`` is always there. None for all but the buffers.

        Returns
        -------
        list of dict
            In the order of submission; times are timezone-aware.

        Raises
        ------
        UsageError
            The query is none, or too much was found for one answer.

        Examples
        --------
        >>> with dv.temp_flags(label="fit-1", block=True):
        ...     ar = dv.execute("print('fitted')")
        >>> found = rc.db_query({"label": {"$glob": "fit-*"}}, ["stdout"])
        >>> [record["stdout"].strip() for record in found]
        ['fitted', 'fitted', 'fitted', 'fitted']
        """
        return records.db_query(self, query, keys).result()

    def purge_hub_results(self, jobs: Any = (), targets: Any = ()) -> None:
        """Drop the controller's records and results of tasks that are done.

        Parameters
        ----------
        jobs, targets
            As for `purge_local_results`.

        Raises
        ------
        UsageError
            Neither is given; or one of `jobs` is not done: then also an IndexError, and nothing is
            dropped.
        """
        records.purge_hub(self, jobs, targets).result()

    def purge_results(self, jobs: Any = (), targets: Any = ()) -> None:
        """Forget results here and at the controller; see `purge_local_results`."""
        self.purge_local_results(jobs, targets)
        self.purge_hub_results(jobs, targets)

    def purge_everything(self) -> None:
        """Forget all results and records, and this client's history."""
        self.purge_results("all")
        self.forget()


class AsyncRecordVerbs(_Common):
    """The same verbs, awaited; see `RecordVerbs`."""

    def get_result(self, indices_or_msg_ids: Any = None, owner: bool = True) -> AsyncResult:
        """Return the result of an earlier call, to be awaited; see `Client.get_result`."""
        del owner
        return records.get_result(self, indices_or_msg_ids)

    async def result_status(self, msg_ids: Any, status_only: bool = True) -> dict[str, Any]:
        """Tell which tasks are done; see `Client.result_status`."""
        told = await records.result_status(self, records.find_ids(self, msg_ids))
        if status_only:
            return told
        result = records.get_result(self, told["completed"])
        await AsyncResult(self, result.tasks, return_exceptions=True)
        return records.add_results(told, result)

    async def resubmit(
        self, indices_or_msg_ids: Any = None, metadata: Any = None
    ) -> AsyncHubResult:
        """Run tasks again and return their results, to be awaited; see `Client.resubmit`."""
        del metadata
        result, agreed = records.resubmit(self, indices_or_msg_ids)
        await agreed
        return result

    async def queue_status(self, targets: Targets = "all", verbose: bool = False) -> dict[Any, Any]:
        """Tell what living engines have to do; see `Client.queue_status`."""
        return await records.queue_status(self, targets, verbose=verbose)

    async def hub_history(self) -> list[str]:
        """Return the ids of all recorded tasks; see `Client.hub_history`."""
        return await records.hub_history(self)

    async def db_query(self, query: Mapping[str, Any], keys: Any = None) -> list[dict[str, Any]]:
        """Find the controller's records of tasks; see `Client.db_query`."""
        return await records.db_query(self, query, keys)

    async def purge_hub_results(self, jobs: Any = (), targets: Any = ()) -> None:
        """Drop records and results at the controller; see `Client.purge_hub_results`."""
        await records.purge_hub(self, jobs, targets)

    async def purge_results(self, jobs: Any = (), targets: Any = ()) -> None:
        """Forget results here and at the controller; see `Client.purge_results`."""
        self.purge_local_results(jobs, targets)
        await self.purge_hub_results(jobs, targets)

    async def purge_everything(self) -> None:
        """Forget all results and records, and this client's history."""
        await self.purge_results("all")
        self.forget()
