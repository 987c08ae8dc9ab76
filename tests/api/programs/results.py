"""What can be done with results."""

import concurrent.futures

import ipyviews as ipp

cluster = ipp.Cluster(n=2)
rc = cluster.start_and_connect_sync()
dv, lv = rc[:], rc.load_balanced_view()

ar = dv.apply_async(lambda x: x, 1)
assert isinstance(ar, ipp.AsyncResult)
assert ar.wait(10)
assert ar.ready()
assert ar.done()
assert ar.successful()
assert ar.get() == ar.r == ar.result() == [1, 1]
assert ar.get_dict() == ar.result_dict == {0: 1, 1: 1}
assert ar.progress == len(ar) == 2
assert ar.engine_id == [0, 1]
assert ar.metadata[0].status == ar["status"][0] == "ok"
assert ar.serial_time >= 0
assert ar.wall_time > 0
assert ar.elapsed == ar.wall_time
assert ar.timedelta(ar.submitted, ar.received) > 0
assert ar[0] == 1
assert ar[0:2] == [1, 1]
assert len(ar.split()) == 2
assert ipp.AsyncResult.join(*ar.split()).get() == [1, 1]
assert str(ar) == repr(ar) == "<AsyncResult(<lambda>): finished>"

slow = dv.apply_async(__import__("time").sleep, 0.5)
try:
    slow.get(timeout=0.01)
except TimeoutError:
    pass
else:
    raise AssertionError("it was not slow")
assert not slow.ready()
done, pending = slow.wait(10, return_when=ipp.FIRST_COMPLETED)
assert len(done) + len(pending) == 2
slow.wait_interactive(interval=0.05)

out = dv.execute("print('hi'); 6 * 7", silent=False)
assert out.wait_for_output(10)
assert out.stdout == ["hi\n", "hi\n"]
assert out.execute_result[0]["data"]["text/plain"] == "42"
out.display_outputs()
out.display_outputs(groupby="engine")

futures = [lv.apply_async(pow, x, 2) for x in range(5)]
assert concurrent.futures.wait(futures, timeout=10).done == set(futures)
assert [future.result() for future in futures] == [0, 1, 4, 9, 16]
called = []
futures[0].add_done_callback(called.append)
assert called == futures[:1]

bad = lv.map_async(lambda x: 1 / x, [1, 0])
bad.wait()
assert not bad.successful()
try:
    bad.get()
except ipp.RemoteError as e:
    assert "ZeroDivisionError" in str(e)
else:
    raise AssertionError("it divided by zero")
bad = dv.apply_async(lambda: 1 / 0)
got = bad.get(return_exceptions=True)
assert all(isinstance(e, ipp.RemoteError) for e in got)

again = rc.get_result(ar.msg_ids[0])
assert again.get() in (1, [1])
assert rc.history[: len(ar.msg_ids)] == ar.msg_ids
assert rc.outstanding == set()
assert rc.wait(timeout=1)
status = rc.queue_status()
assert status[0]["queue"] == 0
assert status["unassigned"] == 0

waiting = [lv.apply_async(__import__("time").sleep, 1) for _ in range(8)]
rc.abort(waiting[4:])
for one in waiting[4:]:
    try:
        one.get()
    except ipp.TaskAborted:
        pass
    else:
        raise AssertionError("it was aborted")
rc.close()
cluster.stop_cluster_sync()
print("done")
