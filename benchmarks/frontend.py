"""Measures output of one system as a front end sees it; run by `output.py`, not by hand.

``python frontend.py <system> <rounds>`` starts a kernel of its own environment, a cluster of four
engines in it, and runs cells. One line of JSON: figures by name, in seconds.
"""

from __future__ import annotations

import json
import re
import sys
import time
from statistics import median, quantiles

import work
from jupyter_client.manager import start_new_kernel

START = {
    "ipyviews": """
%load_ext ipyviews
import ipyviews
cluster = ipyviews.Cluster(n={n})
rc = cluster.start_and_connect_sync()
""",
    "ipyparallel": """
import logging, ipyparallel
cluster = ipyparallel.Cluster(n={n}, log_level=logging.ERROR)
rc = cluster.start_and_connect_sync()
view = rc[:]
view.block = True
view.activate()
""",
}
STOP = "rc.close(); cluster.stop_cluster_sync()"

#: A line that tells when it was printed, by the engine's clock, which is ours.
LINES = """%%px
import random, time
for i in range(COUNT):
    print(f"at {time.time()!r}")
    time.sleep(random.uniform(0.02, 0.2))
"""

FIRST = """%%px
import time
print(f"at {time.time()!r}")
time.sleep(0.5)
"""

#: Longest wait for a message [s].
PATIENCE_S = 60


class FrontEnd:
    """Runs cells one at a time, and looks at each message of their output."""

    def __init__(self, client):
        self._client = client

    def run(self, code, look=lambda _text, _arrived: None):
        """Run a cell; return when it was sent and when it had ended."""
        sent = time.time()
        cell = self._client.execute(code)
        while True:
            message = self._client.get_iopub_msg(timeout=PATIENCE_S)
            arrived = time.time()
            if message["parent_header"].get("msg_id") != cell:
                continue
            content = message["content"]
            if message["msg_type"] == "error":
                raise RuntimeError("\n".join(content["traceback"]))
            if content.get("execution_state") == "idle":
                return sent, arrived
            look(content.get("text") or content.get("data", {}).get("text/plain", ""), arrived)

    def print_on_all(self, number):
        """Print on all engines; the times until that is seen of all, and until the cell ends."""
        seen = {}

        def look(text, arrived):
            for engine in re.findall(rf"\[stdout:(\d+)\]\s+number {number}\b", text):
                seen.setdefault(engine, arrived)

        sent, ended = self.run(f"%%px\nprint('number', {number})", look)
        work.check(len(seen), work.ENGINES)
        return max(seen.values()) - sent, ended - sent

    def delays(self, code, count):
        """Return how long each line takes from being printed to being seen."""
        seen = {}

        def look(text, arrived):
            for printed in re.findall(r"at (\d+\.\d+)", text):
                seen.setdefault(printed, arrived)

        self.run(code, look)
        work.check(len(seen), count * work.ENGINES)
        return [arrived - float(printed) for printed, arrived in seen.items()]


def spread(times):
    return {"median": median(times), "p95": quantiles(times, n=20)[18]}


def measure(front_end, rounds):
    for number in range(10):
        front_end.print_on_all(number)
    trips = [front_end.print_on_all(number) for number in range(10, 10 + rounds)]
    firsts = [delay for _ in range(max(5, rounds // 5)) for delay in front_end.delays(FIRST, 1)]
    count = max(20, rounds)
    lines = front_end.delays(LINES.replace("COUNT", str(count)), count)
    return {
        "seen": spread([seen for seen, _ in trips]),
        "ended": spread([ended for _, ended in trips]),
        "first": spread(firsts),
        "line": spread(lines),
    }


def main(word, rounds):
    manager, client = start_new_kernel(kernel_name="python3")
    try:
        front_end = FrontEnd(client)
        front_end.run(START[word].format(n=work.ENGINES))
        figures = measure(front_end, rounds)
        front_end.run(STOP)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    print(json.dumps(work.flat(figures)))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
