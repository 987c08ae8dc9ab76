"""Killing engines from outside while they work, and bringing them back."""

from __future__ import annotations

import time

import psutil

from tests.chaos.scale import HANGS_S
from tests.waiting import wait_until

#: Work that takes a moment; it travels by value.
square = lambda x: (__import__("time").sleep(0.001), x**2)[1]


def processes(rc):
    """Find the engines' processes, by engine."""
    return {engine["id"]: psutil.Process(engine["pid"]) for engine in rc.status()["engines"]}


def kill_when(result, count, victims):
    """Kill processes at a blow once so many tasks of a result have ended; return when [s]."""
    wait_until(lambda: result.progress >= count, HANGS_S, f"{count} of {len(result)} tasks")
    for victim in victims:
        victim.kill()
    return time.monotonic()


def revive(rc, engines):
    """Start killed engines again; their variables are gone."""
    wait_until(lambda: not set(engines) & set(rc.ids), HANGS_S, "the news of the deaths")
    rc.restart(engines, now=True)


def outcomes(result):
    """Wait for each task of a map in chunks of one, and return its value or its error."""
    assert result.wait(HANGS_S), f"{len(result) - result.progress} tasks have no outcome"
    return [one.exception() or one.result()[0] for one in result.split()]
