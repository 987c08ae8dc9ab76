"""R10: the controller is killed under load, and started again by the agent."""

from __future__ import annotations

import json
import os
import signal
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

import ipyviews
from tests.chaos.scale import count, most, scale
from tests.encryption import needs_encryption

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.chaos, pytest.mark.kernels]

#: How long clients may need to be back [s].
BACK_S = 5.0


@pytest.fixture
def rc() -> Iterator[ipyviews.Client]:
    """Three engines that nobody else uses."""
    with ipyviews.Cluster(n=3) as client:
        yield client


@pytest.fixture
def marked(tmp_path: Path) -> Path:
    """Where calls write each run of theirs."""
    file = tmp_path / "marks"
    file.touch()
    return file


def connection_info(rc: ipyviews.Client) -> dict[str, Any]:
    file = Path(rc.connection.address.folder) / "cluster.json"
    info: dict[str, Any] = json.loads(file.read_bytes())
    return info


def controller(rc: ipyviews.Client) -> int:
    return int(connection_info(rc)["ipyviews"]["pid"])


def kill_controller(rc: ipyviews.Client) -> None:
    count("R10", kills=1)
    os.kill(controller(rc), signal.SIGKILL)


def runs(marked: Path) -> Counter[str]:
    return Counter(marked.read_text().split())


def mark(name: int, file: str, seconds: float = 0.0) -> int:
    """Run on engines: leave a mark, take a while, and return something of the name."""
    import os
    import time

    descriptor = os.open(file, os.O_WRONLY | os.O_APPEND)
    os.write(descriptor, b"%d\n" % name)
    os.close(descriptor)
    time.sleep(seconds)
    return name * 2


def assert_attempts_tell(ar: Any, names: list[int], marked: Path) -> None:
    """Compare the marks of each call with what its result says of its runs."""
    counted = runs(marked)
    told = {str(name): len(task.attempts) for name, task in zip(names, ar.tasks, strict=True)}
    assert {name: counted[name] for name in told} == told


@pytest.mark.parametrize("pause_s", scale([0.1, 0.5], [0.03 * n for n in range(30)]))
def test_r10_maps_calls_and_a_cell_survive_the_controller(rc, marked, pause_s):
    view, balanced = rc[:], rc.load_balanced_view()
    view["kept"] = 7
    before = rc.ids, view.apply_sync(os.getpid), [one["incarnation"] for one in status(rc)]
    names = list(range(300))
    cell = rc[2].execute("count = globals().get('count', 0) + 1; print('cell', count)", block=False)
    slow = rc[2].execute("import time; time.sleep(0.5); count += 1", block=False)
    mapped = balanced.map_async(mark, names, [str(marked)] * 300, [0.005] * 300, chunksize=1)
    direct = [rc[one].apply_async(mark, 1000 + one, str(marked), 0.3) for one in (0, 1)]
    time.sleep(pause_s)
    kill_controller(rc)
    assert mapped.get(60) == [name * 2 for name in names]
    assert [one.get(60) for one in direct] == [2000, 2002]
    cell.get(60)
    slow.get(60)
    assert rc[2]["count"] == 2
    assert view["kept"] == [7, 7, 7]
    after = rc.ids, view.apply_sync(os.getpid), [one["incarnation"] for one in status(rc)]
    assert after == before
    assert_attempts_tell(mapped, names, marked)
    for place, one in enumerate(direct):
        assert_attempts_tell(one, [1000 + place], marked)
    count("R10", tasks=304)


@needs_encryption
def test_r10_over_tcp_addresses_and_keys_stay_too(marked):
    with ipyviews.Cluster(n=2, transport="tcp") as rc:
        rc[:]["kept"] = 7
        before = connection_info(rc)
        names = list(range(60))
        mapped = rc.load_balanced_view().map_async(
            mark, names, [str(marked)] * 60, [0.02] * 60, chunksize=1
        )
        kill_controller(rc)
        assert mapped.get(60) == [name * 2 for name in names]
        assert_attempts_tell(mapped, names, marked)
        assert rc[:]["kept"] == [7, 7]
        rc.restart(0)
        assert rc[:].apply_sync(os.getppid)
        after = connection_info(rc)
        assert after.pop("ipyviews")["life"] != before.pop("ipyviews")["life"]
        assert after == before


def status(rc: ipyviews.Client) -> list[dict[str, Any]]:
    engines: list[dict[str, Any]] = rc.status()["engines"]
    return engines


def test_r10_clients_are_back_in_time_and_one_that_comes_later_finds_the_engines(rc):
    rc[:]["a"] = 5
    with ipyviews.Client(rc.connection.address.folder) as other:
        kill_controller(rc)
        start = time.monotonic()
        assert [one["state"] for one in rc.status()["engines"]] == ["live"] * 3
        assert other[:]["a"] == [5] * 3
        taken = time.monotonic() - start
        assert taken < BACK_S
        most("R10", ms_until_back=int(1000 * taken))
    with ipyviews.Client(rc.connection.address.folder) as late:
        assert late[0]["a"] == 5


def test_r10_a_cell_that_ends_meanwhile_is_not_run_again_and_tells_its_end(rc, wait_until, marked):
    pid = controller(rc)
    code = f"""
import time
print('before', flush=True)
time.sleep(0.5)
print('meanwhile', flush=True)
open({str(marked)!r}, 'a').write('%d ')
"""
    well = rc[0].execute(code % 0, block=False)
    fails = rc[1].execute(code % 1 + "1 / 0", block=False)
    wait_until(lambda: all(one["running"] for one in status(rc)[:2]), 10)
    agent = psutil.Process(pid).parent()
    agent.suspend()
    try:
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: len(runs(marked)) == 2, 20)
    finally:
        agent.resume()
    well.get(60)
    with pytest.raises(ipyviews.RemoteError, match="division by zero"):
        fails.get(60)
    assert runs(marked) == {"0": 1, "1": 1}
    assert (well.stdout, fails.stdout) == ("before\nmeanwhile\n",) * 2
    assert [task.incomplete_output for task in (*well.tasks, *fails.tasks)] == [False, False]


def test_r10_an_engine_that_dies_meanwhile_is_told(rc, wait_until, marked):
    pid, victim = controller(rc), rc[0].apply_sync(os.getpid)
    direct = rc[0].apply_async(mark, 0, str(marked), 60)
    wait_until(lambda: runs(marked)["0"] == 1, 20)
    agent = psutil.Process(pid).parent()
    agent.suspend()
    try:
        os.kill(pid, signal.SIGKILL)
        os.kill(victim, signal.SIGKILL)
    finally:
        agent.resume()
    with pytest.raises(ipyviews.EngineError, match=r"may have run.*killed by SIGKILL"):
        direct.get(60)
    assert rc.ids == [1, 2]
    rc.restart(0)
    assert rc[:].apply_sync(abs, -1) == [1, 1, 1]
    assert runs(marked) == {"0": 1}


def test_r10_restart_interrupt_and_shutdown_work_on_engines_that_were_taken_over(rc, wait_until):
    kill_controller(rc)
    rc[:]["a"] = 1
    endless = rc[0].execute("while True: pass", block=False)
    wait_until(lambda: status(rc)[0]["running"], 10)
    endless.cancel()
    with pytest.raises(ipyviews.TaskAborted):
        endless.get(20)
    rc.restart(1)
    assert rc[1].apply_sync(lambda: "a" in globals()) is False
    assert rc[0]["a"] == 1
    rc.shutdown([2], block=True)
    assert rc.ids == [0, 1]
    kill_controller(rc)
    assert [one["state"] for one in status(rc)] == ["live", "live", "lost"]
    assert [one["incarnation"] for one in status(rc)] == [1, 2, 1]


def test_r10_a_controller_that_dies_again_and_again_ends_the_cluster_with_a_reason(rc):
    waiting = rc[0].apply_async(time.sleep, 600)
    for _ in range(4):
        kill_controller(rc)
        known = controller(rc)
        try:
            while controller(rc) == known:
                time.sleep(0.01)
            rc.status()
        except (ipyviews.ControllerLost, FileNotFoundError):
            break
    with pytest.raises(ipyviews.ControllerLost, match="SIGKILL, after 3 others within 60 s"):
        waiting.get(60)
