"""Tasks for whichever engine is free."""

import itertools
import time

import ipyviews as ipp


def wait_here(t):
    import time

    time.sleep(t)
    return t


cluster = ipp.Cluster(n=4)
rc = cluster.start_and_connect_sync()
lview = rc.load_balanced_view()
lview.block = True

assert lview.apply(lambda x: x * 2, 21) == 42
assert lview.map(lambda x: x**10, range(32)) == [x**10 for x in range(32)]
amr = lview.map_async(lambda x: x, range(100), chunksize=10)
assert len(amr) == 100
assert list(amr) == list(range(100))
assert len(amr.msg_ids) == 10

amr = lview.map(wait_here, [0.3, 0.01, 0.01], ordered=False, block=False)
assert sorted(amr) == [0.01, 0.01, 0.3]

numbers = lview.imap(lambda x: -x, itertools.count(), max_outstanding=4)
assert [next(numbers) for _ in range(10)] == [-x for x in range(10)]
numbers.cancel()
assert sorted(lview.imap(lambda x: x, range(20), ordered=False)) == list(range(20))


@lview.parallel()
def negate(x):
    return [-y for y in x]


assert negate.map([[1], [2, 3]]) == [[-1], [-2, -3]]

some = rc.load_balanced_view(targets=[0, 1])
ars = [some.apply_async(lambda: None) for _ in range(8)]
rc.wait(ars)
assert {ar.engine_id for ar in ars} <= {0, 1}

with lview.temp_flags(retries=3, block=False):
    ar = lview.apply(lambda: 1 / 0)
try:
    ar.get()
except ipp.RemoteError as e:
    assert e.ename == "ZeroDivisionError"
else:
    raise AssertionError("it divided by zero")

results = lview.map_async(lambda x: 1 / x, [1, 0, 2], return_exceptions=True).get()
assert [results[0], results[2]] == [1.0, 0.5]
assert isinstance(results[1], ipp.RemoteError)

busy = lview.map_async(time.sleep, [1] * 4)
with lview.temp_flags(timeout=0.1, block=False):
    late = lview.apply(abs, 1)
try:
    late.get()
except (ipp.TaskTimeout, ipp.RemoteError):
    pass
else:
    raise AssertionError("no engine was free")
busy.get()

rc.close()
cluster.stop_cluster_sync()
print("done")
