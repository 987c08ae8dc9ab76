"""Real kernels: forked, executed and plain; their ends; restarts."""

import asyncio
import os
import signal
import stat
import subprocess
from pathlib import Path

import psutil
import pytest
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.provisioning import LocalProvisioner

from ipyviews.errors import ClusterError, UsageError
from ipyviews.launching.exits import TAIL_SIZE
from ipyviews.launching.kernels import KernelRequest, _reap
from tests.launching.conftest import make_box

pytestmark = pytest.mark.kernels

#: What a cell does to its kernel, and how the end is told: (code, returncode, sentence, own doing).
ENDS = [
    ("import os; os._exit(3)", 3, "exit code 3", True),
    ("import os; os.kill(os.getpid(), 9)", -9, "killed by SIGKILL", False),
    ("import os; os.kill(os.getpid(), 15)", -15, "terminated by SIGTERM", False),
    ("import ctypes; ctypes.string_at(0)", -11, "segmentation fault (SIGSEGV)", True),
    ("import os; os.abort()", -6, "aborted (SIGABRT)", True),
    ("exit()", 0, "exit code 0", True),
]


def listening_inodes():
    """Inodes of listening TCP sockets, as the links in /proc/<pid>/fd name them."""
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        rows = [line.split() for line in Path(table).read_text().splitlines()[1:]]
        found |= {f"socket:[{row[9]}]" for row in rows if row[3] == "0A"}
    return found


def tcp_listeners(pid):
    """Count the TCP ports a process listens on."""
    names = [str(fd.readlink()) for fd in Path(f"/proc/{pid}/fd").iterdir()]
    return len(listening_inodes().intersection(names))


async def printed(client, words):
    """Wait until a kernel has printed some words; returns all it has printed since the start."""
    text = ""
    while words not in text:
        message = await client.get_iopub_msg(timeout=10)
        text += message["content"].get("text", "")
    return text


async def test_four_kernels_are_forked_and_answer(box):
    kernels = await asyncio.gather(*(box.start(n) for n in range(4)))
    await asyncio.gather(*(box.answers(kernel) for kernel in kernels))
    assert [kernel.way for kernel in kernels] == ["fork"] * 4
    assert len({kernel.pid for kernel in kernels}) == 4
    assert len({kernel.info["key"] for kernel in kernels}) == 4


async def test_kernel_has_no_tcp_port_and_private_files(box):
    kernel = await box.start(7)
    await box.answers(kernel)
    assert tcp_listeners(kernel.pid) == 0
    assert tcp_listeners(box.agent.pid) == 0
    assert kernel.connection_file == box.agent.folder / "e7.json"
    assert stat.S_IMODE(kernel.connection_file.stat().st_mode) == 0o600
    assert kernel.url("shell") == f"ipc://{box.agent.folder}/e7-ipc-{kernel.info['shell_port']}"
    assert kernel.url("apply") == f"ipc://{box.agent.folder}/e7-ipc-apply"
    assert isinstance(kernel.info["key"], bytes)


async def test_forked_kernel_is_like_a_stock_one(box, tmp_path):
    kernel = await box.start(cwd=str(tmp_path), env={"MY_OPTION": "1"})
    client = await box.answers(kernel)
    checks = {
        "__import__('os').getcwd()": repr(str(tmp_path)),
        "__import__('os').environ['MY_OPTION']": "'1'",
        "__import__('sys').argv[0].endswith('ipykernel_launcher.py')": "True",
        "__import__('sys').modules['__main__'].__dict__ is get_ipython().user_ns": "True",
        "__import__('sys').flags.safe_path": "False",
        "__import__('os').getsid(0) == __import__('os').getpid()": "True",
        "__import__('faulthandler').is_enabled()": "True",
        "get_ipython().history_manager.enabled": "False",
        "get_ipython().kernel.iopub_thread.socket.sndhwm": "0",
        "get_ipython().kernel.parent.parent_handle": str(box.agent.pid),
        "type(get_ipython().kernel.parent).__mro__[1].__name__": "'IPKernelApp'",
    }
    assert {code: await box.evaluate(client, code) for code in checks} == checks


async def test_forked_and_executed_kernels_find_the_same_modules(box):
    forked = await box.answers(await box.start(0))
    executed = await box.answers(await box.start(1, env={"PYTHONHASHSEED": "5"}))
    for code in ("__import__('sys').path", "__import__('sys').flags"):
        found = await box.evaluate(forked, code), await box.evaluate(executed, code)
        assert found[0] == found[1].replace("hash_randomization=0", "hash_randomization=1")


async def test_output_of_a_forked_subprocess_is_heard(box):
    client = await box.answers(await box.start())
    code = "import os, sys\nif not os.fork(): print('child', flush=True); os._exit(0)"
    client.execute(code)
    await printed(client, "child")


async def test_broken_pipe_is_an_exception_in_a_forked_kernel(box):
    client = await box.answers(await box.start())
    code = "import os; r, w = os.pipe(); os.close(r); os.write(w, b'x')"
    assert (await box.run(client, code))["ename"] == "BrokenPipeError"


async def test_warm_image_has_what_a_kernel_imports(box):
    """The list in `forkserver` is complete: little is imported after the fork."""
    client = await box.answers(await box.start())
    await box.run(client, "1 / 0")
    # Modules imported after the freeze are collected by gc, those of the image are not.
    new = (
        "sorted(n for n, m in __import__('sys').modules.items()"
        " if id(m) in {id(o) for o in __import__('gc').get_objects()})"
    )
    late = [name for name in eval(await box.evaluate(client, new)) if "." in name]
    assert len(late) < 8, late


async def test_forked_kernels_draw_different_numbers(box):
    kernels = await asyncio.gather(*(box.start(n) for n in range(2)))
    draws = set()
    for kernel in kernels:
        client = await box.answers(kernel)
        for code in ("__import__('random').random()", "__import__('numpy').random.rand()"):
            draws.add(await box.evaluate(client, code))
    assert len(draws) == 4


async def test_variable_read_at_start_takes_the_exec_path(box):
    kernel = await box.start(env={"PYTHONHASHSEED": "5"})
    client = await box.answers(kernel)
    assert kernel.way == "exec"
    assert await box.evaluate(client, "__import__('os').environ['PYTHONHASHSEED']") == "'5'"


async def test_engine_of_this_interpreter_needs_no_kernelspec(box):
    kernel = await box.start(kernel=None)
    await box.answers(kernel)
    assert (kernel.kernel_name, kernel.language) == ("ipyviews-engine", "python")
    assert (kernel.way, kernel.interrupt_mode) == ("fork", "signal")


async def test_unknown_kernel_lists_the_known_ones(box):
    with pytest.raises(
        UsageError, match=r"no kernel 'nope'; there are: .*ipyviews-engine.*python3"
    ):
        await box.start(kernel="nope")


async def test_missing_folder_is_told_by_the_start(box, tmp_path):
    with pytest.raises(ClusterError, match="absent does not exist"):
        await box.start(cwd=str(tmp_path / "absent"))


async def test_ends_are_reported_with_their_verdicts(either):
    kernels = await asyncio.gather(*(either.start(n) for n in range(len(ENDS))))
    for kernel, end in zip(kernels, ENDS, strict=True):
        (await either.answers(kernel)).execute(end[0])
    found = {}
    for _ in ENDS:
        engine, incarnation, report = await either.exit()
        assert (incarnation, report.pid) == (1, kernels[engine].pid)
        code = ENDS[engine][0]
        found[code] = (code, report.returncode, report.sentence, report.self_inflicted)
    assert list(map(found.get, (end[0] for end in ENDS))) == ENDS


async def test_traceback_of_a_crash_is_in_its_last_words(box):
    client = await box.answers(await box.start())
    client.execute("import ctypes\ndef culprit(): ctypes.string_at(0)\nculprit()")
    _, _, report = await box.exit()
    assert "in culprit" in report.tail
    assert len(report.tail) <= TAIL_SIZE
    assert report.peak_memory_kb > 10_000


async def test_peak_memory_is_told(box):
    client = await box.answers(await box.start())
    await box.run(client, "x = bytearray(200_000_000); del x")
    client.execute("import os; os._exit(0)")
    assert (await box.exit())[2].peak_memory_kb > 200_000


def test_a_child_is_waited_for_once_and_its_memory_told_where_it_is_known():
    provisioner = LocalProvisioner(kernel_id="e0", kernel_spec=KernelSpec())
    assert _reap(provisioner) is None
    provisioner.process = process = subprocess.Popen(["sleep", "100"])
    assert _reap(provisioner) is None
    assert process.returncode is None
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    # It had less than this process, and that is what the system counts from.
    assert _reap(provisioner) is None
    assert process.returncode == -9
    assert process.poll() == -9


@pytest.mark.parametrize("now", [False, True])
async def test_shutdown_is_no_unexpected_exit(box, now):
    kernel = await box.start()
    client = await box.answers(kernel)
    await kernel.shutdown(now=now)
    assert not psutil.pid_exists(kernel.pid)
    assert box.exits.empty()
    client.stop_channels()


async def test_polite_end_runs_exit_handlers(either, tmp_path):
    kernel = await either.start()
    client = await either.answers(kernel)
    await either.run(client, f"import atexit; atexit.register(open, {str(tmp_path / 'it')!r}, 'w')")
    await either.launcher.close(politely=True)
    assert (tmp_path / "it").exists()
    assert either.exits.empty()


@pytest.mark.parametrize("now", [False, True])
async def test_restart_keeps_addresses_and_key(either, now):
    kernel = await either.start()
    client = await either.answers(kernel)
    await either.run(client, "x = 1")
    before = (kernel.pid, kernel.info)
    await kernel.restart(now=now)
    await either.answers(kernel, client)
    assert kernel.info == before[1]
    assert kernel.pid != before[0]
    assert kernel.incarnation == 2
    assert (await either.run(client, "x"))["ename"] == "NameError"
    assert either.exits.empty()


async def test_dead_kernel_is_restarted_and_lives(box):
    kernel = await box.start()
    client = await box.answers(kernel)
    await kernel.signal(signal.SIGKILL)
    assert (await box.exit())[1] == 1
    await kernel.restart()
    await box.answers(kernel, client)
    # A shutdown request left behind for the dead one would end it now.
    assert await box.evaluate(client, "__import__('time').sleep(0.3)") == "None"
    await kernel.signal(signal.SIGKILL)
    assert (await box.exit())[1] == 2


async def test_a_kernel_outlives_its_launcher_and_is_taken_over(box, tmp_path):
    kernel = await box.start(env={"WORD": "x"}, cwd=str(tmp_path))
    client = await box.answers(kernel)
    await box.run(client, "x = 5")
    async with make_box(box.agent.folder, box.agent.folder / "agent.sock") as later:
        running, ended = await later.launcher.running()
        assert (list(running), ended) == (["e0"], {})
        request = KernelRequest("python3", env={"WORD": "x"}, cwd=str(tmp_path))
        adopted = later.launcher.adopt(0, 1, request, running["e0"])
        assert (adopted.pid, adopted.way, adopted.info) == (kernel.pid, kernel.way, kernel.info)
        assert await later.evaluate(client, "x") == "5"
        await adopted.interrupt()
        await adopted.restart()
        assert adopted.info == kernel.info
        await later.answers(adopted, client)
        code = "(__import__('os').environ['WORD'], __import__('os').getcwd(), 'x' in globals())"
        assert await later.evaluate(client, code) == repr(("x", str(tmp_path), False))
        await adopted.signal(signal.SIGKILL)
        assert (await later.exit())[:2] == (0, 2)


async def test_a_kernel_that_ended_meanwhile_can_be_started_again(box):
    kernel = await box.start()
    await box.answers(kernel)
    await kernel.signal(signal.SIGKILL)
    await box.exit()
    async with make_box(box.agent.folder, box.agent.folder / "agent.sock") as later:
        running, ended = await later.launcher.running()
        assert running == {}
        assert ended["e0"].sentence == "killed by SIGKILL"
        adopted = later.launcher.adopt(0, 1, KernelRequest("python3"), None)
        await adopted.restart()
        client = await later.answers(adopted)
        assert await later.evaluate(client, "1 + 1") == "2"


async def test_interrupt_ends_a_cell_not_the_kernel(either):
    kernel = await either.start()
    client = await either.answers(kernel)
    await either.run(client, "x = 5")
    code = "print('here', flush=True)\nwhile True: pass"
    client.execute(code, stop_on_error=False)
    await printed(client, "here")
    await kernel.interrupt()
    reply = await client.get_shell_msg(timeout=10)
    assert reply["content"]["ename"] == "KeyboardInterrupt"
    assert await either.evaluate(client, "x") == "5"


async def test_kernels_die_with_a_killed_agent(box, wait_until):
    kernels = [await box.start(0), await box.start(1, env={"PYTHONHASHSEED": "5"})]
    for kernel in kernels:
        await box.answers(kernel)
    assert [kernel.way for kernel in kernels] == ["fork", "exec"]
    os.kill(box.agent.pid, signal.SIGKILL)
    wait_until(lambda: not any(psutil.pid_exists(kernel.pid) for kernel in kernels), 3)
    assert {(await box.exit())[0] for _ in kernels} == {0, 1}


async def test_kernel_that_fails_to_start_reports_why(box):
    kernel = await box.start(env={"PYTHONHASHSEED": "no number"})
    _, _, report = await box.exit()
    assert report.returncode == 1
    assert "PYTHONHASHSEED" in report.tail
    assert kernel.way == "exec"


async def test_kernel_of_another_language(box, bash):
    kernel = await box.start(kernel="bash")
    client = await box.answers(kernel)
    assert (kernel.language, kernel.way) == ("bash", "exec")
    client.execute("echo $((6 * 7))")
    assert "42" in await printed(client, "42")


async def test_plain_jupyter_client_can_use_the_agent(agent):
    from jupyter_client.manager import AsyncKernelManager

    from ipyviews.launching.provisioner import AgentProvisioner

    manager = AsyncKernelManager(
        kernel_name="python3", transport="ipc", connection_file=str(agent.folder / "k.json")
    )
    manager.provisioner = AgentProvisioner(
        parent=manager,
        kernel_id="mine",
        kernel_spec=manager.kernel_spec,
        agent_socket=str(agent.folder / "agent.sock"),
    )
    await manager.start_kernel()
    assert await manager.is_alive()
    client = manager.client()
    client.start_channels()
    await client.wait_for_ready(timeout=20)
    client.stop_channels()
    await manager.shutdown_kernel()
    assert not await manager.is_alive()


def test_provisioner_is_an_entry_point():
    from importlib.metadata import entry_points

    from ipyviews.launching.provisioner import AgentProvisioner

    (found,) = entry_points(group="jupyter_client.kernel_provisioners", name="ipyviews-agent")
    assert found.load() is AgentProvisioner
