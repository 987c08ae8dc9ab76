"""Engines as the workers of concurrent.futures and of joblib."""

from concurrent.futures import as_completed

import joblib

import ipyviews as ipp


def square(x):
    return x * x


cluster = ipp.Cluster(n=2)
rc = cluster.start_and_connect_sync()

executor = rc.executor()
futures = [executor.submit(square, x) for x in range(5)]
assert sorted(future.result() for future in as_completed(futures)) == [0, 1, 4, 9, 16]
assert list(executor.map(square, range(5))) == [0, 1, 4, 9, 16]
executor.shutdown()
with rc[:].executor as direct:
    assert list(direct.map(square, range(5))) == [0, 1, 4, 9, 16]

view = rc.load_balanced_view()
view.register_joblib_backend()
with joblib.parallel_config(backend="ipyparallel"):
    parallel = joblib.Parallel(n_jobs=2)
    assert parallel(joblib.delayed(square)(x) for x in range(10)) == [x * x for x in range(10)]
view.register_joblib_backend("named", make_default=True)
assert joblib.Parallel()(joblib.delayed(square)(x) for x in range(3)) == [0, 1, 4]

rc.close()
cluster.stop_cluster_sync()
print("done")
