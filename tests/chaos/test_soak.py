"""Hours of mixed work with faults: everything is right, memory and descriptors stay flat."""

from __future__ import annotations

import contextlib
import gc
import os
import time
from functools import partial

import psutil
import pytest

import ipyviews
from tests.chaos.kills import outcomes, processes, revive, square
from tests.chaos.scale import HANGS_S, count, scale
from tests.waiting import wait_until

pytestmark = pytest.mark.kernels

LENGTH_S = scale(12.0, 3600.0)

#: Memory is compared with what it was after this part of the time: by then caches and records are
#: full, in the long form.
WARM = 0.25

#: What client, agent and controller together may grow by after that [bytes], and in files [count].
GROWTH = scale(40, 24) * 2**20
FILES = 24


class Soak:
    """One cluster, and what is done with it."""

    def __init__(self, rc, chance):
        self.rc, self.chance = rc, chance
        self.number = 0
        self.deeds = [
            *[self.small_map] * 4,
            *[self.direct_calls] * 4,
            *[self.cells] * 2,
            *[self.large_data] * 2,
            self.errors,
            self.chain,
            self.cancel,
            self.interrupt,
            self.other_client,
            self.kill,
            self.suicide,
            self.restart,
        ]

    def go_on(self):
        """Do anything."""
        self.number += 1
        deed = self.chance.choice(self.deeds)
        deed()
        count("soak", deeds=1)

    def small_map(self):
        tasks = self.chance.randrange(1, 400)
        found = self.rc.load_balanced_view().map_sync(lambda x: x**2, range(tasks))
        assert found == [x**2 for x in range(tasks)]
        count("soak", tasks=tasks)

    def direct_calls(self):
        calls = [self.rc[n % 4].apply_async(lambda x: x + 1, n) for n in range(100)]
        assert [call.get(HANGS_S) for call in calls] == list(range(1, 101))
        count("soak", tasks=100)

    def cells(self):
        code = f"for n in range(50): print('line', n, {self.number})"
        cell = self.rc[:].execute(code, block=False)
        cell.get(HANGS_S)
        assert cell.stdout == ["".join(f"line {n} {self.number}\n" for n in range(50))] * 4
        count("soak", tasks=4)

    def large_data(self):
        size = self.chance.choice([1000, 100_000, 3_000_000])
        self.rc[:].push({"data": memoryview(bytearray(size))}, block=True)
        assert self.rc[:].apply_sync(len, ipyviews.Reference("data")) == [size] * 4
        assert len(self.rc[2].pull("data", block=True)) == size
        count("soak", tasks=9, bytes=5 * size)

    def errors(self):
        with pytest.raises(ipyviews.CompositeError):
            self.rc[:].apply_sync(lambda: 1 / 0)
        count("soak", tasks=4)

    def chain(self):
        view = self.rc.load_balanced_view()
        last = view.apply_async(abs, -1)
        for _ in range(5):
            with view.temp_flags(after=[last]):
                last = view.apply_async(abs, -2)
        assert last.get(HANGS_S) == 2
        count("soak", tasks=6)

    def cancel(self):
        result = self.rc.load_balanced_view().map_async(square, range(400))
        result.cancel()
        for found in result.split():
            error = found.exception(HANGS_S)
            assert error is None or isinstance(error, ipyviews.TaskAborted)
        count("soak", cancels=1)

    def interrupt(self):
        cell = self.rc[:].execute("while True: pass", block=False)
        for engine in range(4):
            # Before, it may be at work of a client that has left.
            wait_until(partial(self.rc.interrupt, engine), HANGS_S)
        assert isinstance(cell.exception(HANGS_S), ipyviews.CompositeError)
        count("soak", interrupts=4)

    def other_client(self):
        with self.rc.cluster.connect_client_sync() as other:
            assert other[:].apply_sync(abs, -1) == [1] * 4
            if self.chance.random() < 0.5:
                # It leaves while it has work.
                other.load_balanced_view().map_async(square, range(100))
        count("soak", clients=1)

    def kill(self):
        victims = self.chance.sample(range(4), self.chance.randrange(1, 4))
        found = processes(self.rc)
        result = self.rc.load_balanced_view().map_async(square, range(200))
        for victim in victims:
            found[victim].kill()
        assert outcomes(result) == [x**2 for x in range(200)]
        revive(self.rc, victims)
        count("soak", tasks=200, kills=len(victims))

    def suicide(self):
        engine = self.chance.randrange(4)
        with pytest.raises(ipyviews.EngineError):
            self.rc[engine].apply_async(os._exit, 3).get(HANGS_S)
        revive(self.rc, [engine])
        count("soak", kills=1)

    def restart(self):
        self.rc.restart([self.chance.randrange(4)])
        count("soak", restarts=1)


def weight(found):
    """Memory [bytes] and open files [count] of what lives as long as the cluster, and of us."""
    gc.collect()
    return sum(p.memory_info().rss for p in found), sum(p.num_fds() for p in found)


@pytest.mark.timeout(LENGTH_S + 600)
def test_mixed_work_with_faults_leaves_everything_as_it_was(start, chance, members):
    rc = start(4)
    soak, own = Soak(rc, chance), members(rc)
    lasting = [psutil.Process(), own.agent, own.controller]
    begin = time.monotonic()
    before = None
    while (now := time.monotonic() - begin) < LENGTH_S:
        soak.go_on()
        if before is None and now > WARM * LENGTH_S:
            before = weight(lasting)
    # What was asked for by clients that have left may still run.
    with contextlib.suppress(ipyviews.IPyViewsError):
        rc[:].apply_async(abs, -1).get(HANGS_S)
    memory, files = weight(lasting)
    count("soak", seconds=int(now), bytes_grown=memory - before[0], files_grown=files - before[1])
    assert memory - before[0] < GROWTH
    assert files - before[1] < FILES
    assert rc.ids == [0, 1, 2, 3]
