"""The agent itself: requests, lifetimes, and that nothing is left."""

import asyncio
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import warnings

import psutil
import pytest

from ipyviews.errors import ClusterError
from ipyviews.launching import rundir
from ipyviews.launching.exits import TAIL_SIZE
from ipyviews.launching.link import AgentLink
from ipyviews.launching.start import AgentProcess, end_cluster, start_agent
from tests.launching.conftest import OBEDIENT, settings

pytestmark = pytest.mark.kernels

#: A controller that never listens.
STUBBORN = """
import signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
""" + OBEDIENT.replace("break", "continue")


#: A controller that ends once it was ready.
ORDERLY = """
import socket, sys
agent = socket.socket(socket.AF_UNIX)
agent.connect(sys.argv[1] + "/agent.sock")
agent.sendall(b'{"id": 0, "op": "ready"}\\n')
agent.recv(100)
"""


def program(text):
    return [sys.executable, "-c", text]


SLEEP = program("import time; time.sleep(60)")


async def push_of(link, kind):
    while True:
        message = await asyncio.wait_for(link.pushes.get(), 10)
        if message["push"] == kind:
            return message


async def run(link, argv, **options):
    answer, report = await link.start("k", argv, options.pop("env", dict(os.environ)), **options)
    return answer, report


def is_gone(pid):
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_start_and_stop_leaves_nothing(start):
    agent = start()
    assert agent.is_running()
    assert psutil.pid_exists(agent.controller_pid)
    agent.stop()
    assert not agent.folder.exists()
    assert is_gone(agent.controller_pid)
    assert not agent.is_running()


def test_everything_in_the_folder_is_private(agent):
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in agent.folder.iterdir()}
    assert modes == {"agent.sock": 0o600, "config.json": 0o600, "lock": 0o600, "log": 0o600}


def test_config_is_written_for_the_controller(start):
    folder = start(kernels=[None, "bash"], env={"A": "1"}, idle_limit=None).folder
    config = json.loads((folder / "config.json").read_text())
    wanted = {"cluster_id": folder.name, "kernels": [None, "bash"], "env": {"A": "1"}}
    assert wanted.items() <= config.items()
    assert {"n", "cwd", "provisioner", "detached", "grace", "idle_limit", "version"} <= set(config)


def test_controller_that_fails_is_told_with_its_last_lines():
    broken = settings("raise SystemExit('the reason why')")
    with pytest.raises(ClusterError, match=r"(?s)exit code 1.*the reason why"):
        start_agent(broken, detached=False, timeout=20)
    assert rundir.list_clusters() == []


def test_controller_that_is_never_ready_is_given_up():
    with pytest.raises(ClusterError, match=r"not ready after 0\.5 s"):
        start_agent(settings("import time; time.sleep(60)"), detached=False, timeout=0.5)


def test_a_start_that_is_interrupted_is_told_to_end(monkeypatch):
    let_go = AgentProcess.let_go

    def ended_then_let_go(process):
        # Before that its owner is alive: only what it was told ends it.
        process.wait(20)
        let_go(process)

    def interrupt():
        raise KeyboardInterrupt

    monkeypatch.setattr(AgentProcess, "let_go", ended_then_let_go)
    with pytest.raises(KeyboardInterrupt):
        start_agent(settings("import time; time.sleep(60)"), detached=False, meanwhile=interrupt)


def test_controller_is_not_found_in_the_current_directory(start, tmp_path, monkeypatch):
    (tmp_path / "selectors.py").write_text("raise SystemExit('wrong file')")
    (tmp_path / "ipyviews.py").write_text("raise SystemExit('wrong file')")
    monkeypatch.chdir(tmp_path)
    assert start().is_running()


def test_second_cluster_of_a_name_is_refused(start):
    named = OBEDIENT.replace(
        "agent.sendall",
        """
folder = sys.argv[1]
info = {"cluster_id": "x", "folder": folder, "n": 0, "pid": 1}
json.dump({"ipyviews": info}, open(folder + "/cluster.json", "w"))
agent.sendall""",
    )
    start(named, cluster_id="x")
    with pytest.raises(ClusterError, match="'x' is running already"):
        start(named, cluster_id="x")


async def test_exit_report_tells_code_and_last_words(link):
    text = "import sys; print('out'); sys.exit('err')"
    answer, report = await run(link, program(text), cwd=None)
    assert answer["way"] == "exec"
    assert answer["why"] == "it is not a stock IPython kernel"
    report = await report
    assert (report.pid, report.returncode) == (answer["pid"], 1)
    assert set(report.tail.split()) == {"out", "err"}
    assert report.peak_memory_kb > 1000


async def test_tail_keeps_the_end_of_much_output(link):
    _, report = await run(link, program("print('x' * 200_000); print('end')"), cwd=None)
    tail = (await report).tail
    assert tail.endswith("x\nend")
    assert len(tail) <= TAIL_SIZE


async def test_child_gets_its_environment_folder_and_plain_signals(link, tmp_path):
    text = (
        "import os, signal\n"
        "print(os.getcwd(), sorted(os.environ), os.getsid(0) == os.getpid(),"
        " signal.getsignal(signal.SIGINT) is signal.default_int_handler,"
        " signal.pthread_sigmask(signal.SIG_BLOCK, []), sorted(os.listdir('/proc/self/fd'))[:3])"
    )
    _, report = await run(link, program(text), env={"A": "1", "LC_CTYPE": "C"}, cwd=str(tmp_path))
    tail = (await report).tail
    names = "['A', 'JPY_PARENT_PID', 'LC_CTYPE']"
    assert tail == f"{tmp_path} {names} True True set() ['0', '1', '2']"


async def test_child_inherits_no_descriptor(link):
    text = "import os; print(len(os.listdir('/proc/self/fd')))"
    _, report = await run(link, program(text), cwd=None)
    # 0, 1, 2 and the one of the listing itself.
    assert (await report).tail == "4"


async def test_child_gets_the_umask_of_the_starter(link):
    text = "import os; print(oct(os.umask(0)))"
    _, report = await run(link, program(text), cwd=None)
    own = os.umask(0)
    os.umask(own)
    assert (await report).tail == oct(own)


async def test_signal_reaches_the_whole_group(link):
    text = f"import subprocess; subprocess.run({SLEEP})"
    answer, report = await run(link, program(text), cwd=None)
    await link.ask("signal", pid=answer["pid"], signal=signal.SIGKILL)
    assert (await report).sentence == "killed by SIGKILL"


async def test_subprocesses_end_with_their_kernel(link, wait_until):
    text = f"import subprocess; print(subprocess.Popen({SLEEP}).pid, flush=True)"
    _, report = await run(link, program(text), cwd=None)
    pid = int((await report).tail)
    wait_until(lambda: is_gone(pid))


async def test_missing_folder_is_one_sentence(link, tmp_path):
    with pytest.raises(ClusterError, match="absent does not exist"):
        await run(link, SLEEP, cwd=str(tmp_path / "absent"))


async def test_missing_program_is_one_sentence(link):
    with pytest.raises(ClusterError, match="no-such-program'] cannot be run"):
        await run(link, ["no-such-program"], cwd=None)


async def test_program_that_is_none_ends_with_the_reason(link, tmp_path):
    broken = tmp_path / "broken"
    broken.write_bytes(b"\x7fELF nonsense")
    broken.chmod(0o700)
    _, report = await run(link, [str(broken)], cwd=None)
    report = await report
    assert report.returncode == 127
    assert "broken cannot be run" in report.tail


async def test_list_names_running_kernels(link):
    answer, report = await run(link, SLEEP, cwd=None)
    kernels = (await link.ask("list"))["kernels"]
    assert [(k["kernel"], k["pid"], k["way"]) for k in kernels] == [("k", answer["pid"], "exec")]
    await link.ask("signal", pid=answer["pid"], signal=signal.SIGTERM)
    await report
    assert (await link.ask("list"))["kernels"] == []


async def test_rubbish_is_answered_and_survived(agent, link):
    reader, writer = await asyncio.open_unix_connection(str(agent.folder / "agent.sock"))
    writer.write(b"rubbish\n[]\n" + b'{"id": 1, "op": "no such"}\n')
    answers = [json.loads(await reader.readline()) for _ in range(3)]
    assert all("bad request" in answer["error"] for answer in answers)
    assert answers[2]["id"] == 1
    writer.close()
    await writer.wait_closed()
    assert (await link.ask("list"))["ok"]


async def test_peer_that_breaks_off_is_survived(agent, link):
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(str(agent.folder / "agent.sock"))
    # Closing with an unread answer makes the agent's next recv fail with ECONNRESET.
    sock.sendall(b'{"id": 1, "op": "list"}\n' * 1000)
    sock.recv(1)
    sock.close()
    assert (await link.ask("list"))["ok"]


async def test_two_first_askers_share_one_connection(agent):
    link = AgentLink(agent.folder / "agent.sock")
    answers = await asyncio.gather(*(link.ask("list") for _ in range(8)))
    assert all(answer["ok"] for answer in answers)
    await link.close()


async def test_link_to_nothing_is_one_sentence(tmp_path):
    with pytest.raises(ClusterError, match="the agent of the cluster is gone"):
        await AgentLink(tmp_path / "agent.sock").ask("list")


async def test_end_is_told_before_anybody_is_killed(agent, link):
    answer, report = await run(link, SLEEP, cwd=None)
    await link.ask("end", reason="a test")
    assert (await push_of(link, "end"))["reason"] == "a test"
    assert (await report).sentence == "terminated by SIGTERM"
    agent.wait(10)
    assert is_gone(answer["pid"])


async def test_stubborn_programs_are_killed(start):
    agent = start(STUBBORN)
    link = AgentLink(agent.folder / "agent.sock")
    text = "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(60)"
    _, report = await run(link, program(text), cwd=None)
    await asyncio.to_thread(agent.stop)
    assert (await report).returncode in (-signal.SIGTERM, -signal.SIGKILL)
    assert is_gone(agent.controller_pid)
    await link.close()


async def test_start_is_refused_while_ending(start):
    agent = start(STUBBORN)
    link = AgentLink(agent.folder / "agent.sock")
    await link.ask("end")
    with pytest.raises(ClusterError, match="is ending"):
        await run(link, SLEEP, cwd=None)
    await link.close()


def test_owners_end_ends_an_unused_cluster_after_the_grace(start):
    agent = start(grace=0.2)
    agent.let_go()
    agent.wait(10)
    assert not agent.folder.exists()


async def test_cluster_waits_for_clients_after_its_owners_end(start):
    agent = start(grace=0.1)
    pushes: asyncio.Queue = asyncio.Queue()
    link = AgentLink(agent.folder / "agent.sock", pushes.put_nowait)
    link.pushes = pushes
    await link.ask("clients", n=1)
    agent.let_go()
    await push_of(link, "owner")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await push_of(link, "end")
    await link.ask("clients", n=0)
    assert (await push_of(link, "end"))["reason"] == "nobody uses it any more"
    await asyncio.to_thread(agent.wait, 10)
    await link.close()


async def test_client_within_the_grace_keeps_the_cluster(start):
    agent = start(grace=1.0)
    link = AgentLink(agent.folder / "agent.sock")
    await link.open()
    agent.let_go()
    await link.ask("clients", n=1)
    with pytest.raises(subprocess.TimeoutExpired):
        await asyncio.to_thread(agent.wait, 1.5)
    await link.close()


def test_detached_cluster_has_no_owner(start):
    agent = start(detached=True)
    process = psutil.Process(agent.pid)
    assert process.ppid() != os.getpid()
    agent.let_go()
    assert agent.is_running()
    end_cluster(agent.folder)
    assert not agent.folder.exists()


def test_detached_cluster_ends_when_idle(start, wait_until):
    agent = start(detached=True, idle_limit=0.2)
    wait_until(lambda: not agent.folder.exists())


async def test_clients_stop_the_clock_of_a_detached_cluster(start, wait_until):
    agent = start(detached=True, idle_limit=1.0)
    link = AgentLink(agent.folder / "agent.sock")
    await link.ask("clients", n=1)
    with pytest.raises(AssertionError):
        wait_until(lambda: not agent.is_running(), 1.5)
    await link.ask("clients", n=0)
    await link.close()
    wait_until(lambda: not agent.folder.exists())


@pytest.mark.parametrize("detached", [False, True])
def test_everything_ends_with_the_controller(start, wait_until, detached):
    agent = start(detached=detached)
    os.kill(agent.controller_pid, signal.SIGKILL)
    wait_until(lambda: not agent.folder.exists())


def controllers(agent):
    """The agent's children; a cold agent has no other."""
    return psutil.Process(agent.pid).children()


def kill_and_wait(agent, wait_until):
    """Kill the controller, wait for another one, and return that."""
    (old,) = controllers(agent)
    old.kill()
    return wait_until(lambda: [one for one in controllers(agent) if one.pid != old.pid])[0]


def test_a_controller_that_dies_is_started_again_but_not_for_ever(start, wait_until):
    agent = start(warm=True)
    for _ in range(3):
        kill_and_wait(agent, wait_until)
    reason = agent.folder / rundir.END_FILE
    controllers(agent)[0].kill()
    told = wait_until(lambda: reason.exists() and reason.read_text())
    assert told == ("the controller died: killed by SIGKILL, after 3 others within 60 s")
    wait_until(lambda: not agent.folder.exists())


def test_a_controller_that_ends_in_order_ends_the_cluster(start, wait_until):
    agent = start(ORDERLY, warm=True)
    wait_until(lambda: not agent.folder.exists())


def test_without_owner_and_clients_a_new_controller_does_not_keep_the_cluster(start, wait_until):
    agent = start(warm=True, grace=0.3)
    agent.let_go()
    kill_and_wait(agent, wait_until)
    wait_until(lambda: not agent.folder.exists())


async def test_exits_that_nobody_heard_are_told_later(start):
    agent = start()
    first = AgentLink(agent.folder / "agent.sock")
    _, report = await run(first, program("import sys; sys.exit(5)"), cwd=None)
    assert (await report).returncode == 5
    await first.close()
    second = AgentLink(agent.folder / "agent.sock")
    running, ended = await second.kernels()
    await second.close()
    assert running == {}
    assert [one.returncode for one in ended.values()] == [5]


async def test_programs_die_with_a_killed_agent(start, wait_until):
    agent = start()
    link = AgentLink(agent.folder / "agent.sock")
    answer, report = await run(link, SLEEP, cwd=None)
    os.kill(agent.pid, signal.SIGKILL)
    assert (await report).sentence == "killed: the agent that ran it is gone"
    wait_until(lambda: is_gone(answer["pid"]), 3)
    wait_until(lambda: is_gone(agent.controller_pid), 3)
    with pytest.raises(ClusterError, match="is gone"):
        await link.ask("list")
    await link.close()


def test_agent_and_so_whatever_it_forks_tells_where_it_crashed(start):
    agent = start()
    with (agent.folder / "log").open() as log:
        os.kill(agent.pid, signal.SIGSEGV)
        agent.wait(10)
        assert "Fatal Python error: Segmentation fault" in log.read()


def test_agent_told_to_end_by_signal_ends_everything(start):
    agent = start()
    os.kill(agent.pid, signal.SIGTERM)
    agent.wait(10)
    assert not agent.folder.exists()


def test_keyboard_interrupt_does_not_reach_the_cluster(agent):
    os.kill(agent.pid, signal.SIGINT)
    assert os.getsid(agent.pid) != os.getsid(0)
    assert os.getsid(agent.controller_pid) == agent.controller_pid
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(10)
        sock.connect(str(agent.folder / "agent.sock"))
        sock.sendall(b'{"id": 1, "op": "list"}\n')
        assert json.loads(sock.recv(1000))["ok"]


def test_agent_that_hangs_is_killed(agent, wait_until):
    os.kill(agent.pid, signal.SIGSTOP)
    agent.stop(timeout=0.3)
    assert not agent.folder.exists()
    wait_until(lambda: is_gone(agent.controller_pid))


def test_forked_child_of_the_owner_does_not_hold_the_cluster(start):
    agent = start(grace=0.1)
    read, write = os.pipe()
    pid = fork_until_written(read)
    try:
        agent.let_go()
        agent.wait(10)
    finally:
        os.write(write, b".")
        os.waitpid(pid, 0)
        os.close(read)
        os.close(write)


def fork_until_written(read):
    """Fork a child that holds whatever it inherits until it can read a byte."""
    with warnings.catch_warnings():
        # pytest's timeout thread exists; the child does nothing that could meet it.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        os.read(read, 1)
        os._exit(0)
    return pid
