"""Names, code and sequences on engines that are named."""

import ipyviews as ipp

with ipp.Cluster(n=3) as rc:
    rc.wait_for_engines(3)
    dview = rc[:]
    assert dview.targets == rc.ids == [0, 1, 2]

    dview.block = True
    dview["a"] = 5
    dview.push(dict(b=[1, 2], greeting="hello"))
    assert dview["a"] == [5, 5, 5]
    assert dview.get("greeting") == ["hello"] * 3
    assert dview.pull(["a", "b"]) == [[5, [1, 2]]] * 3

    ar = dview.execute("c = a + len(b)")
    assert ar.successful()
    assert dview["c"] == [7, 7, 7]

    with dview.sync_imports(quiet=True):
        import os
        from math import pi
    pids = dview.apply_sync(os.getpid)
    assert len(set(pids)) == 3
    assert dview.apply_sync(lambda r: round(pi * r), 2) == [6, 6, 6]

    dview.scatter("part", range(10))
    assert dview["part"] == [range(4), range(4, 7), range(7, 10)]
    dview.execute("part = [x**2 for x in part]")
    assert dview.gather("part") == [x**2 for x in range(10)]
    dview.scatter("engine", rc.ids, flatten=True)
    assert dview["engine"] == [0, 1, 2]

    assert dview.map_sync(lambda x, y: x + y, range(5), range(5)) == [0, 2, 4, 6, 8]
    assert rc[0].apply_sync(lambda: a) == 5
    assert rc[-1].targets == 2
    assert rc[::2].apply_sync(lambda x: x, 1) == [1, 1]
    assert [view.targets for view in rc] == [0, 1, 2]

    @dview.remote(block=True)
    def get_a():
        return a

    @dview.parallel(block=True)
    def total(xs):
        return [sum(xs)]

    assert get_a() == [5, 5, 5]
    assert total(range(6)) == [1, 5, 9]
    assert total.map([[1, 2], [3], []]) == [[3], [3], [0]]
    assert dview.apply_sync(lambda x, y: x + y, ipp.Reference("a"), 1) == [6, 6, 6]

    try:
        dview.execute("1/0")
    except ipp.CompositeError as e:
        assert len(e.elist) == 3
        assert e.elist[0][0] == "ZeroDivisionError"
    else:
        raise AssertionError("it divided by zero")
    dview.clear(block=True)
    try:
        rc[1].get("a")
    except ipp.RemoteError as e:
        assert e.ename == "NameError"
    else:
        raise AssertionError("the name is still there")
print("done")
