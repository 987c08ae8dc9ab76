"""A program for IPython.parallel 0.13, in the syntax of Python 3."""

import warnings

import ipyviews as parallel

cluster = parallel.Cluster(n=2)
cluster.start_cluster_sync()
client = cluster.connect_client_sync()
client.wait_for_engines(2)

dview = client[:]
dview.block = True
dview.update({"a": 1, "b": 2})
assert dview.pull(("a", "b")) == [[1, 2], [1, 2]]
dview.execute("c = a + b")
assert dview.get("c") == [3, 3]

with dview.importer:
    import random

with dview.temp_flags(block=False, targets=0):
    ar = dview.apply(lambda: random.random() < 2)
    ar.wait()
assert ar.get() is True
assert dview.get_result(-1).get() is True
assert dview.history[-1] == ar.msg_ids[0]
assert list(dview.imap(abs, range(-3, 0))) == [3, 2, 1]

lview = client.load_balanced_view()
first = lview.apply_async(abs, -1)
with lview.temp_flags(after={"dependencies": set(first.msg_ids)}):
    second = lview.apply_async(abs, -2)
lview.wait([first, second])
assert [first.get(), second.get()] == [1, 2]
lview.set_flags(retries=1, timeout=10.0).set_flags(retries=0)


@parallel.remote(dview, block=True)
def where():
    import os

    return os.getpid()


assert len(set(where())) == 2
dview.purge_results("all")
assert dview.queue_status()[0]["queue"] == 0

with warnings.catch_warnings(record=True) as seen:
    warnings.simplefilter("always")
    dview.spin()
    dview.activate()
assert [warning.category for warning in seen] == [DeprecationWarning, UserWarning]

dview.shutdown(hub=True)
cluster.stop_cluster_sync()
print("done")
