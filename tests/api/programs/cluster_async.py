"""A cluster in a program that runs asyncio."""

import asyncio

import ipyviews as ipp


async def main():
    async with ipp.Cluster(n=2) as rc:
        ar = rc[:].apply_async(lambda: "Hello, world")
        assert await asyncio.wrap_future(ar) == ["Hello, world"] * 2

    cluster = ipp.Cluster(n=2)
    await cluster.start_cluster()
    rc = await cluster.connect_client()
    rc.wait_for_engines(n=2)
    assert sorted(rc.ids) == [0, 1]
    await cluster.restart_engines()
    rc.wait_for_engines(n=2)
    rc.close()
    await cluster.stop_cluster()

    # The blocking methods, too, where a loop runs.
    cluster = ipp.Cluster(n=1)
    rc = cluster.start_and_connect_sync(activate=False)
    assert rc[0].apply_sync(abs, -1) == 1
    rc.close()
    cluster.stop_cluster_sync()


asyncio.run(main())
print("done")
