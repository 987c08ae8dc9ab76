"""What type checkers are to know of the public names; checked by mypy, never run.

`assert_type` states a type. A line that says ``type: ignore`` must be an error: there nothing may
be ``Any`` that ought to be known.
"""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any, assert_type

import ipyviews as ipp


def clients(rc: ipp.Client) -> None:
    assert_type(ipp.Client(), ipp.Client)
    assert_type(rc.ids, list[int])
    assert_type(len(rc), int)
    assert_type(rc[0], ipp.DirectView)
    assert_type(rc[:], ipp.DirectView)
    assert_type(rc[[0, 2]], ipp.DirectView)
    assert_type(next(iter(rc)), ipp.DirectView)
    assert_type(rc.direct_view("all", block=True), ipp.DirectView)
    assert_type(rc.load_balanced_view(), ipp.LoadBalancedView)
    assert_type(rc.broadcast_view(is_coalescing=True), ipp.BroadcastView)
    assert_type(rc.executor(), ipp.ViewExecutor)
    assert_type(rc.activate(), ipp.DirectView)
    assert_type(rc.outstanding, set[str])
    assert_type(rc.block, bool)
    assert_type(rc.wait(timeout=1), bool)
    assert_type(rc.wait_for_engines(4, block=False), Future[None] | None)
    assert_type(rc.get_result(-1), ipp.AsyncResult)
    assert_type(rc.resubmit(), ipp.AsyncHubResult)
    assert_type(rc.hub_history(), list[str])
    assert_type(rc.db_query({"engine_uuid": "e0.1"}), list[dict[str, Any]])
    assert_type(rc.result_status([]), dict[str, Any])
    with rc as same:
        assert_type(same, ipp.Client)
    rc["all"]  # type: ignore[index]
    rc.no_such_method()  # type: ignore[attr-defined]
    rc.wait(timeout="soon")  # type: ignore[arg-type]


def direct_views(dv: ipp.DirectView) -> None:
    assert_type(dv.apply_async(len, "a"), ipp.AsyncResult)
    assert_type(dv.execute("a = 1"), ipp.AsyncResult)
    assert_type(dv.run("script.py"), ipp.AsyncResult)
    assert_type(dv.scatter("a", [1, 2]), ipp.AsyncResult | None)
    assert_type(dv["a"], Any)
    assert_type(len(dv), int)
    assert_type(dv.executor, ipp.ViewExecutor)
    assert_type(dv.set_flags(block=True), ipp.DirectView)
    with dv.temp_flags(block=True) as same:
        assert_type(same, ipp.DirectView)
    with dv.sync_imports():
        pass
    dv["a"] = 1
    dv.push([1])  # type: ignore[arg-type]
    dv.no_such_method()  # type: ignore[attr-defined]


def balanced_views(lv: ipp.LoadBalancedView) -> None:
    assert_type(lv.apply_async(len, "a"), ipp.AsyncResult)
    assert_type(lv.execute("a = 1"), ipp.AsyncResult)
    assert_type(lv.set_flags(retries=1), ipp.LoadBalancedView)
    for value in lv.imap(len, ["a"], max_outstanding=4):
        assert_type(value, Any)
    lv.imap(len, ["a"]).cancel()
    lv.push({"a": 1})  # type: ignore[attr-defined]


def results(ar: ipp.AsyncResult, amr: ipp.AsyncMapResult) -> None:
    future: Future[Any] = ar
    assert_type(future.result(), Any)
    assert_type(ar.get(1.0), Any)
    assert_type(ar.get_dict(), dict[int, Any])
    assert_type(ar.msg_ids, list[str])
    assert_type(ar.progress, int)
    assert_type(ar.wall_time, float)
    assert_type(ar.split(), tuple[ipp.AsyncResult, ...])
    assert_type(ipp.AsyncResult.join(ar, ar), ipp.AsyncResult)
    assert_type(ar.wait_for_output(1), bool)
    ar.wait(1, return_when=ipp.FIRST_COMPLETED)
    assert_type(len(amr), int)
    with ar.stream_output():
        pass


async def awaited(ar: ipp.AsyncResult) -> None:
    assert_type(await ar, Any)
    async for value in ar:
        assert_type(value, Any)
    async with ipp.AsyncClient() as rc:
        assert_type(rc, ipp.AsyncClient)
        assert_type(rc[:], ipp.DirectView)
        assert_type(await rc.wait(timeout=1), bool)
        assert_type(await rc.hub_history(), list[str])
    async with ipp.Cluster(n=4) as client:
        assert_type(client, ipp.Client)


def clusters(manager: ipp.ClusterManager) -> None:
    with ipp.Cluster(n=4) as rc:
        assert_type(rc, ipp.Client)
    cluster = ipp.Cluster(n=4, keep_results=True)
    assert_type(cluster.start_cluster_sync(), ipp.Cluster)
    assert_type(cluster.start_and_connect_sync(), ipp.Client)
    assert_type(cluster.connect_client_sync(), ipp.Client)
    assert_type(cluster.start_engines_sync(2), str)
    assert_type(ipp.Cluster.from_file(), ipp.Cluster)
    assert_type(manager.new_cluster(n=1), tuple[str, ipp.Cluster])
    assert_type(manager.get_cluster("default:a"), ipp.Cluster)
    ipp.Cluster(n="4")  # type: ignore[arg-type]


def functions(dv: ipp.DirectView) -> None:
    @dv.remote(block=True)
    def remote(x: int) -> int:
        return x

    @dv.parallel(dist="r")
    def parallel(xs: list[int]) -> list[int]:
        return xs

    @ipp.require("re")
    def needs_module() -> None: ...

    @ipp.depend(lambda: True)
    def needs_answer() -> None: ...

    assert_type(remote, ipp.RemoteFunction)
    assert_type(parallel, ipp.ParallelFunction)
    assert_type(needs_module, ipp.dependent)
    assert_type(needs_answer, ipp.dependent)
    assert_type(ipp.remote(dv)(len), ipp.RemoteFunction)
    assert_type(ipp.parallel(dv)(len), ipp.ParallelFunction)
    assert_type(ipp.Dependency([], all=False).check(()), bool)
    assert_type(ipp.Reference("a"), ipp.Reference)
    assert_type(ipp.PrePickled(1), ipp.PrePickled)


def errors(error: ipp.RemoteError, several: ipp.CompositeError) -> None:
    assert_type(error.ename, str)
    assert_type(error.traceback, list[str])
    assert_type(error.engine, int | None)
    group: ExceptionGroup[Exception] = several
    assert_type(group.message, str)
    root: ipp.IPyViewsError = error
    assert_type(root, ipp.IPyViewsError)
    assert_type(ipp.version_info, tuple[int, ...])
    assert_type(ipp.error.RemoteError("a", "b"), ipp.RemoteError)
