"""Sixteen engines that print 10,000 lines each, under one cell of a real notebook."""

from __future__ import annotations

import json

import nbformat
import pytest
from nbclient import NotebookClient

pytestmark = pytest.mark.kernels

#: What client and controller may keep of some 4 MB of text [MB].
CLIENT_MB, CONTROLLER_MB = 40, 40

#: What the page may get [messages], [bytes].
MESSAGES, SIZE = 500, 1_000_000

START = """\
%load_ext ipyviews
import json, psutil, ipyviews
cluster = ipyviews.Cluster(n=16)
rc = cluster.start_and_connect_sync()
processes = [psutil.Process(), psutil.Process(rc.connection.address.pid)]
rss = lambda: [process.memory_info().rss / 1e6 for process in processes]
"""

WARM = "%%px\nprint('warm')\n"

FLOOD = """\
%%px -o ar
import sys
for i in range(10_000):
    print("line", i, flush=True)
"""

CHECK = """\
expected = "".join(f"line {i}\\n" for i in range(10_000))
print(json.dumps({
    "right": [text == expected for text in ar.stdout],
    "folded": sum(task.output.folded_messages for task in ar.tasks),
    "grown": [after - before for after, before in zip(rss(), before)],
}))
"""

STOP = "rc.close()\ncluster.stop_cluster_sync()"


class Counting(NotebookClient):
    """Counts what the page gets."""

    messages = 0
    size = 0

    def process_message(self, msg, cell, cell_index):
        self.messages += 1
        self.size += len(json.dumps(msg["content"]))
        return super().process_message(msg, cell, cell_index)


async def test_nothing_is_lost_order_is_kept_and_memory_and_page_are_bounded(run_root):
    cells = [START, WARM, "before = rss()", FLOOD, CHECK, STOP]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    client = Counting(notebook, timeout=250, kernel_name="python3")
    await client.async_execute()
    told = json.loads(notebook.cells[4].outputs[0].text)
    assert told["right"] == [True] * 16
    assert told["folded"] == 0
    grown_client, grown_controller = told["grown"]
    assert grown_client < CLIENT_MB
    assert grown_controller < CONTROLLER_MB
    assert client.messages < MESSAGES
    assert client.size < SIZE
    check_page(notebook.cells[3].outputs)


def check_page(outputs):
    """The first lines of each engine in order, and one display that counts the rest."""
    text = "".join(output.text for output in outputs if output.output_type == "stream")
    (rest,) = (output for output in outputs if output.output_type == "display_data")
    for part in text.split("[stdout:")[1:]:
        numbers = [int(line.removeprefix("line ")) for line in part.splitlines()[1:]]
        assert numbers == sorted(numbers)
    shown = text.count("line ")
    assert rest.data["text/plain"].startswith(f"… {160_000 - shown:,} more lines: `ar.stdout` has")
    assert rest.data["text/plain"].count("line 9999") == 16
