"""Clusters for tests that change them, and processes that own or use one."""

from tests.clusters import interactive, members, script, start

__all__ = ["interactive", "members", "script", "start"]
