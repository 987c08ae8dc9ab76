"""A cluster, step by step, as its blocking methods have it."""

import signal

import ipyviews as ipp

cluster = ipp.Cluster(n=2, cluster_id="mine")
assert "mine" in repr(cluster)
cluster.start_controller_sync()
first = cluster.start_engines_sync(n=2)
rc = cluster.connect_client_sync()
rc.wait_for_engines(2, timeout=60)
assert rc.cluster is cluster
assert rc[:].apply_sync(lambda: 1) == [1, 1]

second = cluster.start_engines_sync(n=1)
rc.wait_for_engines(3, timeout=60)
assert set(cluster.engines) == {first, second}

other = ipp.Cluster.from_file(cluster.cluster_file)
with other.connect_client_sync() as second_client:
    assert second_client.ids == rc.ids

cluster.signal_engines_sync(signal.SIGCONT)
cluster.stop_engines_sync(second)
cluster.restart_engines_sync(first)
rc.wait_for_engines(2, timeout=60)
assert len(rc[:].apply_sync(lambda: 1)) == 2

rc.close()
cluster.stop_cluster_sync()

with ipp.Cluster(n=2) as rc, rc.load_balanced_view().executor as pool:
    assert pool.submit(pow, 2, 3).result() == 8

manager = ipp.ClusterManager()
key, cluster = manager.new_cluster(n=1)
assert manager.get_cluster(key) is cluster
manager.remove_cluster(key)
print("done")
