"""Live output and interrupts, seen from outside: the messages of the user's kernel."""

from __future__ import annotations

import time
from queue import Empty

import pytest
from jupyter_client.manager import start_new_async_kernel

pytestmark = pytest.mark.kernels

#: Longest way of a line from the engine's print to the user's front end [s].
DELAY_S = 0.5

PRINTING = """\
import time
for i in range(3):
    print("line", i, time.time())
    time.sleep(1)
"""


class Notebook:
    """A front end: runs cells and notes when each message comes."""

    def __init__(self, manager, client):
        self.manager = manager
        self.client = client
        #: (time of arrival, message)
        self.messages = []

    def start(self, code):
        return self.client.execute(code)

    async def listen(self, until, timeout_s=30):
        """Read messages until one fulfils `until`; return it."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            try:
                message = await self.client.get_iopub_msg(timeout=1)
            except Empty:
                continue
            self.messages.append((time.time(), message))
            if until(message):
                return message
        raise AssertionError(f"did not come within {timeout_s} s")

    async def finish(self, cell, timeout_s=60):
        """Wait for the end of a cell, and return its reply."""
        await self.listen(lambda message: is_idle(message, cell), timeout_s)
        while True:
            reply = await self.client.get_shell_msg(timeout=timeout_s)
            if reply["parent_header"]["msg_id"] == cell:
                return reply["content"]

    async def run(self, code):
        reply = await self.finish(self.start(code))
        assert reply["status"] == "ok", reply
        return reply

    def messages_of(self, cell, *kinds):
        """Return the contents of what came under a cell."""
        return [
            message["content"]
            for _, message in self.messages
            if message["parent_header"].get("msg_id") == cell and message["msg_type"] in kinds
        ]

    def lines(self, cell):
        """Return (delay [s], number) of each printed line under a cell, in order."""
        found = []
        for arrived, message in self.messages:
            if message["parent_header"].get("msg_id") == cell and message["msg_type"] == "stream":
                for line in message["content"]["text"].splitlines():
                    if line.startswith("line "):
                        _, number, printed = line.split()
                        found.append((arrived - float(printed), int(number)))
        return found


def is_idle(message, cell):
    return (
        message["msg_type"] == "status"
        and message["content"]["execution_state"] == "idle"
        and message["parent_header"].get("msg_id") == cell
    )


@pytest.fixture
async def notebook(cluster4):
    manager, client = await start_new_async_kernel(kernel_name="python3")
    notebook = Notebook(manager, client)
    await notebook.run("%load_ext ipyviews\nimport ipyviews\nrc = ipyviews.Client()")
    yield notebook
    client.stop_channels()
    await manager.shutdown_kernel(now=True)


async def test_lines_are_seen_while_the_cell_runs(notebook):
    cell = notebook.start(f"%%px -t 0\n{PRINTING}")
    assert (await notebook.finish(cell))["status"] == "ok"
    # What was read came before the cell's idle, for `finish` stops there.
    assert [number for _, number in notebook.lines(cell)] == [0, 1, 2]
    assert max(delay for delay, _ in notebook.lines(cell)) < DELAY_S


async def test_lines_of_a_cell_that_does_not_block_stay_under_it_after_later_cells(notebook):
    cell = notebook.start(f"%%px -t 0 -a\n{PRINTING}")
    await notebook.finish(cell)
    for number in range(3):
        await notebook.run(f"print('later {number}')")
    await notebook.listen(lambda message: "line 2" in message["content"].get("text", ""))
    assert [number for _, number in notebook.lines(cell)] == [0, 1, 2]
    assert max(delay for delay, _ in notebook.lines(cell)) < DELAY_S
    parents = {
        message["parent_header"].get("msg_id")
        for _, message in notebook.messages
        if "line " in message["content"].get("text", "")
    }
    assert parents == {cell}


THREAD = """\
import threading, time
from IPython.display import display
def write():
    for i in range(3):
        print("line", i, time.time())
        time.sleep(0.5)
    display("from a thread")
go = threading.Thread(target=write)
go.start()
"""


async def test_what_a_thread_writes_after_its_cell_has_ended_is_shown_under_the_cell(notebook):
    cell = notebook.start(f"%%px -t 0\n{THREAD}")
    await notebook.finish(cell)
    assert len(notebook.lines(cell)) < 3
    later = notebook.start("import time; time.sleep(1)")
    await notebook.finish(later)
    if not notebook.messages_of(cell, "display_data"):
        await notebook.listen(lambda message: "from a thread" in str(message["content"]))
    assert [number for _, number in notebook.lines(cell)] == [0, 1, 2]
    assert notebook.messages_of(later, "stream", "display_data") == []
    assert "from a thread" in str(notebook.messages_of(cell, "display_data"))


async def test_equal_output_is_shown_once_under_a_cell_that_asks_for_it(notebook):
    # However slow an engine is.
    await notebook.run("from ipyviews.client import alike; alike.HOLD_S = 60")
    cell = notebook.start("%%px --fold\nprint('same')\n'value'\n")
    await notebook.finish(cell)
    _connected, *shown = notebook.messages_of(cell, "stream", "display_data")
    assert [content.get("text") or content["data"]["text/plain"] for content in shown] == [
        "[stdout:0-3] \nsame\n",
        "Out[0-3]: 'value'",
    ]


async def test_an_interrupt_stops_the_engines_and_is_shown_once(notebook):
    cell = notebook.start("%%px\nkept = 5\nprint('begun')\nwhile True: pass\n")
    begun = 0
    while begun < 4:
        message = await notebook.listen(lambda message: message["msg_type"] == "stream")
        begun += message["content"]["text"].count("begun")
    await notebook.manager.interrupt_kernel()
    pressed = time.monotonic()
    reply = await notebook.finish(cell)
    assert time.monotonic() - pressed < 20
    assert reply["ename"] == "KeyboardInterrupt"
    texts = [
        str(m["content"]) for _, m in notebook.messages if m["msg_type"] in ("stream", "error")
    ]
    assert sum("KeyboardInterrupt" in text for text in texts) == 1
    assert "stopped on engines 0, 1, 2, 3" in "\n".join(reply["traceback"])
    await notebook.run("%%px\nassert kept == 5\n")
