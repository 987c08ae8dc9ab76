"""An engine is an ordinary kernel, for every program that knows kernels."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pexpect
import pytest
from jupyter_client.blocking import BlockingKernelClient
from jupyter_core.utils import ensure_event_loop

pytestmark = pytest.mark.kernels


def connection_file(client, engine):
    (info,) = [e for e in client.status()["engines"] if e["id"] == engine]
    return info["connection_file"]


@pytest.fixture
def plain(rc):
    """A client of jupyter_client on engine 1."""
    client = BlockingKernelClient(connection_file=connection_file(rc, 1))
    client.load_connection_file()
    client.start_channels()
    client.wait_for_ready(timeout=20)
    yield client
    client.stop_channels()
    # Its blocking calls ran in a loop that is kept for the next ones.
    ensure_event_loop().close()


def output_of(client, code):
    texts = []
    reply = client.execute_interactive(
        code, timeout=20, output_hook=lambda m: texts.append(m["content"].get("text", ""))
    )
    assert reply["content"]["status"] == "ok"
    return "".join(texts)


def test_a_plain_client_sees_what_a_view_pushed(rc, plain):
    rc[1].push({"from_a_view": 6 * 7}, block=True)
    assert output_of(plain, "print(from_a_view)") == "42\n"


def test_a_view_sees_what_a_plain_client_did(rc, plain):
    output_of(plain, "from_a_console = [1, 2, 3]")
    assert rc[1]["from_a_console"] == [1, 2, 3]


def test_output_of_a_plain_client_is_not_mixed_with_ours(rc, plain):
    result = rc[1].execute("print('ours')", block=False)
    assert output_of(plain, "print('theirs')") == "theirs\n"
    result.get(20)
    assert result.stdout == "ours\n"


def test_completion_works(rc, plain):
    rc[1].push({"a_rather_long_name": 1}, block=True)
    plain.complete("a_rather_l")
    reply = plain.get_shell_msg(timeout=20)
    while reply["msg_type"] != "complete_reply":
        reply = plain.get_shell_msg(timeout=20)
    assert "a_rather_long_name" in reply["content"]["matches"]


def test_the_kernelspec_is_listed():
    command = [sys.executable, "-m", "jupyter", "kernelspec", "list", "--json"]
    listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert "ipyviews-engine" in json.loads(listed)["kernelspecs"]


def console(*arguments):
    """Open ``jupyter console`` on a terminal."""
    command = ["-m", "jupyter", "console", "--simple-prompt", *arguments]
    environment = {**os.environ, "TERM": "dumb", "JUPYTER_CONSOLE_TEST": "1"}
    child = pexpect.spawn(sys.executable, command, env=environment, encoding="utf-8", timeout=60)
    child.expect(r"In \[\d+\]:")
    return child


def leave(child):
    child.sendeof()
    child.expect([pexpect.EOF, r"Do you really|\[y\]/n"])
    if child.isalive():
        child.sendline("y")
        child.expect(pexpect.EOF)
    child.close()


def test_jupyter_console_works_on_the_kernelspec():
    child = console("--kernel", "ipyviews-engine")
    child.sendline("print(6 * 7, 'ipyviews.engine' in __import__('sys').modules)")
    child.expect("42 True")
    leave(child)


def test_jupyter_console_attaches_to_an_engine(rc):
    rc[2].push({"seen_from_outside": "yes, it is"}, block=True)
    child = console("--existing", connection_file(rc, 2))
    child.sendline("seen_from_outside")
    child.expect("yes, it is")
    leave(child)
    assert rc[2].apply_sync(lambda: "still there") == "still there"
