"""What of an engine's output is for this client, and where it goes."""

from __future__ import annotations

import pytest

from ipyviews.client import display
from tests.waiting import wait_until

row = pytest.mark.row


@row("1.6-other-sessions")
def test_output_of_other_clients_is_not_shown(cluster4, rc, capfd):
    with cluster4.connect_client_sync() as other:
        theirs = other[:].execute("print('theirs')", block=True)
        ours = rc[:].execute("print('ours')", block=True)
    assert ours.stdout == ["ours\n"] * 4
    assert theirs.stdout == ["theirs\n"] * 4
    assert "theirs" not in "".join(capfd.readouterr())


@pytest.mark.awaited
@row("1.6-carriage-return")
def test_a_carriage_return_overwrites_the_line(rc):
    result = rc[0].execute(
        r"print('10 %\r100 %'); import sys; sys.stderr.write('a\rb\n')", block=True
    )
    assert result.stdout == "100 %\n"
    assert result.stderr == "b\n"


class Kernel:
    """What the relay uses of the kernel this process is."""

    def __init__(self):
        self.sent = []
        self.kernel = self.session = self.iopub_thread = self
        self.iopub_socket = "iopub"

    def schedule(self, action):
        action()

    def send(self, socket, msg_type, content, **options):
        self.sent.append((socket, msg_type, content, options))


@row("1.6-comms")
def test_comm_messages_go_to_the_kernel_this_process_is(fake, fake_rc, monkeypatch):
    kernel = Kernel()
    monkeypatch.setattr(display, "shell", lambda: kernel)
    fake.holding = True
    result = fake_rc[0].apply_async(pow, 2, 3)
    (task,) = result.msg_ids
    wait_until(lambda: fake.held)
    content = {"comm_id": "c", "target_name": "jupyter.widget", "data": {}}
    fake.do(lambda: fake.output(task, 0, "comm_open", content))
    fake.release()
    assert result.get(5) == 8
    assert kernel.sent == [("iopub", "comm_open", content, {"metadata": {}, "buffers": None})]
