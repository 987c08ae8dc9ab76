"""Clusters for the lines S1 to S11 of what is tested for security."""

from tests.clusters import interactive, members, script, start
from tests.controller.conftest import errors
from tests.controller.conftest import start as start_driver

__all__ = ["errors", "interactive", "members", "script", "start", "start_driver"]
