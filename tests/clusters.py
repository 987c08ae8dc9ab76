"""Fixtures: clusters for tests that change them, and processes that own or use one."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass

import psutil
import pytest

import ipyviews


@pytest.fixture
def start(run_root):
    """Start clusters of the test's own: ``start(n, **options)`` gives a connected client."""
    running = []

    def start(n=4, **options):
        cluster = ipyviews.Cluster(n=n, **options)
        client = cluster.start_and_connect_sync()
        running.append((cluster, client))
        return client

    yield start
    for cluster, client in reversed(running):
        client.close()
        cluster.stop_cluster_sync()


@pytest.fixture
def interactive():
    """Make functions as a notebook does: their globals will be the engine's."""

    def interactive(expression):
        return eval(expression, {"__name__": "__main__"})

    return interactive


@dataclass
class Members:
    """The processes of a cluster."""

    agent: psutil.Process
    controller: psutil.Process
    engines: list[psutil.Process]

    def all(self):
        return [self.agent, self.controller, *self.engines]


@pytest.fixture
def members():
    """Find the processes of a cluster by its connection file and a client's status."""

    def members(client):
        info = json.loads(client.cluster.cluster_file.read_text())["ipyviews"]
        controller = psutil.Process(info["pid"])
        engines = [psutil.Process(engine["pid"]) for engine in client.status()["engines"]]
        return Members(psutil.Process(controller.ppid()), controller, engines)

    return members


class Script:
    """Python code in a process of its own that prints lines and reads lines."""

    def __init__(self, code, *arguments, command=(sys.executable, "-c")):
        self.process = subprocess.Popen(
            [*command, code, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    @property
    def pid(self):
        return self.process.pid

    def read(self):
        """Wait for one line of JSON."""
        line = self.process.stdout.readline()
        assert line, "the script ended early"
        return json.loads(line)

    def tell(self, line=""):
        """Let the script go on."""
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


@pytest.fixture
def script(run_root):
    """Run scripts that are ended with the test."""
    running = []

    def script(code, *arguments):
        running.append(Script(code, *arguments))
        return running[-1]

    yield script
    for one in running:
        one.close()
