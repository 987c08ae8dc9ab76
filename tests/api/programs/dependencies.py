"""Tasks that depend on each other, on places, and on what engines have."""

import ipyviews as ipp

cluster = ipp.Cluster(n=2)
rc = cluster.start_and_connect_sync()
view = rc.load_balanced_view()


def record(name):
    import time

    return name, time.time()


first = view.apply_async(record, "first")
with view.temp_flags(after=[first]):
    second = view.apply_async(record, "second")
with view.temp_flags(follow=first, after=second.msg_ids):
    third = view.apply_async(record, "third")
times = [ar.get()[1] for ar in (first, second, third)]
assert times == sorted(times)
assert third.engine_id == first.engine_id
assert third.metadata.after is not None


@ipp.require("re", "statistics")
def spread(xs):
    return statistics.pstdev(xs), bool(re.match("a", "abc"))


assert view.apply_sync(spread, [1, 1, 1]) == (0.0, True)


def helper(x):
    return x + 1


@ipp.require(helper, offset=10)
def use(x):
    return helper(x) + offset


assert view.apply_sync(use, 1) == 12


@ipp.require("no_such_module_anywhere")
def lost():
    return 1


rc[1].push({"special": True}, block=True)


def is_special():
    return "special" in globals()


@ipp.depend(is_special)
def only_there():
    return "there"


ar = view.apply_async(only_there)
assert ar.get() == "there"
assert ar.engine_id == 1

for impossible in (lost, ipp.depend(lambda: False)(lambda: 1)):
    try:
        view.apply_sync(impossible)
    except ipp.UnmetDependency:
        pass
    else:
        raise AssertionError("it ran")

broken = view.apply_async(lambda: 1 / 0)
needs = ipp.Dependency(broken, success=True, failure=False)
cleanup = ipp.Dependency(broken.msg_ids, success=False, failure=True)
with view.temp_flags(after=needs):
    never = view.apply_async(record, "never")
with view.temp_flags(after=cleanup):
    swept = view.apply_async(record, "swept")
assert swept.get()[0] == "swept"
try:
    never.get()
except (ipp.ImpossibleDependency, ipp.RemoteError):
    pass
else:
    raise AssertionError("it ran")

either = ipp.Dependency([first, broken], all=False)
assert either.as_dict()["all"] is False
with view.temp_flags(after=either):
    assert view.apply_sync(abs, -1) == 1

try:
    view.set_flags(after=5)
except ValueError:
    pass
else:
    raise AssertionError("5 is no dependency")

rc.close()
cluster.stop_cluster_sync()
print("done")
